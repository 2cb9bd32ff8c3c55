"""One saga in the hands of one instance: step after step, or undo after undo.

A step that is done is not written down: who carries the saga on after a crash repeats it, and gets the same answer. Who
does and then has to turn round does not know how far it was, and undoes all steps.
Written down is what could not be found again: that it turns round, each undo, what it waits for, its end; and now and
then, where it takes long, how far it is, which keeps the lease.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from chassis.clock import Clock
from chassis.database import Batch, Database, UnexpectedRows
from chassis.errors import MercatoError
from chassis.saga import DONE, RUNNING, UNDONE, UNWINDING, Position, Refusal, Saga, Step
from chassis.telemetry.metrics import counter
from chassis.telemetry.spans import KEEP, SUBJECT, record_on, span

LEASE = timedelta(seconds=15)
RENEW = LEASE / 3
FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 10.0
LONGEST_ERROR = 500

_log = logging.getLogger(__name__)
_ended = counter("mercato.saga.ended", "Sagas that ended.", "mercato.saga.kind", "mercato.saga.status")
_retried = counter(
    "mercato.saga.retries", "Tries of saga steps that failed ambiguously.", "mercato.saga.kind", "mercato.saga.step"
)


class LeaseLost(Exception):
    """Another instance carries the saga on, or it was turned round; nothing was written."""


class SagaRun:
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
        self._renew_time = clock.now() + RENEW
        self._turned = False
        self._refusal = position.refusal
        self._abandoned = position.abandoned

    async def carry_on(self, work: Any = None) -> None:
        """Take step after step until the saga ends or has to wait; LeaseLost, Unavailable.

        What the steps work on is read where it is not given.
        """
        about = {SUBJECT: self._subject, "mercato.saga.kind": self._saga.kind}
        try:
            if self._attempts:
                record_on()
            if self._status == RUNNING:
                with span(self._saga.kind, attributes=about):
                    work = work or await self._saga.load(self._subject)
                    while self._status == RUNNING and not self._turned and await self._go_on(work):
                        pass
            if self._turned:
                raise LeaseLost
            if self._status == UNWINDING:
                record_on()
                with span(f"unwind {self._saga.kind}", attributes={**about, **self._reason(), KEEP: "compensation"}):
                    work = work or await self._saga.load(self._subject)
                    while await self._go_on(work):
                        pass
        except LeaseLost:
            raise
        except Exception as error:
            await self._wait(error)

    def turned(self) -> None:
        """Leave off after the current step, as the saga was turned round meanwhile."""
        self._turned = self._status == RUNNING

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
            with span(step.name, attributes=self._about(step)):
                await step.do(work)
        except Exception as error:
            if self._saga.undone is None:
                raise
            if isinstance(error, MercatoError) and error.definite:
                self._refusal = Refusal(step.name, error.reason, error.message)
                _log.info("saga refused", extra={"saga": self.name, "step": step.name, "reason": error.reason})
                await self._turn_round(self._done)
            elif self._clock.now() - self._step_time > timedelta(seconds=step.deadline_s):
                why = error.message if isinstance(error, MercatoError) else "internal error"
                self._refusal = Refusal(step.name, "STEP_TIMED_OUT", f"{step.name} stayed in doubt: {why}")
                await self._turn_round(self._done + 1)
            else:
                raise
        else:
            self._done, self._attempts, self._step_time = self._done + 1, 0, self._clock.now()
            if self._step_time > self._renew_time:
                await self._record(RUNNING, self._done)

    async def _turn_round(self, done: int) -> None:
        """Undo what was done: all steps, where more of them may have been done before; undoing needs none done."""
        await self._record(UNWINDING, len(self._saga.steps) if self._abandoned else done)

    async def _undo(self, step: Step[Any], work: Any) -> None:
        """Undo one step; raises what is to be tried again."""
        if step.undo:
            with span(f"undo {step.name}", attributes=self._about(step)):
                await step.undo(work)
        if self._done > 1:
            await self._record(UNWINDING, self._done - 1)
        else:
            self._done = 0  # recorded with the end

    def _about(self, step: Step[Any]) -> dict[str, str | int]:
        return {
            SUBJECT: self._subject,
            "mercato.saga.kind": self._saga.kind,
            "mercato.saga.step": step.name,
            "mercato.saga.attempt": self._attempts + 1,
        }

    def _reason(self) -> dict[str, str]:
        refusal = self._refusal
        return {"mercato.saga.refusal": refusal.reason, "mercato.saga.refused_step": refusal.step} if refusal else {}

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
            " RETURNING 1",
            self._saga.kind, self._subject, status, done, json.dumps(vars(self._refusal)) if self._refusal else None,
            now, now + LEASE, self._owner, self._status,
        )  # fmt: skip
        if not written:
            raise LeaseLost
        self._status, self._done, self._attempts, self._step_time = status, done, 0, now
        self._renew_time = now + RENEW

    async def _wait(self, error: Exception) -> None:
        """Give the saga back until its next try is due; where it has no owner, all that was done is written down."""
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
            " step_time = $10, owner = $11 WHERE kind = $1 AND subject = $2 AND owner = $8 AND status = $9",
            self._saga.kind, self._subject, self._done, self._attempts, text[:LONGEST_ERROR],
            now, now + timedelta(seconds=delay_s), self._owner, self._status, self._step_time,
            self._owner if self._abandoned else "",
        )  # fmt: skip
