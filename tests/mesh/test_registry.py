"""What brings instances in and takes them out: leases, health, draining."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from mercato.mesh.v1 import mesh_pb2 as pb

from tests.chassis.probe import CATALOG, Probe, serving
from tests.mesh.world import ENVIRONMENT, ROOT, Member, World
from tests.stage import Stage, eventually

SERVING, UNHEALTHY, GONE = (
    pb.Instance.STATE_SERVING,
    pb.Instance.STATE_UNHEALTHY,
    pb.Instance.STATE_UNSPECIFIED,
)


@asynccontextmanager
async def process(world: World, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.mesh.member", world.address, name,
        cwd=ROOT, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        await world.reaches(name, SERVING, timeout_s=20)
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_a_killed_instance_is_out_at_once(world: World) -> None:
    service = world.new_service()
    await world.member(f"{service}/1")
    client = world.client(service)
    async with process(world, f"{service}/2") as killed:
        await client.until(lambda calls: len(calls.answers) == 2)
        killed.kill()
        begun = time.perf_counter()
        out = await world.reaches(f"{service}/2", UNHEALTHY)
        assert time.perf_counter() - begun < 2
        assert out.reason == "it refuses connections"
    await client.until(lambda calls: not calls.errors)


async def test_a_frozen_instance_is_out_soon_and_back_when_it_goes_on(world: World) -> None:
    service = world.new_service()
    await world.member(f"{service}/1")
    async with process(world, f"{service}/2") as frozen:
        frozen.send_signal(signal.SIGSTOP)
        await world.reaches(f"{service}/2", UNHEALTHY)
        calls = await world.client(service).calls(50)
        assert not calls.errors
        frozen.send_signal(signal.SIGCONT)
        await world.reaches(f"{service}/2", SERVING)


async def test_an_instance_that_sends_no_heartbeat_loses_its_lease_though_it_is_well(world: World) -> None:
    service = world.new_service()
    member, other = await world.members(service, 2)
    member.silent = True
    out = await world.reaches(member.name, UNHEALTHY)
    assert out.reason == "not heard of for 3 s"
    client = world.client(service)
    calls = await client.calls(30)
    assert set(calls.answers) == {other.name}
    member.silent = False
    await world.reaches(member.name, SERVING)
    await client.until(lambda calls: len(calls.answers) == 2)


async def test_an_instance_that_leaves_without_a_word_stays_for_its_lease_when_it_is_well(world: World) -> None:
    service = world.new_service()
    [member] = await world.members(service, 1)
    await member.leave()
    begun = time.perf_counter()
    await world.reaches(member.name, UNHEALTHY)
    assert time.perf_counter() - begun > 2


async def test_an_instance_that_says_it_is_not_serving_is_out_until_it_says_so(world: World) -> None:
    service = world.new_service()
    first, second = await world.members(service, 2)
    await first.health.set("", HealthCheckResponse.NOT_SERVING)
    out = await world.reaches(first.name, UNHEALTHY)
    assert out.reason == "it says NOT_SERVING"
    calls = await world.client(service).calls(20)
    assert set(calls.answers) == {second.name}
    await first.health.set("", HealthCheckResponse.SERVING)
    await world.reaches(first.name, SERVING)


async def test_when_all_seem_unhealthy_calls_still_reach_those_that_are_well(world: World) -> None:
    service = world.new_service()
    members = await world.members(service, 2)
    for member in members:
        await member.health.set("", HealthCheckResponse.NOT_SERVING)
    for member in members:
        await world.reaches(member.name, UNHEALTHY)
    calls = await world.client(service).calls(20)
    assert not calls.errors


async def test_an_instance_started_again_elsewhere_takes_its_place_at_once(world: World) -> None:
    service = world.new_service()
    [old] = await world.members(service, 1)
    client = world.client(service)
    await client.until(lambda calls: not calls.errors)
    await old.die()
    new = await world.member(old.name, version="v2")
    calls = await client.until(lambda calls: not calls.errors)
    assert calls.answers
    assert (await world.state(service)).instances[0].version == "v2"
    assert new.served


async def test_a_service_of_ours_registers_by_itself_and_is_gone_when_it_ended(world: World, stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        own = Stage(stage.postgres_url, "", stack)
        await own.start("catalog", serving(Probe(CATALOG)), mesh=world.address, version="v7", zone="b", weight=2)
        shown = await world.reaches("catalog/1", SERVING)
        assert (shown.version, shown.zone, shown.weight) == ("v7", "b", 2)
        assert own.targets["catalog"] == f"ipv4:{shown.address}"
    await world.reaches("catalog/1", GONE, timeout_s=2)


async def test_traffic_is_shown_by_instance(world: World) -> None:
    service = world.new_service()
    await world.member(f"{service}/1", weight=3)
    await world.member(f"{service}/2", weight=1)
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 2)

    async def is_shown() -> bool:
        await client.calls(40)
        first, second = (await world.state(service)).instances
        return (
            first.calls_per_second > second.calls_per_second > 0
            and 0.6 < first.traffic_share < 0.9
            and abs(first.traffic_share + second.traffic_share - 1) < 1e-6
        )

    await eventually(is_shown)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("instance.address", {"address": "localhost:1"}),
        ("instance.address", {"address": "127.0.0.1:99999"}),
        ("instance.address", {"address": "127.0.0.1"}),
        ("instance.state", {"state": GONE}),
        ("instance.reason", {"state": UNHEALTHY}),
        ("instance.weight", {"weight": 0}),
        ("instance.version", {"version": ""}),
    ],
)
async def test_what_cannot_be_told_to_others_is_refused(world: World, field: str, told: dict[str, object]) -> None:
    member = Member("refused/1")
    member.instance.address = "127.0.0.1:1"
    for name, value in told.items():
        setattr(member.instance, name, value)

    async def once() -> AsyncIterator[pb.RegisterRequest]:
        yield pb.RegisterRequest(instance=member.instance)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.registry.Register(once()).read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")
