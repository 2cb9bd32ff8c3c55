"""The aggregated stream, message by message, and what becomes of configuration that a client refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.core_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2_grpc import AggregatedDiscoveryServiceStub
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status
from mercato.mesh.v1 import mesh_pb2 as pb

from services.mesh import __main__ as composition
from services.mesh.ads import MOST_NAMES
from services.mesh.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources, build
from tests.mesh.world import World
from tests.mesh.world import world as open_world
from tests.stage import Stage, eventually

ACKED, NACKED = pb.ClientConfig.STATE_ACKED, pb.ClientConfig.STATE_NACKED


class Subscriber:
    """A client that says what a test tells it to."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name

    async def ask(self, type_url: str, names: Iterable[str] = (), nonce: str = "", error: str = "") -> None:
        request = DiscoveryRequest(type_url=type_url, resource_names=names, response_nonce=nonce)
        if error:
            request.error_detail.CopyFrom(Status(code=3, message=error))
        request.node.CopyFrom(Node(id=self._name))
        await self._stream.write(request)

    async def told(self) -> DiscoveryResponse:
        async with asyncio.timeout(5):
            response = await self._stream.read()
        assert isinstance(response, DiscoveryResponse)
        return response


@asynccontextmanager
async def subscriber(world: World, name: str) -> AsyncIterator[Subscriber]:
    async with grpc.aio.insecure_channel(world.address) as channel:
        stream: Any = AggregatedDiscoveryServiceStub(channel).StreamAggregatedResources()
        yield Subscriber(stream, name)
        stream.cancel()


async def configs(world: World, name: str) -> dict[str, pb.ClientConfig]:
    clients = (await world.mesh.GetMesh(pb.GetMeshRequest())).mesh.clients
    return next(({config.type: config for config in each.configs} for each in clients if each.name == name), {})


async def test_a_client_is_told_what_it_asks_for_and_again_only_when_that_changes(world: World) -> None:
    service = world.new_service()
    [member] = await world.members(service, 1)
    async with subscriber(world, service) as client:
        await client.ask(ENDPOINTS, [service])
        first = await client.told()
        assert len(first.resources) == 1
        await client.ask(ENDPOINTS, [service], first.nonce)
        other = world.new_service()
        await world.members(other, 1)
        member.drain()
        second = await client.told()
        assert second.version_info != first.version_info
        await client.ask(ENDPOINTS, [service, other], second.nonce)
        assert len((await client.told()).resources) == 2


async def test_what_a_client_says_of_an_earlier_response_counts_for_nothing(world: World) -> None:
    service = world.new_service()
    async with subscriber(world, service) as client:
        await client.ask(LISTENER, ["orders"])
        first = await client.told()
        await client.ask(LISTENER, ["orders", "payments"], first.nonce)
        second = await client.told()
        await client.ask(LISTENER, ["catalog"], first.nonce, error="of no account")
        await client.ask(LISTENER, ["orders", "payments", "shipping"], second.nonce)
        assert len((await client.told()).resources) == 3
        assert (await configs(world, service))["Listener"].error == ""


async def test_clusters_come_first_and_rules_last(world: World) -> None:
    service = world.new_service()
    async with subscriber(world, service) as client:
        for type_url in (ROUTES, LISTENER, ENDPOINTS, CLUSTER):
            await client.ask(type_url, [service])
        for _ in range(4):
            response = await client.told()
            await client.ask(response.type_url, [service], response.nonce)
        await world.members(service, 1)
        types: list[str] = []
        while ROUTES not in types:
            response = await client.told()
            await client.ask(response.type_url, [service], response.nonce)
            if response.resources:
                types.append(response.type_url)
        assert types == [CLUSTER, ENDPOINTS, LISTENER, ROUTES]


async def test_a_client_that_names_no_listeners_is_told_of_all(world: World) -> None:
    async with subscriber(world, "everything") as client:
        await client.ask(CLUSTER)
        assert len((await client.told()).resources) > 7


async def test_a_client_keeps_a_cluster_for_as_long_as_it_asks_for_it(world: World) -> None:
    service = world.new_service()
    await world.members(service, 1)
    await world.policy(service, split=[pb.VersionWeight(version="v1", weight=1)])
    async with subscriber(world, service) as named, subscriber(world, "all") as everything:
        await named.ask(CLUSTER, [f"{service}/v1"])
        await named.ask(ROUTES, [service])
        await everything.ask(CLUSTER)
        for _ in range(2):
            response = await named.told()
            await named.ask(response.type_url, [f"{service}/v1"] if response.type_url == CLUSTER else [service])
        assert f"{service}/v1" in _clusters(await everything.told())
        await world.policy(service, split=[])
        assert (await named.told()).type_url == ROUTES
        assert f"{service}/v1" not in _clusters(await everything.told())


async def test_a_client_may_not_name_too_much(world: World) -> None:
    async with subscriber(world, "greedy") as client:
        await client.ask(ENDPOINTS, [f"cluster{number}" for number in range(MOST_NAMES + 1)])
        with pytest.raises(grpc.aio.AioRpcError, match="resource_names") as caught:
            await client.told()
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_it_is_shown_what_each_client_was_last_sent(world: World) -> None:
    service = world.new_service()
    await world.members(service, 1)
    await world.client(service).calls(1)

    async def is_shown() -> bool:
        shown = await configs(world, "tests/1")
        return set(shown) == {"Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"} and all(
            config.state == ACKED and service in config.names and config.version for config in shown.values()
        )

    await eventually(is_shown)


async def test_what_a_client_refuses_is_shown_with_its_reason(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(composition, "build", _with_what_grpc_does_not_know)
    async with AsyncExitStack() as stack:
        own = Stage(stage.postgres_url, "", stack)
        await own.start("mesh")
        world = await stack.enter_async_context(open_world(own.targets["mesh"].removeprefix("ipv4:")))
        service = world.new_service()
        await world.members(service, 1)
        calls = await world.client(service).calls(2, timeout_s=1)
        assert calls.errors == {"UNAVAILABLE": 2}
        refused = (await configs(world, "tests/1"))["Cluster"]
    assert refused.state == NACKED
    assert "LB policy" in refused.error
    warnings = [record for record in caplog.records if record.getMessage() == "refused by a client"]
    assert len(warnings) == 1


def _with_what_grpc_does_not_know(*arguments: Any) -> Resources:
    resources = build(*arguments)
    clusters = dict(resources[CLUSTER])
    for name, packed in clusters.items():
        cluster = Cluster.FromString(packed.value)
        cluster.ClearField("load_balancing_policy")
        cluster.lb_policy = Cluster.LEAST_REQUEST
        clusters[name] = AnyMessage(type_url=CLUSTER, value=cluster.SerializeToString())
    return {**resources, CLUSTER: clusters}


def _clusters(response: DiscoveryResponse) -> set[str]:
    return {Cluster.FromString(resource.value).name for resource in response.resources}
