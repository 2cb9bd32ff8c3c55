"""A stock Envoy follows the mesh as well: it is standard when a client that we did not write agrees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1 import mesh_pb2 as pb

from fleet import ports
from tests.mesh.world import ROOT, Client, World
from tests.stage import eventually

ENVOY = ROOT / ".build/envoy/envoy/_bin/envoy"
START_TIMEOUT_S = 20.0
ADS = {"ads": {}, "resource_api_version": "V3"}
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def bootstrap(mesh: str, service: str, port: int) -> str:
    """Return what an Envoy begins with: where the mesh is, and a port whose calls go to one service."""
    host, _, mesh_port = mesh.rpartition(":")
    filters = [_typed(f"envoy.filters.http.{name}", kind) for name, kind in FILTERS.items()]
    manager = {
        "stat_prefix": service,
        "rds": {"config_source": ADS, "route_config_name": service},
        "http_filters": filters,
    }
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    mesh_cluster = {
        "name": "mesh",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "mesh",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, int(mesh_port))}}]}],
        },
        "typed_extension_protocol_options": dict([_options(http2)]),
    }
    return json.dumps(
        {
            "node": {"id": f"envoy-of-{service}", "cluster": "tests", "locality": {"zone": "a"}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "mesh"}}],
                },
                "cds_config": ADS,
            },
            "static_resources": {
                "clusters": [mesh_cluster],
                "listeners": [
                    {
                        "name": service,
                        "address": _address(ports.LOOPBACK, port),
                        "filter_chains": [
                            {"filters": [_typed("envoy.filters.network.http_connection_manager", HCM, **manager)]}
                        ],
                    }
                ],
            },
        }
    )


FILTERS = {
    "fault": "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "router": "envoy.extensions.filters.http.router.v3.Router",
}


def _typed(name: str, kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/{kind}", **settings}}


def _options(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return kind, {"@type": f"type.googleapis.com/{kind}", **settings}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@asynccontextmanager
async def envoy(world: World, service: str, folder: Path) -> AsyncIterator[Client]:
    """Run an Envoy in front of a service; yields a plain client of it."""
    assert ENVOY.exists(), f"{ENVOY} is missing: `make envoy` installs it"
    [port] = ports.free_block(1)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ENVOY, "--config-yaml", bootstrap(world.address, service, port),
            "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning",
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    client = world.plain_client(f"{ports.LOOPBACK}:{port}")
    try:
        await eventually(lambda: ports.listens(ports.LOOPBACK, port), START_TIMEOUT_S)
        yield client
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_envoy_keeps_to_a_split(world: World, tmp_path: Path) -> None:
    service = world.new_service()
    await world.member(f"{service}/1", version="v1")
    await world.member(f"{service}/2", version="v2")
    await world.policy(
        service, split=[pb.VersionWeight(version="v1", weight=90), pb.VersionWeight(version="v2", weight=10)]
    )
    async with envoy(world, service, tmp_path) as client:
        await client.until(lambda calls: not calls.errors)
        calls = await client.calls(3000, at_once=40)
        assert not calls.errors
        assert abs(calls.share(f"{service}/2") - 0.1) < 0.02, calls
        await world.policy(service, split=[])
        await client.until(lambda calls: 0.4 < calls.share(f"{service}/2") < 0.6 and not calls.errors, count=100)
        await _all_acknowledged(world, service)


async def test_envoy_sees_instances_come_drain_and_fail(world: World, tmp_path: Path) -> None:
    service = world.new_service()
    first, second = await world.members(service, 2)
    async with envoy(world, service, tmp_path) as client:
        await client.until(lambda calls: len(calls.answers) == 2 and not calls.errors)
        third = await world.member(f"{service}/3")
        await client.until(lambda calls: len(calls.answers) == 3)
        first.drain()
        await client.until(lambda calls: set(calls.answers) == {second.name, third.name} and not calls.errors)
        third.fails = True
        await client.until(lambda calls: set(calls.answers) == {second.name} and not calls.errors)
        third.fails = False
        await client.until(lambda calls: third.name in calls.answers, timeout_s=6)


async def test_envoy_injects_faults_and_limits_calls_under_way(world: World, tmp_path: Path) -> None:
    service = world.new_service()
    [only] = await world.members(service, 1)
    async with envoy(world, service, tmp_path) as client:
        await client.until(lambda calls: not calls.errors)
        await world.policy(service, fault=pb.Fault(percent=100, abort_code=8))
        await client.until(lambda calls: set(calls.errors) == {"RESOURCE_EXHAUSTED"} and not calls.answers)
        await world.policy(service, fault=pb.Fault(percent=100, delay=Duration(nanos=300_000_000)))
        await client.until(lambda calls: calls.slowest_s >= 0.3 and not calls.errors)
        await world.policy(service, fault=None, max_requests=3)
        await client.until(lambda calls: calls.slowest_s < 0.3 and not calls.errors, at_once=1)
        only.delay_s = 0.5
        calls = await client.calls(10, at_once=10)
        assert calls.answers.total() == 3
        assert calls.errors == {"UNAVAILABLE": 7}
        await _all_acknowledged(world, service)


async def _all_acknowledged(world: World, service: str) -> None:
    """Wait until the mesh shows that this Envoy uses all that it was sent."""

    async def holds() -> bool:
        mesh = (await world.mesh.GetMesh(pb.GetMeshRequest())).mesh
        [client] = [client for client in mesh.clients if client.name == f"envoy-of-{service}"]
        states = {config.type: config.state for config in client.configs}
        types = ("Cluster", "ClusterLoadAssignment", "RouteConfiguration")
        return states == dict.fromkeys(types, pb.ClientConfig.STATE_ACKED)

    await eventually(holds)
