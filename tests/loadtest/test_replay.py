"""A slice of trade with everything in it, through the whole suite and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from mercato.orders.v1 import orders_pb2 as orders

from fleet import check
from fleet.client import Shop
from fleet.plan import Plan
from loadtest import bench, overhead
from loadtest.books import Books, read_books
from loadtest.categories import Sum
from loadtest.lines import read
from loadtest.plan import Options, plan
from loadtest.plan import Plan as TradePlan
from loadtest.reconcile import Report, reconcile
from loadtest.replay import Replay, Result

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]
REAL = ROOT / "loadtest" / "data" / "online_retail_2010-12-01_2010-12-10.csv.gz"

TRADE = (
    "1,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom",
    "1,85123A,HEART,4,01/12/2010 08:26,2.55,17850,United Kingdom",
    "1,22139,SPOONS,2,01/12/2010 08:26,4.25,17850,United Kingdom",
    "1,22139,SPOONS,1,01/12/2010 08:26,0,17850,United Kingdom",
    "2,22139,SPOONS,3,01/12/2010 08:30,4.95,,France",
    "2,POST,POSTAGE,1,01/12/2010 08:30,18,,France",
    "2,gift_0001_20,VOUCHER,1,01/12/2010 08:30,20,,France",
    "3,M,Manual,1,01/12/2010 08:35,1.25,13047,EIRE",
    "4,21777,DOOR,1,01/12/2010 08:40,7.95,13047,Norway",
    "4,D,Discount,-1,01/12/2010 08:40,2.95,13047,Norway",
    "5,21730,STAR,6,01/12/2010 08:45,4.25,17850,United Kingdom",
    "C6,21730,STAR,-6,01/12/2010 09:00,4.25,17850,United Kingdom",
    "C7,85123A,HEART,-7,01/12/2010 09:10,2.55,17850,United Kingdom",
    "C7,22139,SPOONS,-1,01/12/2010 09:10,4.25,17850,United Kingdom",
    "C7,22086,CHAIN,-12,01/12/2010 09:10,2.55,17850,United Kingdom",
    "C8,D,Discount,-1,01/12/2010 09:20,27.50,14527,United Kingdom",
    "C8,M,Manual,-4,01/12/2010 09:20,0.50,14527,United Kingdom",
    "C9,22086,CHAIN,-1,01/12/2010 09:30,2.55,,United Kingdom",
    "C10,AMAZONFEE,AMAZON FEE,-1,01/12/2010 09:40,13541.33,,United Kingdom",
    "11,AMAZONFEE,AMAZON FEE,1,01/12/2010 09:50,13541.33,,United Kingdom",
    "A12,B,Adjust bad debt,1,01/12/2010 10:00,-11062.06,,United Kingdom",
    "13,22139,,56,01/12/2010 11:52,0,,United Kingdom",
    "14,21777,damages,-10,01/12/2010 16:50,0,,United Kingdom",
    "15,85123A,HEART,six,01/12/2010 17:00,2.55,17850,United Kingdom",
    "16,85123A,HEART,1,02/12/2010 08:00,2.55,17850,United Kingdom",
)


async def replayed(made: TradePlan, shop: Shop, speed: float | None = None) -> tuple[Report, Result, Books]:
    result = await Replay(made, shop, concurrency=16, speed=speed).run()
    books = await read_books(shop, made)
    return reconcile(made, result, books), result, books


def differences(report: Report) -> dict[str, Sum]:
    return {row.category: row.difference for row in (*report.lines, *report.money) if row.difference != Sum()}


def counted(report: Report) -> dict[str, tuple[int, int, int]]:
    return {
        row.category: (row.in_services.lines, row.in_services.pieces, row.in_services.pence) for row in report.lines
    }


async def violations(fleet: Plan) -> dict[str, list[str]]:
    return {proof.name: proof.violations for proof in await check.check(fleet) if proof.violations}


async def event_count(fleet: Plan) -> int:
    count = 0
    for service in ("orders", "inventory", "payments", "customers", "catalog", "shipping"):
        connection = await asyncpg.connect(fleet.database_url(service))
        count += await connection.fetchval("SELECT count(*) FROM events")
        await connection.close()
    return count


async def test_every_line_becomes_what_it_was_and_twice_changes_nothing(fleet: Plan, shop: Shop, write: Write) -> None:
    made = plan(read(write(*TRADE)), Options())
    report, _, _ = await replayed(made, shop)
    assert (report.problems, differences(report)) == ([], {})
    assert counted(report) == {
        "sold": (6, 17, 2550 + 850 + 1485 + 795 + 255),
        "given free": (1, 1, 0),
        "sold, then cancelled": (1, 6, 2550),
        "cancellation": (1, -6, -2550),
        "returned": (2, -8, -1785 - 425),
        "returned, bought before": (2, -13, -3060 - 255),
        "charged: carriage": (1, 1, 1800),
        "charged: voucher": (1, 1, 2000),
        "charged: manual": (1, 1, 125),
        "charged: discount": (1, -1, -295),
        "credited: discount": (1, 0, -2750),
        "credited: manual": (1, 0, -200),
        "fee: marketplace": (2, 0, 0),
        "fee: bad debt": (1, 0, -1106206),
        "stock corrected": (1, 56, 0),
        "written off": (1, -10, 0),
        "rejected": (1, 0, 0),
    }
    assert await violations(fleet) == {}
    events = await event_count(fleet)
    again, _, _ = await replayed(made, shop)
    assert again.is_clean
    assert counted(again) == counted(report)
    assert await event_count(fleet) == events


async def test_short_stock_and_declined_cards_end_refused_and_reconciled(fleet: Plan, shop: Shop, write: Write) -> None:
    file = read(write(*TRADE))
    short, _, _ = await replayed(plan(file, Options(None, 100, 0)), shop)
    declined, _, books = await replayed(plan(file, Options(None, 0, 100)), shop)
    assert (short.problems, differences(short)) == ([], {})
    assert (declined.problems, differences(declined)) == ([], {})
    assert "refused: out of stock" in counted(short)
    assert {order.state for order in books.orders} == {orders.Order.STATE_REFUSED}
    assert counted(declined)["refused: card declined"][0] == 12
    assert counted(declined)["returned, bought before"] == (5, -27, -2550 - 1785 - 425 - 3060 - 255)
    assert await violations(fleet) == {}


async def test_stopped_half_way_it_goes_on_without_doubling_anything(fleet: Plan, shop: Shop, write: Write) -> None:
    file = read(write(*TRADE, "17,21777,DOOR,2,02/12/2010 09:00,7.95,13047,Norway"))
    made = plan(file, Options())
    stopped = Replay(made, shop, concurrency=2)
    running = asyncio.create_task(stopped.run())
    for _ in range(6000):
        if stopped.tally.final_count >= 2:
            break
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    assert stopped.tally.done_count < stopped.tally.total_count
    report, _, books = await replayed(made, shop)
    assert (report.problems, differences(report)) == ([], {})
    assert sorted(order.reference for order in books.orders) == sorted(
        made.identity.reference(number) for number in ("1", "2", "3", "4", "5", "16", "17")
    )
    assert await violations(fleet) == {}


async def test_one_day_beside_the_whole(fleet: Plan, shop: Shop, write: Write) -> None:
    options = Options(day=read(write(TRADE[-1])).lines[0].time.date())
    made = plan(read(write(*TRADE), options.day), options)
    report, _, books = await replayed(made, shop)
    assert report.is_clean
    assert counted(report) == {"sold": (1, 1, 255), "rejected": (1, 0, 0), "of other days": (23, 0, 0)}
    assert len(books.orders) == 1


async def test_speed_keeps_the_time_between_invoices(shop: Shop, write: Write) -> None:
    lines = [f"{at},22139,SPOONS,1,03/12/2010 09:0{at},4.25,17850,United Kingdom" for at in (1, 2)]
    made = plan(read(write(*lines)), Options())
    first, second = sorted(
        order.place_time.ToNanoseconds() / 1e9 for order in (await replayed(made, shop, speed=60))[2].orders
    )
    assert second - first > 0.8


async def test_what_is_lost_or_doubled_is_shown(shop: Shop, write: Write) -> None:
    made = plan(read(write(*TRADE)), Options())
    _, result, books = await replayed(made, shop)

    def differing(changed: Books) -> set[str]:
        report = reconcile(made, result, changed)
        assert not report.is_clean
        return set(differences(report))

    (guest,) = (order for order in books.orders if order.charges and order.customer == "customers/guest-2")
    lost = replace(books, orders=tuple(order for order in books.orders if order is not guest))
    assert differing(lost) == {"sold", "charged: carriage", "charged: voucher"}
    assert differing(replace(books, orders=(*books.orders, guest))) == differing(lost)
    assert differing(replace(books, fees=books.fees[1:])) >= {"fee: marketplace"} or {"fee: bad debt"}
    assert differing(replace(books, returns=())) >= {"returned", "returned, bought before"}
    assert differing(replace(books, payments=books.payments[1:])) >= {"taken by card"}
    assert differing(replace(books, movements=books.movements[1:])) <= {"written off", "stock corrected"}
    penny = orders.Order.FromString(guest.SerializeToString())
    penny.lines[0].unit_price.nanos += 10_000_000
    others = (order for order in books.orders if order is not guest)
    assert "sold" in differing(replace(books, orders=(*others, penny)))


async def test_bench_measures_orders_latency_and_cpu_and_leaves_books_that_add_up(fleet: Plan) -> None:
    figures = await bench.measure(fleet, REAL, duration_s=30, most_orders=64)
    costs = await overhead.measure(1)
    assert figures.confirmed_count == 64
    assert figures.orders_per_s == pytest.approx(64 / figures.duration_s)
    assert 0 < figures.place_order.p50_ms <= figures.place_order.p99_ms
    assert 0 < figures.placed_to_confirmed.p50_ms <= figures.placed_to_confirmed.p99_ms
    assert {"orders/1", "postgres", "nats", "gateway/1", "load generator"} <= figures.cpu_ms_per_order.keys()
    assert figures.cpu_ms_per_order["orders/1"] > 0
    assert 0 < costs.bare_us < costs.chassis_us
    assert await violations(fleet) == {}


async def test_a_change_behind_the_services_back_is_found(fleet: Plan) -> None:
    connection = await asyncpg.connect(fleet.database_url("inventory"))
    await connection.execute("UPDATE stocks SET on_hand = on_hand + 1 WHERE product = 'products/22139'")
    found = {proof.name for proof in await check.check(fleet, settle_s=0) if proof.violations}
    await connection.execute("UPDATE stocks SET on_hand = on_hand - 1 WHERE product = 'products/22139'")
    await connection.close()
    assert found == {"opening + adjustments + returned - sold is on hand"}
