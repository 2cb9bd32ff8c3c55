"""An instance tells the mesh where it is, says when it drains, and comes back by itself when the mesh was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
from envoy.service.status.v3 import status_pb2 as csds
from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1 import mesh_pb2 as pb

from chassis.errors import Unavailable
from chassis.registration import REGISTRY
from chassis.xds import CLIENT_STATUS
from tests.chassis.probe import CATALOG, Probe, serving
from tests.stage import Stage

SERVING, DRAINING = pb.Instance.STATE_SERVING, pb.Instance.STATE_DRAINING


class Mesh:
    """A registry that keeps what it was told."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[pb.Instance] = asyncio.Queue()
        self.streams = 0

    async def register(self, requests: AsyncIterator[pb.RegisterRequest], _: Any) -> AsyncIterator[pb.RegisterResponse]:
        self.streams += 1
        async for request in requests:
            self.told.put_nowait(request.instance)
            yield pb.RegisterResponse(lease=Duration(nanos=150_000_000))

    async def hears(self) -> pb.Instance:
        async with asyncio.timeout(5):
            return await self.told.get()

    async def start(self, stage: Stage, **settings: Any) -> str:
        probe = Probe(REGISTRY)
        probe.on("Register", self.register)
        await stage.start("mesh", serving(probe), **settings)
        return stage.targets["mesh"].removeprefix("ipv4:")


async def instance(stage: Stage, stack: AsyncExitStack, mesh: str) -> Stage:
    own = Stage(stage.postgres_url, stage.nats_url, stack)
    await own.start("catalog", serving(Probe(CATALOG)), mesh=mesh, zone="west", weight=2, version="v3")
    return own


async def test_it_says_where_and_what_it_is_within_every_lease(stage: Stage) -> None:
    mesh = Mesh()
    async with AsyncExitStack() as stack:
        own = await instance(stage, stack, await mesh.start(stage))
        first, second = await mesh.hears(), await mesh.hears()
        assert first == second
        assert (first.name, first.service, first.version, first.zone) == ("catalog/1", "catalog", "v3", "west")
        assert (first.weight, first.state) == (2, SERVING)
        assert own.targets["catalog"] == f"ipv4:{first.address}"
    assert mesh.streams == 1


async def test_it_says_that_it_drains_before_it_stops_serving(stage: Stage) -> None:
    mesh = Mesh()
    async with AsyncExitStack() as stack:
        own = Stage(stage.postgres_url, stage.nats_url, stack)
        await own.start("catalog", serving(Probe(CATALOG)), mesh=await mesh.start(stage), drain_s=0.3)
        assert (await mesh.hears()).state == SERVING
        channel = grpc.aio.insecure_channel(own.targets["catalog"])
        await channel.channel_ready()
        ending = asyncio.create_task(stack.aclose())
        while (await mesh.hears()).state != DRAINING:
            pass
        assert channel.get_state() is grpc.ChannelConnectivity.READY
        await ending
        await channel.close()


async def test_it_registers_again_with_a_mesh_that_was_away(stage: Stage) -> None:
    mesh = Mesh()
    async with AsyncExitStack() as stack, AsyncExitStack() as first:
        old = Stage(stage.postgres_url, stage.nats_url, first)
        address = await mesh.start(old)
        await instance(stage, stack, address)
        await mesh.hears()
        await first.aclose()
        mesh.told = asyncio.Queue()
        await mesh.start(stage, port=int(address.rpartition(":")[2]))
        assert (await mesh.hears()).state == SERVING


async def test_a_mesh_that_refuses_it_keeps_it_from_nothing(stage: Stage) -> None:
    tried = asyncio.Event()

    async def refuse(requests: Any, _: Any) -> AsyncIterator[pb.RegisterResponse]:
        tried.set()
        raise Unavailable
        yield

    probe = Probe(REGISTRY)
    probe.on("Register", refuse)
    await stage.start("mesh", serving(probe))
    async with AsyncExitStack() as stack:
        own = await instance(stage, stack, stage.targets["mesh"].removeprefix("ipv4:"))
        async with asyncio.timeout(5):
            await tried.wait()
        async with grpc.aio.insecure_channel(own.targets["catalog"]) as channel:
            await channel.channel_ready()


async def test_it_tells_what_it_was_sent_by_xds(stage: Stage) -> None:
    await stage.start("catalog", serving(Probe(CATALOG)))
    async with grpc.aio.insecure_channel(stage.targets["catalog"]) as channel:
        fetch: Any = channel.unary_unary(f"/{CLIENT_STATUS.full_name}/FetchClientStatus")
        csds.ClientStatusResponse.FromString(await fetch(csds.ClientStatusRequest().SerializeToString(), timeout=5))
