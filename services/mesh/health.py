"""Looks after registered instances: asks each for its health, and ends leases in time."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.clock import Clock
from services.mesh.registry import Registry

LOOK_S = 0.1
"""How often it is looked at what is due."""
TIMEOUT_S = 1.0
MOST_AT_ONCE = 32
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class HealthChecks:
    """The checks of all instances of a registry; its channels are plain, as the mesh must not need itself."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._at_once = asyncio.Semaphore(MOST_AT_ONCE)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        try:
            async with asyncio.TaskGroup() as checks:
                while True:
                    self._registry.expire()
                    for instance in self._registry.due():
                        checks.create_task(self._check(instance.name, instance.address))
                    await self._close({instance.address for instance in self._registry.instances})
                    await self._clock.sleep(LOOK_S)
        finally:
            await self._close(set())

    async def _check(self, name: str, address: str) -> None:
        async with self._at_once:
            failure, certain = await self._failure(address)
        self._registry.checked(name, address, failure, certain=certain)

    async def _failure(self, address: str) -> tuple[str, bool]:
        """Return what is wrong with what listens at an address, empty when nothing, and whether that is certain."""
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=OPTIONS)
        check: Any = HealthStub(self._channels[address]).Check  # type: ignore[attr-defined]
        try:
            answer = await check(HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return "", True  # it answers, and states no health
            if error.code() == grpc.StatusCode.UNAVAILABLE and await _refuses(address):
                return "it refuses connections", True
            return f"its health check failed: {error.code().name}", False
        if answer.status != HealthCheckResponse.SERVING:
            return f"it says {HealthCheckResponse.ServingStatus.Name(answer.status)}", True
        return "", True

    async def _close(self, kept: set[str]) -> None:
        for address in self._channels.keys() - kept:
            await self._channels.pop(address).close()


async def _refuses(address: str) -> bool:
    """Whether nobody listens there: gRPC tells that from other trouble only in words."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False
