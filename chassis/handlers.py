"""One wrapper for each method, built when its servicer is registered: all that every call needs, and nothing twice.

In the order it happens: context (caller, deadline, trace), load limit, validation, the method itself within its
deadline, the stored answer for a repeated request, errors as google.rpc.Status, metrics, one log line. Spans are
OpenTelemetry's, around all this, for sampled calls; of others, what fails or is slow is recorded when it is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, nullcontext
from math import inf
from time import perf_counter
from typing import Any

import asyncpg
import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.trace import SpanKind

from chassis.call import Call, begin, current_call
from chassis.deadlines import Longest
from chassis.errors import DeadlineExceeded, Internal, InvalidArgument, MercatoError
from chassis.idempotency import Requests, digest
from chassis.limits import Calls, Limit
from chassis.policy import Policy
from chassis.status import CODES, FAULTS, to_status, to_trailers
from chassis.telemetry import spans
from chassis.telemetry.logs import CallLog
from chassis.telemetry.rpc import ServedCalls
from chassis.telemetry.sampling import Sampler
from chassis.telemetry.trace import Trace
from chassis.validation import refuse_nul, validate

CALLER, TRACEPARENT = "mercato-caller", "traceparent"
ANONYMOUS = "anonymous"
OURS = "mercato."
"""Protos of others state no rules that we know: who serves them looks at what comes, once."""

Context = grpc.aio.ServicerContext[Any, Any]
Behavior = Callable[[Any, Context], Any]

_AS_LONG_AS_IT_TAKES = nullcontext()

_log = logging.getLogger(__name__)


class NotAMessage(InvalidArgument):
    """The request is not a {message}: {problem}."""


async def build_handler(
    method: MethodDescriptor,
    behavior: Behavior,
    calls: Calls,
    streams: Limit,
    sampler: Sampler,
    requests: Requests | None,
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler of one method around its behavior; `requests` holds answers given before."""
    wrapped = _Method(method, behavior, calls, streams, sampler, requests)
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    serve, enter = (wrapped.stream, wrapped.enter_stream) if method.server_streaming else (wrapped.unary, wrapped.enter)
    wrapped.serve = serve
    wrapped.serve_traced = getattr(await spans.traced_handler(wrapped.path, make(serve)), kind)
    handler: grpc.RpcMethodHandler[Any, Any] = make(enter)
    return handler


