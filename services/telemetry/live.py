"""How every metric of every instance went in the last minutes, in memory. Pure, but for the memory.

Counters begin anew when a process does. Here each goes on where it was: what is kept are sums of growth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from operator import add, lt, sub
from typing import Generic, NamedTuple, Protocol, TypeVar

from services.telemetry.otlp import Sender
from services.telemetry.points import Attributes, Kind, Reading

WINDOW_S = 120.0
"""So far back it is known."""
GONE_S = 15.0
"""An instance that was not heard of for so long is gone."""
CLOSE_S = 0.5
"""Of what is sent faster than this not every moment is known."""
MOST_SERIES = 20_000
"""Of all instances together."""
MOST_OF_INSTANCE = 5000
"""Series of one instance: it cannot take the room of all."""
MOST_PROCESSES = 16
"""That tell of one series at a time, by what seems to be one instance."""
NEW_S = 1.0
"""An instance may send its first readings in parts, which are this far apart at most."""

Value = TypeVar("Value")


class Growth(NamedTuple):
    """By how much a counter or a histogram grew."""

    value: float
    buckets: tuple[int, ...]

    def plus(self, other: Growth) -> Growth:
        """Return both together."""
        return Growth(self.value + other.value, tuple(map(add, self.buckets, other.buckets)))

    def less(self, other: Growth) -> Growth:
        """Return this without the other."""
        return Growth(self.value - other.value, tuple(map(sub, self.buckets, other.buckets)))


class Past(Generic[Value]):
    """What stood when, as far back as is known."""

    def __init__(self, time_s: float, value: Value) -> None:
        self._moments = deque([(time_s, value)])

    @property
    def first_s(self) -> float:
        """The time of the earliest moment."""
        return self._moments[0][0]

    @property
    def last(self) -> tuple[float, Value]:
        """The latest moment."""
        return self._moments[-1]

    def add(self, time_s: float, value: Value) -> None:
        """Add a moment; it takes the place of the last one, where that is close to the one before."""
        moments = self._moments
        if len(moments) > 1 and moments[-1][0] - moments[-2][0] < CLOSE_S:
            moments.pop()
        moments.append((time_s, value))
        while len(moments) > 2 and moments[1][0] <= time_s - WINDOW_S:
            moments.popleft()

    def began(self, time_s: float) -> None:
        """Note that the first moment was as early."""
        first_s, value = self._moments[0]
        self._moments[0] = min(first_s, time_s), value

    def at(self, time_s: float) -> tuple[float, Value]:
        """Return the last moment that is not later; the first where all are."""
        return next((moment for moment in reversed(self._moments) if moment[0] <= time_s), self._moments[0])


class Series:
    """A metric of one instance with one set of attributes. Where it did not change there is nothing to keep.

    It is counted from a moment on: from zero, where its process is known to have begun then, or else from what is read.
    """

    def __init__(self, sender: Sender, reading: Reading, time_s: float, *, from_zero: bool) -> None:
        self.metric, self.kind, self.attributes = reading.metric, reading.kind, reading.attributes
        self.bounds = reading.bounds
        self.value = reading.value
        """Of a gauge, as it is."""
        self.heard_s = 0.0
        self.recorded: tuple[float, float] | None = None
        """When and as what it was stored last."""
        self.nothing = Growth(0, (0,) * len(reading.buckets))
        self._past = Past(time_s, self.nothing)
        self._last: dict[int, Reading] = {}
        """Of each process by when it began, where several may tell of it: they do not say which instance they are."""
        self._is_one = sender.is_one
        self._since_ns = reading.time_ns
        """What began later begins from zero for sure."""
        self._begin(reading, from_zero=from_zero)

    def take(self, reading: Reading, now_s: float) -> Growth | None:
        """Take what is read now; return by how much it grew, None where it did not."""
        self.heard_s = now_s
        if self.kind is Kind.GAUGE:
            self.value = reading.value
            return None
        if self._process(reading) not in self._last:
            self._begin(reading, from_zero=reading.start_ns > self._since_ns)
        last = self._last[self._process(reading)]
        is_less = reading.value < last.value or any(map(lt, reading.buckets, last.buckets))
        is_new = is_less or reading.start_ns > last.time_ns  # its process began anew
        if reading.value == last.value and not is_new:
            return None
        if is_new and reading.time_ns <= last.time_ns:
            return None  # it was sent before the last one, and came after it
        before = self.nothing if is_new else Growth(last.value, last.buckets)
        growth = Growth(reading.value, reading.buckets).less(before)
        self._last[self._process(reading)] = reading
        self._past.add(now_s, self._past.last[1].plus(growth))
        return growth

    def growth(self, since_s: float) -> Growth:
        """Return by how much it grew since then."""
        return self._past.last[1].less(self._past.at(since_s)[1])

    def _begin(self, reading: Reading, *, from_zero: bool) -> None:
        """Begin to count what a process tells of it."""
        if len(self._last) >= MOST_PROCESSES:
            del self._last[min(self._last, key=lambda process: self._last[process].time_ns)]
            self._since_ns = reading.time_ns
        zero = reading._replace(value=0, buckets=self.nothing.buckets)
        self._last[self._process(reading)] = zero if from_zero else reading

    def _process(self, reading: Reading) -> int:
        return 0 if self._is_one else reading.start_ns


class Instance:
    """All series of one instance, and when it sent them."""

    def __init__(self, sender: Sender, began_s: float) -> None:
        self.sender = sender
        self.series: dict[tuple[str, Kind, Attributes, tuple[float, ...]], Series] = {}
        self.recorded_s = began_s
        """When it was heard of last when it was recorded last."""
        self.told_all = sender.is_one
        """Whether what it did not tell of before was zero: it says that it is one process, and nothing is forgotten."""
        self._heard: Past[None] = Past(began_s, None)

    @property
    def heard_s(self) -> float:
        """When it was heard of last."""
        return self._heard.last[0]

    def is_new(self, now_s: float) -> bool:
        """Whether what comes now may be a part of the first it sent."""
        return now_s - self._heard.first_s < NEW_S

    def hear(self, now_s: float) -> None:
        """Note that it sent something."""
        if now_s > self.heard_s:
            self._heard.add(now_s, None)

    def began(self, time_s: float) -> None:
        """Note that it began before it was heard of."""
        self.recorded_s = min(self.recorded_s, time_s)
        self._heard.began(time_s)

    def begin_of(self, window_s: float) -> float:
        """Return when it was heard of last before a window that ends when it was heard of last."""
        return self._heard.at(self.heard_s - window_s)[0]

    def forget(self, before_s: float) -> list[Series]:
        """Forget the series that it did not tell of since then, and return them."""
        old = [key for key, series in self.series.items() if series.heard_s < before_s]
        forgotten = [self.series.pop(key) for key in old]
        self.told_all &= all(series.kind is Kind.GAUGE for series in forgotten)
        return forgotten


class Ledger(Protocol):
    """Is told of all that grows, and of what is new; remembers for longer how far it was counted."""

    def count(self, sender: Sender, reading: Reading, growth: Growth, now_s: float) -> None:
        """Count by how much a series grew to what is read now."""

    def counted(self, sender: Sender, reading: Reading) -> Reading | None:
        """Return how far a series was counted before; None where that is not known."""


class Live:
    """The instances that were heard of. Of processes that began before `since_s` not all was counted from zero."""

    def __init__(self, since_s: float, ledger: Ledger) -> None:
        self._since_s = since_s
        self._ledger = ledger
        self._instances: dict[tuple[str, str], Instance] = {}
        self._series = 0

    def take(self, sender: Sender, readings: list[Reading], now_s: float) -> int:
        """Take what an instance sent; return for how many series there was no room."""
        instance = self._instances.get(sender[:2])
        is_new = instance is None or instance.is_new(now_s)
        rejected = 0
        if instance is None:
            if not readings or self._series >= MOST_SERIES:
                return len(readings)
            instance = self._instances[sender[:2]] = Instance(sender, now_s)
        instance.sender = sender
        for reading in readings:
            key = reading.metric, reading.kind, reading.attributes, reading.bounds
            series, growth = instance.series.get(key), None
            if series is None:
                if self._series >= MOST_SERIES or len(instance.series) >= MOST_OF_INSTANCE:
                    rejected += 1
                    continue
                series = instance.series[key] = self._begin(instance, reading, now_s, is_new=is_new)
                self._series += 1
                growth = series.nothing
            if growth := series.take(reading, now_s) or growth:
                self._ledger.count(sender, reading, growth, now_s)
        instance.hear(now_s)
        return rejected

    def heard(self, now_s: float) -> Iterator[Instance]:
        """Yield the instances that are not gone."""
        return (instance for instance in self._instances.values() if instance.heard_s > now_s - GONE_S)

    def forget(self, now_s: float) -> None:
        """Forget the series that were not heard of for long, and the instances that have no others."""
        before_s = now_s - WINDOW_S
        for key, instance in list(self._instances.items()):
            if forgotten := instance.forget(before_s):
                self._series -= len(forgotten)
                self._since_s = max(self._since_s, before_s)
            if not instance.series:
                del self._instances[key]

    def _begin(self, instance: Instance, reading: Reading, now_s: float, *, is_new: bool) -> Series:
        """Begin a series where it was counted last, or zero for sure: its instance told of all before, or is young."""
        if counted := self._ledger.counted(instance.sender, reading):
            return Series(instance.sender, counted, now_s, from_zero=False)
        if instance.told_all and not is_new:
            return Series(instance.sender, reading, instance.heard_s, from_zero=True)
        start_s = min(reading.start_ns / 1e9, now_s)
        if start_s <= self._since_s:
            return Series(instance.sender, reading, now_s, from_zero=False)
        if is_new:
            instance.began(start_s)
        return Series(instance.sender, reading, start_s, from_zero=True)
