"""The HTTP face: finds what a request means, has it called, and tells every error as google.rpc.Status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import grpc
from aiohttp import hdrs
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, Response, StreamResponse
from aiohttp.web import Server as HttpServer
from aiohttp.web_protocol import RequestHandler
from prometheus_client import Counter, Histogram

from chassis.call import Call, serving
from chassis.errors import Internal, MercatoError
from chassis.server import Server
from services.gateway.calls import HttpCall
from services.gateway.cors import Cors
from services.gateway.errors import MalformedRequest, UrlTooLong
from services.gateway.exchange import Exchange, caller_of, timeout_of
from services.gateway.failures import error_response
from services.gateway.operations import Operation
from services.gateway.pages import Page
from services.gateway.routes import RouteTable

LARGEST_URL = 64 << 10
LARGEST_HEADER = 16 << 10
IDLE_S = 75.0

_log = logging.getLogger("mercato.http")
_seconds = Histogram("mercato_http_request_seconds", "Time HTTP requests took.", ("method",))
_count = Counter("mercato_http_requests_total", "HTTP requests, by status.", ("method", "status"))


class Front:
    """Answers HTTP requests, as many at once as the gRPC server beside it has room for."""

    def __init__(
        self,
        routes: RouteTable[Operation],
        stubs: Mapping[str, Callable[..., Any]],
        pages: Mapping[str, Page],
        cors: Cors,
        server: Server,
        trace_ratio: float,
    ) -> None:
        self._routes = routes
        self._stubs = stubs
        self._pages = pages
        self._cors = cors
        self._calls, self._streams = server.calls, server.streams
        self._trace_ratio = trace_ratio
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End all streams."""
        self._closing.set_result(None)

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """Answer one request, whatever it is."""
        started, status = perf_counter(), 499  # when the client goes before the answer
        exchange = Exchange.of(request.headers, self._trace_ratio)
        headers = {**exchange.headers, **self._cors.headers(request)}
        with serving(Call(method="", caller="", deadline=None, trace=exchange.trace)) as call:
            try:
                response = await self._dispatch(request, exchange, call, headers)
                status = response.status
            except (MercatoError, grpc.aio.AioRpcError) as error:
                response = error_response(error, headers)
                status = response.status
            except ConnectionError:  # the client went
                raise
            except Exception:
                _log.exception("request failed")
                if request.writer.output_size > 0:
                    raise
                response = error_response(Internal(), headers)
                status = response.status
            finally:
                _note(request, exchange, call, status, perf_counter() - started)
        return response

    async def _dispatch(
        self, request: BaseRequest, exchange: Exchange, call: Call, headers: Mapping[str, str]
    ) -> StreamResponse:
        if len(request.raw_path) > LARGEST_URL:
            raise UrlTooLong(limit=LARGEST_URL)
        path, _, query = request.raw_path.partition("?")
        if page := self._pages.get(path):
            return page.response(request.method, headers)
        if request.method == hdrs.METH_OPTIONS:
            return self._options(path, headers)
        operation, variables = self._routes.find(request.method, path)
        call.method, call.caller = operation.path, caller_of(request.headers)
        call.deadline = asyncio.get_running_loop().time() + timeout_of(request.headers, operation.timeout_s)
        with self._streams if operation.method.server_streaming else self._calls.serving(operation.path):
            stub, metadata = self._stubs[operation.path], exchange.metadata(call.caller)
            one = HttpCall(request, operation, stub, variables, query, call.deadline, metadata, headers, self._closing)
            return await one.answer()

    def _options(self, path: str, headers: Mapping[str, str]) -> Response:
        allowed = ", ".join((*self._routes.allowed(path), hdrs.METH_OPTIONS))
        return Response(status=204, headers={**headers, **self._cors.preflight(allowed), "Allow": allowed})


def _note(request: BaseRequest, exchange: Exchange, call: Call, status: int, duration_s: float) -> None:
    """Count and log one request."""
    _seconds.labels(call.method).observe(duration_s)
    _count.labels(call.method, status).inc()
    _log.info(
        f"{request.method} {request.raw_path.partition('?')[0][:200]}",
        extra={
            "method": call.method,
            "status": status,
            "ms": round(duration_s * 1000, 2),
            "request_id": exchange.request_id,
        },
    )


class _Connection(RequestHandler):
    """A connection that answers what is not HTTP as everything else is answered."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> StreamResponse:
        """Answer what could not be read; break off where an answer has begun that cannot be ended."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        reason = "a line is too long" if isinstance(exc, LineTooLong) else "it cannot be read"
        _log.info("malformed request", extra={"problem": str(message or exc)[:200]})
        response = error_response(MalformedRequest(reason=reason), {})
        response.force_close()
        return response


class Connections(HttpServer):
    """The HTTP server: one connection for each client."""

    def __init__(self, front: Front) -> None:
        super().__init__(front.answer, handler_cancellation=True)

    def __call__(self) -> RequestHandler:
        """Return what serves one connection."""
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=IDLE_S,
            max_line_size=2 * LARGEST_URL,
            max_field_size=LARGEST_HEADER,
        )
