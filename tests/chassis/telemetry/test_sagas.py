"""What is told of sagas: those that turn round or are tried again are recorded from there on, whatever is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.call import Call, serving
from chassis.errors import Unavailable
from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.trace import Trace
from tests.chassis.test_saga import KIND, OutOfStamps, World, database, impatient, running, world

__all__ = ["database", "impatient", "world"]


@pytest.fixture
def told() -> InMemorySpanExporter:
    """What this test's sagas tell."""
    telemetry, kept = Telemetry(Settings("trips", "trips/1", trace_ratio=0.0)).tell(), InMemorySpanExporter()
    telemetry.exports = True
    telemetry.provider.add_span_processor(SimpleSpanProcessor(kept))
    return kept


async def carried_out(world: World, how: str, *, sampled: bool = False) -> tuple[str, Trace]:
    """Carry out a saga; returns its subject and the trace that it continues."""
    sagas, trace = world.instance(), Trace.start(sampled=sampled)
    async with running(sagas):
        with serving(Call("/tests", "tests", None, trace)):
            subject = await world.begin(sagas)
        await world.ended(subject, how)
    return subject, trace


def by_name(kept: InMemorySpanExporter, trace: Trace) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in kept.get_finished_spans():
        if f"{span.context.trace_id:032x}" == trace.trace_id:
            found.setdefault(span.name, []).append(span)
    return found


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


async def test_a_sampled_saga_is_told_step_by_step(world: World, told: InMemorySpanExporter) -> None:
    subject, trace = await carried_out(world, "done", sampled=True)
    spans = by_name(told, trace)
    [whole], steps = spans[KIND], [spans[name][0] for name in ("pack", "pay", "post")]
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == trace.span_id
    assert {step.parent.span_id for step in steps if step.parent} == {whole.context.span_id}
    assert [attributes(step)["mercato.saga.attempt"] for step in steps] == [1, 1, 1]
    assert {attributes(span)["mercato.subject"] for span in (whole, *steps)} == {subject}


async def test_one_that_is_not_sampled_and_gets_on_tells_nothing(world: World, told: InMemorySpanExporter) -> None:
    _, trace = await carried_out(world, "done")
    assert by_name(told, trace) == {}


async def test_a_compensation_is_told_though_its_trace_is_not_sampled(world: World, told: InMemorySpanExporter) -> None:
    world.partners.fail("post", OutOfStamps())
    _, trace = await carried_out(world, "undone: post OUT_OF_STAMPS")
    spans = by_name(told, trace)
    [unwound] = spans[f"unwind {KIND}"]
    assert attributes(unwound)["mercato.keep"] == "compensation"
    assert attributes(unwound)["mercato.saga.refused_step"] == "post"
    for name in ("undo pay", "undo pack"):
        [undone] = spans[name]
        assert undone.parent is not None
        assert undone.parent.span_id == unwound.context.span_id
    assert KIND not in spans, "what came before was not sampled"


async def test_a_step_that_is_tried_again_is_told_from_its_second_try_on(
    world: World, told: InMemorySpanExporter
) -> None:
    world.partners.fail("pay", Unavailable(), Unavailable())
    _, trace = await carried_out(world, "done")
    tries = by_name(told, trace)["pay"]
    assert [attributes(span)["mercato.saga.attempt"] for span in tries] == [2, 3]
    assert [attributes(span).get("error.type") for span in tries] == ["UNAVAILABLE", None]
