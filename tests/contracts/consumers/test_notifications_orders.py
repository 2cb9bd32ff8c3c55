"""What notifications needs of the events of orders: what a mail to the customer says."""

from __future__ import annotations

from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import Message
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.orders.v1 import orders_pb2 as pb

import services.notifications
from chassis.bus import Event
from chassis.clock import SystemClock
from chassis.database import Batch
from chassis.money import money
from chassis.testing.consumer import Contract, Pacts, State
from services.notifications.writer import Writer

TEMPLATES = Path(services.notifications.__path__[0]) / "templates"
ADA = "ada@customers.example"


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.events("notifications", "orders")


def mail(message: Message) -> Mail:
    """Return what the real handler writes about an event."""
    mails: list[Mail] = []
    mailbox: Any = SimpleNamespace(put=lambda _, mail, trace: mails.append(mail))
    templates = {path.stem: Template(path.read_text()) for path in TEMPLATES.glob("*.txt")}
    clock = SystemClock()
    event = Event("orders/o1/2", "orders", message.DESCRIPTOR.full_name, "orders/o1", clock.now(), "", b"")
    Writer(mailbox, templates, Mail.STATE_KEPT, clock).handle(Batch(), message, event)
    return mails[0]


def test_confirmed(contract: Contract) -> None:
    event = pb.OrderConfirmed(name="orders/o1", email=ADA, total=money(750, "GBP"), reference="web-1")
    with contract.delivering("tell that an order is confirmed", event, given=[State("confirmed order", id="o1")]) as it:
        written = mail(it)
    assert (written.recipient, written.regarding) == (ADA, "orders/o1")
    assert "7.50 GBP" in written.body
    assert "web-1" in written.body


def test_refused(contract: Contract) -> None:
    refusal = pb.Refusal(message="The card was declined.")
    event = pb.OrderRefused(name="orders/o2", email=ADA, refusal=refusal, reference="web-1")
    given, varies = [State("refused order", id="o2")], ["refusal.message"]
    with contract.delivering("tell why an order is refused", event, given=given, varies=varies) as it:
        written = mail(it)
    assert (written.recipient, written.regarding) == (ADA, "orders/o2")
    assert "The card was declined." in written.body


def test_cancelled(contract: Contract) -> None:
    event = pb.OrderCancelled(name="orders/o3", email=ADA, total=money(750, "GBP"), reference="web-1")
    with contract.delivering("tell that an order is cancelled", event, given=[State("cancelled order", id="o3")]) as it:
        written = mail(it)
    assert (written.recipient, written.regarding) == (ADA, "orders/o3")
    assert "7.50 GBP" in written.body


def test_return_completed(contract: Contract) -> None:
    event = pb.ReturnCompleted(name="returns/r1", order="orders/o4", email=ADA, amount=money(250, "GBP"))
    given = [State("completed return", id="r1", order="o4")]
    with contract.delivering("tell that a return is completed", event, given=given) as it:
        written = mail(it)
    assert (written.recipient, written.regarding) == (ADA, "returns/r1")
    assert "orders/o4" in written.body
    assert "2.50 GBP" in written.body
