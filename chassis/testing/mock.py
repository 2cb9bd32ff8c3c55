"""A gRPC server for consumers' tests: it answers what the contract says, and nothing else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

from chassis.testing.schema import kind_of, path_of
from chassis.testing.wire import CODES, DETAILS, STATUS, Answer, to_headers, to_metadata

HEALTH = "/grpc.health.v1.Health/"
"""Clients may ask for health besides; answered as by a server that does not tell."""


@dataclass
class Expected:
    """What may be called now, and what was called besides."""

    url: str
    """The HTTP server that knows the contract."""
    methods: Mapping[str, MethodDescriptor]
    """By their paths."""
    wrong: list[str] = field(default_factory=list)
    """Calls that are not in the contract, one line each."""


class Mock(grpc.GenericRpcHandler):
    """Serves on a free port until it is closed; each call goes to the HTTP server that knows the contract."""

    def __init__(self) -> None:
        self.target = ""
        self._expected = Expected("", {})
        self._server = grpc.aio.server(handlers=[self])

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        self.target = f"ipv4:127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)
        await self._http.close()

    @asynccontextmanager
    async def expecting(self, url: str, methods: Iterable[MethodDescriptor]) -> AsyncIterator[Expected]:
        """Let these methods be called within the block."""
        before, self._expected = self._expected, Expected(url, {path_of(method): method for method in methods})
        try:
            yield self._expected
        finally:
            self._expected = before

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call."""
        path, expected = handler_call_details.method, self._expected
        method = expected.methods.get(path)
        if method is None:
            if not path.startswith(HEALTH):
                expected.wrong.append(f"{path} was called, which is not in the contract")
            return None
        call = _Call(self._http, expected, method)
        make: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
        handler: grpc.RpcMethodHandler[Any, Any] = make(getattr(call, kind_of(method)))
        return handler


class _Call:
    """Answers the calls of one method."""

    def __init__(self, http: aiohttp.ClientSession, expected: Expected, method: MethodDescriptor) -> None:
        self._http = http
        self._expected = expected
        self._method = method
        self._request, self._response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)

    async def unary_unary(self, request: bytes, context: Any) -> bytes:
        [response] = await self._answer(self._json(request), context)
        return response

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        [response] = await self._answer([self._json(request) async for request in requests], context)
        return response

    async def unary_stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        for response in await self._answer(self._json(request), context):
            yield response

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        for response in await self._answer([self._json(request) async for request in requests], context):
            yield response

    def _json(self, request: bytes) -> Any:
        return MessageToDict(self._request.FromString(request))

    async def _answer(self, request: Any, context: Any) -> list[bytes]:
        headers = to_headers(context.invocation_metadata() or ())
        url = self._expected.url + path_of(self._method)
        async with self._http.post(url, json=request, headers=headers) as got:
            text = await got.text()
        if STATUS not in got.headers:
            self._expected.wrong.append(f"{path_of(self._method)} was asked {json.dumps(request)}: not in the contract")
            await context.abort(grpc.StatusCode.INTERNAL, "This call is not in the contract.")
        answer = Answer.from_http(got.headers, json.loads(text), self._method.server_streaming)
        if answer.headers:
            await context.send_initial_metadata(to_metadata(answer.headers))
        messages = [ParseDict(message, self._response()).SerializeToString() for message in answer.messages]
        trailers = to_metadata(answer.trailers)
        if answer.error is None:
            context.set_trailing_metadata(trailers)
            return messages
        for message in messages:
            await context.write(message)
        details = ((DETAILS, answer.error.SerializeToString()),)
        await context.abort(CODES[answer.error.code], answer.error.message, (*trailers, *details))
        raise AssertionError("abort raises")
