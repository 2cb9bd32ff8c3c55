"""A request that has found its operation, and the three shapes of calls: one message, events out, lines in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp.web import BaseRequest, HTTPRequestEntityTooLarge, RequestPayloadError, Response, StreamResponse

from chassis.errors import InvalidArgument
from services.gateway.errors import BodyTooLarge, ContentTypeNotSupported, MalformedRequest, RequestTooSlow
from services.gateway.feed import answer_to
from services.gateway.operations import JSON, Operation
from services.gateway.streams import lines, send_events

LARGEST_BODY = 1 << 20


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request on its way to a service."""

    request: BaseRequest
    operation: Operation
    stub: Callable[..., Any]
    variables: Mapping[str, str]
    query: str
    deadline: float
    """On the event loop's clock, in seconds."""
    calling: Callable[[], AbstractContextManager[tuple[tuple[str, str], ...]]]
    """Opens what the service is called within; yields the metadata that goes on to it."""
    headers: Mapping[str, str]
    """What the answer returns."""
    closing: asyncio.Future[None]
    """Done when streams have to end."""

    async def answer(self) -> StreamResponse:
        """Call the service and answer with what it says; MercatoError or AioRpcError when that is an error."""
        await self._let_body_come()
        if self.operation.method.client_streaming:
            return self._answer(await self._upload())
        message = self._message(await self._body())
        with self.calling() as metadata:
            call = self.stub(message, timeout=self._left_s(), metadata=metadata)
            if self.operation.method.server_streaming:
                to_json = self.operation.transcoder.response
                return await send_events(self.request, call, to_json, self.headers, self.closing)
            answer = await call
        return self._answer(answer)

    def _answer(self, data: bytes) -> Response:
        body = self.operation.transcoder.response(data)
        return Response(body=body, headers={**self.headers, "Content-Type": JSON})

    def _message(self, body: bytes) -> bytes:
        return self.operation.transcoder.request(self.variables, self.query, body)

    def _left_s(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()

    async def _body(self) -> bytes:
        if not self.request.can_read_body:
            return b""
        self._check_content_type()
        if (self.request.content_length or 0) > LARGEST_BODY:
            raise BodyTooLarge(limit=LARGEST_BODY)
        async with self._reading():
            return await self.request.read()

    async def _upload(self) -> bytes:
        """Pass on a body of one message a line as it comes, and return the response."""
        self._check_content_type()
        with self.calling() as metadata:
            return await answer_to(self.stub(timeout=self._left_s(), metadata=metadata), self._lines())

    async def _lines(self) -> AsyncIterator[bytes]:
        async for number, line in lines(self._chunk):
            try:
                message = self._message(line)
            except InvalidArgument as error:
                raise InvalidArgument(f"line {number}: {error.message}", fields=error.fields) from error
            yield message

    async def _chunk(self) -> bytes:
        async with self._reading():
            return await self.request.content.readany()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """Turn what can go wrong with a body into errors of ours."""
        try:
            async with asyncio.timeout_at(self.deadline):
                yield
        except TimeoutError:
            raise RequestTooSlow from None
        except HTTPRequestEntityTooLarge:
            raise BodyTooLarge(limit=LARGEST_BODY) from None
        except RequestPayloadError as error:
            raise MalformedRequest(reason="its body breaks off or is not encoded as it says") from error

    def _check_content_type(self) -> None:
        accepted, charset = self.operation.content_types, (self.request.charset or "utf-8").lower()
        if self.operation.transcoder.takes_body and (
            self.request.content_type not in accepted or charset not in ("utf-8", "utf8")
        ):
            raise ContentTypeNotSupported(expected=" or ".join(accepted))

    async def _let_body_come(self) -> None:
        """Answer a client that asks for leave before it sends its body."""
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.request.writer.output_size = 0
