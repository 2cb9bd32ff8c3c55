"""How every metric of every instance went in the last minutes, in memory. Pure, but for the memory.

Counters begin anew when a process does. Here each goes on where it was: what is kept are sums of growth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from operator import add, lt, sub
from typing import NamedTuple

from services.telemetry.otlp import Sender
from services.telemetry.points import Attributes, Kind, Reading

WINDOW_S = 120.0
"""So far back it is known."""
GONE_S = 15.0
"""An instance that was not heard of for so long is gone."""
MOST_SERIES = 20_000
"""Of all instances together."""
TOGETHER_S = 10.0
"""An instance that began so long before us at most began with us: nobody counted before."""
NEW_S = 1.0
"""An instance may send its first readings in parts, which are this far apart at most."""


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


class Series:
    """A metric of one instance with one set of attributes. Where it did not change there is nothing to keep."""

    def __init__(self, reading: Reading) -> None:
        self.metric, self.kind, self.attributes = reading.metric, reading.kind, reading.attributes
        self.bounds = reading.bounds
        self.value = reading.value
        """Of a gauge, as it is."""
        self.heard_s = 0.0
        self.recorded: tuple[float, float] | None = None
        """When and as what it was stored last."""
        self._last = reading
        self._history: deque[tuple[float, Growth]] = deque()

    def begin(self, time_s: float, *, from_zero: bool) -> None:
        """Begin to count: from zero, where its process is known to have done so then, or else from what is read."""
        zeros = (0,) * len(self._last.buckets)
        self._history.append((time_s, Growth(0.0, zeros)))
        if from_zero:
            self._last = self._last._replace(value=0, buckets=zeros)

    def take(self, reading: Reading, now_s: float) -> Growth | None:
        """Take what is read now; return by how much it grew, None where it did not."""
        self.heard_s, last = now_s, self._last
        if self.kind is Kind.GAUGE:
            self.value = reading.value
            return None
        is_less = reading.value < last.value or any(map(lt, reading.buckets, last.buckets))
        is_new = is_less or reading.start_ns > last.time_ns  # its process began anew
        if reading.value == last.value and not is_new:
            return None
        if is_new and reading.time_ns <= last.time_ns:
            return None  # it was sent before the last one, and came after it
        if reading.bounds != self.bounds:
            self._history = deque([(now_s, Growth(0.0, (0,) * len(reading.buckets)))])
            self.bounds, is_new = reading.bounds, True
        before = Growth(0, (0,) * len(reading.buckets)) if is_new else Growth(last.value, last.buckets)
        growth = Growth(reading.value, reading.buckets).less(before)
        self._last = reading
        self._history.append((now_s, self._history[-1][1].plus(growth)))
        while len(self._history) > 2 and self._history[1][0] <= now_s - WINDOW_S:
            self._history.popleft()
        return growth

    def growth(self, since_s: float) -> Growth:
        """Return by how much it grew since then."""
        latest = self._history[-1][1]
        before = next((total for time_s, total in reversed(self._history) if time_s <= since_s), self._history[0][1])
        return latest.less(before)


class Instance:
    """All series of one instance, and when it sent them."""

    def __init__(self, sender: Sender, began_s: float) -> None:
        self.sender = sender
        self.series: dict[tuple[str, Kind, Attributes], Series] = {}
        self.times_s = deque([began_s])
        self.recorded_s = began_s
        """When it was heard of last when it was recorded last."""

    @property
    def heard_s(self) -> float:
        """When it was heard of last."""
        return self.times_s[-1]

    def hear(self, now_s: float) -> None:
        """Note that it sent something."""
        if now_s > self.times_s[-1]:
            self.times_s.append(now_s)
        while len(self.times_s) > 2 and self.times_s[1] <= now_s - WINDOW_S:
            self.times_s.popleft()

    def begin_of(self, window_s: float) -> float:
        """Return when it was heard of last before a window that ends when it was heard of last."""
        since_s = self.heard_s - window_s
        return next((time_s for time_s in reversed(self.times_s) if time_s <= since_s), self.times_s[0])


class Live:
    """The instances that were heard of. `counted` is told of all that grows."""

    def __init__(self, started_s: float, counted: Callable[[Series, Growth, float], None]) -> None:
        self._started_s = started_s
        self._counted = counted
        self._instances: dict[tuple[str, str], Instance] = {}
        self._series = 0

    def take(self, sender: Sender, readings: list[Reading], now_s: float) -> int:
        """Take what an instance sent; return for how many series there was no room."""
        instance = self._instances.get(sender[:2])
        is_new = instance is None or now_s - instance.times_s[0] < NEW_S
        rejected = 0
        if instance is None:
            if not readings or self._series >= MOST_SERIES:
                return len(readings)
            instance = self._instances[sender[:2]] = Instance(sender, now_s)
        instance.sender = sender
        for reading in readings:
            key = reading.metric, reading.kind, reading.attributes
            series = instance.series.get(key)
            if series is None:
                if self._series >= MOST_SERIES:
                    rejected += 1
                    continue
                series = instance.series[key] = Series(reading)
                self._series += 1
                self._begin(instance, series, reading, now_s, is_new=is_new)
            if growth := series.take(reading, now_s):
                self._counted(series, growth, now_s)
        instance.hear(now_s)
        return rejected

    def heard(self, now_s: float) -> Iterator[Instance]:
        """Yield the instances that are not gone."""
        return (instance for instance in self._instances.values() if instance.heard_s > now_s - GONE_S)

    def forget(self, now_s: float) -> None:
        """Forget the instances that are gone for long."""
        for key, instance in list(self._instances.items()):
            if instance.heard_s < now_s - WINDOW_S:
                self._series -= len(self._instances.pop(key).series)

    def _begin(self, instance: Instance, series: Series, reading: Reading, now_s: float, *, is_new: bool) -> None:
        """Begin a series where it was zero for sure: its instance did not tell of it before, or began after we did."""
        if not is_new:
            series.begin(instance.heard_s, from_zero=True)
        elif (start_s := reading.start_ns / 1e9) > self._started_s - TOGETHER_S:
            series.begin(min(start_s, now_s), from_zero=True)
            instance.times_s[0] = instance.recorded_s = min(instance.times_s[0], start_s)
        else:
            series.begin(now_s, from_zero=False)
