"""OTLP over HTTP is taken as over gRPC: protobuf and JSON, gzip, and errors that say what is wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from google.rpc.status_pb2 import Status
from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from services.telemetry import web
from tests.stage import Stage, eventually
from tests.telemetry.support import Telemetry, counter, logs_of, metrics_of, new_trace_id, record, span, spans_of

PROTOBUF, JSON = {"Content-Type": "application/x-protobuf"}, {"Content-Type": "application/json"}


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


@pytest.fixture(scope="module", name="http")
async def http_client(telemetry: Telemetry) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{telemetry.app.settings.http_port}") as http:
        yield http


async def test_every_signal_is_taken_as_protobuf(telemetry: Telemetry, http: aiohttp.ClientSession) -> None:
    trace_id = new_trace_id()
    batches = {
        "/v1/traces": spans_of("orders", span(trace_id)),
        "/v1/logs": logs_of("orders", record("by HTTP")),
        "/v1/metrics": metrics_of("orders/1", counter("done", 1)),
    }
    for path, batch in batches.items():
        body = gzip.compress(batch.SerializeToString())
        async with http.post(path, data=body, headers={**PROTOBUF, "Content-Encoding": "gzip"}) as response:
            assert (response.status, response.content_type, await response.read()) == (
                200,
                PROTOBUF["Content-Type"],
                b"",
            )
    await telemetry.trace(trace_id)
    await telemetry.stored("logs", 1)
    assert [it.instance for it in (await telemetry.queries.GetTraffic(pb.GetTrafficRequest())).instances] == [
        "orders/1"
    ]


def in_json(trace_id: str, span_id: str = "0102030405060708", **span: Any) -> dict[str, Any]:
    """Return a batch as OTLP has it in JSON: ids in hexadecimal, enumerations as numbers, 64 bits as text."""
    one = {
        "traceId": trace_id, "spanId": span_id, "name": "by JSON", "kind": 2, "notOfThisVersion": [1],
        "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": 1544712661000000000,
        "attributes": [{"key": "traceId", "value": {"intValue": "300"}}],
        "links": [{"traceId": trace_id, "spanId": span_id}], **span,
    }  # fmt: skip
    attributes = [{"key": "service.name", "value": {"stringValue": "web"}}]
    return {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [one]}]}]}


async def test_json_is_taken_as_otlp_writes_it(telemetry: Telemetry, http: aiohttp.ClientSession) -> None:
    trace_id = new_trace_id()
    async with http.post("/v1/traces", json=in_json(trace_id.hex())) as response:
        assert (response.status, response.content_type, await response.json()) == (200, JSON["Content-Type"], {})
    [one] = (await telemetry.trace(trace_id)).spans
    assert (one.service, one.name, one.kind, dict(one.attributes)) == (
        "web", "by JSON", pb.Span.KIND_SERVER, {"traceId": "300"}
    )  # fmt: skip
    assert (one.duration.ToSeconds(), one.links[0].trace) == (1, f"traces/{trace_id.hex()}")


async def test_a_part_that_is_not_taken_is_told(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/traces", json=in_json("abcd")) as response:
        told = (await response.json())["partialSuccess"]
        assert (response.status, told["rejectedSpans"]) == (200, "1")
    async with http.post(
        "/v1/traces", data=spans_of("a", span(b"x")).SerializeToString(), headers=PROTOBUF
    ) as response:
        answer = ExportTraceServiceResponse.FromString(await response.read())
        assert answer.partial_success.rejected_spans == 1


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (b"\xff\xff", PROTOBUF, 400, "not a batch of OTLP"),
        (b"{", JSON, 400, "not a batch of OTLP"),
        (b"[1]", JSON, 400, "not a batch of OTLP"),
        (b"null", JSON, 400, "not a batch of OTLP"),
        (json.dumps(in_json("not hexadecimal")).encode(), JSON, 400, "not a batch of OTLP"),
        (json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"spanId": 7}]}]}]}).encode(), JSON, 400, "OTLP"),
        (b'{"resourceSpans":' * 100_000, JSON, 400, "not a batch of OTLP"),
        (b"not zipped", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "OTLP"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "Content-Type: expected application/x-protobuf"),
        (b"\0" * (4 * 1024**2 + 1), PROTOBUF, 413, "4194304 bytes at most"),
        (gzip.compress(b"\0" * 50 * 1024**2), {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "4194304 bytes at most"),
        (zlib.compress(b"\0" * 50 * 1024**2), {**JSON, "Content-Encoding": "deflate"}, 413, "4194304 bytes at most"),
        (gzip.compress(b"{}")[:-4], {**JSON, "Content-Encoding": "gzip"}, 400, "not a batch of OTLP"),
        (gzip.compress(b"{}") * 2, {**JSON, "Content-Encoding": "gzip"}, 400, "not a batch of OTLP"),
        (b"{}", {**JSON, "Content-Encoding": "zstd"}, 415, "Content-Encoding: expected gzip, deflate or none"),
        (b"{}", {**PROTOBUF, "Content-Encoding": "br"}, 415, "Content-Encoding: expected gzip, deflate or none"),
        (b"[" + b"{}," * 1_000_000 + b"{}]", JSON, 400, "not a batch of OTLP"),
        (b'{"resourceSpans":[' + b"{}," * 1_000_000 + b"{}]}", JSON, 400, "at most 200000 objects"),
        (b"\x0a\x00" * 1_000_000, PROTOBUF, 400, "A batch may have 100000 parts at most"),
    ],
    ids=range(19),
)
async def test_what_cannot_be_taken_is_said_why(
    http: aiohttp.ClientSession, body: bytes, headers: dict[str, str], status: int, message: str
) -> None:
    async with http.post("/v1/traces", data=BytesIO(body), headers=headers) as response:
        assert response.status == status
        read = await response.read()
    told = (
        Status.FromString(read).message if headers["Content-Type"].endswith("protobuf") else json.loads(read)["message"]
    )
    assert message in told


async def test_who_stalls_is_refused_and_keeps_nobody_out(
    telemetry: Telemetry, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "READ_S", 0.1)
    port = telemetry.app.settings.http_port
    head = b"POST /v1/traces HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    stalling = [await asyncio.open_connection("127.0.0.1", port) for _ in range(web.MOST_REQUESTS)]
    for _, writer in stalling:
        writer.write(head)

    for reader, writer in stalling:
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()
    async with http.post("/v1/traces", json={}) as response:
        assert response.status == 200


async def test_what_is_absent_in_json_may_be_said_to_be(telemetry: Telemetry, http: aiohttp.ClientSession) -> None:
    trace_id = new_trace_id()
    async with http.post("/v1/traces", json=in_json(trace_id.hex(), parentSpanId=None)) as response:
        assert response.status == 200
    [one] = (await telemetry.trace(trace_id)).spans
    assert one.parent_id == ""


async def test_other_paths_and_verbs_are_not_there(http: aiohttp.ClientSession) -> None:
    async with http.get("/v1/traces") as response:
        assert response.status == 405
    async with http.post("/v1/else") as response:
        assert response.status == 404


async def test_it_goes_on_after_all_that(telemetry: Telemetry, http: aiohttp.ClientSession) -> None:
    trace_id = new_trace_id()
    async with http.post("/v1/traces", json=in_json(trace_id.hex())):
        pass

    async def there() -> bool:
        return await telemetry.find(trace_id) is not None

    await eventually(there)