class _Method:
    """The wrapper of one method. Requests and answers are bytes outside, so that faults of both get a proper error."""

    serve: Behavior
    serve_traced: Behavior

    def __init__(
        self,
        method: MethodDescriptor,
        behavior: Behavior,
        calls: Calls,
        streams: Limit,
        sampler: Sampler,
        requests: Requests | None,
    ) -> None:
        policy = Policy.of(method)
        self.path = policy.path
        self._behavior = behavior
        self._timeout_s = policy.timeout_s
        self._longest = Longest(policy.timeout_s)
        self._calls = calls
        self._streams = streams  # apart: who watches keeps out nobody who calls
        self._sampler = sampler
        self._requests = requests if policy.request_id else None
        self._read: Callable[[Any], Any] = self._parse_stream if method.client_streaming else self._parse
        self._request_class = GetMessageClass(method.input_type)
        self._is_ours = method.containing_service.file.package.startswith(OURS)
        self._serialize = GetMessageClass(method.output_type).SerializeToString
        self._write = CallLog(self.path).write
        self._observe = ServedCalls(self.path).observe
        self._slow_s = policy.objective.latency_s or inf

    async def enter(self, request: Any, context: Context) -> bytes:
        """Take a call that is answered once."""
        call = begin(self._call(context))
        response: bytes = await (self.serve_traced if call.trace.sampled else self.serve)(request, context)
        return response

    async def enter_stream(self, request: Any, context: Context) -> None:
        """Take a call that is answered with a stream."""
        call = begin(self._call(context))
        async for _ in (self.serve_traced if call.trace.sampled else self.serve)(request, context):
            pass

    async def unary(self, data: Any, context: Context) -> bytes:
        """Serve it, inside a span or not."""
        call, started, code = _served(), perf_counter(), "CANCELLED"
        try:
            with self._calls.serving(self.path), self._longest if call.ours_to_end else _AS_LONG_AS_IT_TAKES:
                request = self._read(data)
                if self._requests is None:
                    response = self._serialize(await self._behavior(request, context))
                else:
                    response = await self._answer(self._requests, call, request, context)
            code = "OK"
            return response
        except Exception as error:
            failure = _as_mercato(error)
            code = CODES[failure.code].name
            await _abort(context, failure)
            raise
        finally:
            self._finish(call, code, perf_counter() - started)

    async def stream(self, data: Any, context: Context) -> AsyncGenerator[None, None]:
        """Serve it, inside a span or not.

        It is a generator, as OpenTelemetry's interceptor wants one, but yields nothing: it writes the answers itself.
        So what ends it meanwhile ends it here, with a status; without one the client, and our own end, would wait.
        """
        call, started, code = _served(), perf_counter(), "CANCELLED"
        try:
            async with (
                self._streams.until(call.deadline if call.ours_to_end else None),
                aclosing(self._behavior(self._read(data), context)) as responses,
            ):
                async for response in responses:
                    await _write(context, self._serialize(response))
            code = "OK"
            return
            yield  # which makes it a generator
        except _Unwritten as unwritten:
            raise unwritten.error from None
        except Exception as error:
            failure = _as_mercato(error)
            code = CODES[failure.code].name
            await _abort(context, failure)
            raise
        finally:
            self._finish(call, code, perf_counter() - started)

    def _call(self, context: Context) -> Call:
        caller, trace = ANONYMOUS, None
        for key, value in context.invocation_metadata() or ():
            if key == CALLER:
                caller = str(value) or ANONYMOUS
            elif key == TRACEPARENT:
                trace = Trace.parse(str(value))
        remaining_s = context.time_remaining()
        ours_to_end = remaining_s is None or remaining_s > self._timeout_s
        timeout_s = self._timeout_s if remaining_s is None else min(remaining_s, self._timeout_s)
        return Call(
            method=self.path,
            caller=caller,
            deadline=asyncio.get_running_loop().time() + timeout_s,
            ours_to_end=ours_to_end,
            trace=trace or self._sampler.start(),
        )

    def _parse(self, data: bytes) -> Message:
        try:
            request = self._request_class.FromString(data)
        except DecodeError as error:
            raise NotAMessage(message=self._request_class.DESCRIPTOR.full_name, problem=str(error)) from None
        if self._is_ours:
            validate(request)
            if 0 in data:  # seldom: only then is it worth a look at every text
                refuse_nul(request)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("request", extra={"method": self.path, "request": request})
        return request

    async def _parse_stream(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in requests:
            yield self._parse(data)

    async def _answer(self, requests: Requests, call: Call, request: Any, context: Context) -> bytes:
        call.request_id, call.request_digest = request.request_id, digest(self.path, request)
        try:
            response = await self._behavior(request, context)
        except Exception:  # of whatever a repeated request runs into, the answer given before is the truth
            stored = await requests.stored(call)
            if stored is None:
                raise
            return stored
        return self._serialize(response)

    def _finish(self, call: Call, code: str, duration_s: float) -> None:
        if self._is_ours or code != "OK":  # of what comes by the second from everywhere, as telemetry does
            self._write(call, code, duration_s)
        if call.trace.sampled:
            self._observe(code, duration_s, spans.exemplar(call.trace))
            spans.end_call(code, call.caller)
            return
        self._observe(code, duration_s)
        if code in FAULTS or duration_s > self._slow_s:
            spans.late_call(self.path, SpanKind.SERVER, call.trace, code, duration_s, call.caller)


def _served() -> Call:
    call = current_call()
    assert call is not None
    if call.trace.sampled:
        call.trace = spans.span_trace()
    return call


def _as_mercato(error: Exception) -> MercatoError:
    """Return what an exception means to the caller; one that we did not expect is logged and told as Internal."""
    if isinstance(error, MercatoError):
        if isinstance(error, Internal):
            _log.error("internal error", exc_info=error)
            spans.failed(error)
        return error
    if isinstance(error, TimeoutError):
        return DeadlineExceeded()
    if isinstance(error, asyncpg.DataError):
        return InvalidArgument("the request holds a value that cannot be stored")
    _log.error("internal error", exc_info=error)
    spans.failed(error)
    return Internal()


class _Unwritten(Exception):
    """An answer could not be written: the client is gone, or was told why by gRPC. No fault of ours."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _write(context: Context, answer: bytes) -> None:
    try:
        await context.write(answer)
    except Exception as error:
        raise _Unwritten(error) from error


async def _abort(context: Context, error: MercatoError) -> None:
    status = to_status(error)
    await context.abort(CODES[status.code], status.message, to_trailers(error, status))
