"""The HTTP face: finds what a request means, has it called, and tells every error as google.rpc.Status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import grpc
from aiohttp import hdrs
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web import BaseRequest, Response, StreamResponse
from aiohttp.web import Server as HttpServer
from aiohttp.web_protocol import RequestHandler

from chassis.call import Call, serving
from chassis.errors import Internal, MercatoError
from chassis.server import Server
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.metrics import durations
from chassis.telemetry.rpc import CONSOLE, ClientCalls
from chassis.telemetry.trace import Trace
from services.gateway.calls import HttpCall
from services.gateway.cors import Cors
from services.gateway.errors import MalformedRequest, UrlTooLong
from services.gateway.exchange import Exchange, caller_of, timeout_of
from services.gateway.failures import error_response
from services.gateway.incoming import Incoming
from services.gateway.operations import Operation
from services.gateway.pages import Page
from services.gateway.routes import RouteTable

LARGEST_URL = 64 << 10
LARGEST_HEADER = 16 << 10
IDLE_S = 75.0

_log = logging.getLogger("mercato.http")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_seconds = durations(
    "http.server.request.duration", "Time HTTP requests took.",
    "http.request.method", "http.route", "http.response.status_code",
)  # fmt: skip


class Front:
    """Answers HTTP requests, as many at once as the gRPC server beside it has room for."""

    def __init__(
        self,
        routes: RouteTable[Operation],
        stubs: Mapping[str, Callable[..., Any]],
        pages: Mapping[str, Page],
        cors: Cors,
        server: Server,
        telemetry: Telemetry,
    ) -> None:
        self._routes = routes
        self._stubs = stubs
        self._pages = pages
        self._cors = cors
        self._calls, self._streams = server.calls, server.streams
        self._telemetry = telemetry
        self._made, self._looking_on = ClientCalls(telemetry.fields["service"]), ClientCalls(CONSOLE)
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End all streams."""
        self._closing.set_result(None)

    async def answer(self, request: BaseRequest) -> StreamResponse:
        """Answer one request, whatever it is."""
        status, route = 499, _Route()  # when the client goes before the answer
        page = self._pages.get(request.raw_path.partition("?")[0])
        parent = Trace.parse(request.headers.get("Traceparent", "")) or (Trace.start() if page else None)
        incoming = Incoming(self._telemetry, request.method, parent)
        exchange = Exchange.of(request.headers, parent, incoming.trace)
        headers = {**exchange.headers, **self._cors.headers(request)}
        with serving(Call(method="", caller="", deadline=None, trace=exchange.trace)) as call:
            try:
                response = await self._dispatch(request, exchange, call, headers, route)
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
                _note(request, exchange, call, route, status, incoming)
        return response

    async def _dispatch(
        self, request: BaseRequest, exchange: Exchange, call: Call, headers: Mapping[str, str], route: _Route
    ) -> StreamResponse:
        if len(request.raw_path) > LARGEST_URL:
            raise UrlTooLong(limit=LARGEST_URL)
        path, _, query = request.raw_path.partition("?")
        if page := self._pages.get(path):
            route.text = page.route
            call.caller = CONSOLE if page.route == f"/{CONSOLE}" else caller_of(request.headers)
            return page.response(request.method, headers)
        if request.method == hdrs.METH_OPTIONS:
            return self._options(path, headers)
        operation, variables = self._routes.find(request.method, path)
        call.method, call.caller, route.text = operation.path, caller_of(request.headers), operation.template.text
        call.deadline = asyncio.get_running_loop().time() + timeout_of(request.headers, operation.timeout_s)
        with self._streams if operation.method.server_streaming else self._calls.serving(operation.path):
            stub, calling = self._stubs[operation.path], partial(self._calling, operation.path, exchange, call.caller)
            one = HttpCall(request, operation, stub, variables, query, call.deadline, calling, headers, self._closing)
            return await one.answer()

    @contextmanager
    def _calling(self, path: str, exchange: Exchange, caller: str) -> Iterator[tuple[tuple[str, str], ...]]:
        with (self._looking_on if caller == CONSOLE else self._made).calling(path) as trace:
            yield exchange.metadata(caller, trace)

    def _options(self, path: str, headers: Mapping[str, str]) -> Response:
        allowed = ", ".join((*self._routes.allowed(path), hdrs.METH_OPTIONS))
        return Response(status=204, headers={**headers, **self._cors.preflight(allowed), "Allow": allowed})


@dataclass(slots=True)
class _Route:
    """What a request was found to mean; empty for nothing."""

    text: str = ""


def _note(request: BaseRequest, exchange: Exchange, call: Call, route: _Route, status: int, incoming: Incoming) -> None:
    """Count, record and log one request; who looks on would see mostly itself, so that its requests are not."""
    method = request.method if request.method in _METHODS else "_OTHER"
    duration_s, looks_on = incoming.duration_s, call.caller == CONSOLE
    if not looks_on:
        _seconds.labels(method, route.text, status).observe(duration_s, incoming.exemplar)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": route.text,
        "url.path": request.raw_path.partition("?")[0][:200],
        "url.scheme": "http",
        "http.response.status_code": status,
        "mercato.caller": call.caller,
    }
    error = str(status) if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not looks_on else ""
    incoming.end(f"{method} {route.text}".strip(), error, attributes)
    _log.log(
        logging.DEBUG if looks_on else logging.INFO,
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
