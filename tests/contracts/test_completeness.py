"""Nobody depends on anybody without a contract: found in the code, and in the traffic of a shop that trades."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from mercato.notifications.v1 import notifications_pb2
from mercato.notifications.v1.notifications_pb2 import ListMailsRequest
from mercato.notifications.v1.notifications_pb2_grpc import NotificationServiceStub
from mercato.orders.v1 import orders_pb2 as pb

from chassis.money import money
from chassis.testing.pacts import EVENTS, find, read
from chassis.testing.schema import path_of
from fleet.embedded import nats
from services.gateway.contract import Contract
from tests.contracts.code import Call, calls
from tests.contracts.consumers.clients import providers_of
from tests.contracts.protos import IMAGE
from tests.contracts.regeneration import CONTRACTS, ROOT
from tests.contracts.tap import TappedStage, subscriptions
from tests.contracts.test_compatibility import schema
from tests.shop import Shop, new_request_id
from tests.stage import eventually

SERVICES = ROOT / "services"
GATEWAY = "gateway"
NOTIFICATIONS = notifications_pb2.DESCRIPTOR.services_by_name["NotificationService"]


def contracts(events: bool = False) -> set[Call]:
    """Return what our contracts are about: consumer, provider, and the method's path or the event's type."""
    return {
        (pact.consumer, pact.provider, each.subject)
        for pact in map(read, find(CONTRACTS))
        for each in pact.interactions
        if (each.kind == EVENTS) is events
    }


class Traded:
    """What was seen while a shop traded."""

    def __init__(self, calls: set[Call], subscribed: set[tuple[str, str]]) -> None:
        self.calls = calls
        self.subscribed = subscribed


@pytest.fixture(scope="module")
async def traded(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traded]:
    """A shop in which everything happens once: a confirmed, refused, cancelled order, and both kinds of returns."""
    with subscriptions() as subscribed:
        async with nats(tmp_path_factory.mktemp("nats")) as nats_url, AsyncExitStack() as stack:
            stage = TappedStage(postgres_url, nats_url, stack, schema=schema(IMAGE))
            shop = await Shop.open(stage)
            await stage.start("notifications")
            await trade(shop)
            yield Traded(stage.seen, subscribed)


async def trade(shop: Shop) -> None:
    """Let everything happen, down to the last mail."""
    mails = shop.stage.stub(NOTIFICATIONS, NotificationServiceStub)
    customer, product = await shop.new_customer(), await shop.new_product(100, 250)

    async def order(quantity: int = 2, card_token: str = "tok_ok", region_code: str = "GB") -> pb.Order:
        request = shop.order_of(customer, (product, quantity), card_token=card_token, region_code=region_code)
        request.carriage_agreed = False
        return await shop.final((await shop.place(request)).name)

    confirmed = await order()
    assert confirmed.state == pb.Order.STATE_CONFIRMED
    assert (await order(card_token="tok_decline")).state == pb.Order.STATE_REFUSED
    assert (await order(quantity=1000)).state == pb.Order.STATE_REFUSED
    cancelled = await order()
    await shop.orders.CancelOrder(pb.CancelOrderRequest(request_id=new_request_id(), name=cancelled.name))
    assert (await shop.final(cancelled.name)).state == pb.Order.STATE_CANCELLED
    for of in (confirmed.name, ""):
        line = pb.ReturnLine(product=product, quantity=1, unit_price=money(250, "GBP"))
        request = pb.CreateReturnRequest(request_id=new_request_id(), order=of, customer=customer, lines=[line])
        name = (await shop.orders.CreateReturn(request)).returned.name

        async def completed(name: str = name) -> bool:
            found = (await shop.orders.GetReturn(pb.GetReturnRequest(name=name))).returned
            return found.state == pb.Return.STATE_COMPLETED

        await eventually(completed)

        async def told(name: str = name) -> bool:
            return bool((await mails.ListMails(ListMailsRequest(regarding=name))).mails)

        await eventually(told)


def test_every_call_in_the_code_has_a_contract() -> None:
    """And there is none about calls that nobody makes."""
    in_code = calls(SERVICES, schema(IMAGE))
    agreed = {each for each in contracts() if each[0] != GATEWAY and (SERVICES / each[0]).is_dir()}
    assert len(in_code) > 10
    assert sorted(in_code - agreed) == []
    assert sorted(agreed - in_code) == []


def test_every_method_the_gateway_exposes_has_a_contract() -> None:
    """It calls any of them: for HTTP by its routes, in gRPC by passing on."""
    exposed = {
        (GATEWAY, provider, path_of(it))
        for it in Contract.load().methods
        for provider in providers_of(it.containing_service)
    }
    assert len(exposed) > 50
    assert {each for each in contracts() if each[0] == GATEWAY} == exposed


async def test_every_call_seen_has_a_contract(traded: Traded) -> None:
    services = {folder.name for folder in SERVICES.iterdir()}
    between = {each for each in traded.calls if each[0] in services}
    assert sorted(between - contracts()) == []
    in_code = calls(SERVICES, schema(IMAGE))
    assert sorted(in_code - between) == [], "this trade is to bring about every call there is"


async def test_every_event_handled_has_a_contract(traded: Traded) -> None:
    """And there is none about events that nobody handles."""
    handled = {(consumer, type_.split(".")[1], type_) for consumer, type_ in traded.subscribed}
    assert len(handled) > 5
    assert handled == contracts(events=True)


def test_a_call_without_a_contract_is_found(tmp_path: Path) -> None:
    """However the stub came into the file."""
    (tmp_path / "rogue").mkdir()
    (tmp_path / "rogue" / "thing.py").write_text(
        "from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub\n"
        "async def look(stub: CatalogServiceStub): return await stub.GetProduct(None)\n"
    )
    (tmp_path / "rogue" / "__main__.py").write_text(
        "from mercato.payments.v1 import payments_pb2_grpc as payments\n"
        "async def pay(app): return await app.client(payments.PaymentServiceStub).VoidPayment(None)\n"
    )
    assert calls(tmp_path, schema(IMAGE)) == {
        ("rogue", "catalog", "/mercato.catalog.v1.CatalogService/GetProduct"),
        ("rogue", "payments", "/mercato.payments.v1.PaymentService/VoidPayment"),
    }
