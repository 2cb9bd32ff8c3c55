"""The gRPC server of one instance: health, reflection, channelz, CSDS, and an end that loses no call."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_reflection.v1alpha import reflection

from chassis.backlog import Backlog
from chassis.clock import Clock
from chassis.handlers import build_handler
from chassis.idempotency import Requests
from chassis.limits import Calls, Limit
from chassis.orca import LOAD, LoadReports
from chassis.settings import Settings
from chassis.telemetry.sampling import Sampler
from chassis.xds import CLIENT_STATUS, client_status_handler

MAX_REQUEST_BYTES = 1024**2
"""A request is read and checked in one go, which everybody else waits for."""
MAX_RESPONSE_BYTES = 4 * 1024**2
LIVE = "live"
"""The name under which health is SERVING for as long as the process runs: for who would end it where it is not."""

_log = logging.getLogger(__name__)


class Server:
    """Serves servicers until it is closed; then it says NOT_SERVING, ends streams, lets calls finish, and stops."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        requests: Requests | None = None,
        sampler: Sampler | None = None,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._requests = requests
        self.sampler = sampler or Sampler(0.0)
        self.calls = Calls(settings.max_concurrent_calls)
        self.streams = Limit(settings.max_concurrent_calls, "streams")
        self.load = LoadReports(self.calls)
        self._health = _Health()
        self._names: list[str] = [health.SERVICE_NAME, reflection.SERVICE_NAME, CLIENT_STATUS.full_name, LOAD.full_name]
        self.grpc = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", max_request_bytes),
                ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
            ]
        )
        self._backlog = Backlog(self.calls, self._in_handlers)
        self.handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        """By `/package.Service/Method`."""
        self.port = 0

    async def add(self, service: ServiceDescriptor, servicer: object) -> None:
        """Serve all methods of a service; AttributeError when the servicer lacks one."""
        handlers = {
            method.name: await build_handler(
                method,
                getattr(servicer, method.name),
                self.calls,
                self.streams,
                self.sampler,
                self._requests,
            )
            for method in service.methods
        }
        self.grpc.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
        self._names.append(service.full_name)
        self.handlers.update({f"/{service.full_name}/{name}": handler for name, handler in handlers.items()})

    async def __aenter__(self) -> Self:
        await self._health.set("", HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection.enable_server_reflection(self._names, self.grpc)
        channelz.add_channelz_servicer(self.grpc)
        self.grpc.add_generic_rpc_handlers((client_status_handler(), self.load.handler()))
        self.port = self.grpc.add_insecure_port(f"{self._settings.host}:{self._settings.port}")
        await self.grpc.start()
        self._watching = asyncio.create_task(self._backlog.watch())
        await self._health.set(LIVE, HealthCheckResponse.SERVING)
        await self.tell("")
        _log.info("serving", extra={"port": self.port})
        return self

    async def tell(self, problem: str) -> None:
        """Say by the health service that it takes no calls, as there is a problem, or that it takes them again."""
        status = HealthCheckResponse.NOT_SERVING if problem else HealthCheckResponse.SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._health.enter_graceful_shutdown()
        await self._clock.sleep(self._settings.drain_s)  # until clients have seen it
        self.streams.end()
        self.load.end()
        await self.grpc.stop(self._settings.grace_s)
        self._watching.cancel()
        _log.info("stopped")

    def _in_handlers(self) -> int:
        return self.calls.in_flight + self.streams.in_flight + self._health.streams + self.load.streams


class _Health(health.aio.HealthServicer):
    """Knows how many watch it, and that a process that ends is alive."""

    streams = 0

    async def enter_graceful_shutdown(self) -> None:
        await super().enter_graceful_shutdown()
        await self._set(LIVE, HealthCheckResponse.SERVING)  # type: ignore[attr-defined] # not in the published types

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        self.streams += 1
        try:
            await super().Watch(request, context)
        finally:
            self.streams -= 1
