"""The instances of all services, each under a lease, and whether each takes calls.

An instance is out of the calls when it says so (draining or unhealthy), when its lease ended, or when its health check
failed; it is back when that is over. Nothing here waits: time and health are told by who looks (`health.py`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from mercato.mesh.v1.mesh_pb2 import Instance

from chassis.clock import Clock, timestamp
from chassis.errors import Aborted, ResourceExhausted, invalid_field
from services.mesh.changes import Changes
from services.mesh.domain import check_instance

LEASE_S = 3.0
FORGET_S = 60.0
"""How long an instance is remembered that is out and whose stream has ended."""
MOST_INSTANCES = 1000
FAILED_CHECKS = 2
"""So many in a row take an instance out; a refused connection does at once."""
CHECK_S = 1.0
"""From one health check to the next."""
RATE_S = 5.0
"""Calls per second are those of so many seconds."""

_log = logging.getLogger(__name__)


class TooManyInstances(ResourceExhausted):
    """{instances} instances are registered already."""


class RegisteredAnew(Aborted):
    """{name} was registered anew on another stream."""


class Stream:
    """The stream on which one instance registers."""

    name = ""


@dataclass(slots=True)
class Entry:
    """One instance: as it is told to others, and what that follows from. Times are the clock's monotonic seconds."""

    instance: Instance
    stream: Stream | None
    lease_end: float
    check_due: float
    draining: bool = False
    problem: str = ""
    """Why it takes no calls, as it says itself; empty while it takes them."""
    failed_checks: int = 0
    failure: str = ""
    """What the health check found; empty while it counts as well."""
    out_since: float | None = None
    calls: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=2 * int(RATE_S)))

    def rate(self, now: float) -> float:
        """Return the calls per second over the last seconds."""
        recent = [sample for sample in self.calls if sample[0] > now - RATE_S - CHECK_S]
        if len(recent) < 2:
            return 0.0
        (begin, before), (end, after) = recent[0], recent[-1]
        return (after - before) / max(end - begin, 0.001)


