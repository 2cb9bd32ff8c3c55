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

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import asyncpg

from chassis.database import Batch
from chassis.telemetry.trace import Trace

STUCK_ATTEMPTS = 10
"""From so many failed tries on, what has to succeed is reported as stuck."""

RUNNING, UNWINDING, DONE, UNDONE = "running", "unwinding", "done", "undone"

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

    def seen(self, status: str, done: int, attempts: int) -> str:
        """Return the status that who looks at it sees: its own, or `stuck`."""
        return "stuck" if self.stuck(status, done, attempts) else status


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
    abandoned: bool = False
    """Whether who had it before may have done more steps than were written down."""

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
            abandoned=bool(row["owner_before"]),
        )
