"""Stands between the stock Pact verifier, which speaks HTTP, and a provider, which serves gRPC and emits events.

For each interaction it sets the provider's state through the provider's own interfaces, makes the real call (or waits
for the real event), and answers with what came, read with the consumer's descriptors. It never answers on its own: what
goes wrong here is noted, and told as a fault.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from aiohttp import web
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status

from chassis.testing.pacts import EVENTS, Pact
from chassis.testing.schema import Schema, kind_of
from chassis.testing.wire import DETAILS, Answer, to_headers, to_metadata

CALL_TIMEOUT_S = 10.0
MOST_MESSAGES = 1000
STATES, MESSAGES = "/_pact/states", "/_pact/messages"
RUN = "contract-run"
"""The header that tells the calls of one verification from any others."""


@dataclass(frozen=True)
class Emitted:
    """An event as it came from the provider."""

    key: str
    payload: bytes


@dataclass(frozen=True)
class Provider:
    """A provider that really runs."""

    name: str
    target: str
    """Where it serves gRPC."""
    states: Mapping[str, Callable[..., Awaitable[None]]]
    """Brings about a state, by its name; gets the state's parameters."""
    reset: Callable[[], Awaitable[None]]
    """Empties the provider; called before each interaction."""
    emitted: Callable[[str], Awaitable[Emitted]] | None = None
    """Waits for the first event of a type since the last reset; TimeoutError."""


@dataclass
class Log:
    """What one verification really did."""

    done: list[str] = field(default_factory=list)
    """The methods called and the events waited for."""
    faults: list[str] = field(default_factory=list)
    """What went wrong on the way, one line each."""


class Unreadable(Exception):
    """What the provider sent cannot be read by the consumer."""


class Bridge:
    """Serves HTTP on a free port until it is closed, for one pact and its provider."""

    def __init__(self, pact: Pact, provider: Provider, run: str = "") -> None:
        self._pact = pact
        self._provider = provider
        self._run = run
        self.log = Log()
        self.port = 0
        app = web.Application(middlewares=[self._noting_faults])
        app.router.add_post(STATES, self._set_state)
        app.router.add_post(MESSAGES, self._message)
        app.router.add_post("/{path:.*}", self._call)
        self._runner = web.AppRunner(app, access_log=None)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._provider.reset()
        self._channel = grpc.aio.insecure_channel(self._provider.target)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._channel.close()

    @web.middleware
    async def _noting_faults(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
            return response
        except Exception as error:  # it has to show in the verdict, whatever it is
            return self._fault(request, f"{type(error).__name__}: {error}")

    def _fault(self, request: web.Request, problem: str) -> web.Response:
        self.log.faults.append(problem)
        # A state that fails must not be answered with an error: the verifier would retry it for minutes.
        return web.json_response({"fault": problem}, status=200 if request.path == STATES else 500)

    async def _set_state(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted.get("action", "setup") == "setup" and wanted["state"]:
            handler = self._provider.states.get(wanted["state"])
            if handler is None:
                return self._fault(request, f"{self._provider.name} has no state handler for: {wanted['state']}")
            await handler(**(wanted.get("params") or {}))
        return web.json_response({})

    async def _call(self, request: web.Request) -> web.Response:
        method = self._pact.schema.methods.get(request.path)
        if method is None:
            return self._fault(request, f"{request.path} is not in the pact's descriptors")
        self._note(request, request.path)
        try:
            answer = await _Caller(self._channel, self._pact.schema, method).call(await request.json(), request.headers)
        finally:
            await self._provider.reset()
        status, headers, body = answer.to_http(method.server_streaming)
        return web.json_response(body, status=status, headers=headers)

    async def _message(self, request: web.Request) -> web.Response:
        description = (await request.json())["description"]
        [wanted] = [each.subject for each in self._pact.interactions if each.description == description]
        assert self._provider.emitted is not None, f"{self._provider.name} emits no events"
        self._note(request, wanted)
        try:
            event = await self._provider.emitted(wanted)
        except TimeoutError:
            return self._fault(request, f"{self._provider.name} emitted no {wanted}")
        finally:
            await self._provider.reset()
        body = _read(self._pact.schema, wanted, event.payload)
        metadata = {"type": wanted, "key": event.key, "contentType": "application/json"}
        encoded = base64.b64encode(json.dumps(metadata).encode()).decode()
        return web.json_response(body, headers={"Pact-Message-Metadata": encoded})

    def _note(self, request: web.Request, subject: str) -> None:
        if request.headers.get(RUN, "") == self._run or any(it.kind == EVENTS for it in self._pact.interactions):
            self.log.done.append(subject)


class _Caller:
    """Makes real calls of one method."""

    def __init__(self, channel: grpc.aio.Channel, schema: Schema, method: MethodDescriptor) -> None:
        self._schema = schema
        self._method = method
        make: Any = getattr(channel, kind_of(method))
        self._stub = make(f"/{method.containing_service.full_name}/{method.name}")

    async def call(self, body: Any, headers: Mapping[str, str]) -> Answer:
        """Make a call and return its answer, whether it is an error or not."""
        kept = [(key, value) for key, value in to_metadata(headers) if key != RUN]
        requests = [self._request(each) for each in (body if self._method.client_streaming else [body])]
        given: Any = _stream(requests) if self._method.client_streaming else requests[0]
        call = self._stub(given, timeout=CALL_TIMEOUT_S, metadata=kept)
        messages, error = [], None
        try:
            if self._method.server_streaming:
                async for data in call:
                    messages.append(self._response(data))
                    if len(messages) > MOST_MESSAGES:
                        raise Unreadable(f"{self._method.name} sent more than {MOST_MESSAGES} messages")
            else:
                messages.append(self._response(await call))
        except grpc.aio.AioRpcError as failed:
            error = _status(failed)
        trailers = await call.trailing_metadata() or ()
        return Answer(messages, error, to_headers(await call.initial_metadata() or ()), to_headers(trailers))

    def _request(self, value: Any) -> bytes:
        try:
            return self._schema.from_json(self._method.input_type, value)
        except ParseError as problem:
            raise Unreadable(f"the request of {self._method.name} is not of its own descriptors: {problem}") from None

    def _response(self, data: bytes) -> Any:
        return _read(self._schema, self._method.output_type.full_name, data)


def _read(schema: Schema, full_name: str, data: bytes) -> Any:
    try:
        return schema.to_json(schema.message(full_name), data)
    except (DecodeError, ValueError, OverflowError) as problem:
        raise Unreadable(f"the consumer cannot read this {full_name}: {problem}") from None


def _status(error: grpc.aio.AioRpcError) -> Status:
    raw = next((value for key, value in error.trailing_metadata() or () if key == DETAILS), b"")
    told = Status.FromString(raw if isinstance(raw, bytes) else raw.encode())
    code: int = error.code().value[0]
    return Status(code=code, message=error.details() or "", details=told.details)


async def _stream(requests: Iterable[bytes]) -> AsyncIterator[bytes]:
    for request in requests:
        yield request
