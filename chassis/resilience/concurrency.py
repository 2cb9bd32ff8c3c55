"""An adaptive concurrency limit: an instance refuses calls before its answers take so long that nobody waits for them.

By Little's law (J. D. C. Little, "A Proof for the Queuing Formula L = λW", Operations Research 9, 1961), calls inside
= calls served per second * time each spends inside. So a limit on the calls inside bounds the time, and the right limit
is found as in gradient algorithms (Netflix concurrency-limits, Envoy's adaptive concurrency filter): the calls inside
now, times how long they may take over how long they do take. It grows again by a tenth at a time (additive increase
would take minutes), and as in CoDel (RFC 8289) only a queue that stands is overload: a burst that drains is none.

Two things differ from those, as a service here is one event loop in one process:

- Calls inside are more than those in handlers. grpc.aio takes the next call from the core only when the loop has come
  round: a busy loop never sees more than a few, while hundreds wait in the core and expire. Neither the time in
  handlers nor the loop's delay shows it. So those that wait are counted in, as `queued` tells.
- Methods differ a hundredfold. Each is held against what it usually takes itself: the mean of its calls while few
  were inside. So a slow method is no overload, one that became slow is soon usual, and load alone teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from time import monotonic

from chassis.errors import ResourceExhausted

LEAST = 16
"""The limit never falls below: so few calls are no overload, however long they take."""
SLACK_S = 0.1
"""Time inside beyond the usual that is well yet: a noisy neighbour, a burst."""
TOLERANCE = 2.0
"""How many times as long as usual calls may take, beside the slack."""
TICK_S = 0.1
"""How often the limit is adapted, and those that wait are to be counted."""
PATIENCE, PATIENCE_SHEDDING, DRAINING = 8, 4, 0.95
"""A queue stands that in so many ticks in a row did not shrink to this part of its most; the second, once calls are
refused, whether it shrinks or not."""
IDLE_S = 1.0
"""Where no call was taken for so long, none waits."""
GROWTH, LONGEST_GROWTH, SMALLEST_CUT = 1.1, 50.0, 0.3
"""What the limit is multiplied by in a tick, for how many ticks at once after a pause, and at least when it is cut."""
LEARNING = 0.05
"""How much of a method's usual time is its last call's."""
SHORTEST_PAUSE_S, UNKNOWN_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0, 5.0


class Overloaded(ResourceExhausted):
    """This instance serves {limit} calls already; try again."""


@dataclass(slots=True)
class _Tick:
    """What was seen since the limit was last adapted."""

    start: float
    taken: int = 0
    """Calls that came out of the queue, to be served or refused."""
    last_taken: float = 0.0
    shed: int = 0
    ended: int = 0
    took_s: float = 0.0
    usual_s: float = 0.0
    """What those that ended would usually have taken."""
    queued: int = 0
    """At its most."""


class AdaptiveLimit:
    """How many calls an instance serves at once; what it counts is there to be read."""

    def __init__(
        self, most: int, clock: Callable[[], float] = monotonic, uniform: Callable[[float, float], float] = uniform
    ) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self._clock = clock
        self._uniform = uniform
        self._limit = float(most)
        self._usual_s: dict[str, float] = {}
        self._tick = _Tick(clock())
        self._over: list[int] = []
        """How many were inside in the last ticks, as long as calls took too long in them."""
        self._served_per_s = self._shed_per_s = 0.0
        self._busy_s, self._busy_until = 0.0, self._tick.start
        self.in_flight = 0
        self.queued = 0
        """Calls that wait to be taken, as last told; each one taken since is one less."""
        self.served = 0
        self.failed = 0
        self.shed = 0

    @property
    def limit(self) -> int:
        """How many calls may be inside now."""
        return int(self._limit)

    @property
    def taken(self) -> int:
        """How many calls came, served or refused."""
        return self.served + self.in_flight + self.shed

    @property
    def busy_s(self) -> float:
        """The integral of the calls in flight over time: its growth over a second is the mean of calls in flight."""
        self._integrate(self._clock())
        return self._busy_s

    def tell_queued(self, count: int) -> None:
        """Say how many calls wait to be taken."""
        self.queued = count
        self._tick.queued = max(self._tick.queued, count)

    def acquire(self) -> float:
        """Take a call in, and return when that was; Overloaded, which says when to come again."""
        now = self._clock()
        if now - self._tick.start >= TICK_S:
            self._adapt(now)
        tick = self._tick
        tick.taken += 1
        tick.last_taken = now
        if self.queued:
            self.queued -= 1
        inside = self.in_flight + self.queued
        if inside >= self._limit:
            self.shed += 1
            tick.shed += 1
            raise Overloaded(limit=self.limit, retry_after_s=self._pause_s(inside))
        self._integrate(now)
        self.in_flight += 1
        return now

    def release(self, method: str, taken: float, failed: bool | None = False) -> None:
        """Let a call out: when it was taken in, and whether it failed by a fault of ours; None: it was given up."""
        now, tick = self._clock(), self._tick
        self._integrate(now)
        self.in_flight -= 1
        self.served += 1
        duration_s = now - taken
        usual_s = self._usual_s.get(method, duration_s)
        tick.ended += 1
        tick.took_s += duration_s
        tick.usual_s += usual_s
        if failed:
            self.failed += 1
        elif failed is False and self.in_flight < self._least:
            self._usual_s[method] = usual_s + LEARNING * (duration_s - usual_s)

    def _adapt(self, now: float) -> None:
        tick, elapsed_s = self._tick, now - self._tick.start
        if tick.ended:
            taking_s = tick.last_taken - tick.start if tick.taken > 1 else elapsed_s
            waited_s = tick.queued * taking_s / tick.taken
            inside_s = tick.took_s / tick.ended + waited_s
            allowed_s = TOLERANCE * tick.usual_s / tick.ended + SLACK_S
        elif self.in_flight:
            return  # what hangs may be long, or stuck: its end will tell
        else:
            inside_s, allowed_s = 0.0, SLACK_S
        inside = self.in_flight + tick.queued
        if inside_s <= allowed_s or inside < self._least or now - tick.last_taken > IDLE_S:
            self._over.clear()
            self._limit = min(self._most, self._limit * GROWTH ** min(elapsed_s / TICK_S, LONGEST_GROWTH))
        else:
            self._over.append(inside)
            if len(self._over) >= (PATIENCE_SHEDDING if tick.shed else PATIENCE):
                if tick.shed or inside > DRAINING * max(self._over):
                    cut = max(allowed_s / inside_s, SMALLEST_CUT)
                    self._limit = max(self._least, min(self._limit, inside) * cut)
                self._over.clear()
        weight = min(elapsed_s, 1.0)  # means over about a second
        self._served_per_s += weight * (tick.ended / elapsed_s - self._served_per_s)
        self._shed_per_s += weight * (tick.shed / elapsed_s - self._shed_per_s)
        self._tick = _Tick(now, queued=self.queued)

    def _pause_s(self, inside: int) -> float:
        """Return when those inside and those refused within the last second are done; none come back together."""
        before = inside + self._shed_per_s + self._tick.shed
        pause_s = before / self._served_per_s if self._served_per_s else UNKNOWN_PAUSE_S
        return min(max(pause_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S) * self._uniform(0.5, 1.0)

    def _integrate(self, now: float) -> None:
        self._busy_s += self.in_flight * (now - self._busy_until)
        self._busy_until = now
