"""The gRPC face: any method of any service through one port, as bytes, never parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from chassis.errors import MercatoError
from chassis.handlers import ANONYMOUS, CALLER, TRACEPARENT, Context
from chassis.policy import Policy
from chassis.server import Server
from chassis.status import CODES, DETAILS, PUSHBACK, to_trailers
from chassis.telemetry.trace import Trace
from services.gateway.contract import kind_of
from services.gateway.failures import failure
from services.gateway.feed import answer_to, feeding
from services.gateway.operations import UNARY_TIMEOUT_S

Metadata = Iterable[tuple[str, str | bytes]]

_HOP_BY_HOP = frozenset({
    "connection", "content-type", "endpoint-load-metrics-bin", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent",
})  # fmt: skip


class PassThrough(grpc.GenericRpcHandler):
    """Hands each call to the service it is for, and everything the service answers back."""

    def __init__(
        self,
        methods: Iterable[MethodDescriptor],
        stubs: Mapping[str, Callable[..., Any]],
        server: Server,
        trace_ratio: float,
    ) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for method in methods:
            policy = Policy.of(method)
            streaming = method.client_streaming or method.server_streaming
            timeout_s = policy.timeout_s if streaming else UNARY_TIMEOUT_S
            limit = (lambda: server.streams) if method.server_streaming else partial(server.calls.serving, policy.path)
            forward = _Forward(stubs[policy.path], limit, timeout_s, trace_ratio)
            make: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
            self._handlers[policy.path] = make(getattr(forward, kind_of(method)))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return what serves a method; None where there is no such method."""
        return self._handlers.get(handler_call_details.method)


class _Forward:
    """What forwards the calls of one method, by its kind; messages go both ways as they come."""

    def __init__(
        self,
        stub: Callable[..., Any],
        limit: Callable[[], AbstractContextManager[None]],
        timeout_s: float,
        trace_ratio: float,
    ) -> None:
        self._stub = stub
        self._limit = limit
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio

    async def unary_unary(self, request: bytes, context: Context) -> bytes:
        """Forward one request and one response."""
        async with self._passing(context):
            call = self._stub(request, **self._options(context))
            return await self._response(call, call, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """Forward a stream of requests and one response."""
        async with self._passing(context):
            call = self._stub(**self._options(context))
            return await self._response(call, answer_to(call, requests), context)

    async def unary_stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Forward one request and a stream of responses."""
        async with self._passing(context):
            call = self._stub(request, **self._options(context))
            async for response in self._responses(call, context):
                yield response

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Forward streams both ways."""
        async with self._passing(context):
            call = self._stub(**self._options(context))
            async with feeding(call, requests):
                async for response in self._responses(call, context):
                    yield response

    @asynccontextmanager
    async def _passing(self, context: Context) -> AsyncIterator[None]:
        """Keep to the limit, and pass errors on."""
        try:
            with self._limit():
                yield
        except (MercatoError, grpc.aio.AioRpcError) as error:
            _, status = failure(error)
            if isinstance(error, MercatoError):
                trailers = to_trailers(error, status)
            else:
                trailers = _backward(error.trailing_metadata())
            await context.abort(CODES[status.code], status.message, trailers)

    async def _response(self, call: Any, answer: Awaitable[bytes], context: Context) -> bytes:
        response = await answer
        await self._headers(call, context)
        context.set_trailing_metadata(_backward(await call.trailing_metadata()))
        return response

    async def _responses(self, call: Any, context: Context) -> AsyncIterator[bytes]:
        try:
            await self._headers(call, context)
            async for response in call:
                yield response
            context.set_trailing_metadata(_backward(await call.trailing_metadata()))
        finally:
            call.cancel()

    async def _headers(self, call: Any, context: Context) -> None:
        if headers := _backward(await call.initial_metadata()):
            await context.send_initial_metadata(headers)

    def _options(self, context: Context) -> dict[str, Any]:
        left_s = context.time_remaining()
        return {
            "timeout": self._timeout_s if left_s is None else left_s,
            "metadata": _forward(context.invocation_metadata() or (), self._trace_ratio),
        }


def _forward(metadata: Metadata, trace_ratio: float) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes on to the service: what the client sent, the caller and the trace."""
    kept = [(key, value) for key, value in metadata if key not in _HOP_BY_HOP and not key.startswith("grpc-")]
    keys = {key for key, _ in kept}
    if CALLER not in keys:
        kept.append((CALLER, ANONYMOUS))
    if TRACEPARENT not in keys:
        kept.append((TRACEPARENT, Trace.start(trace_ratio).traceparent))
    return tuple(kept)


def _backward(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes back to the client: what the service sent, the details of its status, when to come again."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key in (DETAILS, PUSHBACK) or (key not in _HOP_BY_HOP and not key.startswith("grpc-"))
    )
