"""One real gateway in front of small real services, and what calls it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import aiohttp
import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mercato.catalog.v1 import catalog_pb2
from mercato.customers.v1 import customers_pb2
from mercato.inventory.v1 import inventory_pb2
from mercato.operations.v1 import operations_pb2
from mercato.orders.v1 import orders_pb2
from mercato.shipping.v1 import shipping_pb2

from chassis.clock import SystemClock
from chassis.server import Server
from chassis.settings import Settings
from services.gateway.contract import Contract
from services.gateway.gateway import Gateway
from tests.gateway.backend import Catalog, Echo, Orders, Seen, Servicer

HERE = Path(__file__).parent


def settings(**told: object) -> Settings:
    values: dict[str, object] = {"service": "gateway", "instance": "gateway/1", "port": 0, "http_port": 0}
    return Settings(**{**values, "drain_s": 0.0, "grace_s": 1.0, **told})  # type: ignore[arg-type]


@dataclass
class Running:
    """A gateway that serves, and the services behind it."""

    http: aiohttp.ClientSession
    grpc: grpc.aio.Channel
    port: int
    grpc_port: int
    targets: dict[str, str]
    seen: Seen
    contract: Contract


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """The real contracts and that of the lab."""
    folder = tmp_path_factory.mktemp("lab")
    image = resources.files("mercato").joinpath("descriptors.binpb").read_bytes()
    (folder / "image").write_bytes(image)
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--descriptor_set_in={folder / 'image'}"]
    output = ["--include_source_info", f"--descriptor_set_out={folder / 'lab'}"]
    subprocess.run([*command, f"-I{HERE / 'protos'}", *output, "mercato/lab/v1/lab.proto"], check=True)
    lab = FileDescriptorSet.FromString((folder / "lab").read_bytes())
    return Contract.load(image + lab.SerializeToString())


@pytest.fixture(scope="session")
async def running(contract: Contract) -> AsyncIterator[Running]:
    seen, clock = Seen(), SystemClock()
    server = Server(settings(service="orders"), clock)
    servicers = {"OrderService": Orders(seen), "CatalogService": Catalog(seen)}
    for module in (
        catalog_pb2,
        customers_pb2,
        inventory_pb2,
        operations_pb2,
        orders_pb2,
        shipping_pb2,
    ):  # payments are not there
        for name, service in module.DESCRIPTOR.services_by_name.items():
            await server.add(service, servicers.get(name, Servicer(seen)))
    server.grpc.add_generic_rpc_handlers((Echo(),))
    async with server:
        targets = dict.fromkeys(contract.backends, f"ipv4:127.0.0.1:{server.port}")
        told = settings(targets=targets, options={"cors_origins": "https://shop.example"})
        async with Gateway(told, clock, contract) as gateway:
            base = f"http://127.0.0.1:{gateway.http_port}"
            async with (
                aiohttp.ClientSession(base) as http,
                grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel,
            ):
                yield Running(http, channel, gateway.http_port, gateway.grpc_port, targets, seen, contract)


@pytest.fixture
def gateway(running: Running) -> Running:
    """The gateway, as if nobody had called it yet."""
    running.seen.__init__()  # type: ignore[misc]
    return running
