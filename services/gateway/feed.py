"""Streams of requests on their way to a service that may answer before they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc


@asynccontextmanager
async def feeding(call: Any, requests: AsyncIterator[bytes]) -> AsyncIterator[asyncio.Task[None]]:
    """Send requests to a call meanwhile, in a task; both end with the block."""
    task = asyncio.create_task(_feed(call, requests))
    try:
        yield task
    finally:
        task.cancel()
        call.cancel()
        await asyncio.wait({task})


async def answer_to(call: Any, requests: AsyncIterator[bytes]) -> bytes:
    """Send requests and return the response; AioRpcError when it is an error, or what went wrong with the requests."""
    async with feeding(call, requests) as sending:
        answering = asyncio.ensure_future(call)
        await asyncio.wait({sending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            await sending
        response: bytes = await answering
        return response


async def _feed(call: Any, requests: AsyncIterator[bytes]) -> None:
    """Send requests until they end or the service has answered.

    `call.write` would do, but where it comes too late it puts INTERNAL in the place of what the service answered.
    """
    await call.wait_for_connection()
    with suppress(grpc.aio.InternalError):
        async for request in requests:
            await call._cython_call.send_serialized_message(request)
        await call.done_writing()
