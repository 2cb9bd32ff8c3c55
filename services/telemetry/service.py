"""The gRPC face of telemetry: what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mercato.telemetry.v1 import telemetry_pb2 as pb
from mercato.telemetry.v1 import telemetry_pb2_grpc

from chassis.clock import Clock
from services.telemetry.history import History
from services.telemetry.intake import Signal
from services.telemetry.live import Live
from services.telemetry.logbook import Logbook
from services.telemetry.objectives import Objectives
from services.telemetry.traces import Traces
from services.telemetry.traffic import traffic

WINDOW_S = 10.0


class TelemetryService(telemetry_pb2_grpc.TelemetryServiceServicer):
    """Serves mercato.telemetry.v1.TelemetryService."""

    def __init__(
        self,
        traces: Traces,
        logbook: Logbook,
        live: Live,
        history: History,
        objectives: Objectives,
        signals: Sequence[Signal],
        clock: Clock,
    ) -> None:
        self._traces = traces
        self._logbook = logbook
        self._live = live
        self._history = history
        self._objectives = objectives
        self._signals = signals
        self._clock = clock

    async def ListTraces(self, request: pb.ListTracesRequest, context: Any) -> pb.ListTracesResponse:
        page = await self._traces.page(request)
        return pb.ListTracesResponse(traces=page.items, next_page_token=page.next_page_token)

    async def GetTrace(self, request: pb.GetTraceRequest, context: Any) -> pb.GetTraceResponse:
        return pb.GetTraceResponse(trace=await self._traces.get(request.name))

    async def ListLogs(self, request: pb.ListLogsRequest, context: Any) -> pb.ListLogsResponse:
        page = await self._logbook.page(request)
        return pb.ListLogsResponse(logs=page.items, next_page_token=page.next_page_token)

    async def GetTraffic(self, request: pb.GetTrafficRequest, context: Any) -> pb.GetTrafficResponse:
        window_s = request.window.ToTimedelta().total_seconds() if request.HasField("window") else WINDOW_S
        return traffic(self._live.heard(self._clock.now().timestamp()), window_s)

    async def ListSeries(self, request: pb.ListSeriesRequest, context: Any) -> pb.ListSeriesResponse:
        return pb.ListSeriesResponse(series=await self._history.series(request))

    async def ListObjectives(self, request: pb.ListObjectivesRequest, context: Any) -> pb.ListObjectivesResponse:
        return pb.ListObjectivesResponse(objectives=await self._objectives.list(request.service))

    async def GetIntake(self, request: pb.GetIntakeRequest, context: Any) -> pb.GetIntakeResponse:
        signals = [
            pb.Signal(name=it.name, accepted=it.accepted, dropped=it.dropped, stored=it.stored) for it in self._signals
        ]
        return pb.GetIntakeResponse(signals=signals)
