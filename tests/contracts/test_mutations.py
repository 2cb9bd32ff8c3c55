"""The proof that the gate sees what breaks a consumer, and nothing else: single changes of real providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.rpc.error_details_pb2 import ErrorInfo

from chassis.testing.bridge import Provider
from chassis.testing.gate import verify
from chassis.testing.mock import Mock
from chassis.testing.pacts import find
from tests.contracts import storefront
from tests.contracts.mutants import Mutation, Reply, mutated
from tests.contracts.regeneration import CONTRACTS

Type = FieldDescriptorProto
Protos = Callable[[FileDescriptorSet], None]
WINDOW, ORDERS, GATEWAY, MAILS = storefront.NAME, "orders", "gateway", "notifications"
PRODUCT, PRICE = "mercato.catalog.v1.Product", "mercato.catalog.v1.Price"
STOCK, LINE = "mercato.inventory.v1.Stock", "mercato.inventory.v1.StockLine"
CUSTOMER, PAYMENT = "mercato.customers.v1.Customer", "mercato.payments.v1.Payment"
CONFIRMED = "mercato.orders.v1.OrderConfirmed"


# How protos change


def message(files: FileDescriptorSet, full_name: str) -> DescriptorProto:
    package, _, name = full_name.rpartition(".")
    [found] = [
        each for file in files.file if file.package == package for each in file.message_type if each.name == name
    ]
    return found


def field(files: FileDescriptorSet, full_name: str) -> FieldDescriptorProto:
    owner, _, name = full_name.rpartition(".")
    [found] = [each for each in message(files, owner).field if each.name == name]
    return found


def enum(files: FileDescriptorSet, full_name: str) -> EnumDescriptorProto:
    owner, _, name = full_name.rpartition(".")
    [found] = [each for each in message(files, owner).enum_type if each.name == name]
    return found


def dropped(full_name: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        fields = message(files, full_name.rpartition(".")[0]).field
        fields.remove(field(files, full_name))

    return change


def renumbered(full_name: str, number: int) -> Protos:
    return lambda files: setattr(field(files, full_name), "number", number)


def renamed(full_name: str, name: str, number: int = 0) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        found = field(files, full_name)
        found.name, found.json_name = name, ""
        found.number = number or found.number

    return change


def typed(full_name: str, type_: Type.Type.ValueType, type_name: str = "") -> Protos:
    def change(files: FileDescriptorSet) -> None:
        found = field(files, full_name)
        found.type = type_
        found.ClearField("type_name")
        found.ClearField("options")  # the rules are of the other type
        if type_name:
            found.type_name = type_name

    return change


def repeated(full_name: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        found = field(files, full_name)
        found.label = Type.LABEL_REPEATED
        found.ClearField("options")

    return change


def value_renumbered(full_name: str, value: str, number: int) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        [found] = [each for each in enum(files, full_name).value if each.name == value]
        found.number = number

    return change


def oneof(full_name: str, other: str, number: int) -> Protos:
    """Put a field into a oneof with another, a text."""

    def change(files: FileDescriptorSet) -> None:
        owner = message(files, full_name.rpartition(".")[0])
        owner.oneof_decl.add(name="answer")
        field(files, full_name).oneof_index = len(owner.oneof_decl) - 1
        owner.field.add(
            name=other, number=number, type=Type.TYPE_STRING, label=Type.LABEL_OPTIONAL,
            oneof_index=len(owner.oneof_decl) - 1,
        )  # fmt: skip

    return change


def added(owner: str, name: str, number: int) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        message(files, owner).field.add(name=name, number=number, type=Type.TYPE_STRING, label=Type.LABEL_OPTIONAL)

    return change


def map_of_texts(full_name: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        owner, _, name = full_name.rpartition(".")
        [entry] = [each for each in message(files, owner).nested_type if each.name == f"{name.title()}Entry"]
        entry.field[1].type = Type.TYPE_STRING
        entry.field[1].ClearField("type_name")

    return change


def method_removed(package: str, name: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        for file in files.file:
            for service in file.service:
                for method in [each for each in service.method if file.package == package and each.name == name]:
                    service.method.remove(method)

    return change


def method_added(package: str, name: str, like: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        for service in (it for file in files.file if file.package == package for it in file.service):
            for method in [each for each in service.method if each.name == like]:
                service.method.add(name=name, input_type=method.input_type, output_type=method.output_type)

    return change


def package_renamed(package: str, new: str) -> Protos:
    def change(files: FileDescriptorSet) -> None:
        changed = files.SerializeToString()
        files.ParseFromString(changed.replace(package.encode(), new.encode()))  # of the same length

    return change


# How answers change


def on(method: str, change: Callable[[Reply], None]) -> Callable[[str, Reply], None]:
    return lambda called, reply: change(reply) if called == method else None


def code(number: grpc.StatusCode) -> Callable[[Reply], None]:
    def change(reply: Reply) -> None:
        if reply.status.code:
            reply.status.code = number.value[0]

    return change


def info(**changes: Any) -> Callable[[Reply], None]:
    """Change the ErrorInfo of an error."""

    def change(reply: Reply) -> None:
        for detail in reply.status.details:
            told = ErrorInfo()
            detail.Unpack(told)
            for name, value in changes.items():
                if name == "metadata":
                    told.metadata.update(value)
                else:
                    setattr(told, name, value)
            detail.Pack(told)

    return change


def without_details(reply: Reply) -> None:
    reply.status.ClearField("details")


def without_trailers(reply: Reply) -> None:
    reply.detailed = False


def all_well(reply: Reply) -> None:
    from mercato.inventory.v1.inventory_pb2 import ReserveStockResponse

    if reply.status.code:
        reply.status.Clear()
        reply.messages = [ReserveStockResponse()]


def refused(reply: Reply) -> None:
    reply.messages = []
    reply.status.code, reply.status.message = grpc.StatusCode.UNAVAILABLE.value[0], "Not now."


def shortened(reply: Reply) -> None:
    reply.messages = reply.messages[:-1]


def unknown_state(reply: Reply) -> None:
    for each in reply.messages:
        each.payment.state = 99


def blank_title(reply: Reply) -> None:
    for each in reply.messages:
        each.product.title = ""


def of(name: str, provider: str, *broken: str, **changes: Any) -> Mutation:
    return Mutation(name, provider, frozenset(broken), **changes)


INT = {
    "a text": Type.TYPE_STRING, "zigzag": Type.TYPE_SINT64, "a bool": Type.TYPE_BOOL, "a double": Type.TYPE_DOUBLE,
    "a float": Type.TYPE_FLOAT, "fixed": Type.TYPE_FIXED64,
}  # fmt: skip
OUT_OF_STOCK = "ReserveStock"

BREAKING = [
    of("field dropped", "catalog", WINDOW, GATEWAY, protos=dropped(f"{PRODUCT}.title")),
    of(
        "field renamed with a new number", "catalog", WINDOW, GATEWAY,
        protos=renamed(f"{PRODUCT}.title", "caption", 20), sources={f"{PRODUCT}.caption": "title"},
    ),
    of("field renumbered in an answer", "inventory", WINDOW, protos=renumbered(f"{STOCK}.on_hand", 12)),
    of("field renumbered in a request", "inventory", ORDERS, GATEWAY, protos=renumbered(f"{LINE}.quantity", 9)),
    *(of(f"whole number to {to}", "inventory", WINDOW, protos=typed(f"{STOCK}.on_hand", it)) for to, it in INT.items()),
    of("whole number to a list", "inventory", WINDOW, protos=repeated(f"{STOCK}.on_hand")),
    of("request's number to a text", "inventory", ORDERS, GATEWAY, protos=typed(f"{LINE}.quantity", Type.TYPE_STRING)),
    of("Timestamp to a text", "catalog", WINDOW, protos=typed(f"{PRODUCT}.create_time", Type.TYPE_STRING)),
    of("Money to a text", "catalog", WINDOW, ORDERS, GATEWAY, protos=typed(f"{PRICE}.amount", Type.TYPE_STRING)),
    of("time of withdrawal dropped", "catalog", ORDERS, protos=dropped(f"{PRICE}.end_time")),
    of(
        "enum value renumbered", "payments", WINDOW,
        protos=value_renumbered(f"{PAYMENT}.State", "STATE_CAPTURED", 7),
    ),
    of("enum value unknown", "payments", WINDOW, reply=on("GetPayment", unknown_state)),
    of("enum to a text", "payments", WINDOW, protos=typed(f"{PAYMENT}.state", Type.TYPE_STRING)),
    of(
        "oneof switched", "shipping", ORDERS,
        protos=oneof("mercato.shipping.v1.QuoteCarriageResponse.price", "price_text", 9),
        sources={
            "mercato.shipping.v1.QuoteCarriageResponse.price": "",
            "mercato.shipping.v1.QuoteCarriageResponse.price_text": "price",
        },
    ),
    of("map's values to texts", "customers", WINDOW, GATEWAY, protos=map_of_texts(f"{CUSTOMER}.addresses")),
    of("value gone", "catalog", WINDOW, reply=on("GetProduct", blank_title)),
    of("error code changed", "inventory", ORDERS, GATEWAY, reply=on(OUT_OF_STOCK, code(grpc.StatusCode.INTERNAL))),
    of("not found told as refused", "payments", GATEWAY,
       reply=on("GetPayment", code(grpc.StatusCode.PERMISSION_DENIED))),
    of("details missing", "inventory", ORDERS, GATEWAY, reply=on(OUT_OF_STOCK, without_details)),
    of("trailer lost", "inventory", ORDERS, GATEWAY, reply=on(OUT_OF_STOCK, without_trailers)),
    of("reason changed", "inventory", ORDERS, GATEWAY, reply=on(OUT_OF_STOCK, info(reason="SHORT"))),
    of("detail's data changed", "inventory", ORDERS, reply=on(OUT_OF_STOCK, info(metadata={"available": "0"}))),
    of("error turned into OK", "inventory", ORDERS, GATEWAY, reply=on(OUT_OF_STOCK, all_well)),
    of("OK turned into an error", "inventory", WINDOW, GATEWAY, reply=on("GetStock", refused)),
    of("method removed", "shipping", ORDERS, GATEWAY, protos=method_removed("mercato.shipping.v1", "CancelShipment")),
    of("method that is only passed on removed", "inventory", GATEWAY,
       protos=method_removed("mercato.inventory.v1", "ListMovements")),
    of("package renamed", "customers", WINDOW, ORDERS, GATEWAY,
       protos=package_renamed("mercato.customers.v1", "mercato.customers.v2")),
]  # fmt: skip

BREAKING_ORDERS = [
    of("stream shortened", "orders", GATEWAY, reply=on("WatchOrder", shortened)),
    of("field of an event dropped", "orders", MAILS, protos=dropped(f"{CONFIRMED}.email")),
    of("field of an event renumbered", "orders", MAILS, protos=renumbered(f"{CONFIRMED}.total", 12)),
]

BENIGN = [
    of("field added", "catalog", protos=added(PRODUCT, "colour", 20)),
    of("field added to a request", "inventory", protos=added(LINE, "note", 20)),
    of("whole number made smaller", "inventory", protos=typed(f"{STOCK}.on_hand", Type.TYPE_INT32)),
    of(
        "field renamed with the same number", "catalog",
        protos=renamed(f"{PRODUCT}.title", "caption"), sources={f"{PRODUCT}.caption": "title"},
    ),
    of("text to bytes", "catalog", protos=typed(f"{PRODUCT}.title", Type.TYPE_BYTES)),
    of("field that nobody reads dropped", "inventory", protos=dropped("mercato.inventory.v1.Reservation.expire_time")),
    of(
        "field put into a oneof", "shipping",
        protos=oneof("mercato.shipping.v1.QuoteCarriageResponse.price", "price_text", 9),
    ),
    of("method added", "inventory", protos=method_added("mercato.inventory.v1", "CountStock", like="GetStock")),
    of("words of an error changed", "inventory",
       reply=on(OUT_OF_STOCK, lambda reply: setattr(reply.status, "message", "Sold out."))),
    of("field of an event added", "orders", protos=added(CONFIRMED, "note", 20)),
]  # fmt: skip


@pytest.fixture(scope="module")
async def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pacts of the shop window."""
    folder = tmp_path_factory.mktemp("strangers")
    async with Mock() as mock:
        await storefront.agree(folder, mock)
    return folder


