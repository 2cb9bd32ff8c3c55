"""States of payments."""

from __future__ import annotations

from typing import Any

from mercato.payments.v1 import payments_pb2 as pb

from chassis.money import money
from tests.shop import Shop, new_request_id


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def authorized(id: str, amount_minor: int) -> None:  # noqa: A002
        await shop.payments.AuthorizePayment(
            pb.AuthorizePaymentRequest(
                request_id=new_request_id(),
                payment_id=id,
                order=f"orders/{id}",
                customer="customers/ada",
                amount=money(amount_minor, "GBP"),
                card_token="tok_ok",
            )
        )

    async def captured(id: str) -> None:  # noqa: A002
        await shop.payments.CapturePayment(pb.CapturePaymentRequest(request_id=new_request_id(), name=f"payments/{id}"))

    async def voided(id: str) -> None:  # noqa: A002
        await shop.payments.VoidPayment(pb.VoidPaymentRequest(request_id=new_request_id(), name=f"payments/{id}"))

    return {"authorized payment": authorized, "captured payment": captured, "voided payment": voided}
