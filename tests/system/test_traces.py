"""One trace from the gateway to the mail, as any OpenTelemetry collector gets it from the running suite."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from fleet import lifecycle, ports
from fleet import plan as plans
from fleet.client import connect
from fleet.plan import FRONT, Plan
from loadtest import lines
from loadtest.commands import DEMO_DAY, REAL_TRADE
from loadtest.plan import Options, plan
from loadtest.replay import Replay
from tests.collector import Collector, Span, attributes_of, collector
from tests.conftest import ROOT, TIMEOUT_S
from tests.notifications.support import MailServer, mail_server
from tests.stage import eventually

TELL_ALL = {"MERCATO_TRACE_RATIO": "1", "MERCATO_TRACES_PER_SECOND": "0"}
FROM_OUTSIDE = ("mercato.mesh.v1.MeshService/GetMesh", "mercato.operations.v1.InstanceService/GetInstance")
"""The command line asks instances themselves, and tells nobody."""
ENDLESS = "mercato.mesh.v1.RegistryService/Register"
"""Lasts as long as an instance: it has no end that could be told."""


@dataclass
class World:
    """The suite, what it tells, its mails, and a shop assistant at the gateway's HTTP."""

    plan: Plan
    kept: Collector
    mails: MailServer
    http: aiohttp.ClientSession

    async def send(self, verb: str, path: str, **body: Any) -> tuple[dict[str, Any], str]:
        """Ask the gateway; returns the answer and the id of the trace it is in."""
        url = f"http://127.0.0.1:{self.plan.slot(f'{FRONT}/1').http_port}{path}"
        async with self.http.request(verb, url, json=body or None) as answer:
            told: dict[str, Any] = await answer.json()
            assert answer.status == 200, told
            return told, answer.headers["Traceparent"].split("-")[1]

    async def goods(self, pieces: int = 100) -> tuple[str, str]:
        """Make a customer and a product with pieces on hand; returns their names."""
        customer, product = f"customers/{uuid4().hex}", f"products/{uuid4().hex}"
        mail = f"{uuid4().hex}@customers.example"
        made = {"name": customer, "kind": "KIND_ACCOUNT", "displayName": "Ada", "email": mail}
        await self.send("POST", "/v1/customers", requestId=str(uuid4()), customer=made)
        price = {"amount": {"currencyCode": "GBP", "units": "2", "nanos": 500_000_000}}
        offered = {"name": product, "title": "Mug", "prices": [price]}
        await self.send("POST", "/v1/products", requestId=str(uuid4()), product=offered)
        lines = [{"product": product, "quantity": pieces}]
        await self.send("POST", "/v1/stocks:adjust", requestId=str(uuid4()), reason="REASON_OPENING", lines=lines)
        return customer, product

    async def order(self, customer: str, product: str, card_token: str = "tok_ok") -> tuple[str, Story]:
        """Place an order over HTTP; returns its name and its whole trace, once its mail is delivered."""
        told, trace = await self.send(
            "POST", "/v1/orders", requestId=str(uuid4()), customer=customer,
            lines=[{"product": product, "quantity": 2}], cardToken=card_token,
            shippingAddress={"regionCode": "GB", "addressLines": ["1 High Street"]},
        )  # fmt: skip

        async def delivered() -> bool:
            return any(span.name == "deliver mail" for span in self.kept.of_trace(trace))

        await eventually(delivered)
        await self.settled(trace)
        return told["order"]["name"], Story(self.kept.of_trace(trace))

    async def settled(self, trace: str) -> None:
        """Wait until all of a trace has come: its spans are told by different services."""

        async def complete() -> bool:
            spans = self.kept.of_trace(trace)
            ids, parents = {span.id for span in spans}, {span.parent for span in spans}
            calls = {span.id for span in spans if span.kind == "CLIENT" and "rpc.method" in span.attributes}
            return parents <= ids | {""} and calls <= parents

        await eventually(complete)


