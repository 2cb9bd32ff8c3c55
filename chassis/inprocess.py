"""Calls between services hosted in one process: what gRPC does for a call, without a network.

The callee runs the very wrapper that its gRPC server runs, in a task and a context of its own. Requests and answers
travel as bytes; metadata, deadline, cancellation, sizes and errors are those of a channel of
`chassis.channels.open_channel`. So neither side can tell, but by the time it takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, NoReturn

import grpc
from grpc import StatusCode
from grpc.aio import AbortError, AioRpcError, Metadata

from chassis.server import MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES

WINDOW = 16
"""How many messages of a stream are under way; who sends more waits."""

Handlers = Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
"""What serves each method, by `/package.Service/Method`."""

_log = logging.getLogger(__name__)


class Exchange:
    """Who is hosted in this process, and takes calls now."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)
        self._hosted: dict[str, _Hosted] = {}

    def hosts(self, name: str) -> bool:
        """Whether a service is to run in this process."""
        return name in self._names

    @asynccontextmanager
    async def serving(self, name: str, handlers: Handlers) -> AsyncIterator[None]:
        """Take calls to a service within the block, in the context it is entered in; then end those under way."""
        hosted = self._hosted[name] = _Hosted(handlers, copy_context())
        try:
            yield
        finally:
            if self._hosted.get(name) is hosted:  # else another took its place
                del self._hosted[name]
            for task in hosted.tasks:
                task.cancel()
            await asyncio.gather(*hosted.tasks, return_exceptions=True)

    def channel(self, name: str) -> InProcessChannel:
        """Return a channel to a service; calls are UNAVAILABLE as long as it does not serve."""
        return InProcessChannel(partial(self._hosted.get, name))


@dataclass
class _Hosted:
    handlers: Handlers
    context: Context
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)


class InProcessChannel:
    """What generated stubs use of a `grpc.aio.Channel`."""

    def __init__(self, find: Callable[[], _Hosted | None]) -> None:
        self._find = find

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with one request and one answer."""
        return self._starting(_UnaryCall, False, path, *arguments, **options)

    def stream_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with a stream of requests and one answer."""
        return self._starting(_UnaryCall, True, path, *arguments, **options)

    def unary_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with one request and a stream of answers."""
        return self._starting(_StreamCall, False, path, *arguments, **options)

    def stream_stream(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return what starts a call with streams both ways."""
        return self._starting(_StreamCall, True, path, *arguments, **options)

    def _starting(
        self,
        kind: type[_Call],
        streaming: bool,
        path: str,
        request_serializer: Callable[[Any], bytes] = bytes,
        response_deserializer: Callable[[bytes], Any] = bytes,
        _registered_method: bool = False,
    ) -> Callable[..., Any]:
        return partial(kind, self._find, path, streaming, request_serializer, response_deserializer)


class _Status(NamedTuple):
    """How a call ended."""

    code: StatusCode = StatusCode.OK
    details: str = ""
    trailing: tuple[tuple[str, str | bytes], ...] = ()