async def red(mutation: Mutation, provider: Provider, strangers: Path) -> dict[str, list[str]]:
    """Return what the gate says against a changed provider, by consumer."""
    files = [file for file in (*find(CONTRACTS), *find(strangers)) if file.name.split(".")[0] == mutation.provider]
    assert files
    said: dict[str, list[str]] = {}
    async with mutated(mutation, provider) as changed:
        for file in files:
            verdict = await verify(file, changed)
            if not verdict.green:
                said.setdefault(verdict.consumer, []).extend(verdict.problems)
    return said


@pytest.mark.parametrize("mutation", [*BREAKING, *BREAKING_ORDERS], ids=lambda it: it.name.replace(" ", "-"))
async def test_what_breaks_is_red(mutation: Mutation, running: Mapping[str, Provider], strangers: Path) -> None:
    said = await red(mutation, running[mutation.provider], strangers)
    assert said.keys() == mutation.broken, said


@pytest.mark.parametrize("mutation", BENIGN, ids=lambda it: it.name.replace(" ", "-"))
async def test_what_breaks_nobody_is_green(
    mutation: Mutation, running: Mapping[str, Provider], strangers: Path
) -> None:
    assert await red(mutation, running[mutation.provider], strangers) == {}


async def test_the_line_names_the_field(running: Mapping[str, Provider], strangers: Path) -> None:
    """What a person reads."""
    [mutation] = [each for each in BREAKING if each.name == "field dropped"]
    said = await red(mutation, running["catalog"], strangers)
    assert said[WINDOW] == ["GetProduct.product.title: is missing (show with GetProduct)"]
