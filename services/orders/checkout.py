"""The checkout saga: from a placed order to goods and money in the right hands, or everything as it was.

Reservation, payment and shipment of an order bear the order's own id, so that every step can be repeated and undone
without remembering anything. Undoing is whole in itself: releasing a reservation brings committed pieces back, voiding
a payment refunds what was captured. That is why the last two steps need no undo of their own.
"""

from __future__ import annotations

from mercato.inventory.v1 import inventory_pb2 as inventory_pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.orders.v1 import orders_pb2
from mercato.orders.v1.orders_pb2 import Order
from mercato.payments.v1 import payments_pb2 as payments_pb
from mercato.payments.v1.payments_pb2_grpc import PaymentServiceStub
from mercato.shipping.v1 import shipping_pb2 as shipping_pb
from mercato.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

from chassis.clock import Clock, derived_id
from chassis.database import Batch
from chassis.money import minor
from chassis.repository import Repository
from chassis.saga import Refusal, Saga, Step
from services.orders import domain

KIND = "Checkout"


class Checkout:
    """What each step does, and how it is undone."""

    def __init__(
        self,
        orders: Repository[Order],
        inventory: InventoryServiceStub,
        payments: PaymentServiceStub,
        shipping: ShippingServiceStub,
        clock: Clock,
    ) -> None:
        self._orders = orders
        self._inventory = inventory
        self._payments = payments
        self._shipping = shipping
        self._clock = clock

    def saga(self) -> Saga[Order]:
        """Return the steps, in their order."""
        return Saga(
            kind=KIND,
            steps=(
                Step("reserve_stock", self._reserve_stock, undo=self._release_stock),
                Step("authorize_payment", self._authorize_payment, undo=self._void_payment),
                Step("book_shipment", self._book_shipment, undo=self._cancel_shipment),
                Step("commit_stock", self._commit_stock),
                Step("capture_payment", self._capture_payment),
            ),
            load=self._orders.get,
            complete=self._confirm,
            undone=self._end_undone,
        )

    async def _reserve_stock(self, order: Order) -> None:
        if order.lines:
            lines = [inventory_pb.StockLine(product=line.product, quantity=line.quantity) for line in order.lines]
            await self._inventory.ReserveStock(
                inventory_pb.ReserveStockRequest(
                    request_id=derived_id(order.name, "reserve_stock"), reservation_id=_id(order), lines=lines
                )
            )

    async def _release_stock(self, order: Order) -> None:
        if order.lines:
            await self._inventory.ReleaseReservation(
                inventory_pb.ReleaseReservationRequest(
                    request_id=derived_id(order.name, "release_stock"), name=f"reservations/{_id(order)}"
                )
            )

    async def _authorize_payment(self, order: Order) -> None:
        if minor(order.total):
            await self._payments.AuthorizePayment(
                payments_pb.AuthorizePaymentRequest(
                    request_id=derived_id(order.name, "authorize_payment"),
                    payment_id=_id(order),
                    order=order.name,
                    customer=order.customer,
                    amount=order.total,
                    card_token=order.card_token,
                )
            )

    async def _void_payment(self, order: Order) -> None:
        if minor(order.total):
            await self._payments.VoidPayment(
                payments_pb.VoidPaymentRequest(
                    request_id=derived_id(order.name, "void_payment"), name=f"payments/{_id(order)}"
                )
            )

    async def _book_shipment(self, order: Order) -> None:
        if order.lines:
            await self._shipping.BookShipment(
                shipping_pb.BookShipmentRequest(
                    request_id=derived_id(order.name, "book_shipment"),
                    shipment_id=_id(order),
                    order=order.name,
                    pieces=domain.pieces(order),
                    address=order.shipping_address,
                )
            )

    async def _cancel_shipment(self, order: Order) -> None:
        if order.lines:
            await self._shipping.CancelShipment(
                shipping_pb.CancelShipmentRequest(
                    request_id=derived_id(order.name, "cancel_shipment"), name=f"shipments/{_id(order)}"
                )
            )

    async def _commit_stock(self, order: Order) -> None:
        if order.lines:
            await self._inventory.CommitReservation(
                inventory_pb.CommitReservationRequest(
                    request_id=derived_id(order.name, "commit_stock"), name=f"reservations/{_id(order)}"
                )
            )

    async def _capture_payment(self, order: Order) -> None:
        if minor(order.total):
            await self._payments.CapturePayment(
                payments_pb.CapturePaymentRequest(
                    request_id=derived_id(order.name, "capture_payment"), name=f"payments/{_id(order)}"
                )
            )

    async def _confirm(self, order: Order, batch: Batch) -> None:
        now = self._clock.now()
        await self._orders.change(
            order.name, lambda it: domain.confirm(it, now), lambda it: it, also=batch, known=order
        )

    async def _end_undone(self, order: Order, refusal: Refusal, batch: Batch) -> None:
        now, why = self._clock.now(), orders_pb2.Refusal(**vars(refusal))
        await self._orders.change(order.name, lambda it: domain.undone(it, why, now), lambda it: it, also=batch)


def _id(order: Order) -> str:
    return order.name.removeprefix("orders/")
