"""What is decided about payments, credits and fees. Amounts are in minor units."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.message import Message
from mercato.payments.v1.payments_pb2 import (
    AuthorizePaymentRequest,
    Credit,
    CreditIssued,
    Fee,
    FeeRecorded,
    IssueCreditRequest,
    Payment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    PaymentVoided,
    RecordFeeRequest,
    RefundPaymentRequest,
)

from chassis.clock import timestamp
from chassis.errors import FailedPrecondition, invalid_field
from chassis.money import minor, money


class CardDeclined(FailedPrecondition):
    """The card was declined."""


class PaymentNotAuthorizable(FailedPrecondition):
    """{name} was voided before."""


class PaymentNotCapturable(FailedPrecondition):
    """{name} is not authorized."""


class RefundTooLarge(FailedPrecondition):
    """{name} has less left to refund than {amount_minor} minor units."""


def positive(request: AuthorizePaymentRequest | RefundPaymentRequest | IssueCreditRequest) -> int:
    """Return the request's amount in minor units; InvalidArgument when it is not more than zero."""
    amount_minor = minor(request.amount, "amount")
    if amount_minor <= 0:
        raise invalid_field("amount", "expected more than zero")
    return amount_minor


def authorize(request: AuthorizePaymentRequest, processor_reference: str, now: datetime) -> list[Message]:
    """The processor holds the amount."""
    payment = Payment(
        name=f"payments/{request.payment_id}",
        state=Payment.STATE_AUTHORIZED,
        order=request.order,
        customer=request.customer,
        amount=request.amount,
        captured=money(0, request.amount.currency_code),
        refunded=money(0, request.amount.currency_code),
        card_token=request.card_token,
        processor_reference=processor_reference,
        create_time=timestamp(now),
    )
    return [PaymentAuthorized(payment=payment)]


def capture(payment: Payment) -> list[Message]:
    """The processor has taken the amount."""
    if payment.state == Payment.STATE_CAPTURED:
        return []
    if payment.state != Payment.STATE_AUTHORIZED:
        raise PaymentNotCapturable(name=payment.name)
    return [PaymentCaptured(name=payment.name, amount=payment.amount)]


def void(payment: Payment, name: str) -> list[Message]:
    """The processor has given everything back, or will never take anything."""
    if payment.state == Payment.STATE_VOIDED:
        return []
    left_minor = refundable_minor(payment)
    refund = money(left_minor, payment.amount.currency_code)
    refunded: list[Message] = [PaymentRefunded(name=name, amount=refund, reference="void")] if left_minor else []
    return [*refunded, PaymentVoided(name=name)]


def refund(payment: Payment, amount_minor: int, reference: str) -> list[Message]:
    """Give back an amount, or a part of it."""
    if amount_minor > refundable_minor(payment):
        raise RefundTooLarge(name=payment.name, amount_minor=amount_minor)
    amount = money(amount_minor, payment.amount.currency_code)
    return [PaymentRefunded(name=payment.name, amount=amount, reference=reference)]


def refundable_minor(payment: Payment) -> int:
    """What was captured and not yet given back."""
    if payment.state != Payment.STATE_CAPTURED:
        return 0
    return minor(payment.captured) - minor(payment.refunded)


def issue_credit(request: IssueCreditRequest, now: datetime) -> list[Message]:
    """Give money without a payment to refund."""
    credit = Credit(
        name=f"credits/{request.credit_id}",
        customer=request.customer,
        amount=request.amount,
        reason=request.reason,
        reference=request.reference,
        create_time=timestamp(now),
    )
    return [CreditIssued(credit=credit)]


def record_fee(request: RecordFeeRequest, now: datetime) -> list[Message]:
    """Book what we were charged, or given back."""
    if minor(request.amount, "amount") == 0:
        raise invalid_field("amount", "expected not zero")
    fee = Fee(
        name=f"fees/{request.fee_id}",
        kind=request.kind,
        amount=request.amount,
        reference=request.reference,
        create_time=timestamp(now),
    )
    return [FeeRecorded(fee=fee)]


def evolve_payment(payment: Payment, event: Message) -> None:
    """Apply one event."""
    match event:
        case PaymentAuthorized():
            payment.CopyFrom(event.payment)
        case PaymentCaptured():
            payment.state = Payment.STATE_CAPTURED
            payment.captured.CopyFrom(event.amount)
        case PaymentRefunded():
            refunded_minor = minor(payment.refunded) + minor(event.amount)
            payment.refunded.CopyFrom(money(refunded_minor, event.amount.currency_code))
        case PaymentVoided():
            payment.name = event.name
            payment.state = Payment.STATE_VOIDED


def evolve_credit(credit: Credit, event: Message) -> None:
    """Apply one event."""
    if isinstance(event, CreditIssued):
        credit.CopyFrom(event.credit)


def evolve_fee(fee: Fee, event: Message) -> None:
    """Apply one event."""
    if isinstance(event, FeeRecorded):
        fee.CopyFrom(event.fee)
