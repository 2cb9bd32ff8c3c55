"""Once a trace is quiet it is decided whether it is kept, and why."""

from __future__ import annotations

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb

from services.telemetry.domain import keep
from tests.stage import Stage, eventually
from tests.telemetry.support import SERVER, Telemetry, new_trace_id, span

TO_BE_DROPPED, TO_BE_KEPT = b"\xff" * 16, b"\x01" + bytes(15)
"""At any ratio below 1, and above 0."""


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    """Of traces with nothing remarkable it keeps half."""
    return await Telemetry.open(stage, options={"keep_ratio": "0.5"})


def dropped() -> bytes:
    """Return the id of a trace that is not kept by chance."""
    return new_trace_id()[:9] + b"\xff" * 7


async def test_what_is_remarkable_is_kept_and_of_the_rest_a_share(telemetry: Telemetry) -> None:
    ids = {name: dropped() for name in ("plain", "client", "server", "slow", "turned", "told")}
    sampled = TO_BE_KEPT
    await telemetry.send(
        "orders",
        span(sampled),
        span(ids["plain"]),
        span(ids["client"], failed=True),  # it was tried again
        span(ids["server"], failed=True, kind=SERVER),
        span(ids["slow"], of={"mercato.keep": "slow"}),
        span(ids["turned"], of={"mercato.keep": "compensation"}),
        span(ids["turned"], of={"mercato.keep": "slow"}),
        span(ids["told"], of={"mercato.keep": "error"}),
    )
    await telemetry.trace(ids["turned"], 2)
    assert (await telemetry.trace(ids["plain"])).keep == pb.Trace.KEEP_UNDECIDED, "it can be read before"
    telemetry.clock.advance(11)
    kept = {
        name: (await telemetry.trace(ids[name], decided=True)).keep for name in ("server", "slow", "turned", "told")
    }
    assert kept == {
        "server": pb.Trace.KEEP_ERROR,
        "slow": pb.Trace.KEEP_SLOW,
        "turned": pb.Trace.KEEP_COMPENSATION,
        "told": pb.Trace.KEEP_ERROR,
    }
    assert (await telemetry.trace(sampled, decided=True)).keep == pb.Trace.KEEP_SAMPLED
    assert [await telemetry.find(ids[name]) for name in ("plain", "client")] == [None, None]
    assert (await telemetry.signal("spans")).dropped["rate"] == 2


async def test_a_trace_is_not_decided_about_while_more_of_it_comes(telemetry: Telemetry) -> None:
    trace_id = dropped()
    for count in (1, 2):
        await telemetry.send("orders", span(trace_id))
        await telemetry.trace(trace_id, count)
        telemetry.clock.advance(7)
    assert (await telemetry.trace(trace_id)).keep == pb.Trace.KEEP_UNDECIDED


async def test_what_comes_late_for_a_dropped_trace_is_kept_where_it_is_remarkable(telemetry: Telemetry) -> None:
    trace_id = dropped()
    await telemetry.send("orders", span(trace_id))
    await telemetry.trace(trace_id)
    telemetry.clock.advance(11)

    async def gone() -> bool:
        return await telemetry.find(trace_id) is None

    await eventually(gone)
    await telemetry.send("payments", span(trace_id, failed=True, kind=SERVER))
    await telemetry.trace(trace_id)
    telemetry.clock.advance(11)
    trace = await telemetry.trace(trace_id, decided=True)
    assert (trace.keep, trace.span_count) == (pb.Trace.KEEP_ERROR, 1)


async def test_what_comes_late_for_a_kept_trace_may_be_the_reason_to_keep_it(telemetry: Telemetry) -> None:
    trace_id = b"\x02" + bytes(15)
    await telemetry.send("orders", span(trace_id))
    await telemetry.trace(trace_id)
    telemetry.clock.advance(11)
    assert (await telemetry.trace(trace_id, decided=True)).keep == pb.Trace.KEEP_SAMPLED
    await telemetry.send("orders", span(trace_id, of={"mercato.keep": "slow"}))
    await telemetry.trace(trace_id, 2)
    telemetry.clock.advance(11)
    assert (await telemetry.trace(trace_id, decided=True)).keep == pb.Trace.KEEP_SLOW


def test_the_share_is_the_same_for_all_who_ask_and_as_large_as_it_is_to_be() -> None:
    ids = [new_trace_id().hex() for _ in range(4000)]
    kept = [trace_id for trace_id in ids if keep(trace_id, [], 0.25)]
    assert abs(len(kept) / len(ids) - 0.25) < 0.05
    assert all(keep(trace_id, [], 0.5) for trace_id in kept)
    assert not any(keep(trace_id, [], 0) for trace_id in ids)
    assert all(keep(trace_id, [], 1) == "sampled" for trace_id in ids)
    assert keep(TO_BE_DROPPED.hex(), ["slow", "compensation", "error"], 0) == "error"
