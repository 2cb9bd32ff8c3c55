"""The gRPC face: any method of any service through one port, as bytes, never parsed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor

from chassis.call import Call, serving
from chassis.errors import MercatoError
from chassis.handlers import ANONYMOUS, CALLER, TRACEPARENT, Context
from chassis.limits import Calls
from chassis.policy import Policy
from chassis.server import Server
from chassis.status import CODES, DETAILS, FAULTS, PUSHBACK, to_trailers
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.rpc import ClientCalls, ServedCalls, code_of
from chassis.telemetry.spans import call_attributes
from chassis.telemetry.trace import Trace
from services.gateway.contract import kind_of
from services.gateway.failures import failure
from services.gateway.feed import answer_to, feeding
from services.gateway.incoming import Incoming
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
        telemetry: Telemetry,
    ) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        for method in methods:
            policy = Policy.of(method)
            streaming = method.client_streaming or method.server_streaming
            timeout_s = policy.timeout_s if streaming else UNARY_TIMEOUT_S
            unary = partial(_counted, server.calls, policy.path)
            limit = partial(server.streams.until, None) if method.server_streaming else unary
            forward = _Forward(policy.path, stubs[policy.path], limit, timeout_s, telemetry)
            make: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
            self._handlers[policy.path] = make(getattr(forward, kind_of(method)))

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Return what serves a method; None where there is no such method."""
        return self._handlers.get(handler_call_details.method)


class _Forward:
    """What forwards the calls of one method, by its kind; messages go both ways as they come."""

    def __init__(
        self,
        path: str,
        stub: Callable[..., Any],
        limit: Callable[[], AbstractAsyncContextManager[None]],
        timeout_s: float,
        telemetry: Telemetry,
    ) -> None:
        self._path = path
        self._stub = stub
        self._limit = limit
        self._timeout_s = timeout_s
        self._telemetry = telemetry
        self._made = ClientCalls(telemetry.fields["service"])
        self._served = ServedCalls(path)

    async def unary_unary(self, request: bytes, context: Context) -> bytes:
        """Forward one request and one response."""
        async with self._passing(context) as options:
            call = self._stub(request, **options)
            return await self._response(call, call, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """Forward a stream of requests and one response."""
        async with self._passing(context) as options:
            call = self._stub(**options)
            return await self._response(call, answer_to(call, requests), context)

    async def unary_stream(self, request: bytes, context: Context) -> None:
        """Forward one request and a stream of responses."""
        async with self._passing(context) as options:
            await self._responses(self._stub(request, **options), context)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        """Forward streams both ways."""
        async with self._passing(context) as options:
            call = self._stub(**options)
            async with feeding(call, requests):
                await self._responses(call, context)

    @asynccontextmanager
    async def _passing(self, context: Context) -> AsyncIterator[dict[str, Any]]:
        """Keep to the limit, record the call, and pass errors on; yields what the service is called with."""
        metadata = context.invocation_metadata() or ()
        given = dict(metadata)
        parent = Trace.parse(str(given.get(TRACEPARENT, "")))
        incoming, code = Incoming(self._telemetry, self._path, parent), "CANCELLED"
        caller = str(given.get(CALLER) or ANONYMOUS)
        try:
            async with self._limit():
                with (
                    serving(Call(self._path, caller, None, incoming.trace)),
                    self._made.calling(self._path) as trace,
                ):
                    left_s = context.time_remaining()
                    yield {
                        "timeout": self._timeout_s if left_s is None else left_s,
                        "metadata": _forward(metadata, caller, trace),
                    }
                code = "OK"
        except (MercatoError, grpc.aio.AioRpcError) as error:
            code = code_of(error)
            _, status = failure(error)
            if isinstance(error, MercatoError):
                trailers = to_trailers(error, status)
            else:
                trailers = _backward(error.trailing_metadata())
            await context.abort(CODES[status.code], status.message, trailers)
        finally:
            self._note(incoming, code, caller)

    def _note(self, incoming: Incoming, code: str, caller: str) -> None:
        """Count and record one call."""
        method = self._path.removeprefix("/")
        self._served.observe(code, incoming.duration_s, incoming.exemplar)
        incoming.end(method, code if code in FAULTS else "", call_attributes(method, code, caller))

    async def _response(self, call: Any, answer: Awaitable[bytes], context: Context) -> bytes:
        response = await answer
        await self._headers(call, context)
        context.set_trailing_metadata(_backward(await call.trailing_metadata()))
        return response

    async def _responses(self, call: Any, context: Context) -> None:
        """Write all responses. A generator that gRPC writes from would be left open, for another task to end it."""
        try:
            await self._headers(call, context)
            async for response in call:
                await context.write(response)
            context.set_trailing_metadata(_backward(await call.trailing_metadata()))
        finally:
            call.cancel()

    async def _headers(self, call: Any, context: Context) -> None:
        if headers := _backward(await call.initial_metadata()):
            await context.send_initial_metadata(headers)


@asynccontextmanager
async def _counted(calls: Calls, path: str) -> AsyncIterator[None]:
    with calls.serving(path):
        yield


def _forward(metadata: Metadata, caller: str, trace: Trace) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes on to the service: what the client sent, the caller and the trace."""
    ours = (*_HOP_BY_HOP, CALLER, TRACEPARENT)
    kept = [(key, value) for key, value in metadata if key not in ours and not key.startswith("grpc-")]
    return (*kept, (CALLER, caller), (TRACEPARENT, trace.traceparent))


def _backward(metadata: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
    """Return what goes back to the client: what the service sent, the details of its status, when to come again."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key in (DETAILS, PUSHBACK) or (key not in _HOP_BY_HOP and not key.startswith("grpc-"))
    )
