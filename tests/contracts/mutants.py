"""Providers changed in one way: before the real one stands what speaks its changed protos, or changes its answers.

What a request or an answer means stays the same; only how it looks on the wire is as the changed protos say. That is
what consumers meet when a provider's protos change and its code with them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from chassis.testing.bridge import Emitted, Provider
from chassis.testing.schema import Schema, kind_of
from chassis.testing.wire import CODES, DETAILS
from tests.contracts.protos import IMAGE

TIMEOUT_S = 10.0


@dataclass
class Reply:
    """What a provider answers a call with, before it goes out."""

    messages: list[Any]
    status: Status
    detailed: bool = True
    """Whether the status travels in the trailers, with its details."""


@dataclass(frozen=True)
class Mutation:
    """One change of a provider."""

    name: str
    provider: str
    broken: frozenset[str]
    """The consumers that it breaks."""
    protos: Callable[[FileDescriptorSet], None] = lambda _: None
    """Changes the protos."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """From which field of before a changed one has its value, `mercato.a.v1.M.new` to `old`; empty: from none."""
    reply: Callable[[str, Reply], None] = lambda *_: None
    """Changes the answers of a method."""


@asynccontextmanager
async def mutated(mutation: Mutation, provider: Provider) -> AsyncIterator[Provider]:
    """Run a provider changed in this way."""
    files = FileDescriptorSet.FromString(IMAGE.read_bytes())
    before = Schema(files)
    changed = FileDescriptorSet.FromString(IMAGE.read_bytes())
    mutation.protos(changed)
    carry = Carry(before, Schema(changed), mutation.sources)
    async with grpc.aio.insecure_channel(provider.target) as channel:
        server = grpc.aio.server(handlers=[_Face(mutation, carry, channel)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()

        async def emitted(full_name: str) -> Emitted:
            assert provider.emitted is not None
            event = await provider.emitted(full_name)
            return replace(event, payload=carry.event(full_name, event.payload))

        try:
            yield replace(provider, target=f"127.0.0.1:{port}", emitted=emitted)
        finally:
            await server.stop(0)


@dataclass(frozen=True)
class Carry:
    """Carries messages over from the protos of before to the changed ones, and back."""

    before: Schema
    after: Schema
    sources: Mapping[str, str]

    def event(self, full_name: str, payload: bytes) -> bytes:
        """Return an event as the changed provider emits it; TimeoutError when it has none of that type."""
        try:
            changed = GetMessageClass(self.after.message(full_name))()
        except KeyError:
            raise TimeoutError from None
        self.over(GetMessageClass(self.before.message(full_name)).FromString(payload), changed)
        return changed.SerializeToString()

    def over(self, old: Any, new: Any) -> None:
        """Fill a changed message."""
        for each in new.DESCRIPTOR.fields:
            source = old.DESCRIPTOR.fields_by_name.get(self.sources.get(each.full_name, each.name))
            if source:
                _carry(old, source, new, each, self.over)

    def back(self, new: Any, old: Any) -> None:
        """Fill a message of before from a changed one that was received."""
        for each in new.DESCRIPTOR.fields:
            target = old.DESCRIPTOR.fields_by_name.get(self.sources.get(each.full_name, each.name))
            if target:
                _carry(new, each, old, target, self.back)


class _Face(grpc.GenericRpcHandler):
    """What serves the changed protos."""

    def __init__(self, mutation: Mutation, carry: Carry, channel: grpc.aio.Channel) -> None:
        self._mutation = mutation
        self._carry = carry
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what answers a call, if the changed protos have its method."""
        path = handler_call_details.method
        after, before = self._carry.after.methods.get(path), self._carry.before.methods.get(path)
        if after is None or before is None:
            return None

        async def serve(requests: Any, context: Any) -> AsyncIterator[bytes]:
            got = [each async for each in requests] if after.client_streaming else [requests]
            reply = await self._call(before, [self._request(before, after, each) for each in got], context)
            changed = [GetMessageClass(after.output_type)() for _ in reply.messages]
            for old, new in zip(reply.messages, changed, strict=True):
                self._carry.over(old, new)
            reply.messages = changed
            self._mutation.reply(after.name, reply)
            for message in reply.messages:
                yield message.SerializeToString()
            if reply.status.code:
                trailers = ((DETAILS, reply.status.SerializeToString()),) if reply.detailed else ()
                await context.abort(CODES[reply.status.code], reply.status.message, trailers)

        async def serve_once(requests: Any, context: Any) -> bytes:
            [response] = [each async for each in serve(requests, context)]
            return response

        make: Any = getattr(grpc, f"{kind_of(after)}_rpc_method_handler")
        handler: grpc.RpcMethodHandler[Any, Any] = make(serve if after.server_streaming else serve_once)
        return handler

    def _request(self, before: MethodDescriptor, after: MethodDescriptor, data: bytes) -> bytes:
        request = GetMessageClass(before.input_type)()
        self._carry.back(GetMessageClass(after.input_type).FromString(data), request)
        return request.SerializeToString()

    async def _call(self, method: MethodDescriptor, requests: Sequence[bytes], context: Any) -> Reply:
        make: Any = getattr(self._channel, kind_of(method))
        stub = make(f"/{method.containing_service.full_name}/{method.name}")
        metadata = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]

        async def stream() -> AsyncIterator[bytes]:
            for request in requests:
                yield request

        given: Any = stream() if method.client_streaming else requests[0]
        call = stub(given, timeout=TIMEOUT_S, metadata=metadata)
        parse = GetMessageClass(method.output_type).FromString
        try:
            answers = [each async for each in call] if method.server_streaming else [await call]
        except grpc.aio.AioRpcError as error:
            return Reply([], _status(error))
        return Reply([parse(each) for each in answers], Status())


