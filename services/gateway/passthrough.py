"""The gRPC face: any method of any service through one port, as bytes, never parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from chassis.errors import MercatoError
from chassis.handlers import ANONYMOUS, CALLER, TRACEPARENT, Context, Limit
from chassis.policy import Policy
from chassis.status import CODES, DETAILS, to_status
from chassis.trace import Trace
from services.gateway.contract import kind_of
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
        most_calls: int,
        trace_ratio: float,
    ) -> None:
        calls, streams = Limit(most_calls), Limit(most_calls)
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for method in methods:
            policy = Policy.of(method)
            limit = streams if method.server_streaming else calls
            timeout_s = policy.timeout_s if method.server_streaming or method.client_streaming else UNARY_TIMEOUT_S
            forward = _Forward(stubs[policy.path], limit, timeout_s, trace_ratio)
            make: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
            self._handlers[policy.path] = make(forward.stream if method.server_streaming else forward.unary)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return what serves a method; None where there is no such method."""
        return self._handlers.get(handler_call_details.method)


class _Forward:
    """What forwards the calls of one method. A stream of requests is forwarded as it comes."""

    def __init__(self, stub: Callable[..., Any], limit: Limit, timeout_s: float, trace_ratio: float) -> None:
        self._stub = stub
        self._limit = limit
        self._timeout_s = timeout_s
        self._trace_ratio = trace_ratio

    async def unary(self, request: Any, context: Context) -> bytes:
        """Forward a call that is answered once."""
        try:
            with self._limit:
                call = self._start(request, context)
                response: bytes = await call
                await _pass_on(call, context)
                context.set_trailing_metadata(_trailers(await call.trailing_metadata()))
                return response
        except (MercatoError, grpc.aio.AioRpcError) as error:
            await _abort(context, error)
            raise

    async def stream(self, request: Any, context: Context) -> AsyncIterator[bytes]:
        """Forward a call that is answered with a stream; the service's call ends when this one does."""
        try:
            with self._limit:
                call = self._start(request, context)
                try:
                    await _pass_on(call, context)
                    async for response in call:
                        yield response
                    context.set_trailing_metadata(_trailers(await call.trailing_metadata()))
                finally:
                    call.cancel()
        except (MercatoError, grpc.aio.AioRpcError) as error:
            await _abort(context, error)
            raise

    def _start(self, request: Any, context: Context) -> Any:
        left_s = context.time_remaining()
        metadata = _forwarded(context.invocation_metadata() or (), self._trace_ratio)
        return self._stub(request, timeout=self._timeout_s if left_s is None else left_s, metadata=metadata)


def _forwarded(metadata: Metadata, trace_ratio: float) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes on to the service: what the client sent, the caller and the trace."""
    kept = [(key, value) for key, value in metadata if key not in _HOP_BY_HOP and not key.startswith("grpc-")]
    keys = {key for key, _ in kept}
    if CALLER not in keys:
        kept.append((CALLER, ANONYMOUS))
    if TRACEPARENT not in keys:
        kept.append((TRACEPARENT, Trace.start(trace_ratio).traceparent))
    return tuple(kept)


def _trailers(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes back to the client: what the service sent, and the details of its status."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key == DETAILS or (key not in _HOP_BY_HOP and not key.startswith("grpc-"))
    )


async def _pass_on(call: Any, context: Context) -> None:
    """Hand the service's initial metadata to the client, where there is any."""
    if headers := _trailers(await call.initial_metadata()):
        await context.send_initial_metadata(headers)


async def _abort(context: Context, error: MercatoError | grpc.aio.AioRpcError) -> None:
    if isinstance(error, MercatoError):
        status = to_status(error)
        await context.abort(CODES[status.code], status.message, ((DETAILS, status.SerializeToString()),))
    else:
        await context.abort(error.code(), error.details() or "", _trailers(error.trailing_metadata()))
