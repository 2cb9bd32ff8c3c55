"""A table in which signals are stored: what is there is counted, and what is no more."""

from __future__ import annotations

from chassis.database import Database
from services.telemetry.intake import Signal


class Table:
    """What the tables of all signals have in common."""

    def __init__(self, database: Database, signal: Signal, name: str) -> None:
        self._database = database
        self._signal = signal
        self._name = name

    async def count(self) -> None:
        """Count what is stored."""
        self._signal.stored = await self._database.value(f"SELECT count(*) FROM {self._name}")  # noqa: S608

    async def _forget(self, reason: str, condition: str, argument: object) -> None:
        """Delete rows, and count them."""
        async with self._database.connection() as connection:
            done = await connection.execute(f"DELETE FROM {self._name} WHERE {condition}", argument)  # noqa: S608
        self._signal.forget(reason, int(done.removeprefix("DELETE ")))
