"""The gRPC face of telemetry: what is asked of it."""

from __future__ import annotations

from typing import Any

from mercato.telemetry.v1 import telemetry_pb2 as pb
from mercato.telemetry.v1 import telemetry_pb2_grpc

from services.telemetry.traces import Traces


class TelemetryService(telemetry_pb2_grpc.TelemetryServiceServicer):
    """Serves mercato.telemetry.v1.TelemetryService."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def GetTrace(self, request: pb.GetTraceRequest, context: Any) -> pb.GetTraceResponse:
        return pb.GetTraceResponse(trace=await self._traces.get(request.name))
