"""Sagas: steps over several services that end either all done or all undone, whatever crashes between.

A saga is a table of steps first, each with its undo. Where it stands is a row in the database of the service that
runs it; any instance may carry it on under a lease. Every step and every undo is called with the same request_id each
time, so repeating is safe, and an undo also holds where the step never happened. From that follow the rules:

- a definite refusal unwinds what was done, in reverse;
- an ambiguous failure (timeout, unavailable) is retried until the answer is definite, or until the step's deadline:
  then it unwinds, the step in doubt included;
- an undo is retried until it succeeds; one that keeps failing is reported as stuck, never dropped.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import asyncpg
from prometheus_client import Counter

from chassis.call import Call, begin, current_call
from chassis.clock import Clock
from chassis.database import Batch, Database, UnexpectedRows
from chassis.errors import MercatoError, Unavailable
from chassis.trace import Trace

LEASE = timedelta(seconds=15)
POLL_S = 0.25
AT_ONCE = 64
"""Sagas one instance carries on at the same time."""
FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 10.0
LONGEST_ERROR = 500
STUCK_ATTEMPTS = 10
"""From so many failed tries on, what has to succeed is reported as stuck."""

RUNNING, UNWINDING, DONE, UNDONE = "running", "unwinding", "done", "undone"

_log = logging.getLogger(__name__)
_ended = Counter("mercato_sagas_ended_total", "Sagas that ended.", ("kind", "status"))
_retried = Counter("mercato_saga_retries_total", "Tries of saga steps that failed ambiguously.", ("kind", "step"))

Work = TypeVar("Work")


@dataclass(frozen=True)
class Step(Generic[Work]):
    """One step: what it does in another service, and what undoes that."""

    name: str
    do: Callable[[Work], Awaitable[None]]
    undo: Callable[[Work], Awaitable[None]] | None = None
    deadline_s: float = 120.0
    """How long it may stay in doubt before the saga unwinds."""


@dataclass(frozen=True)
class Refusal:
    """Why a saga unwinds."""

    step: str
    reason: str
    message: str


@dataclass(frozen=True)
class Saga(Generic[Work]):
    """The definition of one kind of saga."""

    kind: str
    steps: Sequence[Step[Work]]
    load: Callable[[str], Awaitable[Work]]
    """Reads what the steps work on, by the saga's subject."""
    complete: Callable[[Work, Batch], Awaitable[None]]
    """Commits that all is done, together with the batch."""
    undone: Callable[[Work, Refusal, Batch], Awaitable[None]] | None = None
    """Commits that all is undone, together with the batch. None: the saga only goes forward."""

    def step(self, status: str, done: int) -> str:
        """Return the name of the step it is at, or undoes."""
        return self.steps[max(done - 1, 0) if status == UNWINDING else min(done, len(self.steps) - 1)].name

    def stuck(self, status: str, done: int, attempts: int) -> bool:
        """Whether it can neither get on nor turn round."""
        may_turn = status == RUNNING and done < len(self.steps) and self.undone is not None
        return attempts >= STUCK_ATTEMPTS and not may_turn


@dataclass(frozen=True)
class LiveSaga:
    """Where a saga stands that is not done."""

    kind: str
    subject: str
    status: str
    """`running`, `unwinding`, or `stuck` where it can neither get on nor turn round."""
    step: str
    attempts: int
    error: str
    update_time: datetime


@dataclass(frozen=True)
class Position:
    """How far one saga is."""

    kind: str
    subject: str
    status: str
    done: int
    """Steps done and not yet undone."""
    attempts: int
    """Tries of the current step that failed."""
    refusal: Refusal | None
    step_time: datetime
    """Since when it is at the current step."""
    trace: Trace

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return f"{self.kind}/{self.subject}"

    @classmethod
    def of(cls, row: asyncpg.Record) -> Position:
        """Read it from its row."""
        return cls(
            kind=row["kind"],
            subject=row["subject"],
            status=row["status"],
            done=row["done"],
            attempts=row["attempts"],
            refusal=Refusal(**json.loads(row["refusal"])) if row["refusal"] else None,
            step_time=row["step_time"],
            trace=Trace.parse(row["trace"]) or Trace.start(),
        )


