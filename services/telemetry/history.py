"""How metrics went over the last hours: a point is stored where one is not as it was, and now and then where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice, pairwise
from typing import NamedTuple

import orjson
from mercato.telemetry.v1 import telemetry_pb2 as pb

from chassis.clock import Clock, timestamp
from chassis.database import Database
from chassis.pages import Page
from services.telemetry.filters import Filters
from services.telemetry.intake import Queue, Signal
from services.telemetry.live import Instance, Live, Series
from services.telemetry.points import Kind
from services.telemetry.rates import by_bound, quantile
from services.telemetry.tables import Table

RECORD_S = 15.0
"""How often it is looked at what changed."""
REPEAT_S = 300.0
"""How often a metric that does not change is recorded all the same."""
SILENT = timedelta(seconds=1.5 * REPEAT_S)
"""Where nothing was recorded for so long, nothing was heard."""
SINCE = timedelta(minutes=15)
MOST_POINTS = 120
"""Of a series: where there are more, they are summed up."""
MOST_SERIES = 500


class PointRow(NamedTuple):
    """A point as it is stored: the columns of its table."""

    time: datetime
    metric: str
    service: str
    instance: str
    attributes: str
    value: float
    p99_s: float


class Recorder:
    """Records how the metrics that are live change."""

    def __init__(self, live: Live, queue: Queue[PointRow], clock: Clock) -> None:
        self._live = live
        self._queue = queue
        self._clock = clock

    async def record(self) -> None:
        """Record what changed since the last time."""
        now_s = self._clock.now().timestamp()
        self._live.forget(now_s)
        self._queue.put([row for instance in self._live.heard(now_s) for row in _changes(instance)])


class History(Table):
    """Points by their metric."""

    def __init__(self, database: Database, signal: Signal, clock: Clock) -> None:
        super().__init__(database, signal, "points")
        self._clock = clock

    async def write(self, rows: list[PointRow]) -> int:
        """Store points; return how many."""
        async with self._database.connection() as connection:
            await connection.copy_records_to_table("points", records=rows, columns=PointRow._fields)
        return len(rows)

    async def series(self, request: pb.ListSeriesRequest) -> list[pb.Series]:
        """Return how a metric went."""
        since = request.since.ToTimedelta() if request.HasField("since") else SINCE
        begin, step = self._clock.now() - since, max(timedelta(seconds=RECORD_S), since / MOST_POINTS)
        filters = Filters("metric = $1 AND time >= $2", request.metric, begin - timedelta(seconds=REPEAT_S), step)
        filters.add("service = {}", request.service)
        rows = await self._database.rows(
            "SELECT service, instance, attributes, date_bin($3, time, 'epoch') AS time, avg(value) AS value,"  # noqa: S608
            f" max(p99_s) AS p99_s FROM points WHERE {filters} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
            f" LIMIT {MOST_SERIES * MOST_POINTS}",
            *filters.arguments,
        )
        of_series = groupby(rows, lambda row: (row["service"], row["instance"], row["attributes"]))
        found = [
            pb.Series(
                metric=request.metric,
                service=service,
                instance=instance,
                attributes=orjson.loads(attributes),
                points=drawn([(row["time"], row["value"], row["p99_s"]) for row in points], begin, step),
            )
            for (service, instance, attributes), points in islice(of_series, MOST_SERIES)
        ]
        return Page.of(found, MOST_SERIES, lambda _: "").items  # those that fit into an answer

    async def expire(self, before: datetime, most: int) -> None:
        """Delete what is older, and the oldest of what is more."""
        await self._forget("age", "time < $1", before)
        await self._forget("size", _BEYOND, most)


def drawn(points: Sequence[tuple[datetime, float, float]], begin: datetime, step: timedelta) -> Iterator[pb.Point]:
    """Yield the points of a series from `begin` on; where none was stored for a while, it was as it was before."""
    for (time, value, p99_s), (following, *_) in pairwise((*points, (_NEVER, 0.0, 0.0))):
        if following <= begin:
            continue
        time = max(time, begin)
        yield pb.Point(time=timestamp(time), value=value, p99_s=p99_s)
        if step * 1.5 < following - time < SILENT + step:
            yield pb.Point(time=timestamp(following - step), value=value, p99_s=p99_s)


def _changes(instance: Instance) -> Iterator[PointRow]:
    """Yield the points of an instance that are to be stored."""
    since_s, now_s = instance.recorded_s, instance.heard_s
    instance.recorded_s = now_s
    for series in instance.series.values():
        if series.heard_s <= since_s:
            continue
        value, p99_s = _value(series, since_s, now_s - since_s)
        if series.recorded is None or series.recorded[1] != value or now_s - series.recorded[0] >= REPEAT_S:
            series.recorded = now_s, value
            attributes = orjson.dumps(dict(series.attributes)).decode()
            time = datetime.fromtimestamp(now_s, UTC)
            yield PointRow(time, series.metric, *instance.sender[:2], attributes, value, p99_s)


def _value(series: Series, since_s: float, elapsed_s: float) -> tuple[float, float]:
    if series.kind is Kind.GAUGE:
        return series.value, 0.0
    growth = series.growth(since_s)
    is_histogram = series.kind is Kind.HISTOGRAM
    p99_s = quantile(by_bound(series.bounds, growth.buckets), 0.99) if is_histogram else 0.0
    return growth.value / elapsed_s, p99_s


_NEVER = datetime.max.replace(tzinfo=UTC)
_BEYOND = "time <= (SELECT time FROM points ORDER BY time DESC OFFSET $1 LIMIT 1)"
