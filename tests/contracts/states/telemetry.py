"""States of telemetry: what instances sent."""

from __future__ import annotations

import time
from typing import Any

from mercato.telemetry.v1 import telemetry_pb2 as pb
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from chassis.errors import NotFound
from tests.shop import Shop
from tests.stage import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["TelemetryService"]
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def trace(id: str) -> None:  # noqa: A002
        span = Span(trace_id=bytes.fromhex(id), span_id=b"12345678", name="POST /v1/orders")
        span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
        batch = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])])
        export: Any = shop.stage.channel(SERVICE).unary_unary(EXPORT, ExportTraceServiceRequest.SerializeToString)
        await export(batch)
        stub = shop.stage.stub(SERVICE, TelemetryServiceStub)

        async def stored() -> bool:
            try:
                await stub.GetTrace(pb.GetTraceRequest(name=f"traces/{id}"))
            except NotFound:
                return False
            return True

        await eventually(stored)

    return {"trace": trace}
