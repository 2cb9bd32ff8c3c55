"""Orders with all their partners: real services, real databases, real bus."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mercato.inventory.v1 import inventory_pb2 as inventory_pb
from mercato.orders.v1 import orders_pb2 as pb
from mercato.payments.v1 import payments_pb2 as payments_pb
from mercato.shipping.v1 import shipping_pb2 as shipping_pb

from chassis.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from chassis.money import minor, money
from tests.shop import Shop, new_request_id
from tests.stage import Stage, eventually

State = pb.Order.State


@pytest.fixture(scope="module")
async def shop(stage: Stage) -> Shop:
    return await Shop.open(stage)


@pytest.fixture
async def customer(shop: Shop) -> str:
    return await shop.new_customer()


async def missing(lookup: Any) -> bool:
    """Whether a lookup ends in NotFound."""
    try:
        await lookup
    except NotFound:
        return True
    return False


async def test_an_order_ends_confirmed_with_goods_and_money_where_they_belong(shop: Shop, customer: str) -> None:
    mug, cup = await shop.new_product(10, 250), await shop.new_product(5, 100)
    placed = await shop.place(shop.order_of(customer, (mug, 3), (cup, 2)))
    assert (placed.state, minor(placed.total), placed.email) == (State.STATE_PLACED, 950, "ada@customers.example")
    history = await shop.watch(placed.name)
    assert history[-1].state == State.STATE_CONFIRMED
    assert [order.state for order in history] in (
        [State.STATE_PLACED, State.STATE_CONFIRMED],
        [State.STATE_CONFIRMED],  # it was done before the watch began
    )
    assert (await shop.stock(mug), await shop.stock(cup)) == ((7, 0), (3, 0))
    payment = await shop.payment(placed.name)
    assert (payment.state, minor(payment.captured)) == (payments_pb.Payment.STATE_CAPTURED, 950)
    shipment = await shop.shipment(placed.name)
    assert (shipment.state, shipment.pieces) == (shipping_pb.Shipment.STATE_BOOKED, 5)


async def test_too_little_stock_refuses_the_order(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    order = await shop.final((await shop.place(shop.order_of(customer, (mug, 3)))).name)
    assert (order.state, order.refusal.step, order.refusal.reason) == (
        State.STATE_REFUSED,
        "reserve_stock",
        "OUT_OF_STOCK",
    )
    assert await shop.stock(mug) == (2, 0)
    assert await missing(shop.payment(order.name))


async def test_a_declined_card_undoes_the_reservation(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    order = await shop.final((await shop.place(shop.order_of(customer, (mug, 1), card_token="tok_decline"))).name)
    assert (order.refusal.step, order.refusal.reason) == ("authorize_payment", "CARD_DECLINED")
    assert await shop.stock(mug) == (2, 0)
    assert await missing(shop.shipment(order.name))


async def test_a_destination_nobody_serves_undoes_payment_and_reservation(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    order = await shop.final((await shop.place(shop.order_of(customer, (mug, 1), region_code="ZZ"))).name)
    assert (order.state, order.refusal.step) == (State.STATE_REFUSED, "book_shipment")
    assert await shop.stock(mug) == (2, 0)
    assert (await shop.payment(order.name)).state == payments_pb.Payment.STATE_VOIDED


async def test_a_charge_whose_answer_is_lost_is_not_lost_nor_doubled(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    payments = shop.stage.apps["payments"].database
    placed = await shop.place(shop.order_of(customer, (mug, 1), card_token="tok_timeout"))
    assert (await shop.final(placed.name)).state == State.STATE_CONFIRMED
    assert await payments.value("SELECT count(*) FROM ledger_entries WHERE subject = $1", _payment(placed.name)) == 1


async def test_the_caller_may_leave_early_and_the_order_still_ends_right(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    placed = await shop.place(shop.order_of(customer, (mug, 1), card_token="tok_slow"))
    with pytest.raises(DeadlineExceeded):
        async for _ in shop.orders.WatchOrder(pb.WatchOrderRequest(name=placed.name), timeout=0.3):
            pass
    assert (await shop.final(placed.name)).state == State.STATE_CONFIRMED


async def test_an_order_without_goods_or_without_a_price_needs_no_partner(shop: Shop, customer: str) -> None:
    free = await shop.new_product(1, price_minor=0)
    gift = await shop.final((await shop.place(shop.order_of(customer, (free, 1)))).name)
    assert (gift.state, minor(gift.total)) == (State.STATE_CONFIRMED, 0)
    assert await missing(shop.payment(gift.name))

    request = shop.order_of(customer)
    request.charges.add(kind=pb.Charge.KIND_VOUCHER, quantity=2, unit_price=money(1000, "GBP"))
    voucher = await shop.final((await shop.place(request)).name)
    assert (voucher.state, minor(voucher.total)) == (State.STATE_CONFIRMED, 2000)
    assert await missing(shop.shipment(voucher.name))


async def test_carriage_that_is_not_agreed_is_quoted_and_added(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(2)
    request = shop.order_of(customer, (mug, 1))
    request.carriage_agreed = False
    order = await shop.place(request)
    [carriage] = order.charges
    quote = await shop.shipping.QuoteCarriage(
        shipping_pb.QuoteCarriageRequest(region_code="GB", pieces=1, currency_code="GBP")
    )
    assert (carriage.kind, carriage.unit_price) == (pb.Charge.KIND_CARRIAGE, quote.price)


async def test_the_same_request_a_hundred_times_is_one_order_and_one_charge(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(500)
    request = shop.order_of(customer, (mug, 1))
    answers = await asyncio.gather(*(shop.orders.PlaceOrder(request, timeout=15) for _ in range(100)))
    assert all(answer == answers[0] for answer in answers)
    await shop.final(answers[0].order.name)
    assert await shop.stock(mug) == (499, 0)
    page = await shop.orders.ListOrders(pb.ListOrdersRequest(customer=customer))
    assert len(page.orders) == 1
    request.lines[0].quantity = 2
    with pytest.raises(InvalidArgument) as error:
        await shop.orders.PlaceOrder(request)
    assert (error.value.reason, list(error.value.fields)) == ("REQUEST_ID_REUSED", ["request_id"])


async def test_a_confirmed_order_is_cancelled_by_undoing_all_of_it(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(4)
    order = await shop.final((await shop.place(shop.order_of(customer, (mug, 4)))).name)
    cancel = pb.CancelOrderRequest(request_id=new_request_id(), name=order.name)
    assert (await shop.orders.CancelOrder(cancel)).order.state == State.STATE_CANCELLING
    assert (await shop.final(order.name)).state == State.STATE_CANCELLED
    assert await shop.stock(mug) == (4, 0)
    payment = await shop.payment(order.name)
    assert (payment.state, minor(payment.refunded)) == (payments_pb.Payment.STATE_VOIDED, minor(payment.captured))
    assert (await shop.shipment(order.name)).state == shipping_pb.Shipment.STATE_CANCELLED
    with pytest.raises(FailedPrecondition) as error:
        await shop.orders.CancelOrder(pb.CancelOrderRequest(request_id=new_request_id(), name=order.name))
    assert error.value.reason == "ORDER_NOT_CANCELLABLE"


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.02, 0.03, 0.05])
async def test_an_order_cancelled_in_the_middle_of_checkout_leaves_nothing(
    shop: Shop, customer: str, delay_s: float
) -> None:
    mug = await shop.new_product(4)
    placed = await shop.place(shop.order_of(customer, (mug, 4)))
    await asyncio.sleep(delay_s)  # to meet checkout at another point each time
    await shop.orders.CancelOrder(pb.CancelOrderRequest(request_id=new_request_id(), name=placed.name))
    assert (await shop.final(placed.name)).state == State.STATE_CANCELLED

    async def undone() -> bool:
        return await shop.stock(mug) == (4, 0)

    await eventually(undone)
    payments = shop.stage.apps["payments"].database
    kept = "SELECT captured_minor - refunded_minor FROM processor_payments WHERE payment = $1"
    assert not await payments.value(kept, _payment(placed.name))  # nothing, or nothing left


async def test_goods_come_back_and_money_goes_back(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(10, 250)
    order = await shop.final((await shop.place(shop.order_of(customer, (mug, 5)))).name)
    request = pb.CreateReturnRequest(
        request_id=new_request_id(),
        order=order.name,
        customer=customer,
        lines=[pb.ReturnLine(product=mug, quantity=2, unit_price=money(250, "GBP"))],
    )
    returned = (await shop.orders.CreateReturn(request)).returned
    assert (await shop.orders.CreateReturn(request)).returned == returned

    await eventually(lambda: completed(shop, returned.name))
    assert await shop.stock(mug) == (7, 0)
    assert minor((await shop.payment(order.name)).refunded) == 500
    after = (await shop.orders.GetOrder(pb.GetOrderRequest(name=order.name))).order
    assert (minor(after.refunded), after.lines[0].returned_quantity) == (500, 2)

    request.request_id = new_request_id()
    request.lines[0].quantity = 4
    with pytest.raises(FailedPrecondition) as error:
        await shop.orders.CreateReturn(request)
    assert error.value.reason == "NOT_RETURNABLE"


async def test_goods_from_before_our_records_are_credited(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(1)
    request = pb.CreateReturnRequest(
        request_id=new_request_id(),
        customer=customer,
        lines=[pb.ReturnLine(product=mug, quantity=2, unit_price=money(300, "GBP"))],
        reference="C1",
    )
    returned = (await shop.orders.CreateReturn(request)).returned
    await eventually(lambda: completed(shop, returned.name))
    assert await shop.stock(mug) == (3, 0)
    given = (await shop.payments.ListCredits(payments_pb.ListCreditsRequest(page_size=1000))).credits
    assert [minor(each.amount) for each in given if each.reference == returned.name] == [600]


@pytest.mark.parametrize("behind_its_back", ["release", "void"])
async def test_a_partner_that_changes_its_mind_late_unwinds_the_order(
    shop: Shop, customer: str, behind_its_back: str
) -> None:
    """The last steps refuse when reservation or payment were undone by somebody else."""
    mug = await shop.new_product(3)
    placed = await shop.place(shop.order_of(customer, (mug, 3), card_token="tok_slow"))  # leaves time to interfere
    order_id = placed.name.removeprefix("orders/")

    async def reserved() -> bool:
        return await shop.stock(mug) == (3, 3)

    await eventually(reserved)
    if behind_its_back == "release":
        await shop.inventory.ReleaseReservation(
            inventory_pb.ReleaseReservationRequest(request_id=new_request_id(), name=f"reservations/{order_id}")
        )
    else:
        await shop.payments.VoidPayment(
            payments_pb.VoidPaymentRequest(request_id=new_request_id(), name=f"payments/{order_id}")
        )
    order = await shop.final(placed.name)
    assert order.state == State.STATE_REFUSED
    assert await shop.stock(mug) == (3, 0)
    assert (await shop.payment(placed.name)).state == payments_pb.Payment.STATE_VOIDED


async def test_bad_orders_are_refused_by_name_and_nothing_is_stored(shop: Shop, customer: str) -> None:
    mug = await shop.new_product(3, 250)
    request = shop.order_of(customer, (mug, 1))

    unknown = shop.order_of("customers/nobody", (mug, 1))
    with pytest.raises(NotFound) as missing_customer:
        await shop.place(unknown)
    assert missing_customer.value.data == {"name": "customers/nobody"}

    with pytest.raises(NotFound) as missing_product:
        await shop.place(shop.order_of(customer, ("products/nothing", 1)))
    assert missing_product.value.data == {"name": "products/nothing"}

    request.lines[0].unit_price.CopyFrom(money(249, "GBP"))
    with pytest.raises(FailedPrecondition) as price:
        await shop.place(request)
    assert price.value.reason == "PRICE_NOT_OFFERED"

    with pytest.raises(InvalidArgument) as empty:
        await shop.place(shop.order_of(customer))
    assert list(empty.value.fields) == ["lines"]

    discount = shop.order_of(customer, (mug, 1))
    discount.charges.add(kind=pb.Charge.KIND_DISCOUNT, quantity=1, unit_price=money(-251, "GBP"))
    with pytest.raises(InvalidArgument) as too_much:
        await shop.place(discount)
    assert list(too_much.value.fields) == ["charges"]

    mixed = shop.order_of(customer, (mug, 1))
    mixed.charges.add(kind=pb.Charge.KIND_FEE, quantity=1, unit_price=money(100, "EUR"))
    with pytest.raises(InvalidArgument) as currency:
        await shop.place(mixed)
    assert list(currency.value.fields) == ["charges[0].unit_price.currency_code"]

    assert not (await shop.orders.ListOrders(pb.ListOrdersRequest(customer=customer))).orders


async def test_events_are_the_truth_and_states_their_snapshots(shop: Shop) -> None:
    """Rebuilt from its events, every order and return of this module equals the stored one."""
    app = shop.stage.apps["orders"]
    from services.orders.domain import evolve_order, evolve_return

    await assert_rebuilt(app, "orders", pb.Order, evolve_order)
    await assert_rebuilt(app, "returns", pb.Return, evolve_return)


async def assert_rebuilt(app: Any, table: str, state: Any, evolve: Any) -> None:
    from chassis.repository import Repository

    repository: Any = Repository(app.database, app.outbox, app.clock, table=table, state=state, evolve=evolve)
    names = [row["name"] for row in await app.database.rows(f"SELECT name FROM {table}")]
    assert names
    for name in names:
        assert await repository.rebuild(name) == await repository.get(name)


async def completed(shop: Shop, name: str) -> bool:
    returned = (await shop.orders.GetReturn(pb.GetReturnRequest(name=name))).returned
    return returned.state == pb.Return.STATE_COMPLETED


def _payment(order: str) -> str:
    return order.replace("orders/", "payments/")


async def test_orders_are_listed_newest_first_where_that_is_asked_for(shop: Shop) -> None:
    customer, product = await shop.new_customer(), await shop.new_product()
    placed = [(await shop.place(shop.order_of(customer, (product, 1)))).name for _ in range(3)]
    asked = pb.ListOrdersRequest(customer=customer, order_by="name desc", page_size=2)
    first = await shop.orders.ListOrders(asked)
    asked.page_token = first.next_page_token
    second = await shop.orders.ListOrders(asked)
    assert [order.name for order in (*first.orders, *second.orders)] == placed[::-1]
    assert not second.next_page_token
    with pytest.raises(InvalidArgument, match="order_by"):
        await shop.orders.ListOrders(pb.ListOrdersRequest(order_by="total"))
