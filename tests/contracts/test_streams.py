"""Streams of every kind, metadata, trailers and a oneof, from a consumer's test to a provider unlike any of Mercato."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status

from chassis.testing.bridge import Provider
from chassis.testing.consumer import Exchange, Pacts
from chassis.testing.gate import verify
from chassis.testing.mock import Mock
from chassis.testing.pacts import read
from chassis.testing.schema import kind_of, path_of
from chassis.testing.wire import DETAILS

Type = FieldDescriptorProto


def counting() -> Any:
    """Return a service with a method of each kind, and a message with a oneof."""
    file = FileDescriptorProto(name="lab.proto", package="lab", syntax="proto3")
    message = file.message_type.add(name="Number")
    message.oneof_decl.add(name="form")
    for number, (name, type_) in enumerate({"value": Type.TYPE_INT32, "words": Type.TYPE_STRING}.items(), start=1):
        message.field.add(name=name, number=number, type=type_, label=Type.LABEL_OPTIONAL, oneof_index=0)
    service = file.service.add(name="Counting")
    for name, asks, answers in (("One", 0, 0), ("CountTo", 0, 1), ("Sum", 1, 0), ("Double", 1, 1)):
        service.method.add(
            name=name, input_type=".lab.Number", output_type=".lab.Number",
            client_streaming=bool(asks), server_streaming=bool(answers),
        )  # fmt: skip
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("lab.Counting")


SERVICE = counting()
METHODS = SERVICE.methods_by_name
NUMBER: Any = GetMessageClass(METHODS["One"].input_type)
BROKEN = Status(code=15, message="The rest is lost.", details=[AnyMessage(type_url="type.lab/Own", value=b"\x01")])


def numbers(*values: int) -> list[Any]:
    return [NUMBER(value=value) for value in values]


class Counting(grpc.GenericRpcHandler):
    """A real provider; `lost` of what it should send never come, and `words` stand for the number it should answer."""

    def __init__(self, lost: int = 0, tells: str = "yes", words: str = "") -> None:
        self._lost = lost
        self._tells = tells
        self._words = words

    def service(self, handler_call_details: Any) -> Any:
        method = METHODS[handler_call_details.method.rpartition("/")[2]]
        behavior = getattr(self, method.name.lower())
        make: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
        return make(behavior, NUMBER.FromString, NUMBER.SerializeToString)

    async def one(self, request: Any, context: Any) -> Any:
        await context.send_initial_metadata((("counted", "yes"),))
        context.set_trailing_metadata((("checked", self._tells), ("mark-bin", b"\x07")))
        return NUMBER(words=self._words) if self._words else request

    async def countto(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for value in range(1, request.value + 1 - self._lost):
            yield NUMBER(value=value)
        if request.value > 2:
            await context.abort(grpc.StatusCode.DATA_LOSS, "Gone.", ((DETAILS, BROKEN.SerializeToString()),))

    async def sum(self, requests: AsyncIterator[Any], context: Any) -> Any:
        return NUMBER(value=sum([each.value async for each in requests]) - self._lost)

    async def double(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for each in requests:
            yield NUMBER(value=2 * each.value)


async def provider(server: grpc.aio.Server, counting: Counting) -> Provider:
    server.add_generic_rpc_handlers((counting,))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    async def nothing() -> None:
        pass

    return Provider("counting", target, {}, nothing)


@pytest.fixture
async def server() -> AsyncIterator[grpc.aio.Server]:
    server = grpc.aio.server()
    yield server
    await server.stop(0)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """The pact of a consumer that uses a method of each kind."""
    pacts = Pacts()
    contract = pacts.calls("reader", "counting")
    trailers = {"checked": "yes", "mark-bin": "Bw=="}
    async with Mock() as mock, grpc.aio.insecure_channel(mock.target) as channel:
        one = Exchange("one", METHODS["One"], NUMBER(value=4), NUMBER(value=4), trailers=trailers)
        async with contract.expecting(mock, one):
            call = stub(channel, "One")(NUMBER(value=4))
            assert (await call).WhichOneof("form") == "value"
            assert dict(await call.trailing_metadata()) == {"checked": "yes", "mark-bin": b"\x07"}

        async with contract.expecting(mock, Exchange("two", METHODS["CountTo"], NUMBER(value=2), numbers(1, 2))):
            assert [each.value async for each in stub(channel, "CountTo")(NUMBER(value=2))] == [1, 2]

        broken = Exchange("three", METHODS["CountTo"], NUMBER(value=3), [*numbers(1, 2, 3), BROKEN])
        async with contract.expecting(mock, broken):
            call, seen = stub(channel, "CountTo")(NUMBER(value=3)), []
            with pytest.raises(grpc.aio.AioRpcError) as error:
                seen.extend([each.value async for each in call])
            assert error.value.code() is grpc.StatusCode.DATA_LOSS

        async with contract.expecting(mock, Exchange("sum", METHODS["Sum"], numbers(1, 2), NUMBER(value=3))):
            assert (await stub(channel, "Sum")(iter(numbers(1, 2)))).value == 3

        async with contract.expecting(mock, Exchange("double", METHODS["Double"], numbers(1, 2), numbers(2, 4))):
            assert [each.value async for each in stub(channel, "Double")(iter(numbers(1, 2)))] == [2, 4]
    [written] = pacts.write(tmp_path)
    return written


def stub(channel: grpc.aio.Channel, name: str) -> Any:
    method = METHODS[name]
    make: Any = getattr(channel, kind_of(method))
    return make(path_of(method), NUMBER.SerializeToString, NUMBER.FromString)


async def test_each_kind_is_verified(server: grpc.aio.Server, file: Path) -> None:
    verdict = await verify(file, await provider(server, Counting()))
    assert (verdict.problems, verdict.interactions) == ([], 5)


async def test_what_is_lost_on_the_way_is_red(server: grpc.aio.Server, file: Path) -> None:
    verdict = await verify(file, await provider(server, Counting(lost=1)))
    assert {problem.split()[-1] for problem in verdict.problems} == {"(sum)", "(two)", "(three)"}


async def test_another_trailer_is_red(server: grpc.aio.Server, file: Path) -> None:
    [problem] = (await verify(file, await provider(server, Counting(tells="no")))).problems
    assert "'trailer-checked': Expected 'no' to be equal to 'yes'" in problem


async def test_the_other_member_of_a_oneof_is_red(server: grpc.aio.Server, file: Path) -> None:
    """The consumer does not even know it: only what it reads of the oneof is in its pact."""
    [number] = [message for message in read(file).schema.files.file[0].message_type if message.name == "Number"]
    assert [(field.name, number.oneof_decl[field.oneof_index].name) for field in number.field] == [("value", "form")]
    assert (await verify(file, await provider(server, Counting(words="four")))).problems == [
        "One.value: is missing (one)"
    ]
