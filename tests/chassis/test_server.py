"""An instance from outside: what it tells of itself, and how it ends without losing a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.orders.v1 import orders_pb2
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub

from chassis.channels import open_channel
from tests.chassis.probe import CATALOG, ORDERS, Probe, serving
from tests.stage import Stage, eventually

GET = pb.GetProductRequest(name="products/1")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Instance:
    """One instance of a service, which can be asked to end."""

    def __init__(self, stage: Stage) -> None:
        self.stack = AsyncExitStack()
        self.probe = Probe(CATALOG)
        self.orders = Probe(ORDERS)
        self.target = ""
        self._stage = stage

    async def start(self, **settings: Any) -> None:
        own = Stage(self._stage.postgres_url, self._stage.nats_url, self.stack)
        await own.start("catalog", serving(self.probe, self.orders), **settings)
        self.target = own.targets["catalog"]

    async def end(self) -> float:
        """End it as SIGTERM does; returns how long that took in seconds."""
        started = asyncio.get_running_loop().time()
        await self.stack.aclose()
        return asyncio.get_running_loop().time() - started


@pytest.fixture
async def instance(stage: Stage) -> AsyncIterator[Instance]:
    instance = Instance(stage)
    yield instance
    await instance.end()


def stub_of(channel: grpc.aio.Channel) -> Any:
    return CatalogServiceStub(channel)


async def answer(request: Any, context: Any) -> pb.GetProductResponse:
    await asyncio.sleep(0.005)
    return pb.GetProductResponse()


async def test_every_service_is_told_by_reflection_and_its_files_too(instance: Instance) -> None:
    await instance.start()
    async with grpc.aio.insecure_channel(instance.target) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(cast(Any, channel))
        requests = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=CATALOG.full_name),
        ]
        listed, described = [response async for response in reflection.ServerReflectionInfo(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert {CATALOG.full_name, ORDERS.full_name, "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("resolver", ["dns:///localhost:{port}", "ipv4:127.0.0.1:{port}"])
async def test_without_a_mesh_it_is_found_by_dns_or_address_as_long_as_it_says_it_serves(
    instance: Instance, resolver: str
) -> None:
    await instance.start(drain_s=0.5)
    instance.probe.on("GetProduct", answer)
    async with open_channel(resolver.format(port=instance.target.rpartition(":")[2])) as channel:
        await stub_of(channel).GetProduct(GET)
        ending = asyncio.create_task(instance.end())
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # it is still there, but not healthy
        assert not ending.done()
        await ending


async def test_channelz_knows_the_server(instance: Instance) -> None:
    await instance.start()
    async with grpc.aio.insecure_channel(instance.target) as channel:
        channelz: Any = channelz_pb2_grpc.ChannelzStub(cast(Any, channel))
        servers = (await channelz.GetServers(channelz_pb2.GetServersRequest())).server
    assert servers


async def test_health_is_told_for_all_and_for_each_service(instance: Instance) -> None:
    await instance.start()
    async with grpc.aio.insecure_channel(instance.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", CATALOG.full_name, ORDERS.full_name):
            assert (await health.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await health.Check(health_pb2.HealthCheckRequest(service="unheard"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_ending_instance_says_so_before_it_refuses_anything(instance: Instance) -> None:
    await instance.start(drain_s=0.5)
    instance.probe.on("GetProduct", answer)
    async with grpc.aio.insecure_channel(instance.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        ending = asyncio.create_task(instance.end())
        assert (await watch.read()).status == NOT_SERVING
        await stub_of(channel).GetProduct(GET)  # a client that has not heard of it yet
        assert await ending >= 0.5
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub_of(channel).GetProduct(GET)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_no_call_is_lost_when_one_of_two_ends(instance: Instance, stage: Stage) -> None:
    other = Instance(stage)
    for each in (instance, other):
        each.probe.on("GetProduct", answer)
        await each.start(drain_s=0.5)
    target = instance.target + "," + other.target.removeprefix("ipv4:")
    answered, stop = 0, asyncio.Event()

    async def call(stub: Any) -> None:
        nonlocal answered
        while not stop.is_set():
            await stub.GetProduct(GET, timeout=5)
            answered += 1

    async with open_channel(target) as channel:  # nothing is tried again but what gRPC knows was not sent
        callers = [asyncio.create_task(call(stub_of(channel))) for _ in range(8)]
        await asyncio.sleep(0.2)
        await other.end()
        during = answered
        await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*callers)  # none failed
    assert during > 0
    assert answered > during


async def test_calls_under_way_are_finished_and_hanging_ones_cut_off(instance: Instance) -> None:
    entered = asyncio.Event()

    async def work(request: Any, context: Any) -> pb.GetProductResponse:
        entered.set()
        await asyncio.sleep(0.3)
        return pb.GetProductResponse()

    async def hang(request: Any, context: Any) -> pb.ListProductsResponse:
        await asyncio.sleep(60)
        raise AssertionError

    await instance.start(grace_s=0.8)
    instance.probe.on("GetProduct", work)
    instance.probe.on("ListProducts", hang)
    async with grpc.aio.insecure_channel(instance.target) as channel:
        working = asyncio.ensure_future(stub_of(channel).GetProduct(GET))
        hanging = asyncio.ensure_future(stub_of(channel).ListProducts(pb.ListProductsRequest(), timeout=30))
        await entered.wait()
        assert 0.3 <= await instance.end() < 2
        await working
        with pytest.raises(grpc.aio.AioRpcError):
            await hanging


async def test_clients_that_watch_its_health_do_not_hold_up_its_end(instance: Instance) -> None:
    await instance.start(grace_s=10.0)
    instance.probe.on("GetProduct", answer)
    async with open_channel(instance.target) as channel:
        await stub_of(channel).GetProduct(GET)
        assert await instance.end() < 2


async def test_watchers_are_sent_elsewhere_and_do_not_hold_up_its_end(instance: Instance) -> None:
    async def watch(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        yield orders_pb2.WatchOrderResponse()
        await asyncio.sleep(60)

    await instance.start(grace_s=10.0)
    instance.orders.on("WatchOrder", watch)
    async with grpc.aio.insecure_channel(instance.target) as channel:
        orders: Any = OrderServiceStub(channel)
        responses = orders.WatchOrder(orders_pb2.WatchOrderRequest(name="orders/1"))
        await responses.read()
        assert await instance.end() < 2
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await responses.read()
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_service_without_all_its_methods_does_not_start(stage: Stage) -> None:
    class Half:
        async def GetProduct(self, request: Any, context: Any) -> pb.GetProductResponse:
            return pb.GetProductResponse()

    half: Any = Half()
    half.service = CATALOG
    with pytest.raises(AttributeError, match="BatchGetProducts"):
        await stage.start("half", serving(half))


async def test_instances_are_found_again_after_a_restart_on_the_same_port(instance: Instance, stage: Stage) -> None:
    instance.probe.on("GetProduct", answer)
    await instance.start()
    port = int(instance.target.rpartition(":")[2])
    async with open_channel(instance.target) as channel:
        await stub_of(channel).GetProduct(GET)
        await instance.end()
        again = Instance(stage)
        again.probe.on("GetProduct", answer)
        await again.start(port=port)

        async def answers() -> bool:
            try:
                await stub_of(channel).GetProduct(GET, timeout=1)
            except grpc.aio.AioRpcError:
                return False
            return True

        await eventually(answers)
        await again.end()
