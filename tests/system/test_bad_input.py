"""Whatever is sent to any method: a clear error that is never ours to blame, and nothing changes by it."""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from mercato.catalog.v1 import catalog_pb2
from mercato.customers.v1 import customers_pb2
from mercato.inventory.v1 import inventory_pb2
from mercato.notifications.v1 import notifications_pb2
from mercato.operations.v1 import operations_pb2
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2
from mercato.shipping.v1 import shipping_pb2

from chassis.policy import Policy
from tests.stage import Stage

SERVICES: list[ServiceDescriptor] = [
    service
    for module in (
        customers_pb2, catalog_pb2, inventory_pb2, payments_pb2, shipping_pb2, orders_pb2, notifications_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
]  # fmt: skip
METHODS = [
    pytest.param(method, id=f"{service.name}.{method.name}") for service in SERVICES for method in service.methods
]
MESSAGES_EACH = 40
OURS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE}
NASTY = ["", "x", "\x00", "ö\u202e\U0001f600", "%", "'; DROP TABLE orders; --", "a" * 300, "products/../x", "-1", "{}"]
KINDS = ["products", "customers", "orders", "payments", "shipments", "stocks", "reservations", "returns", "mails"]


@pytest.fixture(scope="module")
async def channels(stage: Stage) -> dict[str, grpc.aio.Channel]:
    for service in SERVICES:
        await stage.start(service.file.package.split(".")[1])
    return {service.full_name: stage.channel(service) for service in SERVICES}


class Fuzz:
    """Makes messages that are sometimes right, sometimes nearly so, sometimes nonsense. Seeded."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def message(self, descriptor: Descriptor, depth: int = 0) -> Any:
        result: Any = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            if depth < 4 and self._random.random() < 0.8:
                self._fill(result, field, depth)
        return result

    def _fill(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = field.message_type.fields_by_name["value"]
            if values.message_type is not None:
                getattr(message, field.name)[self._text(field)].CopyFrom(self.message(values.message_type, depth + 1))
        elif field.is_repeated:
            for _ in range(self._random.randint(0, 3)):
                if field.message_type is not None:
                    getattr(message, field.name).add().CopyFrom(self.message(field.message_type, depth + 1))
                else:
                    getattr(message, field.name).append(self._scalar(field))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self.message(field.message_type, depth + 1))
        else:
            setattr(message, field.name, self._scalar(field))

    def _scalar(self, field: FieldDescriptor) -> Any:
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_STRING:
                return self._text(field) if field.type == FieldDescriptor.TYPE_STRING else b"\xff"
            case FieldDescriptor.CPPTYPE_BOOL:
                return self._random.random() < 0.5
            case FieldDescriptor.CPPTYPE_ENUM:
                return self._random.choice([0, 1, 2, 3, 99, -1])
            case FieldDescriptor.CPPTYPE_INT32:
                return self._random.choice([0, 1, 2, -1, 2**31 - 1, -(2**31)])
            case _:
                return self._random.choice([0, 1, 3, 10, -1, 10**6, 2**63 - 1, -(2**63)])

    def _text(self, field: FieldDescriptor) -> str:
        if field.name == "request_id" and self._random.random() < 0.9:
            return str(UUID(int=self._random.getrandbits(128), version=4))
        if self._random.random() < 0.3:
            return self._random.choice(NASTY)
        word = "".join(self._random.choices(string.ascii_letters, k=3))
        if field.name == "currency_code":
            return "GBP"
        if field.name == "region_code":
            return self._random.choice(["GB", "FR", "ZZ"])
        if field.name == "email":
            return "a@b.example"
        if field.name.endswith("_id") or field.name in ("label", "title", "prefix", "card_token"):
            return word
        return f"{self._random.choice(KINDS)}/{word}"


async def call(channel: Any, method: MethodDescriptor, *payloads: bytes) -> tuple[grpc.StatusCode, Any]:
    """Send raw bytes to a method; returns code and google.rpc.Status."""
    path = Policy.of(method).path
    metadata = (("mercato-caller", "fuzz"),)
    try:
        if method.client_streaming:
            await channel.stream_unary(path)(iter(payloads), timeout=5, metadata=metadata)
        elif method.server_streaming:
            stream = channel.unary_stream(path)(payloads[0], timeout=0.3, metadata=metadata)
            async for _ in stream:
                pass
        else:
            await channel.unary_unary(path)(payloads[0], timeout=5, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        return error.code(), Status.FromString(raw)
    return grpc.StatusCode.OK, None


@pytest.mark.parametrize("method", METHODS)
async def test_any_message_is_answered_clearly_or_changes_nothing(
    method: MethodDescriptor, channels: dict[str, grpc.aio.Channel], stage: Stage
) -> None:
    service = method.containing_service
    database = stage.apps[service.file.package.split(".")[1]].database
    fuzz, outcomes = Fuzz(method.full_name), Counter[grpc.StatusCode]()
    stored = "SELECT count(*) FROM requests WHERE caller = 'fuzz'"
    before = await database.value(stored)
    for _ in range(MESSAGES_EACH):
        message = fuzz.message(method.input_type)
        code, status = await call(channels[service.full_name], method, message.SerializeToString())
        assert code not in OURS, f"{code}: {status} for {message}"
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            assert _fields(status), f"no field is named: {status} for {message}"
        outcomes[code] += 1
    if Policy.of(method).request_id:
        assert await database.value(stored) - before == outcomes[grpc.StatusCode.OK]


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28", b"\x08"], ids=["junk", "utf-8", "cut off"])
@pytest.mark.parametrize("method", METHODS)
async def test_bytes_that_are_no_message_are_refused(
    method: MethodDescriptor, payload: bytes, channels: dict[str, grpc.aio.Channel]
) -> None:
    code, _ = await call(channels[method.containing_service.full_name], method, payload)
    if payload == b"\x0a\x02\xc3\x28" and not _first_is_text(method):
        return  # without a text in field 1 this is an unknown field, and fine
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OK if _empty(method) else code)
    assert code not in OURS


async def test_operations_refuse_as_clearly(stage: Stage, channels: dict[str, grpc.aio.Channel]) -> None:
    service = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"]
    channel = channels[SERVICES[0].full_name]
    for method in service.methods:
        fuzz = Fuzz(method.full_name)
        for _ in range(MESSAGES_EACH):
            code, status = await call(channel, method, fuzz.message(method.input_type).SerializeToString())
            assert code not in OURS, status


def _fields(status: Any) -> list[str]:
    bad_request = BadRequest()
    for detail in status.details:
        if detail.Unpack(bad_request):
            return [violation.field for violation in bad_request.field_violations]
    return []


def _first_is_text(method: MethodDescriptor) -> bool:
    field = method.input_type.fields_by_number.get(1)
    return field is not None and field.type == FieldDescriptor.TYPE_STRING


def _empty(method: MethodDescriptor) -> bool:
    return not method.input_type.fields
