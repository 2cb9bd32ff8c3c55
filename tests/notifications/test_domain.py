"""What a mail says, without I/O: with the real templates."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from string import Template

import pytest
from google.protobuf.message import Message
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.orders.v1.orders_pb2 import OrderCancelled, OrderConfirmed, OrderRefused, Refusal, ReturnCompleted

from chassis.errors import InvalidArgument
from chassis.money import money
from services.notifications import domain

NOW = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
TEMPLATES = Path(domain.__file__).with_name("templates")
ANN = "ann@shop.example"


def write(event: Message) -> Mail:
    template = Template((TEMPLATES / f"{event.DESCRIPTOR.name}.txt").read_text())
    return domain.write(event, "orders/0193-ab/2", template, NOW)


def test_a_mail_says_what_happened() -> None:
    mail = write(OrderConfirmed(name="orders/1", email=ANN, total=money(15305, "GBP"), reference="536365"))
    assert mail.name == "mails/orders-0193-ab-2"
    assert (mail.recipient, mail.regarding, mail.event_type) == (ANN, "orders/1", "mercato.orders.v1.OrderConfirmed")
    assert mail.create_time.ToDatetime(UTC) == NOW
    assert mail.subject == "Your order is confirmed: orders/1"
    assert mail.body.startswith("Thank you for your order.")
    assert "Paid:            153.05 GBP\n" in mail.body
    assert "Your reference:  536365\n" in mail.body


@pytest.mark.parametrize(
    ("event", "texts"),
    [
        (
            OrderRefused(name="orders/1", email=ANN, refusal=Refusal(message="The card was declined.")),
            ["The card was declined.", "not charged", "Your reference:  none"],
        ),
        (OrderCancelled(name="orders/1", email=ANN, total=money(199, "EUR"), reference="a $5"), ["1.99 EUR", "a $5"]),
        (ReturnCompleted(name="returns/1", email=ANN, order="orders/1", amount=money(5, "GBP")), ["orders/1", "0.05"]),
        (ReturnCompleted(name="returns/1", email=ANN, amount=money(5, "GBP")), ["from before our records begin"]),
    ],
)
def test_each_event_has_its_text(event: Message, texts: list[str]) -> None:
    mail = write(event)
    assert all(text in mail.body for text in texts), mail.body
    assert mail.subject


def test_there_is_a_template_for_each_event_and_no_other() -> None:
    assert {path.stem for path in TEMPLATES.iterdir()} == {event.DESCRIPTOR.name for event in domain.EVENTS}


def test_no_value_breaks_a_line() -> None:
    mail = write(OrderConfirmed(name="orders/1\nBcc: eve", email=ANN, total=money(1, "GBP"), reference="x\r\n\r\nBuy!"))
    assert mail.subject == "Your order is confirmed: orders/1 Bcc: eve"
    assert "Your reference:  x Buy!\n" in mail.body


@pytest.mark.parametrize("email", ["", "ann", "ann@shop.example\nBcc: eve@x.example", "a b@x.example", "ä@x.example"])
def test_without_a_mail_address_nobody_is_told(email: str) -> None:
    with pytest.raises(domain.NoRecipient, match="orders/1 has no mail address"):
        write(OrderConfirmed(name="orders/1", email=email, total=money(1, "GBP")))


def test_an_event_without_its_amount_is_malformed() -> None:
    with pytest.raises(InvalidArgument):
        write(OrderConfirmed(name="orders/1", email=ANN))
