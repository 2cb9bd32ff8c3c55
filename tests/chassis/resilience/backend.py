"""Callees that do what a test says, over real gRPC or within the process, behind a resilient channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from mercato.catalog.v1 import catalog_pb2
from mercato.orders.v1 import orders_pb2

from chassis.channels import open_channel
from chassis.inprocess import Exchange
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel

CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
ORDERS = orders_pb2.DESCRIPTOR.services_by_name["OrderService"]
READ = f"/{CATALOG.full_name}/GetProduct"
WRITE = f"/{CATALOG.full_name}/CreateProduct"
IMPORT = f"/{CATALOG.full_name}/ImportProducts"
WATCH = f"/{ORDERS.full_name}/WatchOrder"

Serve = Callable[[bytes, Any], Awaitable[bytes]]


class Backend:
    """One instance of a service, bytes in and bytes out."""

    def __init__(self) -> None:
        self.calls = 0
        self.serve: Serve = self.echo
        self.stream: Callable[[bytes, Any], Any]
        unary: Any = grpc.unary_unary_rpc_method_handler(self._unary)
        self.handlers: dict[str, Any] = {
            READ: unary,
            WRITE: unary,
            WATCH: grpc.unary_stream_rpc_method_handler(self._stream),
            IMPORT: grpc.stream_unary_rpc_method_handler(self._unary),
        }

    async def echo(self, request: bytes, context: Any) -> bytes:
        return request

    async def listen(self, stack: AsyncExitStack) -> int:
        """Serve over gRPC; returns the port."""
        server = grpc.aio.server()
        healthy = health.aio.HealthServicer()
        await healthy.set("", HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
        for path, handler in self.handlers.items():
            service, method = path[1:].split("/")
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        return port

    async def _unary(self, request: Any, context: Any) -> bytes:
        self.calls += 1
        return await self.serve(request, context)

    async def _stream(self, request: bytes, context: Any) -> None:
        self.calls += 1
        async for response in self.stream(request, context):
            await context.write(response)


def failing(code: grpc.StatusCode, *trailing: tuple[str, str]) -> Serve:
    """Return what answers every call with an error."""

    async def fail(request: bytes, context: Any) -> bytes:
        await context.abort(code, "as told", trailing)
        raise AssertionError

    return fail


class Way:
    """How calls get to callees: over real gRPC, or within the process."""

    def __init__(self, stack: AsyncExitStack, *, in_process: bool) -> None:
        self.in_process = in_process
        self._stack = stack
        self._exchange = Exchange()

    async def channel(self, resilience: Resilience, name: str, *instances: Backend, hedge: bool = False) -> Any:
        """Return a resilient channel to the instances of a service."""
        callee = resilience.callee(name)
        if self.in_process:
            await self._stack.enter_async_context(self._exchange.serving(name, instances[0].handlers))
            return ResilientChannel(self._exchange.channel(name), callee, [CATALOG, ORDERS], hedge=hedge)
        ports = [await instance.listen(self._stack) for instance in instances]
        transport = open_channel("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports))
        self._stack.push_async_callback(transport.close)
        return ResilientChannel(transport, callee, [CATALOG, ORDERS], hedge=hedge)