class Sagas:
    """Carries sagas on; one for each instance."""

    def __init__(self, database: Database, clock: Clock, owner: str, definitions: Sequence[Saga[Any]]) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self._definitions: Mapping[str, Saga[Any]] = {definition.kind: definition for definition in definitions}
        self._tasks: dict[str, asyncio.Task[None]] = {}
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

    def unwind(self, batch: Batch, kind: str, subject: str, refusal: Refusal) -> None:
        """Add to what commits that a saga, running or done, is to be undone; call `wake` afterwards."""
        definition = self._definitions[kind]
        assert definition.undone is not None, f"{kind} only goes forward"
        batch.add(
            "UPDATE sagas SET status = 'unwinding', refusal = $3, attempts = 0, error = '', owner = '',"
            " done = CASE status WHEN 'running' THEN least(done + 1, $5) ELSE done END,"
            " step_time = $4, update_time = $4, due_time = $4, lease_time = $4"
            " WHERE kind = $1 AND subject = $2 AND status IN ('running', 'done')",
            kind, subject, json.dumps(vars(refusal)), self._clock.now(), len(definition.steps),
        )  # fmt: skip

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
                    await asyncio.wait_for(self._woken.wait(), POLL_S)
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
        """End the leases this instance took before, other than of sagas that it carries on."""
        await self._database.value(
            "UPDATE sagas SET owner = '', lease_time = $2 WHERE status IN ('running', 'unwinding') AND owner = $1"
            " AND lease_time <= $3 AND kind || '/' || subject <> ALL ($4)",
            self._owner, self._clock.now(), before + LEASE, list(self._tasks),
        )  # fmt: skip

    async def live(self, most: int) -> list[LiveSaga]:
        """Return sagas that are not done, those that got on longest ago first."""
        rows = await self._database.rows(
            "SELECT * FROM sagas WHERE status IN ('running', 'unwinding') AND kind = ANY($1)"
            " ORDER BY update_time LIMIT $2",
            list(self._definitions), most,
        )  # fmt: skip
        return [self._live(row) for row in rows]

    def _live(self, row: asyncpg.Record) -> LiveSaga:
        definition = self._definitions[row["kind"]]
        status, done, attempts = row["status"], row["done"], row["attempts"]
        return LiveSaga(
            kind=row["kind"],
            subject=row["subject"],
            status="stuck" if definition.stuck(status, done, attempts) else status,
            step=definition.step(status, done),
            attempts=attempts,
            error=row["error"],
            update_time=row["update_time"],
        )

    async def _claim(self, most: int) -> list[asyncpg.Record]:
        if most <= 0:
            return []
        now = self._clock.now()
        return await self._database.rows(
            "UPDATE sagas SET owner = $1, lease_time = $2 WHERE (kind, subject) IN ("
            "SELECT kind, subject FROM sagas WHERE status IN ('running', 'unwinding') AND due_time <= $3"
            " AND lease_time <= $3 AND kind = ANY($4) AND kind || '/' || subject <> ALL ($6)"
            " ORDER BY due_time LIMIT $5 FOR UPDATE SKIP LOCKED) RETURNING *",
            self._owner, now + LEASE, now, list(self._definitions), most, list(self._tasks),
        )  # fmt: skip

    def _launch(self, position: Position, work: Any = None) -> None:
        if position.name not in self._tasks:
            self._tasks[position.name] = task = asyncio.create_task(self._carry_on(position, work))
            task.add_done_callback(lambda _: self._landed(position.name))

    def _landed(self, name: str) -> None:
        if len(self._tasks) >= AT_ONCE or self._stranded_time:  # others may have had to wait
            self._woken.set()
        del self._tasks[name]

    async def _carry_on(self, position: Position, work: Any) -> None:
        run = _Run(self._database, self._clock, self._owner, self._definitions[position.kind], position)
        begin(Call(f"/saga/{position.kind}", self._owner, None, position.trace))
        try:
            await run.carry_on(work)
        except LeaseLost:
            _log.info("saga is another's", extra={"saga": run.name})
            self._woken.set()  # or it was turned round, and is for anybody to take
        except Unavailable as error:
            self._stranded_time = self._clock.now()
            _log.warning("saga waits", extra={"saga": run.name, "error": str(error)})


class LeaseLost(Exception):
    """Another instance carries the saga on, or it was turned round; nothing was written."""


