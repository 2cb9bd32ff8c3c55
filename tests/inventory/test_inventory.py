"""Inventory over real gRPC and PostgreSQL: never negative, never oversold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from uuid import uuid4

import pytest
from mercato.inventory.v1 import inventory_pb2 as pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub

from chassis.connections import MOST
from chassis.errors import FailedPrecondition, InvalidArgument, MercatoError, NotFound
from tests.stage import Stage, eventually

SERVICE = pb.DESCRIPTOR.services_by_name["InventoryService"]


@pytest.fixture(scope="module")
async def inventory(stage: Stage) -> InventoryServiceStub:
    await stage.start("inventory")
    return stage.stub(SERVICE, InventoryServiceStub)


def line(product: str, quantity: int) -> pb.StockLine:
    return pb.StockLine(product=f"products/{product}", quantity=quantity)


async def receive(inventory: InventoryServiceStub, *lines: pb.StockLine) -> None:
    await inventory.AdjustStock(
        pb.AdjustStockRequest(request_id=str(uuid4()), reason=pb.REASON_RECEIPT, lines=lines, reference="test")
    )


async def reserve(inventory: InventoryServiceStub, *lines: pb.StockLine, request_id: str = "") -> pb.Reservation:
    response = await inventory.ReserveStock(
        pb.ReserveStockRequest(request_id=request_id or str(uuid4()), reservation_id=uuid4().hex, lines=lines)
    )
    return response.reservation


async def stock(inventory: InventoryServiceStub, product: str) -> tuple[int, int]:
    found = (await inventory.GetStock(pb.GetStockRequest(name=f"stocks/{product}"))).stock
    return found.on_hand, found.held


async def test_500_buyers_of_50_pieces_buy_exactly_50(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("rare", 50), line("common", 10_000))

    async def buy() -> str:
        try:
            await reserve(inventory, line("common", 1), line("rare", 1))
        except FailedPrecondition as error:
            return error.reason
        return "sold"

    limit = asyncio.Semaphore(100)

    async def queue_up() -> str:
        async with limit:
            return await buy()

    outcomes = Counter(await asyncio.gather(*(queue_up() for _ in range(500))))
    assert outcomes == {"sold": 50, "OUT_OF_STOCK": 450}
    assert await stock(inventory, "rare") == (50, 50)
    assert await stock(inventory, "common") == (10_000, 50)


async def test_reservations_in_opposite_order_never_wait_for_each_other(inventory: InventoryServiceStub) -> None:
    names = [f"p{number}" for number in range(10)]
    await receive(inventory, *(line(name, 1000) for name in names))
    forward, backward = [line(name, 1) for name in names], [line(name, 1) for name in reversed(names)]
    await asyncio.gather(*(reserve(inventory, *lines) for _ in range(20) for lines in (forward, backward)))
    assert await stock(inventory, "p5") == (1000, 40)


async def test_adjustments_and_reservations_of_the_same_products_never_wait_for_each_other(
    inventory: InventoryServiceStub, stage: Stage
) -> None:
    """Where they do, PostgreSQL takes a second to see it, and ends one of them."""
    pick = random.Random(1)
    names = [f"q{number}" for number in range(300)]
    await receive(inventory, *(line(name, 1000) for name in names))
    for _ in range(5):
        small = [[line(name, 1) for name in pick.sample(names, 3)] for _ in range(30)]
        large = [[line(name, 1) for name in pick.sample(names, 200)] for _ in range(3)]
        calls = [(reserve, lines) for lines in small] + [(receive, lines) for lines in large]
        pick.shuffle(calls)
        await asyncio.gather(*(make(inventory, *lines) for make, lines in calls))
    database = stage.apps["inventory"].database
    await asyncio.gather(*(database.value("SELECT pg_stat_force_next_flush(), pg_sleep(0.02)") for _ in range(MOST)))
    assert await database.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_out_of_stock_names_the_product_and_holds_nothing(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("mug", 3), line("cup", 9))
    with pytest.raises(FailedPrecondition) as error:
        await reserve(inventory, line("cup", 1), line("mug", 4))
    assert error.value.reason == "OUT_OF_STOCK"
    assert error.value.data == {"product": "products/mug", "quantity": "4", "available": "3"}
    with pytest.raises(FailedPrecondition) as error:
        await reserve(inventory, line("cup", 1), line("never-seen", 1))
    assert error.value.data == {"product": "products/never-seen", "quantity": "1", "available": "0"}
    assert await stock(inventory, "cup") == (9, 0)


async def test_lines_of_one_product_add_up(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("sum", 5))
    with pytest.raises(FailedPrecondition):
        await reserve(inventory, line("sum", 3), line("sum", 3))
    reservation = await reserve(inventory, line("sum", 3), line("sum", 2))
    assert [(each.product, each.quantity) for each in reservation.lines] == [("products/sum", 5)]


async def test_commit_then_release_brings_the_pieces_back(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("vase", 7))
    reservation = await reserve(inventory, line("vase", 2))
    commit = pb.CommitReservationRequest(request_id=str(uuid4()), name=reservation.name)
    assert (await inventory.CommitReservation(commit)).reservation.state == pb.Reservation.STATE_COMMITTED
    assert await stock(inventory, "vase") == (5, 0)
    release = pb.ReleaseReservationRequest(request_id=str(uuid4()), name=reservation.name)
    assert (await inventory.ReleaseReservation(release)).reservation.state == pb.Reservation.STATE_RELEASED
    assert await stock(inventory, "vase") == (7, 0)
    page = await inventory.ListMovements(pb.ListMovementsRequest(parent="stocks/vase"))
    assert [(each.reason, each.quantity) for each in page.movements] == [
        (pb.REASON_RECEIPT, 7),
        (pb.REASON_SALE, -2),
        (pb.REASON_SALE_UNDONE, 2),
    ]


async def test_a_reservation_released_before_it_was_made_cannot_be_made_late(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("late", 1))
    name = f"reservations/{uuid4().hex}"
    await inventory.ReleaseReservation(pb.ReleaseReservationRequest(request_id=str(uuid4()), name=name))
    request = pb.ReserveStockRequest(
        request_id=str(uuid4()), reservation_id=name.removeprefix("reservations/"), lines=[line("late", 1)]
    )
    with pytest.raises(MercatoError) as error:
        await inventory.ReserveStock(request)
    assert error.value.reason == "ALREADY_EXISTS"
    assert await stock(inventory, "late") == (1, 0)


async def test_the_same_request_again_holds_nothing_more(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("once", 3))
    request = pb.ReserveStockRequest(request_id=str(uuid4()), reservation_id=uuid4().hex, lines=[line("once", 2)])
    answers = await asyncio.gather(*(inventory.ReserveStock(request) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert await stock(inventory, "once") == (3, 2)
    request.lines[0].quantity = 1
    with pytest.raises(InvalidArgument) as error:
        await inventory.ReserveStock(request)
    assert (error.value.reason, list(error.value.fields)) == ("REQUEST_ID_REUSED", ["request_id"])


async def test_held_pieces_are_free_again_when_their_time_is_over(
    inventory: InventoryServiceStub, stage: Stage
) -> None:
    await receive(inventory, line("brief", 1))
    request = pb.ReserveStockRequest(request_id=str(uuid4()), reservation_id=uuid4().hex, lines=[line("brief", 1)])
    request.hold.FromMilliseconds(1)
    name = (await inventory.ReserveStock(request)).reservation.name

    async def free() -> bool:
        return await stock(inventory, "brief") == (1, 0)

    await eventually(free)
    with pytest.raises(FailedPrecondition) as error:
        await inventory.CommitReservation(pb.CommitReservationRequest(request_id=str(uuid4()), name=name))
    assert error.value.reason == "RESERVATION_NOT_HELD"


async def test_stock_that_is_held_cannot_be_written_off(inventory: InventoryServiceStub) -> None:
    await receive(inventory, line("held", 2))
    await reserve(inventory, line("held", 2))
    with pytest.raises(FailedPrecondition) as error:
        await inventory.AdjustStock(
            pb.AdjustStockRequest(request_id=str(uuid4()), reason=pb.REASON_WRITE_OFF, lines=[line("held", -1)])
        )
    assert error.value.reason == "OUT_OF_STOCK"
    assert await stock(inventory, "held") == (2, 2)


async def test_an_adjustment_again_changes_nothing_more(inventory: InventoryServiceStub) -> None:
    request = pb.AdjustStockRequest(request_id=str(uuid4()), reason=pb.REASON_OPENING, lines=[line("again", 4)])
    answers = await asyncio.gather(*(inventory.AdjustStock(request) for _ in range(10)))
    assert all(answer == answers[0] for answer in answers)
    assert await stock(inventory, "again") == (4, 0)


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([line("x", 0)], "lines[0].quantity"),
        ([], "lines"),
        ([pb.StockLine(product="x", quantity=1)], "lines[0].product"),
    ],
)
async def test_bad_lines_are_named(inventory: InventoryServiceStub, lines: list[pb.StockLine], field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        await inventory.ReserveStock(pb.ReserveStockRequest(request_id=str(uuid4()), reservation_id="x", lines=lines))
    assert list(error.value.fields) == [field]


async def test_pages_list_every_stock_once(inventory: InventoryServiceStub) -> None:
    await receive(inventory, *(line(f"page-{number}", 1) for number in range(5)))
    names, token = [], ""
    while True:
        page = await inventory.ListStocks(pb.ListStocksRequest(page_size=2, page_token=token))
        names += [each.name for each in page.stocks]
        if not (token := page.next_page_token):
            break
    assert names == sorted(set(names))
    assert {f"stocks/page-{number}" for number in range(5)} <= set(names)
    with pytest.raises(NotFound):
        await inventory.GetStock(pb.GetStockRequest(name="stocks/unknown"))
