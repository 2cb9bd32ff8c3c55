"""OTLP over HTTP: the same as over gRPC, for who has no gRPC (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

from __future__ import annotations

import asyncio
import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.json_format import MessageToJson, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from chassis.errors import DeadlineExceeded, InvalidArgument, MercatoError, ResourceExhausted
from chassis.limits import Limit
from chassis.settings import Settings
from chassis.tasks import CANCEL_AGAIN_S
from services.telemetry.receiver import MAX_BATCH_BYTES

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST_REQUESTS = 100
"""At once."""
READ_S = 10.0
"""How long a body may take to come: who stalls would keep others out."""
MOST_OBJECTS = 200_000
"""In a batch of JSON: four megabytes of empty ones would take a quarter of a minute."""
ENCODINGS = ("", "identity", "gzip", "deflate")
_IDS = frozenset(("traceId", "spanId", "parentSpanId"))
"""They are hexadecimal in OTLP's JSON, and not base64 as bytes are else."""


class NotABatch(InvalidArgument):
    """The body is not a batch of OTLP: {problem}."""


class BatchTooLarge(ResourceExhausted):
    """A batch of OTLP may have {most} bytes at most."""


class TooSlow(DeadlineExceeded):
    """The body did not come within {timeout_s} s."""


class WebReceiver:
    """Serves POST of what collectors take, each on its path."""

    def __init__(self, collectors: Mapping[str, tuple[ServiceDescriptor, Any]], settings: Settings) -> None:
        self._exports = {
            path: (GetMessageClass(service.methods_by_name["Export"].input_type), collector.Export)
            for path, (service, collector) in collectors.items()
        }
        self._settings = settings
        self._limit = Limit(MOST_REQUESTS, "otlp")

    async def run(self) -> None:
        """Serve until cancelled. Whom it serves then gets no answer, or has one before the last of it is written."""
        application = web.Application(client_max_size=MAX_BATCH_BYTES)
        application.add_routes([web.post(path, self._answer) for path in self._exports])
        runner = web.AppRunner(application, access_log=None, auto_decompress=False, shutdown_timeout=CANCEL_AGAIN_S / 2)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.http_port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        """Take in one batch; errors are google.rpc.Status, written as the request is."""
        kind = request.content_type
        if kind not in (PROTOBUF, JSON):
            return _response(Status(code=3, message=f"Content-Type: expected {PROTOBUF} or {JSON}"), JSON, 415)
        encoding = request.headers.get("Content-Encoding", "").lower()
        if encoding not in ENCODINGS:
            return _response(Status(code=3, message="Content-Encoding: expected gzip, deflate or none"), kind, 415)
        request_class, export = self._exports[request.path]
        try:
            with self._limit:
                body = await _body(request)
                batch = await asyncio.to_thread(_read, request_class(), kind, body, encoding)  # JSON may take a second
                return _response(await export(batch, None), kind)
        except MercatoError as error:
            status = next(status for known, status in _STATUSES.items() if isinstance(error, known))
            return _response(Status(code=error.code, message=error.message), kind, status)


async def _body(request: web.Request) -> bytes:
    """Return the body as it comes; BatchTooLarge, NotABatch, TooSlow."""
    try:
        async with asyncio.timeout(READ_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BatchTooLarge(most=MAX_BATCH_BYTES) from None
    except web.RequestPayloadError as error:
        raise NotABatch(problem=str(error)) from None
    except TimeoutError:
        raise TooSlow(timeout_s=READ_S) from None


def _unzipped(body: bytes) -> bytes:
    """Return what was compressed by gzip or zlib; BatchTooLarge, NotABatch, zlib.error."""
    unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)  # as its head says
    plain = unzip.decompress(body, MAX_BATCH_BYTES + 1)
    if len(plain) > MAX_BATCH_BYTES:
        raise BatchTooLarge(most=MAX_BATCH_BYTES)
    if not unzip.eof or unzip.unused_data:
        raise NotABatch(problem="what is compressed does not end with it")
    return plain


def _read(batch: Message, kind: str, body: bytes, encoding: str) -> Message:
    try:
        if encoding in ("gzip", "deflate"):
            body = _unzipped(body)
        if kind == JSON:
            parsed = orjson.loads(body)
            if not isinstance(parsed, dict):
                raise NotABatch(problem="expected an object")
            return ParseDict(_with_base64_ids(parsed), batch, ignore_unknown_fields=True)
        batch.ParseFromString(body)
    except (DecodeError, ParseError, ValueError, zlib.error) as error:
        raise NotABatch(problem=str(error)[:200]) from None
    return batch


def _with_base64_ids(parsed: Any) -> Any:
    """Return parsed JSON in which ids are as protobuf's JSON has bytes; ValueError where one is not hexadecimal.

    NotABatch: it has too many objects.
    """
    left, objects = [parsed], 0
    while left:
        match left.pop():
            case dict() as fields:
                objects += 1
                if objects > MOST_OBJECTS:
                    raise NotABatch(problem=f"expected at most {MOST_OBJECTS} objects")
                for name in fields.keys() & _IDS:
                    if fields[name] is not None:  # which is as if it were not there
                        fields[name] = b64encode(bytes.fromhex(str(fields[name]))).decode()
                left.extend(fields.values())
            case list() as items:
                left.extend(items)
    return parsed


def _response(message: Message, kind: str, status: int = 200) -> web.Response:
    body = MessageToJson(message, indent=None).encode() if kind == JSON else message.SerializeToString()
    return web.Response(body=body, status=status, content_type=kind)


_STATUSES = {BatchTooLarge: 413, InvalidArgument: 400, DeadlineExceeded: 408, ResourceExhausted: 429}
"""Of HTTP, by what went wrong: the first that fits."""
