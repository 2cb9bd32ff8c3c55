"""Fallbacks: an answer in the place of a callee that cannot be reached, stale or good enough at any time."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from time import monotonic
from typing import Generic, TypeVar

from chassis.errors import DeadlineExceeded, Unavailable
from chassis.telemetry.metrics import counter

Key = TypeVar("Key")
Value = TypeVar("Value")

_log = logging.getLogger(__name__)
_used = counter("mercato.client.fallbacks", "Answers given in the place of a callee.", "mercato.fallback")


class Fallback:
    """Answers where a callee is Unavailable (its circuit may be open) or silent; what it does answer, is the answer."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._out = False
        self._count = _used.labels(name)

    async def around(self, asking: Awaitable[Value], instead: Callable[[], Value | None]) -> Value:
        """Return what is answered, else what is to be said instead; what failed is raised where that is None."""
        try:
            answer = await asking
        except (Unavailable, DeadlineExceeded) as error:
            stand_in = instead()
            if stand_in is None:
                raise
            self._count.inc()
            if not self._out:
                self._out = True
                _log.warning("fallback begins", extra={"fallback": self._name, "error": error.message})
            return stand_in
        if self._out:
            self._out = False
            _log.info("fallback ends", extra={"fallback": self._name})
        return answer


class LastGood(Generic[Key, Value]):
    """The last good answers, by key: at most so many, the oldest go first, and none counts after so many seconds."""

    def __init__(self, most: int, oldest_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._oldest_s = oldest_s
        self._clock = clock
        self._answers: OrderedDict[Key, tuple[float, Value]] = OrderedDict()

    def put(self, answers: Mapping[Key, Value]) -> None:
        """Keep answers that were just given."""
        now = self._clock()
        for key, value in answers.items():
            self._answers[key] = now, value
            self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def get(self, keys: Collection[Key]) -> dict[Key, Value] | None:
        """Return an answer for every key; None where one is missing or too old."""
        oldest = self._clock() - self._oldest_s
        found = {key: self._answers[key] for key in keys if key in self._answers and self._answers[key][0] >= oldest}
        return {key: value for key, (_, value) in found.items()} if len(found) == len(set(keys)) else None
