"""The mesh as its operators talk to it: at its own address, so that it answers when the gateway does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar
from uuid import uuid4

import grpc
import grpc.aio
from google.protobuf.field_mask_pb2 import FieldMask
from mercato.mesh.v1 import mesh_pb2
from mercato.mesh.v1.mesh_pb2 import Instance, Mesh, Policy, ServiceState
from mercato.mesh.v1.mesh_pb2_grpc import MeshServiceStub

from fleet.errors import FleetError
from fleet.plan import Plan

_TIMEOUT_S = 2.0
_PAUSE_S = 0.1
_MOST_BYTES = 16 * 1024**2
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", _MOST_BYTES),
]
_NOT_NOW = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Answer = TypeVar("Answer")


class MeshAwayError(FleetError):
    """The mesh does not answer. Calls between services go on with what it told them last."""


class Operator:
    """Asks the mesh and tells it; FleetError says what it refused."""

    def __init__(self, stub: MeshServiceStub) -> None:
        self._stub = stub

    async def read(self) -> Mesh:
        """The mesh as it is now."""
        with _said():
            return (await self._stub.GetMesh(mesh_pb2.GetMeshRequest(), timeout=_TIMEOUT_S)).mesh

    async def watch(self, every_s: float) -> AsyncIterator[Mesh]:
        """The mesh as it is now, and again every so often."""
        while True:
            yield await self.read()
            await asyncio.sleep(every_s)

    async def service(self, name: str) -> ServiceState:
        """What the mesh knows of one service."""
        services = (await self.read()).services
        for service in services:
            if service.service == name:
                return service
        known = ", ".join(service.service for service in services)
        raise FleetError(f"unknown service {name!r}; expected one of {known}")

    async def update(self, policy: Policy, field: str, patience_s: float = 0.0) -> Policy:
        """Change one field of a service's policy; for so long it is tried again when the mesh does not answer."""
        mask = FieldMask(paths=[field])
        request = mesh_pb2.UpdatePolicyRequest(request_id=str(uuid4()), policy=policy, update_mask=mask)
        give_up = time.monotonic() + patience_s
        while True:
            try:
                with _said():
                    return (await self._stub.UpdatePolicy(request, timeout=_TIMEOUT_S)).policy
            except MeshAwayError:
                if time.monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def reset(self, service: str = "") -> list[str]:
        """Forget the policy of one service, or all; returns the names of those forgotten."""
        name = policy_name(service) if service else ""
        request = mesh_pb2.ResetPoliciesRequest(request_id=str(uuid4()), name=name)
        with _said():
            return list((await self._stub.ResetPolicies(request, timeout=_TIMEOUT_S)).names)


@asynccontextmanager
async def operate(plan: Plan) -> AsyncIterator[Operator]:
    """Open the mesh of a fleet; FleetError where it has none."""
    if not plan.mesh_address:
        raise FleetError("this suite runs without the mesh; start it with one: `mercato down`, `mercato up`")
    async with grpc.aio.insecure_channel(plan.mesh_address, options=_OPTIONS) as channel:
        yield Operator(MeshServiceStub(channel))


def policy_name(service: str) -> str:
    """The name of a service's policy."""
    return f"policies/{service}"


def serving(service: ServiceState) -> list[Instance]:
    """The instances of a service that take calls."""
    return [instance for instance in service.instances if instance.state == Instance.STATE_SERVING]


def missing(mesh: Mesh, since: Mapping[str, float]) -> list[str]:
    """Of the instances named, which registered since a time (in seconds since 1970), those not listed; with the reason.

    One that an operator drained is where it should be.
    """
    listed = {
        instance.name: instance
        for service in mesh.services
        for instance in service.instances
        if instance.register_time.ToMicroseconds() / 1e6 >= since.get(instance.name, 0.0)
    }
    drained = {name for service in mesh.services for name in service.policy.drained_instances}
    return [
        f"{name} ({_why_not(listed.get(name))})"
        for name in since
        if name not in listed or (listed[name].state != Instance.STATE_SERVING and name not in drained)
    ]


def _why_not(instance: Instance | None) -> str:
    if instance is None:
        return "not registered"
    return instance.reason or Instance.State.Name(instance.state).removeprefix("STATE_").lower()


@contextmanager
def _said() -> Iterator[None]:
    """Say what the mesh answered as an error so that a person can act on it."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() in _NOT_NOW:
            raise MeshAwayError("the mesh does not answer; see `mercato ps` and `mercato logs mesh`") from None
        raise FleetError(f"the mesh refuses: {error.details()}") from None
