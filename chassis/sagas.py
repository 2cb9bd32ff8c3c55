"""The sagas an instance carries on: its own share of what is due, under leases, so that several share the work."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg

from chassis.call import Call, begin, current_call
from chassis.clock import Clock
from chassis.database import Batch, Database
from chassis.errors import Unavailable
from chassis.saga import RUNNING, Position, Refusal, Saga
from chassis.saga_run import LEASE, LeaseLost, SagaRun
from chassis.saga_view import SagaView
from chassis.telemetry.trace import Trace

POLL_S = 0.25
AT_ONCE = 64
"""Sagas one instance carries on at the same time."""

_log = logging.getLogger(__name__)


class Sagas:
    """Carries sagas on; one for each instance."""

    def __init__(self, database: Database, clock: Clock, owner: str, definitions: Sequence[Saga[Any]]) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self._definitions: Mapping[str, Saga[Any]] = {definition.kind: definition for definition in definitions}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, SagaRun] = {}
        self._woken = asyncio.Event()
        self._stranded_time: datetime | None = clock.now()
        """Leases we took before are of sagas that we do not carry on: from before a crash, or an outage."""

    def begin(self, batch: Batch, kind: str, subject: str) -> Callable[[Any], None]:
        """Add the start of a saga to what commits.

        Returns what to call after the commit, with what the steps work on: it carries the saga on at once.
        """
        call = current_call()
        trace = call.trace if call else Trace.start()
        now = self._clock.now()
        ours = len(self._tasks) < AT_ONCE // 2  # the rest is for those that wait to be tried again
        batch.add(
            "INSERT INTO sagas VALUES ($1, $2, 'running', 0, 0, '', NULL, $3, $3, $3, $4, $5, $6)",
            kind, subject, now, trace.traceparent, self._owner if ours else "", now + LEASE if ours else now,
        )  # fmt: skip
        position = Position(kind, subject, RUNNING, 0, 0, None, now, trace)
        return lambda work: self._launch(position, work) if ours else self.wake()

    def unwind(self, batch: Batch, kind: str, subject: str, refusal: Refusal) -> Callable[[], None]:
        """Add to what commits that a saga, running or done, is to be undone; returns what to call after the commit.

        All its steps are undone, as which of them were done is known only to who carries it on.
        """
        definition = self._definitions[kind]
        assert definition.undone is not None, f"{kind} only goes forward"
        batch.add(
            "UPDATE sagas SET status = 'unwinding', refusal = $3, attempts = 0, error = '', owner = '', done = $5,"
            " step_time = $4, update_time = $4, due_time = $4, lease_time = $4"
            " WHERE kind = $1 AND subject = $2 AND status IN ('running', 'done')",
            kind, subject, json.dumps(vars(refusal)), self._clock.now(), len(definition.steps),
        )  # fmt: skip
        return partial(self._turn, f"{kind}/{subject}")

    def wake(self) -> None:
        """Say that there is something to carry on."""
        self._woken.set()

    async def run(self) -> None:
        """Carry sagas on until cancelled; those that this instance had before a crash are its own at once."""
        try:
            while True:
                self._woken.clear()
                await self._look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._woken.wait()
        finally:
            await self._stop()

    async def _look(self) -> None:
        """Carry on what is due."""
        try:
            if self._stranded_time:
                before, self._stranded_time = self._stranded_time, None
                await self._give_back(before)
            for row in await self._claim(AT_ONCE - len(self._tasks)):
                self._launch(Position.of(row))
        except Unavailable as error:
            self._stranded_time = self._clock.now()
            _log.warning("sagas wait", extra={"error": str(error)})

    async def _stop(self) -> None:
        """Leave off; others need not wait for the leases to end."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(Unavailable):
            await self._give_back(self._clock.now())

    async def _give_back(self, before: datetime) -> None:
        """End the leases this instance took before, other than of sagas that it carries on.

        It stays their owner: where there is one, more may have been done than was written down.
        """
        await self._database.value(
            "UPDATE sagas SET lease_time = $2 WHERE status IN ('running', 'unwinding') AND owner = $1"
            " AND lease_time <= $3 AND kind || '/' || subject <> ALL ($4)",
            self._owner, self._clock.now(), before + LEASE, list(self._tasks),
        )  # fmt: skip

    @property
    def kinds(self) -> Iterable[str]:
        """The kinds of sagas that are carried on."""
        return self._definitions

    async def live(self, most: int) -> list[SagaView]:
        """Return sagas that are not done, those that got on longest ago first."""
        rows = await self._database.rows(
            "SELECT * FROM sagas WHERE status IN ('running', 'unwinding') AND kind = ANY($1)"
            " ORDER BY update_time LIMIT $2",
            list(self._definitions), most,
        )  # fmt: skip
        return [self._view(row) for row in rows]

    async def count(self) -> Counter[tuple[str, str]]:
        """Return how many are not done, by kind and status."""
        rows = await self._database.rows(
            "SELECT kind, status, done, attempts, count(*) FROM sagas"
            " WHERE status IN ('running', 'unwinding') AND kind = ANY($1) GROUP BY kind, status, done, attempts",
            list(self._definitions),
        )
        counts = Counter[tuple[str, str]]()
        for kind, status, done, attempts, count in rows:
            counts[kind, self._definitions[kind].seen(status, done, attempts)] += count
        return counts

    async def about(self, subject: str, most: int) -> list[SagaView]:
        """Return all sagas of a subject, also those that are done."""
        rows = await self._database.rows(
            "SELECT * FROM sagas WHERE subject = $1 AND kind = ANY($2) ORDER BY kind LIMIT $3",
            subject, list(self._definitions), most,
        )  # fmt: skip
        return [self._view(row) for row in rows]

    def _view(self, row: asyncpg.Record) -> SagaView:
        return SagaView.of(row, self._definitions[row["kind"]])

    async def _claim(self, most: int) -> list[asyncpg.Record]:
        if most <= 0:
            return []
        now = self._clock.now()
        return await self._database.rows(
            "WITH due AS (SELECT kind, subject, owner AS owner_before FROM sagas"
            " WHERE status IN ('running', 'unwinding') AND due_time <= $3 AND lease_time <= $3 AND kind = ANY($4)"
            " AND kind || '/' || subject <> ALL ($6) ORDER BY due_time LIMIT $5 FOR UPDATE SKIP LOCKED)"
            " UPDATE sagas SET owner = $1, lease_time = $2 FROM due"
            " WHERE sagas.kind = due.kind AND sagas.subject = due.subject RETURNING sagas.*, owner_before",
            self._owner, now + LEASE, now, list(self._definitions), most, list(self._tasks),
        )  # fmt: skip

    def _turn(self, name: str) -> None:
        if name in self._runs:
            self._runs[name].turned()
        self.wake()

    def _launch(self, position: Position, work: Any = None) -> None:
        if position.name not in self._tasks:
            run = SagaRun(self._database, self._clock, self._owner, self._definitions[position.kind], position)
            self._runs[run.name] = run
            self._tasks[run.name] = task = asyncio.create_task(self._carry_on(run, position, work))
            task.add_done_callback(lambda _: self._landed(run.name))

    def _landed(self, name: str) -> None:
        if len(self._tasks) >= AT_ONCE or self._stranded_time:  # others may have had to wait
            self._woken.set()
        del self._tasks[name], self._runs[name]

    async def _carry_on(self, run: SagaRun, position: Position, work: Any) -> None:
        begin(Call(f"/saga/{position.kind}", self._owner, None, position.trace))
        try:
            await run.carry_on(work)
        except LeaseLost:
            _log.info("saga is another's", extra={"saga": run.name})
            self._woken.set()  # or it was turned round, and is for anybody to take
        except Unavailable as error:
            self._stranded_time = self._clock.now()
            _log.warning("saga waits", extra={"saga": run.name, "error": str(error)})
