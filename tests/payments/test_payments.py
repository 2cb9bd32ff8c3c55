"""Payments over real gRPC and PostgreSQL, against the simulated processor in all its moods."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest
from google.type.money_pb2 import Money
from mercato.payments.v1 import payments_pb2 as pb
from mercato.payments.v1.payments_pb2_grpc import PaymentServiceStub

from chassis.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, MercatoError
from chassis.money import minor, money
from tests.stage import Stage

SERVICE = pb.DESCRIPTOR.services_by_name["PaymentService"]


@pytest.fixture(scope="module")
async def payments(stage: Stage) -> PaymentServiceStub:
    await stage.start("payments")
    return stage.stub(SERVICE, PaymentServiceStub)


def authorization(amount_minor: int = 1000, card_token: str = "tok_ok") -> pb.AuthorizePaymentRequest:
    payment_id = uuid4().hex
    return pb.AuthorizePaymentRequest(
        request_id=str(uuid4()),
        payment_id=payment_id,
        order=f"orders/{payment_id}",
        customer="customers/1",
        amount=money(amount_minor, "GBP"),
        card_token=card_token,
    )


async def captured(payments: PaymentServiceStub, amount_minor: int = 1000) -> str:
    payment = (await payments.AuthorizePayment(authorization(amount_minor))).payment
    await payments.CapturePayment(pb.CapturePaymentRequest(request_id=str(uuid4()), name=payment.name))
    return payment.name


async def entries(payments: PaymentServiceStub, subject: str) -> list[tuple[str, str, int]]:
    page = await payments.ListLedgerEntries(pb.ListLedgerEntriesRequest(subject=subject))
    return [(entry.debit_account, entry.credit_account, minor(entry.amount)) for entry in page.entries]


async def void(payments: PaymentServiceStub, name: str) -> pb.Payment:
    response = await payments.VoidPayment(pb.VoidPaymentRequest(request_id=str(uuid4()), name=name))
    return response.payment


async def processor(stage: Stage, payment: str) -> tuple[str, int, int]:
    row = await stage.apps["payments"].database.row("SELECT * FROM processor_payments WHERE payment = $1", payment)
    assert row is not None
    return row["state"], row["captured_minor"], row["refunded_minor"]


async def test_a_payment_is_booked_when_it_is_captured_and_refunded(payments: PaymentServiceStub, stage: Stage) -> None:
    name = await captured(payments, 1000)
    refund = pb.RefundPaymentRequest(request_id=str(uuid4()), name=name, amount=money(300, "GBP"), reference="r")
    payment = (await payments.RefundPayment(refund)).payment
    assert (await payments.RefundPayment(refund)).payment == payment  # again: nothing more
    assert (minor(payment.captured), minor(payment.refunded)) == (1000, 300)
    assert await entries(payments, name) == [
        ("card_clearing", "sales", 1000),
        ("refunds", "card_clearing", 300),
    ]
    assert await processor(stage, name) == ("captured", 1000, 300)


async def test_the_books_sum_to_zero(payments: PaymentServiceStub) -> None:
    await captured(payments)
    await payments.RecordFee(
        pb.RecordFeeRequest(
            request_id=str(uuid4()), fee_id=uuid4().hex, kind=pb.Fee.KIND_BANK, amount=money(-250, "GBP")
        )
    )
    balances = (await payments.GetTrialBalance(pb.GetTrialBalanceRequest())).balances
    assert {balance.account for balance in balances} >= {"card_clearing", "sales", "bank", "fees"}
    assert sum(minor(balance.balance) for balance in balances) == 0


async def test_a_declined_card_leaves_nothing(payments: PaymentServiceStub) -> None:
    request = authorization(card_token="tok_decline")
    for _ in range(2):
        with pytest.raises(FailedPrecondition) as error:
            await payments.AuthorizePayment(request)
        assert error.value.reason == "CARD_DECLINED"
    assert await entries(payments, f"payments/{request.payment_id}") == []


async def test_a_charge_whose_answer_is_lost_is_found_by_asking_again(
    payments: PaymentServiceStub, stage: Stage
) -> None:
    request = authorization(card_token="tok_timeout")
    with pytest.raises(DeadlineExceeded):
        await payments.AuthorizePayment(request, timeout=0.2)
    payment = (await payments.AuthorizePayment(request)).payment
    assert payment.state == pb.Payment.STATE_AUTHORIZED
    count = await stage.apps["payments"].database.value(
        "SELECT count(*) FROM processor_payments WHERE payment = $1", payment.name
    )
    assert count == 1


async def test_a_slow_processor_does_not_hold_the_caller_beyond_its_deadline(payments: PaymentServiceStub) -> None:
    request = authorization(card_token="tok_slow")
    started = time.perf_counter()
    with pytest.raises(DeadlineExceeded):
        await payments.AuthorizePayment(request, timeout=0.3)
    assert time.perf_counter() - started < 0.6
    assert (await payments.AuthorizePayment(request)).payment.state == pb.Payment.STATE_AUTHORIZED


async def test_voiding_undoes_whatever_there_is(payments: PaymentServiceStub, stage: Stage) -> None:
    authorized = (await payments.AuthorizePayment(authorization())).payment.name
    assert (await void(payments, authorized)).state == pb.Payment.STATE_VOIDED
    assert await processor(stage, authorized) == ("reversed", 0, 0)

    taken = await captured(payments, 700)
    payment = await void(payments, taken)
    assert (payment.state, minor(payment.refunded)) == (pb.Payment.STATE_VOIDED, 700)
    assert await entries(payments, taken) == [("card_clearing", "sales", 700), ("refunds", "card_clearing", 700)]
    assert await processor(stage, taken) == ("reversed", 700, 700)

    request = authorization()
    assert (await void(payments, f"payments/{request.payment_id}")).state == pb.Payment.STATE_VOIDED
    with pytest.raises(FailedPrecondition) as error:
        await payments.AuthorizePayment(request)
    assert error.value.reason == "PAYMENT_NOT_AUTHORIZABLE"


async def test_capture_and_void_at_once_never_leave_money_behind(payments: PaymentServiceStub, stage: Stage) -> None:
    for _ in range(10):
        name = (await payments.AuthorizePayment(authorization())).payment.name
        capture = pb.CapturePaymentRequest(request_id=str(uuid4()), name=name)
        await asyncio.gather(payments.CapturePayment(capture), void(payments, name), return_exceptions=True)
        state, taken_minor, returned_minor = await processor(stage, name)
        assert (state, taken_minor) == ("reversed", returned_minor)
        booked = sum(
            amount if debit == "card_clearing" else -amount for debit, _, amount in await entries(payments, name)
        )
        assert booked == 0


async def test_no_more_is_refunded_than_was_captured_even_at_once(payments: PaymentServiceStub, stage: Stage) -> None:
    name = await captured(payments, 1000)
    refunds = [pb.RefundPaymentRequest(request_id=str(uuid4()), name=name, amount=money(400, "GBP")) for _ in range(5)]
    results = await asyncio.gather(*map(payments.RefundPayment, refunds), return_exceptions=True)
    refused = [result for result in results if isinstance(result, MercatoError)]
    assert {error.reason for error in refused} == {"REFUND_TOO_LARGE"}
    assert len(refused) == 3
    assert await processor(stage, name) == ("captured", 1000, 800)


async def test_the_same_request_a_hundred_times_charges_once(payments: PaymentServiceStub, stage: Stage) -> None:
    request = authorization()
    answers = await asyncio.gather(*(payments.AuthorizePayment(request) for _ in range(100)))
    assert all(answer == answers[0] for answer in answers)


async def test_a_reused_request_id_gives_no_money(payments: PaymentServiceStub) -> None:
    request = pb.IssueCreditRequest(
        request_id=str(uuid4()),
        credit_id=uuid4().hex,
        customer="customers/1",
        amount=money(100, "GBP"),
        reason=pb.Credit.REASON_MANUAL,
    )
    await payments.IssueCredit(request)
    before = (await payments.GetTrialBalance(pb.GetTrialBalanceRequest())).balances
    request.credit_id = uuid4().hex
    with pytest.raises(InvalidArgument) as error:
        await payments.IssueCredit(request)
    assert error.value.reason == "REQUEST_ID_REUSED"
    assert (await payments.GetTrialBalance(pb.GetTrialBalanceRequest())).balances == before


@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(currency_code="GBP"), "amount"),
        (Money(currency_code="GBP", units=-1), "amount"),
        (Money(currency_code="GBP", nanos=1), "amount.nanos"),
        (Money(currency_code="GBP", units=1, nanos=-10_000_000), "amount.nanos"),
        (Money(currency_code="pound", units=1), "amount.currency_code"),
        (Money(currency_code="GBP", units=10**18), "amount.units"),
    ],
)
async def test_bad_amounts_are_named(payments: PaymentServiceStub, amount: Money, field: str) -> None:
    request = authorization()
    request.amount.CopyFrom(amount)
    with pytest.raises(InvalidArgument) as error:
        await payments.AuthorizePayment(request)
    assert list(error.value.fields) == [field]