class Story:
    """The spans of one trace, found by what they are."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        self._by_id = {span.id: span for span in spans}

    def one(self, name: str, kind: str, service: str) -> Span:
        """The only span of this name; methods by their last part."""
        found = [
            span
            for span in self.spans
            if name in (span.name, span.name.rpartition("/")[2]) and (span.kind, span.service) == (kind, service)
        ]
        assert len(found) == 1, (name, kind, service, [span.name for span in self.spans])
        return found[0]

    def parent(self, span: Span) -> Span | None:
        return self._by_id.get(span.parent)

    def path(self, span: Span) -> list[str]:
        """What a span is part of, from the beginning of the trace."""
        path = [f"{span.service}: {span.name}"]
        while parent := self.parent(span):
            span = parent
            path.insert(0, f"{span.service}: {span.name}")
        return path


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        async with collector() as kept, mail_server() as mails, aiohttp.ClientSession() as http:
            told = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{kept.port}", **TELL_ALL}
            told["MERCATO_NOTIFICATIONS_SMTP_URL"] = f"smtp://127.0.0.1:{mails.port}"
            for name, value in told.items():
                patch.setenv(name, value)
            home = tmp_path_factory.mktemp("fleet") / ".mercato"
            http_port, grpc_port = ports.free_block(2)
            await lifecycle.up(
                home, lambda: plans.make(ROOT, home, {}, http_port=http_port, grpc_port=grpc_port), TIMEOUT_S
            )
            yield World(Plan.load(home), kept, mails, http)
            lifecycle.down(home, TIMEOUT_S)


PLACED = ["gateway: POST /v1/orders", "gateway: {0}/PlaceOrder", "orders: {0}/PlaceOrder", "orders: Checkout"]
ORDERS = "mercato.orders.v1.OrderService"


def placed(*more: str) -> list[str]:
    return [part.format(ORDERS) for part in PLACED] + list(more)


async def test_an_order_is_one_trace_from_the_gateway_to_the_mail(world: World) -> None:
    order, story = await world.order(*await world.goods())
    [root] = [span for span in story.spans if not span.parent]
    assert (root.name, root.kind, root.service) == ("POST /v1/orders", "SERVER", "gateway")
    assert root.attributes["http.route"] == "/v1/orders"
    assert root.attributes["http.response.status_code"] == 200
    assert {span.service for span in story.spans} == {
        "gateway", "orders", "customers", "catalog", "shipping", "inventory", "payments", "notifications",
    }  # fmt: skip
    assert not [span for span in story.spans if span.failed]
    for step, method, service in (
        ("reserve_stock", "inventory.v1.InventoryService/ReserveStock", "inventory"),
        ("authorize_payment", "payments.v1.PaymentService/AuthorizePayment", "payments"),
        ("book_shipment", "shipping.v1.ShippingService/BookShipment", "shipping"),
        ("commit_stock", "inventory.v1.InventoryService/CommitReservation", "inventory"),
        ("capture_payment", "payments.v1.PaymentService/CapturePayment", "payments"),
    ):
        served = story.one(f"mercato.{method}", "SERVER", service)
        called = f"orders: mercato.{method}"
        assert story.path(served) == placed(f"orders: {step}", called, f"{service}: mercato.{method}")
        assert story.one(step, "INTERNAL", "orders").attributes == {
            "mercato.subject": order, "mercato.saga.kind": "Checkout", "mercato.saga.step": step,
            "mercato.saga.attempt": 1,
        }  # fmt: skip
    assert sum(span.attributes.get("db.system.name") == "postgresql" for span in story.spans) > 8


async def test_an_event_is_sent_as_part_of_what_made_it_and_handled_as_part_of_and_linked_to_its_sending(
    world: World,
) -> None:
    order, story = await world.order(*await world.goods())
    event = "mercato.orders.v1.OrderConfirmed"
    sent = story.one(f"send {event}", "PRODUCER", "orders")
    assert story.path(sent) == placed(f"orders: send {event}")
    handled = story.one(f"process {event}", "CONSUMER", "notifications")
    assert story.parent(handled) == sent
    assert handled.links == [(sent.trace, sent.id)]
    assert sent.attributes["messaging.message.id"] == handled.attributes["messaging.message.id"]
    assert handled.attributes["mercato.subject"] == order
    assert handled.attributes["messaging.consumer.group.name"] == "notifications"
    stored = [span for span in story.spans if "db.query.summary" in span.attributes and story.parent(span) == handled]
    assert "INSERT mails INSERT inbox" in [span.name for span in stored]
    delivered = story.one("deliver mail", "CLIENT", "notifications")
    assert story.parent(delivered) == handled
    assert any(order.rpartition("/")[2] in str(mail) for mail in world.mails.messages)


async def test_a_refused_card_is_undone_in_the_same_trace(world: World) -> None:
    order, story = await world.order(*await world.goods(), card_token="tok_decline")
    refused = story.one("authorize_payment", "INTERNAL", "orders")
    assert (refused.failed, refused.attributes["error.type"]) == (True, "CARD_DECLINED")
    unwound = story.one("unwind Checkout", "INTERNAL", "orders")
    assert unwound.attributes["mercato.keep"] == "compensation"
    assert unwound.attributes["mercato.saga.refusal"] == "CARD_DECLINED"
    assert unwound.attributes["mercato.subject"] == order
    released = story.one("ReleaseReservation", "SERVER", "inventory")
    begun = placed()[:-1]
    assert story.path(released)[: len(begun)] == begun
    assert story.path(released)[len(begun) :] == [
        "orders: unwind Checkout", "orders: undo reserve_stock",
        "orders: mercato.inventory.v1.InventoryService/ReleaseReservation",
        "inventory: mercato.inventory.v1.InventoryService/ReleaseReservation",
    ]  # fmt: skip
    assert not [span for span in story.spans if span.kind == "SERVER" and span.failed], "a refusal is no fault"
    assert story.parent(story.one("deliver mail", "CLIENT", "notifications"))


async def test_every_call_has_spans_and_metrics_of_both_sides_and_its_lines(world: World) -> None:
    async with connect(world.plan.slot(f"{FRONT}/1").address) as shop:  # what else is called is in a day of trade
        made = plan(lines.read(REAL_TRADE, DEMO_DAY.date()), Options(DEMO_DAY.date(), 5, 5))
        await Replay(made, shop, concurrency=8).run()
    _, story = await world.order(*await world.goods())
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for span in world.kept.spans:
        if method := span.attributes.get("rpc.method"):
            sides[method].add(span.kind)
            assert span.name == method
            assert span.attributes["rpc.system.name"] == "grpc"
            assert span.attributes["rpc.response.status_code"]
    ours = {method for method in sides if method.startswith("mercato.")} - {ENDLESS, *FROM_OUTSIDE}
    assert len(ours) > 15
    assert {method: sides[method] for method in ours if sides[method] != {"CLIENT", "SERVER"}} == {}

    async def counted() -> bool:
        return ours <= methods(world, "rpc.server.call.duration") & methods(world, "rpc.client.call.duration")

    await eventually(counted)
    for metric in (metric for (_, name), metric in world.kept.metrics.items() if name.startswith("rpc.")):
        assert metric.unit == "s"
        for point in metric.histogram.data_points:
            assert attributes_of(point.attributes).keys() - {"mercato.caller"} == {
                "rpc.system.name", "rpc.method", "rpc.response.status_code",
            }  # fmt: skip

    async def logged() -> bool:
        lines = [line for line in world.kept.logs if line["trace"] == story.spans[0].trace]
        return {line["service.name"] for line in lines} >= {"orders", "inventory", "payments", "shipping"}

    await eventually(logged)


def methods(world: World, name: str) -> set[str]:
    """The methods that a metric counts calls of, over all instances."""
    points = [
        point
        for (_, known), metric in world.kept.metrics.items()
        if known == name
        for point in metric.histogram.data_points
    ]
    found: list[Mapping[str, Any]] = [attributes_of(point.attributes) for point in points if point.count]
    return {str(each["rpc.method"]) for each in found}
