"""Composition root of the mesh."""

from __future__ import annotations

from pathlib import Path

from envoy.service.discovery.v3 import discovery_pb2
from mercato.mesh.v1 import mesh_pb2

from chassis.app import App, run
from services.mesh import store
from services.mesh.ads import Discovery
from services.mesh.changes import Changes
from services.mesh.contract import methods_by_service
from services.mesh.health import HealthChecks
from services.mesh.policies import Policies
from services.mesh.registry import Registry
from services.mesh.resources import build
from services.mesh.service import MeshService, RegistryService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    methods, changes = methods_by_service(), Changes()
    registry = Registry(app.clock, changes, await store.load(database))
    policies = Policies(database, app.requests, app.clock, changes)
    await policies.load()
    discovery = Discovery(lambda: build(methods, registry.instances, policies.by_service), changes, app.clock)
    app.background(HealthChecks(registry, app.clock).run)
    app.background(store.Store(database, registry, changes).run)
    mesh = MeshService(methods, registry, policies, discovery, changes)
    app.serve(mesh_pb2.DESCRIPTOR.services_by_name["MeshService"], mesh)
    app.serve(mesh_pb2.DESCRIPTOR.services_by_name["RegistryService"], RegistryService(registry))
    app.serve(discovery_pb2.DESCRIPTOR.services_by_name["AggregatedDiscoveryService"], discovery)


def main() -> None:
    run("mesh", compose)


if __name__ == "__main__":
    main()
