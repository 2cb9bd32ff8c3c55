"""What the instances themselves say, over the standard gRPC health service."""

from __future__ import annotations

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleet.waiting import until

SERVING = "SERVING"

_CALL_TIMEOUT_S = 1.0
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.enable_http_proxy", 0),
]


async def state(address: str, timeout_s: float = _CALL_TIMEOUT_S) -> str:
    """The state of the whole server there, or the gRPC code of the failure to tell, such as UNAVAILABLE."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        return await _check(channel, timeout_s, wait_for_ready=False)


async def until_serving(address: str) -> None:
    """Return as soon as the server there says SERVING; the caller bounds the time."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:

        async def serves() -> bool:
            return await _check(channel, _CALL_TIMEOUT_S, wait_for_ready=True) == SERVING

        await until(serves)


async def _check(channel: grpc.aio.Channel, timeout_s: float, *, wait_for_ready: bool) -> str:
    check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined] # not in the published types
    try:
        answer = await check(health_pb2.HealthCheckRequest(), timeout=timeout_s, wait_for_ready=wait_for_ready)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
