"""The gRPC face of payments. The processor is asked first, our books follow; asking again does nothing more."""

from __future__ import annotations

from typing import Any

from mercato.payments.v1 import payments_pb2 as pb
from mercato.payments.v1 import payments_pb2_grpc

from chassis.clock import Clock
from chassis.errors import AlreadyExists
from chassis.idempotency import Requests
from chassis.repository import Repository
from services.payments import domain
from services.payments.ledger import Ledger
from services.payments.processor import CardProcessor


class PaymentService(payments_pb2_grpc.PaymentServiceServicer):
    """Serves mercato.payments.v1.PaymentService."""

    def __init__(
        self,
        payments: Repository[pb.Payment],
        credit_notes: Repository[pb.Credit],
        fees: Repository[pb.Fee],
        ledger: Ledger,
        processor: CardProcessor,
        requests: Requests,
        clock: Clock,
    ) -> None:
        self._payments = payments
        self._credits = credit_notes
        self._fees = fees
        self._ledger = ledger
        self._processor = processor
        self._requests = requests
        self._clock = clock

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Any) -> pb.GetPaymentResponse:
        return pb.GetPaymentResponse(payment=await self._payments.get(request.name))

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: Any) -> pb.ListPaymentsResponse:
        page = await self._payments.page(request.page_size, request.page_token)
        return pb.ListPaymentsResponse(payments=page.items, next_page_token=page.next_page_token)

    async def AuthorizePayment(self, request: pb.AuthorizePaymentRequest, context: Any) -> pb.AuthorizePaymentResponse:
        amount_minor, name = domain.positive(request), f"payments/{request.payment_id}"
        await self._requests.refuse_repeated()
        reference = await self._processor.authorize(
            name, request.card_token, amount_minor, request.amount.currency_code
        )
        try:
            return await self._payments.create(
                name,
                domain.authorize(request, reference, self._clock.now()),
                lambda payment: pb.AuthorizePaymentResponse(payment=payment),
            )
        except AlreadyExists:
            if (await self._payments.get(name)).state == pb.Payment.STATE_VOIDED:
                raise domain.PaymentNotAuthorizable(name=name) from None
            raise

    async def CapturePayment(self, request: pb.CapturePaymentRequest, context: Any) -> pb.CapturePaymentResponse:
        if not await self._processor.capture(request.name):
            raise domain.PaymentNotCapturable(name=(await self._payments.get(request.name)).name)
        return await self._payments.change(
            request.name, domain.capture, lambda payment: pb.CapturePaymentResponse(payment=payment)
        )

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Any) -> pb.VoidPaymentResponse:
        await self._processor.reverse(request.name)
        return await self._payments.change(
            request.name,
            lambda payment: domain.void(payment, request.name),
            lambda payment: pb.VoidPaymentResponse(payment=payment),
            absent=True,
        )

    async def RefundPayment(self, request: pb.RefundPaymentRequest, context: Any) -> pb.RefundPaymentResponse:
        amount_minor = domain.positive(request)
        domain.refund(await self._payments.get(request.name), amount_minor, request.reference)
        await self._requests.refuse_repeated()
        await self._processor.refund(request.name, f"{request.name}/{request.request_id}", amount_minor)
        return await self._payments.change(
            request.name,
            lambda payment: domain.refund(payment, amount_minor, request.reference),
            lambda payment: pb.RefundPaymentResponse(payment=payment),
        )

    async def IssueCredit(self, request: pb.IssueCreditRequest, context: Any) -> pb.IssueCreditResponse:
        amount_minor, name = domain.positive(request), f"credits/{request.credit_id}"
        await self._requests.refuse_repeated()
        await self._processor.credit(name, amount_minor, request.amount.currency_code)
        return await self._credits.create(
            name,
            domain.issue_credit(request, self._clock.now()),
            lambda credit: pb.IssueCreditResponse(credit=credit),
        )

    async def ListCredits(self, request: pb.ListCreditsRequest, context: Any) -> pb.ListCreditsResponse:
        page = await self._credits.page(request.page_size, request.page_token)
        return pb.ListCreditsResponse(credits=page.items, next_page_token=page.next_page_token)

    async def RecordFee(self, request: pb.RecordFeeRequest, context: Any) -> pb.RecordFeeResponse:
        return await self._fees.create(
            f"fees/{request.fee_id}",
            domain.record_fee(request, self._clock.now()),
            lambda fee: pb.RecordFeeResponse(fee=fee),
        )

    async def ListFees(self, request: pb.ListFeesRequest, context: Any) -> pb.ListFeesResponse:
        page = await self._fees.page(request.page_size, request.page_token)
        return pb.ListFeesResponse(fees=page.items, next_page_token=page.next_page_token)

    async def GetTrialBalance(self, request: pb.GetTrialBalanceRequest, context: Any) -> pb.GetTrialBalanceResponse:
        return pb.GetTrialBalanceResponse(balances=await self._ledger.balances())

    async def ListLedgerEntries(
        self, request: pb.ListLedgerEntriesRequest, context: Any
    ) -> pb.ListLedgerEntriesResponse:
        page = await self._ledger.page(request.page_size, request.page_token, request.subject)
        return pb.ListLedgerEntriesResponse(entries=page.items, next_page_token=page.next_page_token)
