"""What users may set, and that it is kept."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from mercato.mesh.v1 import mesh_pb2 as pb
from mercato.mesh.v1.mesh_pb2_grpc import MeshServiceStub

from chassis.errors import InvalidArgument, NotFound
from tests.mesh.world import World
from tests.stage import Stage

V1, V2 = pb.VersionWeight(version="v1", weight=90), pb.VersionWeight(version="v2", weight=10)
CAPTURE = "/mercato.payments.v1.PaymentService/CapturePayment"


@pytest.fixture(scope="module")
async def mesh(world: World, stage: Stage) -> Any:
    """A stub as services have it: errors are raised as ours."""
    return stage.stub(pb.DESCRIPTOR.services_by_name["MeshService"], MeshServiceStub)


def update(service: str = "payments", paths: list[str] | None = None, **fields: Any) -> pb.UpdatePolicyRequest:
    return pb.UpdatePolicyRequest(
        request_id=str(uuid4()),
        policy=pb.Policy(name=f"policies/{service}", **fields),
        update_mask=FieldMask(paths=list(fields) if paths is None else paths),
    )


async def test_only_what_the_mask_names_is_changed(mesh: Any) -> None:
    await mesh.UpdatePolicy(update(split=[V1, V2], max_requests=5))
    policy = (await mesh.UpdatePolicy(update(paths=["split"], max_requests=9))).policy
    assert (policy.split, policy.max_requests) == ([], 5)
    assert policy.HasField("update_time")


async def test_the_same_request_again_gets_the_same_answer_and_does_nothing(mesh: Any) -> None:
    first, second = update("orders", max_requests=1), update("orders", max_requests=2)
    answer = await mesh.UpdatePolicy(first)
    await mesh.UpdatePolicy(second)
    assert await mesh.UpdatePolicy(first) == answer
    shown = {state.service: state for state in (await mesh.GetMesh(pb.GetMeshRequest())).mesh.services}
    assert shown["orders"].policy.max_requests == 2
    first.policy.max_requests = 3
    with pytest.raises(InvalidArgument, match="request_id"):
        await mesh.UpdatePolicy(first)


async def test_updates_at_once_all_count(mesh: Any) -> None:
    fault = pb.Fault(percent=1, abort_code=14)
    await asyncio.gather(
        mesh.UpdatePolicy(update("catalog", split=[V1])),
        mesh.UpdatePolicy(update("catalog", max_requests=7)),
        mesh.UpdatePolicy(update("catalog", fault=fault)),
    )
    shown = {state.service: state for state in (await mesh.GetMesh(pb.GetMeshRequest())).mesh.services}
    policy = shown["catalog"].policy
    assert (list(policy.split), policy.max_requests, policy.fault) == ([V1], 7, fault)


async def test_policies_are_forgotten_one_or_all(mesh: Any) -> None:
    for service in ("shipping", "inventory"):
        await mesh.UpdatePolicy(update(service, max_requests=7))

    async def reset(name: str) -> list[str]:
        request = pb.ResetPoliciesRequest(request_id=str(uuid4()), name=name)
        response = await mesh.ResetPolicies(request)
        assert await mesh.ResetPolicies(request) == response
        return list(response.names)

    assert await reset("policies/shipping") == ["policies/shipping"]
    assert await reset("policies/shipping") == []
    assert "policies/inventory" in await reset("")
    assert await reset("") == []


@pytest.mark.parametrize(
    ("field", "policy"),
    [
        ("policy.split", {"split": [pb.VersionWeight(version="v1")]}),
        ("policy.split", {"split": [V1, V1]}),
        ("policy.split[0].version", {"split": [pb.VersionWeight(weight=1)]}),
        ("policy.fault", {"fault": pb.Fault(percent=50)}),
        ("policy.fault.percent", {"fault": pb.Fault(abort_code=14)}),
        ("policy.fault.percent", {"fault": pb.Fault(percent=101, abort_code=14)}),
        ("policy.fault.delay", {"fault": pb.Fault(percent=1, delay=Duration(seconds=-1))}),
        ("policy.fault.abort_code", {"fault": pb.Fault(percent=1, abort_code=17)}),
        ("policy.fault.method", {"fault": pb.Fault(percent=1, abort_code=14, method="/mercato.orders.v1.X/Y")}),
        ("policy.drained_instances[0]", {"drained_instances": ["payments/7"]}),
        ("update_mask", {}),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_name(mesh: Any, field: str, policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await mesh.UpdatePolicy(update(**policy))
    assert field in caught.value.fields


async def test_a_service_that_nobody_knows_has_no_policy(mesh: Any) -> None:
    with pytest.raises(NotFound):
        await mesh.UpdatePolicy(update("nobody", max_requests=1))


async def test_the_mesh_itself_has_no_policy_as_it_could_be_put_out_of_reach(mesh: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await mesh.UpdatePolicy(update("mesh", fault=pb.Fault(percent=100, abort_code=14)))
    assert "policy.name" in caught.value.fields


async def test_a_fault_may_be_of_one_method(mesh: Any) -> None:
    fault = pb.Fault(percent=50, delay=Duration(nanos=1000), method=CAPTURE)
    assert (await mesh.UpdatePolicy(update(fault=fault))).policy.fault == fault


async def test_an_instance_that_rests_may_go_on_resting_when_it_is_gone(world: World) -> None:
    service = world.new_service()
    member, other = await world.members(service, 2)
    await world.policy(service, drained_instances=[member.name])
    member.drain()
    await world.reaches(member.name, pb.Instance.STATE_DRAINING)
    await member.leave()
    await world.reaches(member.name, pb.Instance.STATE_UNSPECIFIED)
    policy = await world.policy(service, drained_instances=[member.name, other.name])
    assert list(policy.drained_instances) == [member.name, other.name]
    with pytest.raises(grpc.aio.AioRpcError, match="drained_instances"):
        await world.policy(service, drained_instances=["another/1"])
