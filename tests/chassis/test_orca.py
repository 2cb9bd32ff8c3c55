"""The load an instance reports to those that balance by it, over a real channel."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from xds.service.orca.v3.orca_pb2 import OrcaLoadReportRequest
from xds.service.orca.v3.orca_pb2_grpc import OpenRcaServiceStub

from chassis.errors import NotFound, Unavailable
from chassis.orca import FULL
from tests.chassis.probe import alone
from tests.stage import eventually

GET = pb.GetProductRequest(name="products/1")


def stub_of(channel: Any) -> Any:
    return CatalogServiceStub(channel)


def reports(channel: Any, interval_s: float) -> Any:
    request = OrcaLoadReportRequest()
    request.report_interval.FromMilliseconds(int(interval_s * 1000))
    stub: Any = OpenRcaServiceStub(channel)
    return stub.StreamCoreMetrics(request)


async def answer(request: Any, context: Any) -> Message:
    await asyncio.sleep(0.1)
    if request.name == "products/down":
        raise Unavailable
    if request.name == "products/none":
        raise NotFound(name=request.name)
    return pb.GetProductResponse()


async def test_it_reports_calls_failures_and_calls_in_flight() -> None:
    async with alone() as (probe, server, channel):
        probe.on("GetProduct", answer)
        stub, stream = stub_of(channel), reports(channel, 1.0)

        async def open_at_server() -> bool:
            return server.load.streams == 1

        await eventually(open_at_server)
        names = ["1"] * 6 + ["none"] * 2 + ["down"] * 2
        calls = (stub.GetProduct(pb.GetProductRequest(name=f"products/{name}")) for name in names)
        await asyncio.gather(*calls, return_exceptions=True)
        report = await stream.read()
        stream.cancel()
    assert report.rps_fractional == pytest.approx(10, rel=0.2)  # per second; the loop may be late
    assert report.eps == pytest.approx(report.rps_fractional / 5)
    in_flight = report.application_utilization * FULL
    assert in_flight / report.rps_fractional == pytest.approx(0.1, rel=0.5)  # Little: the time a call takes


async def test_an_idle_instance_says_so_once_and_reports_take_no_room_of_calls() -> None:
    async with alone(max_concurrent_calls=1) as (probe, server, channel):
        probe.on("GetProduct", answer)
        streams = [reports(channel, 0.0) for _ in range(3)]  # the shortest is 0.1 s
        idle = [await stream.read() for stream in streams]
        assert {report.rps_fractional for report in idle} == {0.0}
        await stub_of(channel).GetProduct(GET)
        for stream in streams:
            while not (await stream.read()).rps_fractional:  # it is in flight before it is served
                pass
        assert (server.calls.served, server.calls.shed) == (1, 0)
        for stream in streams:
            stream.cancel()


async def test_open_reports_do_not_hold_up_the_end() -> None:
    async with AsyncExitStack() as instance:
        _, server, _ = await instance.enter_async_context(alone(grace_s=10.0))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            reading = asyncio.ensure_future(reports(channel, 10.0).read())

            async def open_at_server() -> bool:
                return server.load.streams == 1

            await eventually(open_at_server)
            async with asyncio.timeout(2):
                await instance.aclose()
            assert await reading is grpc.aio.EOF
