"""The return saga: goods back into stock, money back to the customer. It only goes forward."""

from __future__ import annotations

from mercato.inventory.v1 import inventory_pb2 as inventory_pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.orders.v1.orders_pb2 import Return
from mercato.payments.v1 import payments_pb2 as payments_pb
from mercato.payments.v1.payments_pb2_grpc import PaymentServiceStub

from chassis.clock import Clock, derived_id
from chassis.database import Batch
from chassis.money import minor
from chassis.repository import Repository
from chassis.saga import Saga, Step
from services.orders import domain

KIND = "Return"


class Returning:
    """What each step does."""

    def __init__(
        self,
        returns: Repository[Return],
        inventory: InventoryServiceStub,
        payments: PaymentServiceStub,
        clock: Clock,
    ) -> None:
        self._returns = returns
        self._inventory = inventory
        self._payments = payments
        self._clock = clock

    def saga(self) -> Saga[Return]:
        """Return the steps, in their order."""
        return Saga(
            kind=KIND,
            steps=(Step("restock_goods", self._restock_goods), Step("refund_customer", self._refund_customer)),
            load=self._returns.get,
            complete=self._complete,
        )

    async def _restock_goods(self, returned: Return) -> None:
        if returned.lines:
            lines = [inventory_pb.StockLine(product=line.product, quantity=line.quantity) for line in returned.lines]
            await self._inventory.AdjustStock(
                inventory_pb.AdjustStockRequest(
                    request_id=derived_id(returned.name, "restock_goods"),
                    reason=inventory_pb.REASON_RETURN,
                    lines=lines,
                    reference=returned.name,
                )
            )

    async def _refund_customer(self, returned: Return) -> None:
        if not minor(returned.amount):
            return
        request_id = derived_id(returned.name, "refund_customer")
        if returned.order:
            await self._payments.RefundPayment(
                payments_pb.RefundPaymentRequest(
                    request_id=request_id,
                    name=f"payments/{returned.order.removeprefix('orders/')}",
                    amount=returned.amount,
                    reference=returned.name,
                )
            )
        else:
            await self._payments.IssueCredit(
                payments_pb.IssueCreditRequest(
                    request_id=request_id,
                    credit_id=returned.name.removeprefix("returns/"),
                    customer=returned.customer,
                    amount=returned.amount,
                    reason=payments_pb.Credit.REASON_RETURN,
                    reference=returned.name,
                )
            )

    async def _complete(self, returned: Return, batch: Batch) -> None:
        now = self._clock.now()
        await self._returns.change(returned.name, lambda it: domain.complete_return(it, now), lambda it: it, also=batch)
