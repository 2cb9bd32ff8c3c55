"""Where a saga stands, for those who look at it: read from its row by its definition, step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from chassis.saga import Refusal, Saga


class StepState(StrEnum):
    """Where a step stands. What is done is not written down at once: what is current may be done already."""

    TO_DO = "to do"
    CURRENT = "current"
    DONE = "done"
    REFUSED = "refused"
    TO_UNDO = "to undo"
    UNDONE = "undone"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class StepView:
    """One step of a saga."""

    name: str
    state: StepState
    compensated: bool
    """Whether something has to be undone of it."""


@dataclass(frozen=True)
class SagaView:
    """One saga as its row says."""

    kind: str
    subject: str
    status: str
    """`running`, `unwinding`, `stuck` where it can neither get on nor turn round, `done` or `undone`."""
    step: str
    attempts: int
    error: str
    update_time: datetime
    refusal: Refusal | None
    trace: str
    """The W3C traceparent of the call that began it."""
    steps: tuple[StepView, ...]

    @classmethod
    def of(cls, row: asyncpg.Record, definition: Saga[Any]) -> SagaView:
        """Read it from its row."""
        status, done, attempts = row["status"], row["done"], row["attempts"]
        refusal = Refusal(**json.loads(row["refusal"])) if row["refusal"] else None
        states = step_states([step.name for step in definition.steps], done, refusal)
        return cls(
            kind=row["kind"],
            subject=row["subject"],
            status=definition.seen(status, done, attempts),
            step=definition.step(status, done),
            attempts=attempts,
            error=row["error"],
            update_time=row["update_time"],
            refusal=refusal,
            trace=row["trace"],
            steps=tuple(
                StepView(step.name, state, step.undo is not None)
                for step, state in zip(definition.steps, states, strict=True)
            ),
        )


def step_states(steps: list[str], done: int, refusal: Refusal | None) -> Iterator[StepState]:
    """Yield where each step stands, of a saga with so many steps done and not yet undone."""
    turned_at = steps.index(refusal.step) if refusal and refusal.step in steps else len(steps)
    for number, _ in enumerate(steps):
        if refusal is None:
            yield _forward(number, done)
        elif number < done:
            yield StepState.TO_UNDO
        elif number == turned_at:
            yield StepState.REFUSED
        else:
            yield StepState.UNDONE if number < turned_at else StepState.SKIPPED


def _forward(number: int, done: int) -> StepState:
    if number < done:
        return StepState.DONE
    return StepState.CURRENT if number == done else StepState.TO_DO
