"""OTLP over HTTP: the same as over gRPC, for who has no gRPC (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

from __future__ import annotations

import asyncio
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

from chassis.errors import InvalidArgument, MercatoError, ResourceExhausted
from chassis.limits import Limit
from chassis.settings import Settings
from chassis.tasks import CANCEL_AGAIN_S
from services.telemetry.receiver import MAX_BATCH_BYTES

PROTOBUF, JSON = "application/x-protobuf", "application/json"
MOST_REQUESTS = 100
"""At once."""
_IDS = frozenset(("traceId", "spanId", "parentSpanId"))
"""They are hexadecimal in OTLP's JSON, and not base64 as bytes are else."""


class NotABatch(InvalidArgument):
    """The body is not a batch of OTLP: {problem}."""


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
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=CANCEL_AGAIN_S / 2)
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
        request_class, export = self._exports[request.path]
        try:
            with self._limit:
                body = await request.read()
                batch = await asyncio.to_thread(_read, request_class(), kind, body)  # JSON may take a second
                return _response(await export(batch, None), kind)
        except web.HTTPRequestEntityTooLarge:
            return _response(Status(code=8, message=f"expected at most {MAX_BATCH_BYTES} bytes"), kind, 413)
        except web.RequestPayloadError as error:
            return _response(_status(NotABatch(problem=str(error))), kind, 400)
        except InvalidArgument as error:
            return _response(_status(error), kind, 400)
        except ResourceExhausted as error:
            return _response(_status(error), kind, 429)


def _read(batch: Message, kind: str, body: bytes) -> Message:
    try:
        if kind == JSON:
            parsed = orjson.loads(body)
            if not isinstance(parsed, dict):
                raise NotABatch(problem="expected an object")
            return ParseDict(_with_base64_ids(parsed), batch, ignore_unknown_fields=True)
        batch.ParseFromString(body)
    except (DecodeError, ParseError, ValueError) as error:
        raise NotABatch(problem=str(error)[:200]) from None
    return batch


def _with_base64_ids(parsed: Any) -> Any:
    """Return parsed JSON in which ids are as protobuf's JSON has bytes; ValueError where one is not hexadecimal."""
    left = [parsed]
    while left:
        match left.pop():
            case dict() as fields:
                for name in fields.keys() & _IDS:
                    fields[name] = b64encode(bytes.fromhex(str(fields[name]))).decode()
                left.extend(fields.values())
            case list() as items:
                left.extend(items)
    return parsed


def _status(error: MercatoError) -> Status:
    return Status(code=error.code, message=error.message)


def _response(message: Message, kind: str, status: int = 200) -> web.Response:
    body = MessageToJson(message, indent=None).encode() if kind == JSON else message.SerializeToString()
    return web.Response(body=body, status=status, content_type=kind)
