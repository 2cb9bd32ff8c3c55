"""Group commit: where many change the same rows, one writer takes their batches together.

Row locks are held until a commit is on disk. Transactions that want the same rows would wait for each other's disk one
after the other; here they share one transaction, one wait for the disk, and never meet.
"""

from __future__ import annotations

import asyncio

from chassis.database import Batch, Database
from chassis.errors import ResourceExhausted
from chassis.telemetry.sql import statement

MOST_TOGETHER = 64
MOST_WAITING = 1024


class TooManyWaiting(ResourceExhausted):
    """{waiting} changes wait to be written already; try again."""


class GroupCommit:
    """The one writer of an instance."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Batch, asyncio.Future[None]]] = []
        self._woken = asyncio.Event()
        self.writing = asyncio.Lock()
        """Held while it writes. Who writes the same rows in another way holds it too: else they wait for each other."""

    async def commit(self, batch: Batch) -> None:
        """Commit a batch, with others or alone. It fails as it would fail alone, and no other fails with it."""
        if len(self._waiting) >= MOST_WAITING:
            raise TooManyWaiting(waiting=len(self._waiting))
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with statement(self._database.name, batch.sql):
            self._waiting.append((batch, written))
            self._woken.set()
            await written

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._woken.wait()
            together, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
            if not self._waiting:
                self._woken.clear()
            async with self.writing:
                if len(together) == 1 or not await self._write_together(together):
                    for batch, written in together:
                        await self._write_alone(batch, written)

    async def _write_together(self, together: list[tuple[Batch, asyncio.Future[None]]]) -> bool:
        try:
            batches = sorted((batch for batch, _ in together), key=lambda batch: batch.sql)  # of one shape in a row
            await self._database.commit_all(batches)
        except Exception:  # one of them is refused, and alone each gets its own answer
            return False
        for _, written in together:
            if not written.done():
                written.set_result(None)
        return True

    async def _write_alone(self, batch: Batch, written: asyncio.Future[None]) -> None:
        try:
            await self._database.commit(batch)
        except Exception as error:
            if not written.done():
                written.set_exception(error)
        else:
            if not written.done():
                written.set_result(None)
