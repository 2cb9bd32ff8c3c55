"""What is decided about orders and returns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from google.protobuf.message import Message
from google.type.money_pb2 import Money
from mercato.catalog.v1.catalog_pb2 import Product
from mercato.orders.v1.orders_pb2 import (
    CancelOrderRequest,
    Charge,
    CreateReturnRequest,
    Order,
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderItemsReturned,
    OrderLine,
    OrderPlaced,
    OrderRefused,
    PlaceOrderLine,
    PlaceOrderRequest,
    Refusal,
    Return,
    ReturnCompleted,
    ReturnLine,
    ReturnRequested,
)

from chassis.clock import timestamp
from chassis.errors import FailedPrecondition, invalid_field
from chassis.money import LARGEST_MINOR, common_currency, minor, money

LEAST_CARRIAGE = money(495, "GBP")
"""One parcel within the country: nobody pays more because shipping was away."""

FINAL = frozenset({Order.STATE_CONFIRMED, Order.STATE_REFUSED, Order.STATE_CANCELLED})


class PriceNotOffered(FailedPrecondition):
    """{product} is not on offer at {price}."""


class OrderNotCancellable(FailedPrecondition):
    """{name} is {state} and cannot be cancelled."""


class NotReturnable(FailedPrecondition):
    """{name} does not hold {quantity} pieces of {product} at {price} that could be returned."""


class OrderNotReturnable(FailedPrecondition):
    """Nothing of {name} can be returned: it is {state}."""


class ReturnTooLarge(FailedPrecondition):
    """{name} has less left to give back than {amount}."""


# Placing


def require_something(lines: Sequence[object], charges: Sequence[object]) -> None:
    """InvalidArgument when there is neither a line nor a charge."""
    if not lines and not charges:
        raise invalid_field("lines", "expected at least one line or charge")


def place(
    request: PlaceOrderRequest,
    name: str,
    email: str,
    products: Mapping[str, Product],
    carriage: Money | None,
    now: datetime,
) -> list[Message]:
    """Place an order: agreed prices are held against those on offer, carriage is added where it is not agreed."""
    lines = [
        OrderLine(product=line.product, quantity=line.quantity, unit_price=_price(products[line.product], line))
        for line in request.lines
    ]
    charges = [*request.charges]
    if carriage is not None:
        charges.append(Charge(kind=Charge.KIND_CARRIAGE, description="Carriage", quantity=1, unit_price=carriage))
    currency = common_currency(_prices(lines, charges))
    total_minor = _total_minor(lines, charges)
    if total_minor < 0:
        raise invalid_field("charges", "expected deductions of at most what is bought")
    order = Order(
        name=name,
        customer=request.customer,
        state=Order.STATE_PLACED,
        lines=lines,
        charges=charges,
        total=money(total_minor, currency),
        refunded=money(0, currency),
        email=email,
        shipping_address=request.shipping_address,
        card_token=request.card_token,
        reference=request.reference,
        place_time=timestamp(now),
    )
    return [OrderPlaced(order=order)]


def currency_of(request: PlaceOrderRequest, products: Mapping[str, Product]) -> str:
    """Return the currency an order is in, before it is placed."""
    for line in request.lines:
        currency: str = _price(products[line.product], line).currency_code
        return currency
    raise invalid_field("lines", "expected at least one line")


def on_offer(lines: Iterable[PlaceOrderLine], products: Mapping[str, Product]) -> bool:
    """Whether everything is on offer, at the agreed prices where there are any."""
    try:
        for line in lines:
            _price(products[line.product], line)
    except PriceNotOffered:
        return False
    return True


def default_carriage(currency_code: str) -> Money | None:
    """Return what carriage costs where nobody can be asked: what it costs at least; None where it is not sold so."""
    return LEAST_CARRIAGE if currency_code == LEAST_CARRIAGE.currency_code else None


def pieces(order: Order) -> int:
    """How many pieces an order sends."""
    return sum(line.quantity for line in order.lines)


def _price(product: Product, line: PlaceOrderLine) -> Money:
    offered = [price.amount for price in product.prices if not price.HasField("end_time")]
    if not line.HasField("unit_price"):
        if not offered:
            raise PriceNotOffered(product=product.name, price="any price")
        return offered[0]
    agreed = line.unit_price
    if agreed not in offered:
        raise PriceNotOffered(product=product.name, price=_text(agreed))
    return agreed


# Checkout's ends


def confirm(order: Order, now: datetime) -> list[Message]:
    """Checkout did everything."""
    if order.state != Order.STATE_PLACED:
        return []
    return [
        OrderConfirmed(
            name=order.name,
            customer=order.customer,
            email=order.email,
            total=order.total,
            reference=order.reference,
            confirm_time=timestamp(now),
        )
    ]


def undone(order: Order, refusal: Refusal, now: datetime) -> list[Message]:
    """Everything checkout did is undone, because it was refused or is to be cancelled."""
    if order.state == Order.STATE_PLACED:
        return [
            OrderRefused(
                name=order.name,
                customer=order.customer,
                email=order.email,
                refusal=refusal,
                reference=order.reference,
                refuse_time=timestamp(now),
            )
        ]
    if order.state == Order.STATE_CANCELLING:
        return [
            OrderCancelled(
                name=order.name,
                customer=order.customer,
                email=order.email,
                total=order.total,
                reference=order.reference,
                cancel_time=timestamp(now),
            )
        ]
    return []


# Cancelling and returning


def cancel(order: Order, request: CancelOrderRequest, now: datetime) -> list[Message]:
    """Ask for an order to be given up."""
    if order.state == Order.STATE_CANCELLING:
        return []
    if order.state not in (Order.STATE_PLACED, Order.STATE_CONFIRMED):
        raise OrderNotCancellable(name=order.name, state=_state(order))
    if minor(order.refunded) or any(line.returned_quantity for line in order.lines):
        raise OrderNotCancellable(name=order.name, state="partly returned")
    return [
        OrderCancellationRequested(name=order.name, reference=request.reference, request_time=timestamp(now)),
    ]


def request_return(request: CreateReturnRequest, name: str, email: str, now: datetime) -> ReturnRequested:
    """Bring goods back, or take charges back."""
    currency = common_currency(_prices(request.lines, request.charges))
    amount_minor = _total_minor(request.lines, request.charges)
    if amount_minor < 0:
        raise invalid_field("charges", "expected what is given back to be zero or more in all")
    returned = Return(
        name=name,
        order=request.order,
        customer=request.customer,
        state=Return.STATE_REQUESTED,
        lines=request.lines,
        charges=request.charges,
        amount=money(amount_minor, currency),
        email=email,
        reference=request.reference,
        create_time=timestamp(now),
    )
    return ReturnRequested(returned=returned)


def return_items(order: Order, returned: Return) -> list[Message]:
    """Hold a return against the order it belongs to."""
    if order.customer != returned.customer:
        raise invalid_field("customer", "expected the customer of the order")
    if order.state != Order.STATE_CONFIRMED:
        raise OrderNotReturnable(name=order.name, state=_state(order))
    if returned.amount.currency_code != order.total.currency_code:
        raise invalid_field("lines[0].unit_price.currency_code", f"expected {order.total.currency_code}")
    left: Counter[tuple[str, int]] = Counter()
    for line in order.lines:
        left[line.product, minor(line.unit_price)] += line.quantity - line.returned_quantity
    for item in returned.lines:
        left[item.product, minor(item.unit_price)] -= item.quantity
        if left[item.product, minor(item.unit_price)] < 0:
            raise NotReturnable(
                name=order.name, quantity=item.quantity, product=item.product, price=_text(item.unit_price)
            )
    if minor(returned.amount) > minor(order.total) - minor(order.refunded):
        raise ReturnTooLarge(name=order.name, amount=_text(returned.amount))
    return [
        OrderItemsReturned(name=order.name, return_name=returned.name, lines=returned.lines, amount=returned.amount)
    ]


def complete_return(returned: Return, now: datetime) -> list[Message]:
    """Goods and money are back where they belong."""
    if returned.state == Return.STATE_COMPLETED:
        return []
    return [
        ReturnCompleted(
            name=returned.name,
            order=returned.order,
            customer=returned.customer,
            email=returned.email,
            amount=returned.amount,
            complete_time=timestamp(now),
        )
    ]


# What events do


def evolve_order(order: Order, event: Message) -> None:
    """Apply one event."""
    match event:
        case OrderPlaced():
            order.CopyFrom(event.order)
        case OrderConfirmed():
            order.state = Order.STATE_CONFIRMED
            order.final_time.CopyFrom(event.confirm_time)
        case OrderRefused():
            order.state = Order.STATE_REFUSED
            order.refusal.CopyFrom(event.refusal)
            order.final_time.CopyFrom(event.refuse_time)
        case OrderCancellationRequested():
            order.state = Order.STATE_CANCELLING
        case OrderCancelled():
            order.state = Order.STATE_CANCELLED
            order.final_time.CopyFrom(event.cancel_time)
        case OrderItemsReturned():
            refunded_minor = minor(order.refunded) + minor(event.amount)
            order.refunded.CopyFrom(money(refunded_minor, event.amount.currency_code))
            for item in event.lines:
                _mark_returned(order, item)


def evolve_return(returned: Return, event: Message) -> None:
    """Apply one event."""
    match event:
        case ReturnRequested():
            returned.CopyFrom(event.returned)
        case ReturnCompleted():
            returned.state = Return.STATE_COMPLETED
            returned.complete_time.CopyFrom(event.complete_time)


def _mark_returned(order: Order, item: ReturnLine) -> None:
    left = item.quantity
    for line in order.lines:
        if line.product == item.product and line.unit_price == item.unit_price:
            taken = min(left, line.quantity - line.returned_quantity)
            line.returned_quantity += taken
            left -= taken


Lines = Iterable[OrderLine | ReturnLine]


def _prices(lines: Lines, charges: Iterable[Charge]) -> Iterable[tuple[str, Money]]:
    for index, line in enumerate(lines):
        yield f"lines[{index}].unit_price", line.unit_price
    for index, charge in enumerate(charges):
        yield f"charges[{index}].unit_price", charge.unit_price


def _total_minor(lines: Lines, charges: Iterable[Charge]) -> int:
    total_minor = 0
    for index, line in enumerate(lines):
        price_minor = minor(line.unit_price, f"lines[{index}].unit_price")
        if price_minor < 0:
            raise invalid_field(f"lines[{index}].unit_price", "expected zero or more")
        total_minor += line.quantity * price_minor
    for index, charge in enumerate(charges):
        total_minor += charge.quantity * minor(charge.unit_price, f"charges[{index}].unit_price")
    if abs(total_minor) > LARGEST_MINOR:
        raise invalid_field("lines", f"expected at most {LARGEST_MINOR // 100} in all")
    return total_minor


def _state(order: Order) -> str:
    return Order.State.Name(order.state).removeprefix("STATE_").lower()


def _text(amount: Money) -> str:
    return f"{amount.units}.{abs(amount.nanos) // 10_000_000:02} {amount.currency_code}"
