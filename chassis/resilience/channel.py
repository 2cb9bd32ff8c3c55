"""The seam where resilience meets calls: a channel around a transport, be it gRPC's or that within a process.

A call with one request and one answer passes, in this order:

    bulkhead → hedging (reads) → retries under the budget (what is idempotent) → circuit breaker → transport

A stream of answers is begun again as long as nothing of it came. Streams of requests go straight through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable
from functools import cached_property, partial
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from grpc import StatusCode
from grpc.aio import EOF, AioRpcError, Metadata

from chassis.errors import CANONICAL, MercatoError
from chassis.policy import Policy
from chassis.resilience.breaker import CircuitBreaker
from chassis.resilience.callee import Callee
from chassis.resilience.deadline import Deadline

FULL_TIME = 0.4
"""A call that had this part of what its method allows, and no answer, is the callee's failure; else it was in haste."""

Sent = Iterable[tuple[str, str | bytes]]


class ResilientChannel:
    """What generated stubs use of a `grpc.aio.Channel`. Methods that are not of `services` go straight through."""

    def __init__(
        self, transport: Any, callee: Callee, services: Iterable[ServiceDescriptor], *, hedge: bool = True
    ) -> None:
        """Take the channel that calls travel by; `hedge` says whether a second attempt may meet another instance."""
        self._transport = transport
        policies = [Policy.of(method) for service in services for method in service.methods]
        self._methods = {policy.path: _Method(policy, callee, hedge and policy.safe) for policy in policies}

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with one request and one answer."""
        begin: Callable[..., Any] = self._transport.unary_unary(path, *arguments, **options)
        return partial(_Call, self._methods[path], begin) if path in self._methods else begin

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with one request and a stream of answers."""
        begin: Callable[..., Any] = self._transport.unary_stream(path, *arguments, **options)
        method = self._methods.get(path)
        return partial(_Responses, method, begin) if method and method.policy.retriable else begin

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with a stream of requests and one answer."""
        begin: Callable[..., Any] = self._transport.stream_unary(path, *arguments, **options)
        return begin

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with streams both ways."""
        begin: Callable[..., Any] = self._transport.stream_stream(path, *arguments, **options)
        return begin


class _Method:
    """One method of one callee."""

    def __init__(self, policy: Policy, callee: Callee, hedged: bool) -> None:
        self.policy = policy
        self.callee = callee
        self.hedging = callee.hedging(_definite) if hedged else None

    @cached_property
    def breaker(self) -> CircuitBreaker:
        return self.callee.breaker(self.policy.path)

    async def again(self, error: AioRpcError, attempt: int, deadline: Deadline) -> bool:
        """Whether to try again; returns when it is time to."""
        return self.policy.retriable and await self.callee.retries.again(error, attempt, deadline)

    def blames(self, error: AioRpcError, timeout_s: float) -> bool:
        """Whether an error is a failure of the callee, and no answer of it nor its caller's haste."""
        if error.code() is StatusCode.DEADLINE_EXCEEDED:
            return timeout_s >= FULL_TIME * self.policy.timeout_s
        return error.code() in (StatusCode.UNAVAILABLE, StatusCode.UNKNOWN, StatusCode.INTERNAL)


class _Call:
    """A call with one answer. It begins when it is awaited, once."""

    __slots__ = ("_answered", "_begin", "_deadline", "_metadata", "_method", "_request")

    def __init__(
        self,
        method: _Method,
        begin: Callable[..., Any],
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Sent = (),
    ) -> None:
        self._method = method
        self._begin = begin
        self._request = request
        self._metadata = metadata
        self._deadline = Deadline(method.policy.timeout_s if timeout is None else timeout, method.callee.clock)
        self._answered: Any = None

    def __await__(self) -> Generator[Any, None, Any]:
        return self._answer().__await__()

    async def initial_metadata(self) -> Metadata:
        """Return what the callee sent before its answer."""
        return await self._answered.initial_metadata() if self._answered else Metadata()

    async def trailing_metadata(self) -> Metadata:
        """Return what the callee sent after its answer."""
        return await self._answered.trailing_metadata() if self._answered else Metadata()

    async def _answer(self) -> Any:
        method = self._method
        with method.callee.bulkhead:
            method.callee.budget.count_call()
            if method.hedging is None:
                return await self._attempts()
            return await method.hedging.answer(self._attempts)

    async def _attempts(self) -> Any:
        breaker, attempt = self._method.breaker, 1
        while True:
            ticket, timeout_s = breaker.enter(), self._deadline.left_s()
            try:
                call = self._begin(self._request, timeout=timeout_s, metadata=self._metadata)
                answer = await call
            except AioRpcError as error:
                breaker.leave(ticket, self._method.blames(error, timeout_s))
                if not await self._method.again(error, attempt, self._deadline):
                    raise
            except BaseException:
                breaker.leave(ticket, None)
                raise
            else:
                breaker.leave(ticket, False)
                self._answered = call
                return answer
            attempt += 1


class _Responses:
    """A stream of answers."""

    def __init__(
        self,
        method: _Method,
        begin: Callable[..., Any],
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Sent = (),
    ) -> None:
        self._method = method
        self._begin = partial(begin, request, metadata=metadata)
        self._deadline = Deadline(method.policy.timeout_s if timeout is None else timeout, method.callee.clock)
        self._attempt = 0
        self._received = False
        method.callee.budget.count_call()
        self._start()

    def _start(self) -> None:
        self._attempt += 1
        self._call = self._begin(timeout=self._deadline.left_s())
        self._responses = aiter(self._call)

    async def read(self) -> Any:
        """Return the next answer, EOF after the last."""
        while True:
            try:
                response = await anext(self._responses, EOF)
                self._received = True
                return response
            except AioRpcError as error:
                if self._received or not await self._method.again(error, self._attempt, self._deadline):
                    raise
            self._start()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (response := await self.read()) is not EOF:
            yield response

    async def initial_metadata(self) -> Any:
        """Return what the callee sent before its answers."""
        return await self._call.initial_metadata()

    async def trailing_metadata(self) -> Any:
        """Return what the callee sent after its answers."""
        return await self._call.trailing_metadata()

    def cancel(self) -> bool:
        """End it, as nobody wants more of it."""
        cancelled: bool = self._call.cancel()
        return cancelled


def _definite(error: BaseException) -> bool:
    """Whether an error is what any other attempt would be answered, too."""
    if isinstance(error, AioRpcError):
        return CANONICAL[error.code().value[0]].definite if error.code().value[0] in CANONICAL else False
    return not isinstance(error, MercatoError) or error.definite