class Registry:
    """What is known of instances. `unsaved` holds the names of those that changed since they were last stored."""

    def __init__(self, clock: Clock, changes: Changes, known: Collection[Instance] = ()) -> None:
        """Begin with those `known` from before, which count for one lease as if they had just been heard of."""
        self._clock = clock
        self._changes = changes
        self.unsaved: set[str] = set()
        now = clock.monotonic()
        self._entries = {
            instance.name: Entry(
                instance=instance,
                stream=None,
                lease_end=now + LEASE_S,
                check_due=now,
                draining=instance.state == Instance.STATE_DRAINING,
                failure=instance.reason if instance.state == Instance.STATE_UNHEALTHY else "",
                out_since=None if instance.state == Instance.STATE_SERVING else now,
            )
            for instance in known
        }

    @property
    def instances(self) -> list[Instance]:
        """All instances, as they are told to others."""
        return [entry.instance for entry in self._entries.values()]

    def get(self, name: str) -> Instance | None:
        """Return one instance; None where there is none of that name."""
        entry = self._entries.get(name)
        return entry.instance if entry else None

    def rates(self) -> dict[str, float]:
        """Return the calls per second of each instance, over the last seconds."""
        now = self._clock.monotonic()
        return {name: entry.rate(now) for name, entry in self._entries.items()}

    def register(self, stream: Stream, told: Instance) -> None:
        """Take what an instance says of itself; InvalidArgument, TooManyInstances, RegisteredAnew."""
        check_instance(told)
        now = self._clock.monotonic()
        if stream.name not in ("", told.name):
            raise invalid_field("instance.name", f"expected {stream.name}, as before on this stream")
        entry = self._entries.get(told.name)
        if stream.name and (entry is None or entry.stream is not stream):
            raise RegisteredAnew(name=told.name)
        if entry is None or entry.stream is not stream or _place(entry.instance) != _place(told):
            entry = self._enter(stream, told, now)
        entry.lease_end = now + LEASE_S
        entry.draining = told.state == Instance.STATE_DRAINING
        self._hear(entry, told.reason if told.state == Instance.STATE_UNHEALTHY else "", now)
        if entry.calls and told.vitals.calls < entry.calls[-1][1]:
            entry.calls.clear()  # it was started again
        entry.calls.append((now, told.vitals.calls))
        entry.instance.vitals.CopyFrom(told.vitals)
        self._settle(entry, now)

    def left(self, stream: Stream) -> None:
        """Note that a stream ended: of an instance that was draining it is the end, of another a reason to look."""
        entry = self._entries.get(stream.name)
        if entry is None or entry.stream is not stream:
            return
        entry.stream = None
        if entry.draining:
            self._forget(entry)
        else:
            entry.check_due = self._clock.monotonic()

    def due(self) -> list[Instance]:
        """Return those whose health is to be looked at now. Each is due again a while after `checked`."""
        now = self._clock.monotonic()
        due = [entry for entry in self._entries.values() if entry.check_due <= now and not entry.draining]
        for entry in due:
            entry.check_due = now + LEASE_S  # should nothing come of it
        return [entry.instance for entry in due]

    def checked(self, name: str, address: str, failure: str, *, certain: bool = False) -> None:
        """Note what the health check of an address found: a `failure`, which may be `certain`, or none."""
        entry = self._entries.get(name)
        if entry is None or entry.instance.address != address:
            return
        now = self._clock.monotonic()
        entry.check_due = now + CHECK_S
        entry.failed_checks = entry.failed_checks + 1 if failure else 0
        if not failure:
            entry.failure = ""
        elif certain or entry.failed_checks >= FAILED_CHECKS:
            entry.failure = failure
        self._settle(entry, now)

    def expire(self) -> None:
        """Take out whose lease ended, and forget who is long gone."""
        now = self._clock.monotonic()
        for entry in list(self._entries.values()):
            self._settle(entry, now)
            if entry.stream is None and entry.out_since is not None:
                gone_s = now - max(entry.out_since, entry.lease_end - LEASE_S)
                if gone_s >= (LEASE_S if entry.draining else FORGET_S):
                    self._forget(entry)

    def _enter(self, stream: Stream, told: Instance, now: float) -> Entry:
        """Begin an instance's entry, or begin it anew: what was known of its health was another process's."""
        before = self._entries.get(told.name)
        if before is None and len(self._entries) >= MOST_INSTANCES:
            raise TooManyInstances(instances=len(self._entries))
        stream.name = told.name
        instance = Instance()
        instance.CopyFrom(told)
        instance.ClearField("reason")
        instance.state = Instance.STATE_UNSPECIFIED  # so that to settle it is a change
        instance.register_time.CopyFrom(timestamp(self._clock.now()))
        entry = Entry(instance=instance, stream=stream, lease_end=now + LEASE_S, check_due=now)
        if before and before.stream not in (None, stream):
            _log.warning("registered anew while its stream was open", extra={"subject": told.name})
        self._entries[told.name] = entry
        return entry

    def _hear(self, entry: Entry, problem: str, now: float) -> None:
        """Note what an instance says of itself; where it says that it is well again, that is looked at."""
        if entry.problem and not problem:
            entry.check_due = now
        entry.problem = problem

    def _settle(self, entry: Entry, now: float) -> None:
        """Say whether it takes calls, and tell the world where that is new."""
        instance = entry.instance
        if entry.draining:
            state, reason = Instance.STATE_DRAINING, "it ends"
        elif now >= entry.lease_end:
            state, reason = Instance.STATE_UNHEALTHY, f"not heard of for {LEASE_S:g} s"
        elif problem := entry.problem or entry.failure:
            state, reason = Instance.STATE_UNHEALTHY, problem
        else:
            state, reason = Instance.STATE_SERVING, ""
        instance.reason = reason
        if state == instance.state:
            return
        _log.info("instance", extra={"subject": instance.name, "state": Instance.State.Name(state), "reason": reason})
        entry.out_since = None if state == Instance.STATE_SERVING else entry.out_since or now
        instance.state = state
        self.unsaved.add(instance.name)
        self._changes.note()

    def _forget(self, entry: Entry) -> None:
        _log.info("instance forgotten", extra={"subject": entry.instance.name})
        del self._entries[entry.instance.name]
        self.unsaved.add(entry.instance.name)
        self._changes.note()


def _place(instance: Instance) -> tuple[str, str, str, str, int]:
    return instance.service, instance.address, instance.version, instance.zone, instance.weight
