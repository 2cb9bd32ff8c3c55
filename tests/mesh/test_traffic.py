"""What stock gRPC clients make of what the mesh tells them: real servers, real calls by `xds:///`."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1 import mesh_pb2 as pb

from tests.mesh.world import PATH, Client, World

UNAVAILABLE = 14


async def test_instances_share_the_calls_evenly_and_a_new_one_gets_its_part(world: World) -> None:
    service = world.new_service()
    await world.members(service, 2)
    client = world.client(service)
    first = await client.until(lambda calls: len(calls.answers) == 2)
    assert not first.errors
    added = time.perf_counter()
    await world.member(f"{service}/3")
    await client.until(lambda calls: len(calls.answers) == 3)
    assert time.perf_counter() - added < 1
    calls = await client.calls(900)
    assert not calls.errors
    assert all(270 <= count <= 330 for count in calls.answers.values()), calls


async def test_weights_of_instances_count_whatever_their_zone(world: World) -> None:
    service = world.new_service()
    await world.member(f"{service}/1", weight=3, zone="a")
    await world.member(f"{service}/2", weight=1, zone="a")
    await world.member(f"{service}/3", weight=1, zone="b")
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 3)
    calls = await client.calls(2000)
    assert abs(calls.share(f"{service}/1") - 0.6) < 0.05
    assert abs(calls.share(f"{service}/2") - 0.2) < 0.05


async def test_a_split_is_kept_to_and_forgotten_without_a_failed_call(world: World) -> None:
    service = world.new_service()
    await world.member(f"{service}/1", version="v1")
    await world.member(f"{service}/2", version="v1")
    await world.member(f"{service}/3", version="v2")
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 3)
    ended = asyncio.Event()
    background = asyncio.create_task(_calls_until(client, ended))
    await world.policy(
        service, split=[pb.VersionWeight(version="v1", weight=90), pb.VersionWeight(version="v2", weight=10)]
    )
    await client.until(lambda calls: calls.share(f"{service}/3") < 0.2, count=100)
    calls = await client.calls(5000, at_once=40)
    assert abs(calls.share(f"{service}/3") - 0.1) < 0.015, calls
    await world.policy(service, split=[pb.VersionWeight(version="v2", weight=1)])
    await client.until(lambda calls: set(calls.answers) == {f"{service}/3"})
    await world.policy(service, split=[])
    await client.until(lambda calls: len(calls.answers) == 3)
    ended.set()
    assert not calls.errors
    assert await background == 0


async def _calls_until(client: Client, ended: asyncio.Event) -> int:
    errors = 0
    while not ended.is_set():
        errors += (await client.calls(10, at_once=2)).errors.total()
    return errors


async def test_a_version_without_instances_gets_no_calls(world: World) -> None:
    service = world.new_service()
    await world.members(service, 1, version="v1")
    await world.policy(
        service, split=[pb.VersionWeight(version="v1", weight=50), pb.VersionWeight(version="v2", weight=50)]
    )
    calls = await world.client(service).calls(200)
    assert not calls.errors
    second = await world.member(f"{service}/2", version="v2")
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 2)
    second.drain()
    await client.until(lambda calls: len(calls.answers) == 1)


async def test_a_draining_instance_finishes_its_calls_and_gets_no_new_ones(world: World) -> None:
    service = world.new_service()
    first, _ = await world.members(service, 2)
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 2)
    first.delay_s = 1.0
    slow = asyncio.create_task(client.calls(4, at_once=4))
    await first.under_way.wait()
    first.drain()
    await world.reaches(first.name, pb.Instance.STATE_DRAINING)
    calls = await client.until(lambda calls: first.name not in calls.answers)
    assert not calls.errors
    assert not (await slow).errors
    await first.leave()
    await world.reaches(first.name, pb.Instance.STATE_UNSPECIFIED, timeout_s=2)


async def test_an_instance_rests_while_its_policy_says_so(world: World) -> None:
    service = world.new_service()
    first, second = await world.members(service, 2)
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 2)
    await world.policy(service, drained_instances=[first.name])
    await client.until(lambda calls: set(calls.answers) == {second.name})
    shown = await world.reaches(first.name, pb.Instance.STATE_DRAINING)
    assert "policy" in shown.reason
    await world.policy(service, drained_instances=[])
    await client.until(lambda calls: len(calls.answers) == 2)


async def test_a_fault_delays_the_share_of_calls_that_it_states(world: World) -> None:
    service = world.new_service()
    await world.members(service, 1)
    client = world.client(service)
    await client.until(lambda calls: calls.slowest_s < 0.3)
    await world.policy(service, fault=pb.Fault(percent=100, delay=Duration(nanos=300_000_000)))
    calls = await client.until(lambda calls: calls.slowest_s >= 0.3)
    assert not calls.errors
    await world.mesh.ResetPolicies(pb.ResetPoliciesRequest(request_id=str(uuid4()), name=f"policies/{service}"))
    await client.until(lambda calls: calls.slowest_s < 0.3)


async def test_a_fault_aborts_the_calls_to_the_method_that_it_states(world: World) -> None:
    service = world.new_service()
    await world.members(service, 1)
    client = world.client(service)
    await world.policy(service, fault=pb.Fault(percent=50, abort_code=UNAVAILABLE, method=PATH))
    calls = await client.calls(1000)
    assert 400 < calls.errors["UNAVAILABLE"] < 600
    await world.policy(service, fault=pb.Fault(percent=100, abort_code=UNAVAILABLE, method="/another.Service/Do"))
    await client.until(lambda calls: not calls.errors)


async def test_an_instance_that_fails_is_left_alone_and_comes_back(world: World) -> None:
    service = world.new_service()
    bad, *_ = await world.members(service, 3)
    client = world.client(service)
    await client.until(lambda calls: len(calls.answers) == 3)
    bad.fails, begun = True, time.perf_counter()
    await client.until(lambda calls: not calls.errors, count=60)
    ejected_s = time.perf_counter() - begun
    assert ejected_s < 2
    bad.fails = False
    await client.until(lambda calls: bad.name in calls.answers, timeout_s=6)


async def test_an_instance_that_is_ten_times_slower_gets_few_calls(world: World) -> None:
    service = world.new_service()
    slow, *others = await world.members(service, 3)
    for member in others:
        member.delay_s = 0.005
    slow.delay_s = 0.05
    client = world.client(service)
    calls = await client.until(lambda calls: calls.share(slow.name) < 0.15, timeout_s=8, count=300, at_once=30)
    assert not calls.errors
    assert calls.share(slow.name) > 0.01


async def test_a_client_has_no_more_calls_under_way_than_it_may(world: World) -> None:
    service = world.new_service()
    [only] = await world.members(service, 1)
    only.delay_s = 0.5
    await world.policy(service, max_requests=3)
    calls = await world.client(service).calls(10, at_once=10)
    assert calls.answers.total() == 3
    assert calls.errors == {"UNAVAILABLE": 7}


async def test_calls_to_a_service_that_nobody_knows_wait_for_it(world: World) -> None:
    service = world.new_service()
    early = asyncio.create_task(world.client(service).calls(3))
    await world.members(service, 1)
    assert (await early).answers == {f"{service}/1": 3}


async def test_a_service_without_instances_is_refused_at_once(world: World) -> None:
    calls = await world.client("shipping").calls(3)
    assert calls.errors == {"UNAVAILABLE": 3}
    assert calls.slowest_s < 2