class _Run:
    """One saga in the hands of one instance."""

    def __init__(self, database: Database, clock: Clock, owner: str, definition: Saga[Any], position: Position) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self._saga = definition
        self.name = position.name
        self._subject = position.subject
        self._status = position.status
        self._done = position.done
        self._attempts = position.attempts
        self._step_time = position.step_time
        self._refusal = position.refusal

    async def carry_on(self, work: Any = None) -> None:
        """Take step after step until the saga ends or has to wait; LeaseLost, Unavailable.

        What the steps work on is read where it is not given.
        """
        try:
            work = work or await self._saga.load(self._subject)
            while await self._go_on(work):
                pass
        except LeaseLost:
            raise
        except Exception as error:
            await self._wait(error)

    async def _go_on(self, work: Any) -> bool:
        """Do what is next; return whether there is more."""
        if self._status == RUNNING and self._done < len(self._saga.steps):
            await self._do(self._saga.steps[self._done], work)
        elif self._status == RUNNING:
            await self._end(DONE, lambda batch: self._saga.complete(work, batch))
        elif self._done > 0:
            await self._undo(self._saga.steps[self._done - 1], work)
        else:
            refusal, undone = self._refusal, self._saga.undone
            assert refusal is not None
            assert undone is not None
            await self._end(UNDONE, lambda batch: undone(work, refusal, batch))
        return self._status in (RUNNING, UNWINDING)

    async def _do(self, step: Step[Any], work: Any) -> None:
        """Take one step, or turn round; raises what is to be tried again."""
        try:
            await step.do(work)
        except Exception as error:
            if self._saga.undone is None:
                raise
            if isinstance(error, MercatoError) and error.definite:
                self._refusal = Refusal(step.name, error.reason, error.message)
                _log.info("saga refused", extra={"saga": self.name, "step": step.name, "reason": error.reason})
                await self._record(UNWINDING, self._done)
            elif self._clock.now() - self._step_time > timedelta(seconds=step.deadline_s):
                why = error.message if isinstance(error, MercatoError) else "internal error"
                self._refusal = Refusal(step.name, "STEP_TIMED_OUT", f"{step.name} stayed in doubt: {why}")
                await self._record(UNWINDING, self._done + 1)
            else:
                raise
        else:
            if self._done + 1 < len(self._saga.steps):
                await self._record(RUNNING, self._done + 1)
            else:
                self._done += 1  # recorded with the end

    async def _undo(self, step: Step[Any], work: Any) -> None:
        """Undo one step; raises what is to be tried again."""
        if step.undo:
            await step.undo(work)
        if self._done > 1:
            await self._record(UNWINDING, self._done - 1)
        else:
            self._done = 0  # recorded with the end

    async def _end(self, status: str, commit: Callable[[Batch], Awaitable[None]]) -> None:
        batch = Batch()
        batch.add(
            "UPDATE sagas SET status = $3, done = $4, owner = '', update_time = $5, lease_time = $5, error = '',"
            " attempts = 0 WHERE kind = $1 AND subject = $2 AND owner = $6 AND status = $7 RETURNING 1",
            self._saga.kind, self._subject, status, self._done, self._clock.now(), self._owner, self._status, rows=1,
        )  # fmt: skip
        try:
            await commit(batch)
        except UnexpectedRows:
            raise LeaseLost from None
        self._status = status
        _ended.labels(self._saga.kind, status).inc()

    async def _record(self, status: str, done: int) -> None:
        """Write how far it is, and renew the lease; LeaseLost when it is not ours as we knew it."""
        now = self._clock.now()
        written = await self._database.value(
            "UPDATE sagas SET status = $3, done = $4, refusal = $5, attempts = 0, error = '', step_time = $6,"
            " update_time = $6, lease_time = $7 WHERE kind = $1 AND subject = $2 AND owner = $8 AND status = $9"
            " AND done IN ($4, $10) RETURNING 1",
            self._saga.kind, self._subject, status, done, json.dumps(vars(self._refusal)) if self._refusal else None,
            now, now + LEASE, self._owner, self._status, self._done,
        )  # fmt: skip
        if not written:
            raise LeaseLost
        self._status, self._done, self._attempts, self._step_time = status, done, 0, now

    async def _wait(self, error: Exception) -> None:
        """Give the saga back until its next try is due."""
        self._attempts += 1
        now = self._clock.now()
        delay_s = min(FIRST_RETRY_S * 2 ** min(self._attempts - 1, 10), LONGEST_RETRY_S)
        step = self._saga.step(self._status, self._done)
        stuck = self._saga.stuck(self._status, self._done, self._attempts)
        expected = isinstance(error, MercatoError)
        text = f"{error.reason}: {error.message}" if isinstance(error, MercatoError) else repr(error)
        _retried.labels(self._saga.kind, step).inc()
        _log.log(
            logging.WARNING if expected and not stuck else logging.ERROR,
            "saga stuck" if stuck else "saga retries",
            extra={"saga": self.name, "step": step, "attempts": self._attempts, "error": text},
            exc_info=None if expected else error,
        )
        await self._database.value(
            "UPDATE sagas SET done = $3, attempts = $4, error = $5, update_time = $6, due_time = $7, lease_time = $6,"
            " owner = '' WHERE kind = $1 AND subject = $2 AND owner = $8 AND status = $9",
            self._saga.kind, self._subject, self._done, self._attempts, text[:LONGEST_ERROR],
            now, now + timedelta(seconds=delay_s), self._owner, self._status,
        )  # fmt: skip