def _status(error: grpc.aio.AioRpcError) -> Status:
    raw: Any = next((value for key, value in error.trailing_metadata() or () if key == DETAILS), b"")
    number: int = error.code().value[0]
    return Status(code=number, message=error.details() or "", details=Status.FromString(raw).details)


def _carry(source: Any, old: Any, target: Any, new: Any, deep: Callable[[Any, Any], None]) -> None:
    """Set one field of a message by one of another; what cannot be said in the other's type gets lost."""
    if old.has_presence and not source.HasField(old.name):
        return
    value, into = getattr(source, old.name), getattr(target, new.name)
    if _is_map(old):
        for key in value:
            _set_entry(value[key], old.message_type.fields_by_name["value"], into, key, new, deep)
    elif new.message_type:
        for each in value if old.is_repeated else [value]:
            if old.message_type and old.message_type.full_name == new.message_type.full_name:
                deep(each, into.add() if new.is_repeated else into)
                if not new.is_repeated:
                    into.SetInParent()
    elif new.is_repeated:
        into.extend(_scalar(old, new, each) for each in (value if old.is_repeated else [value]))
    else:
        setattr(target, new.name, _scalar(old, new, value))


def _set_entry(value: Any, old: Any, into: Any, key: Any, new: Any, deep: Callable[[Any, Any], None]) -> None:
    entry = new.message_type.fields_by_name["value"]
    if entry.message_type:
        deep(value, into[key])
    else:
        into[key] = _scalar(old, entry, value)


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _scalar(old: Any, new: Any, value: Any) -> Any:
    if old.enum_type:
        name = old.enum_type.values_by_number[value].name
        if new.enum_type:
            return new.enum_type.values_by_name[name].number
        return name if new.type == FieldDescriptor.TYPE_STRING else value
    match new.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = value.ToJsonString() if hasattr(value, "ToJsonString") else str(value)
            return text.encode() if new.type == FieldDescriptor.TYPE_BYTES else text
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return float(value)
        case FieldDescriptor.CPPTYPE_BOOL:
            return bool(value)
        case _:
            return int(value)
