"""What is too old goes, and so does the oldest of what is too much; both are counted."""

from __future__ import annotations

from mercato.telemetry.v1 import telemetry_pb2 as pb

from tests.stage import Stage, eventually
from tests.telemetry.support import Telemetry, counter, logs_of, metrics_of, new_trace_id, record, span


async def test_what_is_old_goes(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage, options={"retention_h": "1"})
    old, young = new_trace_id(), new_trace_id()
    await telemetry.send("orders", span(old), span(old))
    await telemetry.logs(logs_of("orders", record("old")))
    await telemetry.metrics(metrics_of("orders/1", counter("done", 1)))
    await telemetry.trace(old, 2)
    telemetry.clock.advance(15)
    await telemetry.stored("points", 0)
    telemetry.clock.advance(3600)
    await telemetry.send("orders", span(young))
    await telemetry.trace(young)
    telemetry.clock.advance(60)
    await telemetry.stored("spans", 1)
    await telemetry.stored("logs", 0)
    assert await telemetry.find(old) is None
    assert await telemetry.find(young) is not None
    assert (await telemetry.signal("spans")).dropped == {"age": 2}
    assert (await telemetry.signal("logs")).dropped == {"age": 1}


async def test_of_too_much_the_oldest_goes(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage, options={"max_spans": "3", "max_logs": "2", "max_points": "1"})
    ids = [new_trace_id() for _ in range(3)]
    for trace_id in ids:
        await telemetry.send("orders", span(trace_id), span(trace_id))
        await telemetry.trace(trace_id, 2)
    await telemetry.logs(logs_of("orders", *(record(str(number)) for number in range(5))))
    await telemetry.stored("logs", 5)
    telemetry.clock.advance(60)
    await telemetry.stored("spans", 2)
    assert [await telemetry.find(trace_id) is not None for trace_id in ids] == [False, False, True]
    await telemetry.stored("logs", 2)
    logs = (await telemetry.queries.ListLogs(pb.ListLogsRequest())).logs
    assert {log.message for log in logs} == {"3", "4"}
    assert (await telemetry.signal("spans")).dropped == {"size": 4}
    assert (await telemetry.signal("logs")).dropped == {"size": 3}


async def test_what_is_sent_again_takes_no_more_room(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage)
    trace_id = new_trace_id()
    sent = [span(trace_id) for _ in range(3)]
    for _ in range(2):
        await telemetry.send("orders", *sent, *sent)
        await telemetry.trace(trace_id, 3)
    await telemetry.send("orders", span(trace_id))
    await telemetry.trace(trace_id, 4)
    signal = await telemetry.signal("spans")
    assert (signal.accepted, signal.stored, dict(signal.dropped)) == (4, 4, {})


async def test_what_is_stored_is_known_after_a_restart(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage)
    await telemetry.send("orders", span(new_trace_id()))
    await telemetry.stored("spans", 1)
    again = await Telemetry.open(stage, database_url=telemetry.app.settings.database_url)

    async def known() -> bool:
        signal = await again.signal("spans")
        return (signal.stored, signal.accepted) == (1, 0)

    await eventually(known)