class _Call:
    """A call under way. Its outcome ends it, be it the callee's answer, the deadline, or a caller that went away."""

    def __init__(
        self,
        find: Callable[[], _Hosted | None],
        path: str,
        streaming: bool,
        serialize: Callable[[Any], bytes],
        deserialize: Callable[[bytes], Any],
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._serialize = serialize
        self._deserialize = deserialize
        self._metadata = tuple(Metadatum(*each) for each in metadata)
        self._deadline = None if timeout is None else self._loop.time() + timeout
        self._tasks: list[asyncio.Task[Any]] = []
        self._response = b""
        self._responses = _Pipe()
        self._outcome: asyncio.Future[_Status] = self._loop.create_future()
        self._outcome.add_done_callback(self._let_go)
        if self._deadline is not None:
            expired = _Status(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
            timer = self._loop.call_at(self._deadline, self._end, expired)
            self._outcome.add_done_callback(lambda _: timer.cancel())
        self._begin(find(), self._sending(request) if streaming else serialize(request))

    def cancel(self) -> bool:
        """End it, as nobody waits for it any more."""
        return self._outcome.cancel()

    def _sending(self, stream: AsyncIterable[Any]) -> _Pipe:
        requests = _Pipe()
        self._tasks.append(self._loop.create_task(self._send(stream, requests)))
        return requests

    async def _send(self, stream: AsyncIterable[Any], requests: _Pipe) -> None:
        try:
            async for request in stream:
                data = self._serialize(request)
                if self._refused(data):
                    return
                await requests.send(data)
        except Exception:
            _log.warning("a stream of requests broke off", exc_info=True, extra={"method": self._path})
            self.cancel()
        requests.close()

    def _begin(self, hosted: _Hosted | None, request: bytes | _Pipe) -> None:
        if hosted is None:
            self._end(_Status(StatusCode.UNAVAILABLE, "the service does not serve now"))
        elif (handler := hosted.handlers.get(self._path)) is None:
            self._end(_Status(StatusCode.UNIMPLEMENTED, "Method not found!"))
        elif isinstance(request, _Pipe) or not self._refused(request):
            context = ServicerContext(self._metadata, self._deadline, self._responses)
            behavior = _behavior(handler)
            task = self._loop.create_task(behavior(request, context), context=hosted.context.copy())
            hosted.tasks.add(task)
            self._tasks.append(task)
            task.add_done_callback(hosted.tasks.discard)
            task.add_done_callback(partial(self._answered, context))

    def _refused(self, data: bytes) -> bool:
        """Whether a request is larger than a server takes, which ends the call."""
        if len(data) > MAX_REQUEST_BYTES:
            self._end(_too_large(data, MAX_REQUEST_BYTES))
        return len(data) > MAX_REQUEST_BYTES

    def _answered(self, context: ServicerContext, task: asyncio.Task[Any]) -> None:
        if task.cancelled():  # not by us, else nobody waits for this
            self._end(_Status(StatusCode.UNAVAILABLE, "the service ended"))
            return
        error = task.exception()
        if error is None:
            self._response = task.result() or b""
            too_large = len(self._response) > MAX_RESPONSE_BYTES
            self._end(_too_large(self._response, MAX_RESPONSE_BYTES) if too_large else context.status)
        elif isinstance(error, AbortError):
            self._end(context.status)
        else:
            self._end(_Status(StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}"))

    def _end(self, status: _Status) -> None:
        if not self._outcome.done():
            self._outcome.set_result(status)

    def _let_go(self, _: object) -> None:
        for task in self._tasks:
            task.cancel()
        self._responses.close()

    def _raise_for(self, status: _Status) -> None:
        if status.code is not StatusCode.OK:
            raise AioRpcError(status.code, Metadata(), Metadata(*status.trailing), status.details)


class _UnaryCall(_Call):
    """A call with one answer."""

    def __await__(self) -> Generator[Any, None, Any]:
        self._raise_for((yield from self._outcome))
        return self._deserialize(self._response)


class _StreamCall(_Call):
    """A call with a stream of answers."""

    async def __aiter__(self) -> AsyncGenerator[Any, None]:
        async for data in self._responses:
            yield self._deserialize(data)
        self._raise_for(await self._outcome)


class Metadatum(NamedTuple):
    """One entry of metadata, as gRPC servers give it."""

    key: str
    value: str | bytes


class ServicerContext:
    """What servicers, the wrapper and OpenTelemetry use of a `grpc.aio.ServicerContext`."""

    def __init__(self, metadata: tuple[Metadatum, ...], deadline: float | None, responses: _Pipe) -> None:
        self.status = _Status()
        self._metadata = metadata
        self._deadline = deadline
        self._responses = responses

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """Return what the caller sent along."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Return for how many seconds the caller waits; None for ever."""
        return None if self._deadline is None else max(self._deadline - asyncio.get_running_loop().time(), 0.0)

    def peer(self) -> str:
        """Return where the caller is."""
        return "unix:inprocess"

    def code(self) -> StatusCode:
        """Return how the call is to end."""
        return self.status.code

    def details(self) -> str:
        """Return what the caller is told about how it ended."""
        return self.status.details

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """Return what the caller is sent at the end."""
        return self.status.trailing

    def set_code(self, code: StatusCode) -> None:
        """Say how the call is to end."""
        self.status = self.status._replace(code=code)

    def set_details(self, details: str) -> None:
        """Say what the caller is told about how it ended."""
        self.status = self.status._replace(details=details)

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Say what the caller is sent at the end."""
        self.status = self.status._replace(trailing=tuple(metadata))

    async def abort(
        self, code: StatusCode, details: str = "", trailing_metadata: Iterable[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """End the call with an error."""
        self.status = _Status(code, details, tuple(trailing_metadata))
        raise AbortError

    async def write(self, message: bytes) -> None:
        """Send one answer of a stream; waits while the caller has not taken those before."""
        if len(message) > MAX_RESPONSE_BYTES:
            await self.abort(*_too_large(message, MAX_RESPONSE_BYTES))
        await self._responses.send(message)


class _Pipe:
    """Messages in order from one task to another, a few at a time."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(WINDOW)

    async def send(self, message: bytes) -> None:
        await self._room.acquire()
        self._messages.put_nowait(message)

    def close(self) -> None:
        self._messages.put_nowait(None)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while (message := await self._messages.get()) is not None:
            self._room.release()
            yield message


def _behavior(handler: grpc.RpcMethodHandler[Any, Any]) -> Callable[..., Any]:
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    behavior: Callable[..., Any] = getattr(handler, kind)
    return behavior


def _too_large(message: bytes, most: int) -> _Status:
    return _Status(StatusCode.RESOURCE_EXHAUSTED, f"message larger than max ({len(message)} vs. {most})")
