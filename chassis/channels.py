"""Channels to other services: the one seam between a stub and how its calls travel.

Every call gets a deadline (what its method allows, and never more than is left of the call being served), the caller's
name and the trace; what the callee answers as an error is raised as that error.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from chassis.call import current_call
from chassis.errors import DeadlineExceeded
from chassis.handlers import CALLER, TRACEPARENT
from chassis.inprocess import InProcessChannel
from chassis.policy import Policy
from chassis.resilience.channel import ResilientChannel
from chassis.status import from_rpc_error
from chassis.telemetry.rpc import ClientCalls
from chassis.telemetry.trace import Trace

Stub = TypeVar("Stub")
Messages = AsyncIterable[Any] | Iterable[Any]

_BALANCED = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})


def open_channel(target: str) -> grpc.aio.Channel:
    """Return a channel that balances over the healthy instances behind a target; behind `xds:///` as the mesh says.

    Nothing is tried again but what surely never reached a server: gRPC does that unseen, and `grpc.enable_retries`
    stays on for it. All else is for `chassis.resilience`.
    """
    options = [
        ("grpc.service_config", _BALANCED),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(target, options=options)


class Channel:
    """A channel as generated stubs use it."""

    def __init__(
        self,
        channel: grpc.aio.Channel | InProcessChannel | ResilientChannel,
        services: Iterable[ServiceDescriptor],
        caller: str,
    ) -> None:
        self._channel = channel
        self._caller = (CALLER, caller)
        self._policies = {policy.path: policy for service in services for policy in map(Policy.of, service.methods)}
        self._calls = ClientCalls(caller)

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what a stub calls for a method with one request and one answer."""
        return partial(self._unary, path, self._channel.unary_unary(path, *arguments, **options))

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what a stub calls for a method with a stream of requests and one answer."""
        return partial(self._collected, path, self._channel.stream_unary(path, *arguments, **options))

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what a stub calls for a method with one request and a stream of answers."""
        return partial(self._stream, path, self._channel.unary_stream(path, *arguments, **options))

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what a stub calls for a method with streams both ways."""
        return partial(self._stream, path, self._channel.stream_stream(path, *arguments, **options))

    async def _unary(self, path: str, multicallable: Any, request: Any, *, timeout: float | None = None) -> Any:
        timeout_s = self._timeout_s(path, timeout)
        try:
            with self._calls.calling(path) as trace:
                return await multicallable(request, timeout=timeout_s, metadata=self._metadata(trace))
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def _collected(
        self,
        path: str,
        multicallable: Any,
        requests: Messages,
        *,
        timeout: float | None = None,
    ) -> Any:
        source = _Source(requests)
        try:
            return await self._unary(path, multicallable, source.all(), timeout=timeout)
        except asyncio.CancelledError:
            if source.error is None:
                raise
            raise source.error from None

    async def _stream(
        self, path: str, multicallable: Any, request: Any, *, timeout: float | None = None
    ) -> AsyncGenerator[Any, None]:
        timeout_s = self._timeout_s(path, timeout)
        try:
            with self._calls.calling(path) as trace:
                call = multicallable(request, timeout=timeout_s, metadata=self._metadata(trace))
                try:
                    async for response in call:
                        yield response
                finally:
                    call.cancel()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    def _metadata(self, trace: Trace) -> tuple[tuple[str, str], ...]:
        if current_call() is None:  # then who is called decides whether it is recorded
            return (self._caller,)
        return self._caller, (TRACEPARENT, trace.traceparent)

    def _timeout_s(self, path: str, timeout_s: float | None) -> float:
        allowed_s = self._policies[path].timeout_s if timeout_s is None else timeout_s
        call = current_call()
        if call is not None and call.deadline is not None:
            allowed_s = min(allowed_s, call.deadline - asyncio.get_running_loop().time())
        if allowed_s <= 0:
            raise DeadlineExceeded
        return allowed_s


class _Source:
    """A stream of requests. What it raises is kept: gRPC only says that the call was cancelled then."""

    def __init__(self, requests: Messages) -> None:
        self._requests = requests
        self.error: Exception | None = None

    async def all(self) -> AsyncIterator[Any]:
        try:
            if isinstance(self._requests, AsyncIterable):
                async for request in self._requests:
                    yield request
            else:
                for request in self._requests:
                    yield request
        except Exception as error:
            self.error = error
            raise
