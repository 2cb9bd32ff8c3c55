"""How far the calls of each process were counted: telemetry that starts again goes on from there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson

from chassis.database import Batch, Database
from services.telemetry.otlp import Sender
from services.telemetry.points import Reading

REMEMBERED = timedelta(days=1)
"""How long of a process whose calls are not told of any more."""
MOST_NOTED = 100_000
_NOTE = """
INSERT INTO calls_counted VALUES ($1, $2, $3, $4)
ON CONFLICT (process, series) DO UPDATE SET time = EXCLUDED.time, buckets = EXCLUDED.buckets
"""

Key = tuple[str, str]


class Counted:
    """What was noted, in memory and in its table."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[Key, tuple[datetime, tuple[int, ...]]] = {}
        self._processes: set[str] = set()

    async def load(self, default: datetime) -> datetime:
        """Load what was noted; return when the last of it was, `default` where nothing was."""
        for process, series, time, buckets in await self._database.rows("SELECT * FROM calls_counted"):
            self._known[process, series] = time, tuple(buckets)
            self._processes.add(process)
        return max((time for time, _ in self._known.values()), default=default)

    def of(self, sender: Sender, reading: Reading) -> Reading | None:
        """Return how far a histogram was counted; None where that is not known."""
        key = _key(sender, reading)
        if key in self._known:
            time, buckets = self._known[key]
            return reading._replace(time_ns=int(time.timestamp() * 1e9), value=sum(buckets), buckets=buckets)
        if key[0] in self._processes and sender.is_one:  # what it did not tell of then was zero
            return reading._replace(time_ns=0, value=0, buckets=(0,) * len(reading.buckets))
        return None

    def note(self, sender: Sender, reading: Reading, now_s: float) -> Key | None:
        """Note that a histogram is counted as far as this reading; return what is to be stored, None without room."""
        key = _key(sender, reading)
        if key not in self._known and len(self._known) >= MOST_NOTED:
            return None
        self._known[key] = datetime.fromtimestamp(now_s, UTC), reading.buckets
        self._processes.add(key[0])
        return key

    def change(self, key: Key) -> Batch:
        """Return what stores how far one is counted now."""
        batch = Batch()
        batch.add(_NOTE, *key, *self._known[key])
        return batch

    async def expire(self, now: datetime) -> None:
        """Forget those of which nothing was noted for long."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM calls_counted WHERE time < $1", now - REMEMBERED)
        self._known = {key: known for key, known in self._known.items() if known[0] >= now - REMEMBERED}
        self._processes = {process for process, _ in self._known}


def _key(sender: Sender, reading: Reading) -> Key:
    """Return, as JSON, which process tells of what."""
    of = (sender.service, sender.instance, reading.start_ns), (reading.attributes, reading.bounds)
    process, series = (orjson.dumps(each).decode() for each in of)
    return process, series
