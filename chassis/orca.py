"""What an instance reports of its load to clients that balance by it: out-of-band ORCA reports (gRFC A51).

Clients weight an instance by calls per second / utilization. The utilization told is the mean of calls in flight, so by
Little's law the weight is the inverse of the time a call takes: one slow by ten times is given a tenth of the calls.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

import grpc
from xds.data.orca.v3.orca_pb2 import OrcaLoadReport
from xds.service.orca.v3 import orca_pb2

from chassis.limits import Calls

LOAD = orca_pb2.DESCRIPTOR.services_by_name["OpenRcaService"]
SHORTEST_INTERVAL_S, LONGEST_INTERVAL_S = 0.1, 10.0
FULL = 100.0
"""Mean calls in flight at a utilization of 1; what all instances divide by alike changes no weight."""


class LoadReports:
    """Serves OpenRcaService: a report of the calls since the last one, at the interval asked for."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._ended = asyncio.Event()
        self.streams = 0

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what serves it; streams do not count as calls, nor towards their limit."""
        behavior = grpc.unary_stream_rpc_method_handler(
            self._report,
            request_deserializer=orca_pb2.OrcaLoadReportRequest.FromString,
            response_serializer=OrcaLoadReport.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(LOAD.full_name, {"StreamCoreMetrics": behavior})

    def end(self) -> None:
        """End all streams."""
        self._ended.set()

    async def _report(self, request: orca_pb2.OrcaLoadReportRequest, context: Any) -> None:
        asked_s = request.report_interval.ToMilliseconds() / 1000
        interval_s = min(max(asked_s, SHORTEST_INTERVAL_S), LONGEST_INTERVAL_S)
        self.streams += 1
        try:
            before, told = _Counts.of(self._calls), None
            while not await self._ends_within(interval_s):
                now = _Counts.of(self._calls)
                report = now.since(before)
                if report != told:  # idle is told once
                    await context.write(report)
                before, told = now, report
        finally:
            self.streams -= 1

    async def _ends_within(self, delay_s: float) -> bool:
        try:
            async with asyncio.timeout(delay_s):
                return await self._ended.wait()
        except TimeoutError:
            return False


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was counted up to a moment."""

    time_s: float
    served: int
    failed: int
    busy_s: float

    @classmethod
    def of(cls, calls: Calls) -> Self:
        return cls(monotonic(), calls.served, calls.failed, calls.busy_s)

    def since(self, before: _Counts) -> OrcaLoadReport:
        elapsed_s = self.time_s - before.time_s
        return OrcaLoadReport(
            rps_fractional=(self.served - before.served) / elapsed_s,
            eps=(self.failed - before.failed) / elapsed_s,
            application_utilization=(self.busy_s - before.busy_s) / elapsed_s / FULL,
        )
