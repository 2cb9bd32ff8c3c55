"""The requests that a replay sends: the same ones each time, down to their ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from google.type.money_pb2 import Money
from google.type.postal_address_pb2 import PostalAddress
from mercato.catalog.v1 import catalog_pb2 as catalog
from mercato.customers.v1 import customers_pb2 as customers
from mercato.inventory.v1 import inventory_pb2 as inventory
from mercato.orders.v1 import orders_pb2 as orders
from mercato.payments.v1 import payments_pb2 as payments

from chassis import money
from fleet.client import CURRENCY
from loadtest.origins import Sale, Takeback
from loadtest.plan import Booking, Identity, Plan
from loadtest.trade import Invoice, Item, Role

GOOD_CARD, DECLINED_CARD = "tok_ok", "tok_decline"
OPENING = "opening"
_LINES_OF_ONE_ADJUSTMENT = 1000


def products(plan: Plan) -> list[catalog.ImportProductsRequest]:
    """Bring the catalogue in."""
    return [
        catalog.ImportProductsRequest(
            product=catalog.Product(
                name=f"products/{article}",
                title=product.title,
                prices=[catalog.Price(amount=_money(minor)) for minor in product.prices_minor],
            )
        )
        for article, product in plan.products.items()
    ]


def opening(plan: Plan) -> Iterator[inventory.AdjustStockRequest]:
    """Fill the shelves."""
    lines = [_stock(article, pieces) for article, pieces in sorted(plan.opening.items()) if pieces]
    for start in range(0, len(lines), _LINES_OF_ONE_ADJUSTMENT):
        yield inventory.AdjustStockRequest(
            request_id=plan.identity.request_id(OPENING, start),
            reason=inventory.REASON_OPENING,
            lines=lines[start : start + _LINES_OF_ONE_ADJUSTMENT],
            reference=plan.identity.reference(OPENING),
        )


def customer(identity: Identity, invoice: Invoice) -> customers.CreateCustomerRequest:
    """Let the customer of an invoice in."""
    kind = customers.Customer.KIND_GUEST if invoice.is_guest else customers.Customer.KIND_ACCOUNT
    return customers.CreateCustomerRequest(
        request_id=identity.request_id("customer", invoice.customer_id),
        customer=customers.Customer(
            name=invoice.customer,
            kind=kind,
            display_name=f"Customer {invoice.customer_id}",
            email=f"{invoice.customer_id.lower()}@customers.example",
        ),
    )


def order(identity: Identity, sale: Sale) -> orders.PlaceOrderRequest:
    """Place the order of a sale."""
    return orders.PlaceOrderRequest(
        request_id=identity.request_id("order", sale.invoice.number),
        customer=sale.invoice.customer,
        lines=[
            orders.PlaceOrderLine(
                product=f"products/{item.article}",
                quantity=item.line.quantity,
                unit_price=_money(item.line.price_minor),
            )
            for item in sale.items
            if item.role is Role.GOODS
        ],
        charges=_charges(item for item in sale.items if item.role is Role.CHARGE),
        carriage_agreed=True,
        shipping_address=PostalAddress(region_code=sale.invoice.region_code),
        card_token=DECLINED_CARD if sale.is_declined else GOOD_CARD,
        reference=identity.reference(sale.invoice.number),
    )


def cancellation(identity: Identity, takeback: Takeback, order_name: str) -> orders.CancelOrderRequest:
    """Cancel an order."""
    return orders.CancelOrderRequest(
        request_id=identity.request_id("cancel", takeback.invoice.number),
        name=order_name,
        reference=identity.reference(takeback.invoice.number),
    )


def returned(
    identity: Identity, takeback: Takeback, order_name: str, items: Sequence[Item]
) -> orders.CreateReturnRequest:
    """Bring goods and charges of an order back, or goods of none when its name is empty."""
    return orders.CreateReturnRequest(
        request_id=identity.request_id("return", takeback.invoice.number, order_name),
        order=order_name,
        customer=takeback.invoice.customer,
        lines=[
            orders.ReturnLine(
                product=f"products/{item.article}",
                quantity=-item.line.quantity,
                unit_price=_money(item.line.price_minor),
            )
            for item in items
            if item.role is Role.GOODS_BACK
        ],
        charges=_charges((item for item in items if item.role is Role.CHARGE_BACK), sign=-1),
        reference=identity.reference(takeback.invoice.number),
    )


def credit(identity: Identity, takeback: Takeback, item: Item) -> payments.IssueCreditRequest:
    """Give a charge back that no order of ours holds."""
    request_id = identity.request_id("credit", item.line.number)
    return payments.IssueCreditRequest(
        request_id=request_id,
        credit_id=request_id,
        customer=takeback.invoice.customer,
        amount=_money(-item.line.amount_minor),
        reason=credit_reason(item),
        reference=identity.reference(takeback.invoice.number),
    )


def credit_reason(item: Item) -> payments.Credit.Reason.ValueType:
    """Why a charge is credited: a fee passed on counts as entered by hand."""
    if item.article == "KIND_FEE":
        return payments.Credit.REASON_MANUAL
    return payments.Credit.Reason.Value(item.article.replace("KIND_", "REASON_"))


def fee(identity: Identity, booking: Booking) -> payments.RecordFeeRequest:
    """Book a fee: what the shop took back from the bank's or the marketplace's account, it paid."""
    request_id = identity.request_id("fee", booking.item.line.number)
    return payments.RecordFeeRequest(
        request_id=request_id,
        fee_id=request_id,
        kind=payments.Fee.Kind.Value(booking.item.article),
        amount=_money(-booking.item.line.amount_minor),
        reference=identity.reference(booking.invoice.number),
    )


def adjustment(identity: Identity, booking: Booking) -> inventory.AdjustStockRequest:
    """Put stock right; by line, so that each is one movement."""
    line = booking.item.line
    return inventory.AdjustStockRequest(
        request_id=identity.request_id("stock", line.number),
        reason=inventory.REASON_WRITE_OFF if line.quantity < 0 else inventory.REASON_CORRECTION,
        lines=[_stock(booking.item.article, line.quantity)],
        reference=identity.reference(booking.invoice.number),
    )


def _charges(items: Iterable[Item], sign: int = 1) -> list[orders.Charge]:
    """Write charges; one that goes the other way than `sign` is a deduction."""
    return [
        orders.Charge(
            kind=orders.Charge.Kind.Value(item.article),
            description=item.line.description[:200],
            quantity=abs(item.line.quantity),
            unit_price=_money(item.line.price_minor if item.line.quantity * sign > 0 else -item.line.price_minor),
        )
        for item in items
    ]


def _stock(article: str, pieces: int) -> inventory.StockLine:
    return inventory.StockLine(product=f"products/{article}", quantity=pieces)


def _money(minor: int) -> Money:
    return money.money(minor, CURRENCY)
