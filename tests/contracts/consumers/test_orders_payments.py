"""What orders needs of payments: to hold, take and give back the amount of an order, and to give credit."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from mercato.orders.v1.orders_pb2 import Order, Return
from mercato.payments.v1 import payments_pb2 as pb
from mercato.payments.v1.payments_pb2_grpc import PaymentServiceStub

from chassis.clock import derived_id
from chassis.money import money
from chassis.testing.consumer import Contract, Exchange, Pacts, State
from chassis.testing.mock import Mock
from tests.contracts.consumers.clients import (
    CALLED_BY_ORDERS,
    FAILED_PRECONDITION,
    agree,
    agree_refusal,
    failure,
    stub_of,
)
from tests.contracts.consumers.orders import checkout, returning, undo

SERVICE = pb.DESCRIPTOR.services_by_name["PaymentService"]
TOTAL = money(1250, "GBP")
ORDER = Order(name="orders/o1", customer="customers/ada", total=TOTAL, card_token="tok_ok")
AUTHORIZED = State("authorized payment", id="o1", amount_minor=1250)
CAPTURED, VOIDED = State("captured payment", id="o1"), State("voided payment", id="o1")
CAPTURE = pb.CapturePaymentRequest(request_id=derived_id("orders/o1", "capture_payment"), name="payments/o1")
VOID = pb.VoidPaymentRequest(request_id=derived_id("orders/o1", "void_payment"), name="payments/o1")


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.calls("orders", "payments")


@pytest.fixture
def payments(mock: Mock) -> PaymentServiceStub:
    return stub_of(mock, SERVICE, PaymentServiceStub, "orders")


def exchange(description: str, method: str, request: Message, answer: Any, *given: State) -> Exchange:
    return Exchange(description, SERVICE.methods_by_name[method], request, answer, given, CALLED_BY_ORDERS)


def authorize(card_token: str) -> pb.AuthorizePaymentRequest:
    return pb.AuthorizePaymentRequest(
        request_id=derived_id("orders/o1", "authorize_payment"),
        payment_id="o1",
        order="orders/o1",
        customer="customers/ada",
        amount=TOTAL,
        card_token=card_token,
    )


def refund(of: str, amount_minor: int) -> pb.RefundPaymentRequest:
    return pb.RefundPaymentRequest(
        request_id=derived_id("returns/r1", "refund_customer"),
        name=f"payments/{of}",
        amount=money(amount_minor, "GBP"),
        reference="returns/r1",
    )


async def test_authorize(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    agreed = exchange(
        "hold the amount of an order", "AuthorizePayment", authorize("tok_ok"), pb.AuthorizePaymentResponse()
    )
    await agree(contract, mock, agreed, lambda: checkout(payments=payments)["authorize_payment"].do(ORDER))


async def test_decline(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    order = Order(name="orders/o1", customer="customers/ada", total=TOTAL, card_token="tok_decline")
    declined = failure(FAILED_PRECONDITION, "CARD_DECLINED", "The card was declined.")
    agreed = exchange("tell that a card is declined", "AuthorizePayment", authorize("tok_decline"), declined)
    await agree_refusal(contract, mock, agreed, lambda: checkout(payments=payments)["authorize_payment"].do(order))


async def test_authorize_after_the_void(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    message, data = "payments/o1 was voided before.", {"name": "payments/o1"}
    late = failure(FAILED_PRECONDITION, "PAYMENT_NOT_AUTHORIZABLE", message, **data)
    description = "refuse to hold an amount that was let go before"
    agreed = exchange(description, "AuthorizePayment", authorize("tok_ok"), late, VOIDED)
    await agree_refusal(contract, mock, agreed, lambda: checkout(payments=payments)["authorize_payment"].do(ORDER))


async def test_capture(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    agreed = exchange("take the amount held", "CapturePayment", CAPTURE, pb.CapturePaymentResponse(), AUTHORIZED)
    await agree(contract, mock, agreed, lambda: checkout(payments=payments)["capture_payment"].do(ORDER))


async def test_capture_what_was_voided(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    message, data = "payments/o1 is not authorized.", {"name": "payments/o1"}
    voided = failure(FAILED_PRECONDITION, "PAYMENT_NOT_CAPTURABLE", message, **data)
    agreed = exchange("refuse to take what is not held", "CapturePayment", CAPTURE, voided, AUTHORIZED, VOIDED)
    await agree_refusal(contract, mock, agreed, lambda: checkout(payments=payments)["capture_payment"].do(ORDER))


async def test_void(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    for description, given in {
        "let go the amount held": [AUTHORIZED],
        "give back the amount taken": [AUTHORIZED, CAPTURED],
        "let go what was never held": [],
    }.items():
        agreed = exchange(description, "VoidPayment", VOID, pb.VoidPaymentResponse(), *given)
        await agree(contract, mock, agreed, lambda: undo(checkout(payments=payments)["authorize_payment"])(ORDER))


async def test_refund(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    returned = Return(name="returns/r1", order="orders/o1", amount=money(500, "GBP"))
    answer = pb.RefundPaymentResponse()
    agreed = exchange("give back a part", "RefundPayment", refund("o1", 500), answer, AUTHORIZED, CAPTURED)
    await agree(contract, mock, agreed, lambda: returning(payments=payments)["refund_customer"].do(returned))


async def test_refund_too_much(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    returned = Return(name="returns/r1", order="orders/o1", amount=money(1251, "GBP"))
    message = "payments/o1 has less left to refund than 1251 minor units."
    data = {"name": "payments/o1", "amount_minor": "1251"}
    too_much = failure(FAILED_PRECONDITION, "REFUND_TOO_LARGE", message, **data)
    description = "refuse to give back more than was taken"
    agreed = exchange(description, "RefundPayment", refund("o1", 1251), too_much, AUTHORIZED, CAPTURED)
    await agree_refusal(contract, mock, agreed, lambda: returning(payments=payments)["refund_customer"].do(returned))


async def test_credit(contract: Contract, mock: Mock, payments: PaymentServiceStub) -> None:
    returned = Return(name="returns/r1", customer="customers/ada", amount=money(500, "GBP"))
    request = pb.IssueCreditRequest(
        request_id=derived_id("returns/r1", "refund_customer"),
        credit_id="r1",
        customer="customers/ada",
        amount=money(500, "GBP"),
        reason=pb.Credit.REASON_RETURN,
        reference="returns/r1",
    )
    agreed = exchange("give credit without a payment", "IssueCredit", request, pb.IssueCreditResponse())
    await agree(contract, mock, agreed, lambda: returning(payments=payments)["refund_customer"].do(returned))
