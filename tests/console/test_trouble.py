"""What the console shows while parts fail, and that it is over when they are mended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import asyncpg
import pytest
from mercato.orders.v1.orders_pb2 import GetOrderRequest, Order
from playwright.async_api import Browser, Page, ViewportSize, expect

from fleet import lifecycle
from fleet.client import Shop, call, connect
from fleet.plan import FRONT, Plan
from tests.console.conftest import Scheme
from tests.console.test_access import serious_faults, shown
from tests.stage import eventually
from tests.system.test_mesh import mercato
from tests.system.test_promises import new_customer, new_product, order_of

ORDERS = 25
"""Enough tries that fail for a circuit to open."""
METHOD = "ReleaseReservation"


@pytest.fixture(scope="module")
async def order(fleet: Plan) -> AsyncIterator[str]:
    """Orders whose cards are declined while no reservation can be released; one of them has been tried nine times."""
    fault = ("--abort", "UNAVAILABLE", "--method", METHOD)
    await mercato(fleet, "mesh", "fault", "inventory", *fault)
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        names = await declined(shop)
    database = await asyncpg.connect(fleet.database_url("orders"))

    async def as_if_tried_nine_times() -> bool:
        tag: str = await database.execute(
            "UPDATE sagas SET attempts = 9, due_time = now()"
            " WHERE subject = $1 AND status = 'unwinding' AND owner = ''",
            names[0],
        )
        return tag == "UPDATE 1"

    await eventually(as_if_tried_nine_times)
    await database.close()
    yield names[0]
    await mercato(fleet, "mesh", "fault", "inventory", "--off")


async def declined(shop: Shop) -> list[str]:
    """Place orders that are refused."""
    customer, product = await new_customer(shop), await new_product(shop, pieces=ORDERS)
    requests = (order_of(customer, product, card_token="tok_decline") for _ in range(ORDERS))
    placed = await asyncio.gather(*(call(shop.orders.PlaceOrder, request) for request in requests))
    return [each.order.name for each in placed]


async def test_what_is_set_on_purpose_is_said(page: Page, order: str) -> None:
    await shown(page, "#/traffic")
    tile = page.locator('[data-key="inventory"]')
    await expect(tile).to_contain_text(f"On purpose, 100 % of calls of {METHOD} are refused with UNAVAILABLE.")


async def test_a_circuit_that_is_open_shows_where_it_is(page: Page, order: str) -> None:
    await shown(page, "#/map?on=edge/orders/inventory")
    await expect(page.get_by_role("list", name="At a glance")).to_contain_text("1Breakers open")
    await expect(page.locator('[data-key="service/orders"] .queues')).to_contain_text("1 open")
    await expect(page.locator('[data-key="edge/orders/inventory"] .trouble')).to_contain_text("breaker open")
    await expect(page.locator('path[data-key="edge/orders/inventory"]')).to_have_class("wire edge bad on")
    details = page.get_by_role("complementary", name="Details")
    await expect(details).to_contain_text(f"{METHOD} of inventory, in orders/1")


async def test_a_circuit_that_is_open_shows_though_nobody_calls_any_more(page: Page) -> None:
    edge = {"caller": "orders", "callee": "inventory", "openBreakers": 1}
    await page.route("**/v1/traffic", lambda route: route.fulfill(json={"edges": [edge]}))
    await shown(page, "#/map")
    wire = page.locator('li[data-key="edge/orders/inventory"]')
    await expect(wire).to_contain_text("no calls")
    await expect(wire.locator(".trouble")).to_contain_text("breaker open")


async def test_sagas_that_are_stuck_come_first(page: Page, order: str) -> None:
    await shown(page, "#/sagas")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(ORDERS)
    stuck = rows.filter(has_text=order[-8:])
    await expect(stuck.locator(".badge.bad")).to_have_text("stuck")
    await expect(stuck).to_contain_text("reserve stock: to be undone")
    await expect(stuck).to_contain_text(f"{METHOD} of inventory keeps failing")
    states = await rows.locator(".badge").all_inner_texts()
    assert states == sorted(states), "stuck comes before unwinding"
    await expect(page.locator(".heading .badge.bad")).to_contain_text("stuck")


async def test_the_story_of_an_order_that_is_stuck_says_where_and_why(page: Page, order: str) -> None:
    await shown(page, f"#/{order}")
    saga = page.locator("section", has=page.get_by_role("heading", name="checkout"))
    await expect(saga.locator(".badge.bad")).to_have_text("stuck")
    await expect(saga.locator('[data-key="reserve_stock"] .undo')).to_contain_text("to be undone")
    await expect(saga).to_contain_text(f"{METHOD} of inventory keeps failing")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1280)])
async def test_trouble_too_is_for_everybody(browser: Browser, url: str, order: str, scheme: Scheme, width: int) -> None:
    async with await browser.new_context(
        base_url=url, color_scheme=scheme, viewport=ViewportSize(width=width, height=900), bypass_csp=True
    ) as context:
        page = await context.new_page()
        for place in ("map", "sagas", "traffic", order):
            await shown(page, f"#/{place}")
            assert await serious_faults(page) == [], place
            assert await page.evaluate("document.documentElement.scrollWidth") == width, place


async def test_it_is_over_when_it_is_mended(page: Page, fleet: Plan, order: str) -> None:
    await mercato(fleet, "mesh", "fault", "inventory", "--off")
    await shown(page, "#/sagas")
    await expect(page.locator("main")).to_contain_text("None is under way.", timeout=40_000)
    await shown(page, "#/traffic")
    await expect(page.locator('[data-key="inventory"]')).to_contain_text("Spread over all instances.")
    await shown(page, "#/map")
    await expect(page.get_by_role("list", name="At a glance")).to_contain_text("0Breakers open")
    await shown(page, f"#/{order}")
    await expect(page.locator('[data-key="reserve_stock"] .undo')).to_contain_text("undone")


UNREACHED: dict[str, Any] = {"status": 503, "json": {"code": 14, "message": "The service could not be reached."}}


@asynccontextmanager
async def hanging(fleet: Plan, name: str) -> AsyncIterator[None]:
    """An instance that takes what it is sent and answers nothing."""
    (member,) = [one for one in await lifecycle.members(fleet) if one.name == name]
    assert member.pid
    os.kill(member.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(member.pid, signal.SIGCONT)


async def bought(fleet: Plan) -> str:
    """Place an order that is paid."""
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        customer, product = await new_customer(shop), await new_product(shop, pieces=1)
        name: str = (await call(shop.orders.PlaceOrder, order_of(customer, product))).order.name

        async def confirmed() -> bool:
            order = (await shop.orders.GetOrder(GetOrderRequest(name=name))).order
            return order.state == Order.STATE_CONFIRMED

        await eventually(confirmed)
    return name


async def test_who_does_not_answer_is_not_said_to_have_done_nothing(page: Page, fleet: Plan) -> None:
    name = await bought(fleet)
    payment = page.locator("section", has=page.get_by_role("heading", name="Payment and ledger"))
    events = page.locator("section", has=page.get_by_role("heading", name="Events"))
    async with hanging(fleet, "payments/1"):
        await shown(page, f"#/{name}")
        await expect(payment).to_contain_text("Payments does not answer.")
        await expect(events).to_contain_text("Without those of payments")
        await expect(events).to_contain_text("StockReserved")
        await expect(page.locator("#pulse .badge")).to_have_text("live in part")
        await expect(page.locator("section", has=page.get_by_role("heading", name="Shipment"))).to_contain_text(
            "booked"
        )


async def test_a_hanging_telemetry_makes_nothing_else_late(page: Page, fleet: Plan) -> None:
    async with hanging(fleet, "telemetry/1"):
        await shown(page, "#/map")
        await expect(page.get_by_role("status")).to_contain_text("Telemetry does not answer")
        began = perf_counter()
        for _ in range(2):
            async with page.expect_response("**/v1/mesh"):
                pass
        assert perf_counter() - began < 4
        await expect(page.locator("#pulse .badge")).to_have_text("live in part")
        began = perf_counter()
        await shown(page, "#/sagas")
        await expect(page.locator(".heading .badge").first).to_be_visible()
        assert perf_counter() - began < 4
    await shown(page, "#/map")
    await expect(page.locator("#pulse .badge")).to_have_text("live")


async def test_all_dead_letters_are_found_though_neither_mesh_nor_telemetry_tells_of_them(
    browser: Browser, url: str, fleet: Plan
) -> None:
    page = await browser.new_page(base_url=url)
    for missing in ("mesh", "traffic"):
        await page.route(f"**/v1/{missing}", lambda route: route.fulfill(**UNREACHED))
    database = await asyncpg.connect(fleet.database_url("notifications"))
    try:
        await database.execute(
            "INSERT INTO dead_letters"
            " SELECT 'many/' || n, 'orders', 'mercato.orders.v1.OrderConfirmed', 'orders/' || n, '', '',"
            " now(), 'no', 1, now() FROM generate_series(1, 60) AS n"
        )
        await shown(page, "#/dead-letters")
        await expect(page.locator('tbody tr[data-key^="many/"]')).to_have_count(60)
        letters = await database.fetchval("SELECT count(*) FROM dead_letters")
        await expect(page.locator(".heading .badge.bad")).to_have_text(f"{letters} dead letters")
        await expect(page.get_by_role("button", name="Replay all")).to_have_text("Replay all")
    finally:
        await database.execute("DELETE FROM dead_letters WHERE id LIKE 'many/%'")
        await database.close()
    await page.close()


async def test_nothing_is_well_while_one_does_not_say(browser: Browser, url: str) -> None:
    page = await browser.new_page(base_url=url)
    await page.route("**/v1/services/orders/*", lambda route: route.fulfill(**UNREACHED))
    await shown(page, "#/sagas")
    await expect(page.locator("main")).to_contain_text("orders cannot be asked now.")
    await expect(page.locator(".heading .badge").first).to_have_text("not all answer")
    await page.close()
