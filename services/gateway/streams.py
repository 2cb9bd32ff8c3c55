"""Streams over HTTP: server-sent events out, one JSON message a line in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
from aiohttp.web import BaseRequest, StreamResponse

from chassis.errors import Unavailable
from services.gateway.errors import BodyTooLarge
from services.gateway.failures import failure, status_json

FIRST_EVENT_S = 1.0
"""So long the status of the answer waits for the first event or an error, which then has an HTTP status of its own."""
KEEP_ALIVE_S = 15.0
"""So often a silent stream shows that it lives; a client that is gone is noticed by it."""

LARGEST_LINE = 1 << 20
LARGEST_STREAM = 64 << 20


async def send_events(
    request: BaseRequest,
    call: grpc.aio.UnaryStreamCall[bytes, bytes],
    to_json: Callable[[bytes], bytes],
    headers: Mapping[str, str],
    closing: asyncio.Future[None],
) -> StreamResponse:
    """Answer with each message as an event, an error as the last; AioRpcError when it comes before anything is sent.

    When `closing` is done, the stream ends with UNAVAILABLE: the client may connect again.
    """
    response = StreamResponse(headers={**headers, "Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    reading = asyncio.ensure_future(call.read())
    try:
        await asyncio.wait({reading}, timeout=FIRST_EVENT_S)
        if reading.done():
            reading.result()
        await response.prepare(request)
        while (message := await _next(reading, response, closing)) is not grpc.aio.EOF:
            await response.write(b"data: %b\n\n" % to_json(message))
            reading = asyncio.ensure_future(call.read())
    except (grpc.aio.AioRpcError, Unavailable) as error:
        if not response.prepared:
            raise
        await response.write(b"event: error\ndata: %b\n\n" % status_json(failure(error)[1]))
    finally:
        reading.cancel()
        call.cancel()
    return response


async def _next(reading: asyncio.Future[Any], response: StreamResponse, closing: asyncio.Future[None]) -> Any:
    """Return the next message, showing life meanwhile; Unavailable when the gateway is closing."""
    while not reading.done():
        await asyncio.wait({reading, closing}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
        if closing.done() and not reading.done():
            raise Unavailable("The gateway is going down; connect again.")
        if not reading.done():
            await response.write(b": waiting\n\n")
    return reading.result()


async def lines(read: Callable[[], Awaitable[bytes]]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield each line that is not blank as it comes, with its number; BodyTooLarge when it is, or all together are."""
    rest, total, number = b"", 0, 0
    while chunk := await read():
        total += len(chunk)
        if total > LARGEST_STREAM:
            raise BodyTooLarge(limit=LARGEST_STREAM)
        *complete, rest = (rest + chunk).split(b"\n")
        if len(rest) > LARGEST_LINE or any(len(line) > LARGEST_LINE for line in complete):
            raise BodyTooLarge(limit=LARGEST_LINE)
        for line in complete:
            number += 1
            if line and not line.isspace():
                yield number, line
    if rest and not rest.isspace():
        yield number + 1, rest
