"""The gRPC faces of the mesh: what operators see and steer, and where instances register."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from mercato.mesh.v1 import mesh_pb2 as pb
from mercato.mesh.v1 import mesh_pb2_grpc

from chassis.errors import NotFound
from chassis.masks import masked
from chassis.policy import Policy
from services.mesh.ads import Discovery
from services.mesh.changes import Changes
from services.mesh.domain import CHANGEABLE, service_of, steered
from services.mesh.policies import Policies
from services.mesh.registry import LEASE_S, Registry, Stream


class MeshService(mesh_pb2_grpc.MeshServiceServicer):
    """Serves mercato.mesh.v1.MeshService."""

    def __init__(
        self,
        methods_by_service: Mapping[str, Sequence[Policy]],
        registry: Registry,
        policies: Policies,
        discovery: Discovery,
        changes: Changes,
    ) -> None:
        self._methods = {
            name: frozenset(method.path for method in methods) for name, methods in methods_by_service.items()
        }
        self._registry = registry
        self._policies = policies
        self._discovery = discovery
        self._changes = changes

    async def GetMesh(self, request: pb.GetMeshRequest, context: Any) -> pb.GetMeshResponse:
        return pb.GetMeshResponse(mesh=self._mesh())

    async def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: Any) -> pb.UpdatePolicyResponse:
        paths, service = masked(request.update_mask, CHANGEABLE), service_of(request.policy.name)
        instances = {instance.name for instance in self._registry.instances if instance.service == service}
        if not (instances or service in self._methods or service in self._policies.by_service):
            raise NotFound(name=request.policy.name)
        return await self._policies.update(request.policy, paths, self._methods.get(service, ()), instances)

    async def ResetPolicies(self, request: pb.ResetPoliciesRequest, context: Any) -> pb.ResetPoliciesResponse:
        return await self._policies.reset(request.name)

    def _mesh(self) -> pb.Mesh:
        by_service: defaultdict[str, list[pb.Instance]] = defaultdict(list)
        for instance in self._registry.instances:
            by_service[instance.service].append(instance)
        rates = self._registry.rates()
        return pb.Mesh(
            services=[
                self._service(name, by_service[name], rates)
                for name in sorted({*self._methods, *by_service, *self._policies.by_service})
            ],
            clients=self._discovery.clients,
        )

    def _service(self, name: str, instances: Sequence[pb.Instance], rates: Mapping[str, float]) -> pb.ServiceState:
        policy = self._policies.by_service.get(name)
        state = pb.ServiceState(service=name, instances=steered(instances, policy or pb.Policy()), policy=policy)
        total = sum(rates[instance.name] for instance in instances)
        for instance in state.instances:
            instance.calls_per_second = rates[instance.name]
            instance.traffic_share = rates[instance.name] / total if total else 0.0
        return state


class RegistryService(mesh_pb2_grpc.RegistryServiceServicer):
    """Serves mercato.mesh.v1.RegistryService."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._response = pb.RegisterResponse()
        self._response.lease.FromTimedelta(timedelta(seconds=LEASE_S))

    async def Register(
        self, requests: AsyncIterator[pb.RegisterRequest], context: Any
    ) -> AsyncIterator[pb.RegisterResponse]:
        stream = Stream()
        try:
            async for request in requests:
                self._registry.register(stream, request.instance)
                yield self._response
        finally:
            self._registry.left(stream)
