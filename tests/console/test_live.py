"""The console in a browser, in front of a suite that trades, breaks and is mended."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import pytest
from mercato.orders.v1.orders_pb2 import CreateReturnRequest, GetOrderRequest, Order, OrderConfirmed, ReturnLine
from playwright.async_api import Browser, Page, expect

from chassis.bus import Event
from chassis.money import money
from chassis.nats import NatsBus
from chassis.telemetry.trace import Trace
from fleet import lifecycle
from fleet.client import call, connect
from fleet.plan import FRONT, Plan
from tests.stage import eventually
from tests.system.test_promises import best_of, new_customer, new_product, order_of

SEEN_WITHIN_S = 2.0


async def newest(api: aiohttp.ClientSession, state: str, reason: str = "") -> dict[str, Any]:
    """Return the newest order in a state, once there is one that was refused for this reason."""
    found: list[dict[str, Any]] = []

    async def there() -> bool:
        query = {"state": state, "order_by": "name desc", "page_size": "100"}
        async with api.get("/v1/orders", params=query) as answer:
            orders = (await answer.json()).get("orders", [])
        found[:] = [order for order in orders if order.get("refusal", {}).get("reason", "") == reason]
        return bool(found)

    await eventually(there, 40)
    return found[0]


@pytest.mark.usefixtures("trading")
async def test_the_map_shows_a_live_replay(page: Page) -> None:
    await page.goto("/console")
    calls = page.locator('[data-key="edge/orders/payments"] a')
    await expect(calls).to_contain_text("ms")
    assert float((await calls.locator("b").inner_text()).removesuffix("/s")) > 0
    await expect(page.locator('path[data-key="edge/orders/payments"]')).to_have_class("wire edge busy ")
    await expect(page.locator('[data-key="stream/orders/notifications"] a')).to_contain_text("wait")
    await calls.click()
    details = page.get_by_role("complementary", name="Details")
    for said in ("calls", "errors", "refusals", "p50", "p99", "retries", "open breakers"):
        await expect(details).to_contain_text(said)
    await page.get_by_role("link", name="orders", exact=True).click()
    await expect(details).to_contain_text("PlaceOrder")
    await expect(details).to_contain_text("orders/1")


@pytest.mark.usefixtures("trading")
async def test_a_killed_instance_shows_within_two_seconds(page: Page, fleet: Plan) -> None:
    killed = page.locator('li[data-key="shipping/1"]')

    async def seen_after_s() -> float:
        await page.goto("/console")
        await expect(killed).to_have_class("good")
        (member,) = [one for one in await lifecycle.members(fleet) if one.name == "shipping/1"]
        assert member.pid
        os.kill(member.pid, signal.SIGKILL)
        began = perf_counter()
        await page.locator('li[data-key="shipping/1"]:not(.good)').wait_for()
        seen_s = perf_counter() - began
        assert (await killed.locator(".word").inner_text()) in ("down", "came back")
        await expect(killed).to_contain_text("came back")
        return seen_s

    assert await best_of(3, seen_after_s) < SEEN_WITHIN_S


@pytest.mark.usefixtures("traded")
async def test_an_orders_story_is_complete(page: Page, api: aiohttp.ClientSession) -> None:
    order = await newest(api, "STATE_CONFIRMED")
    await page.goto(f"/console#/{order['name']}")
    steps = page.locator(".steps > li")
    await expect(steps).to_have_count(5)
    await expect(page.locator(".steps > li.good")).to_have_count(5)
    total = order["total"]
    pence = int(total.get("units", 0)) * 100 + total.get("nanos", 0) // 10**7
    await expect(page.locator(".head")).to_contain_text(f"£{pence // 100:,}.{pence % 100:02}")
    tree = page.get_by_role("tree", name="Spans")
    for service in ("gateway", "orders", "customers", "catalog", "inventory", "payments", "shipping", "notifications"):
        await expect(tree.locator(".who", has_text=service).first).to_be_visible()
    events = page.get_by_role("region", name="Events")
    for event in ("OrderPlaced", "StockReserved", "PaymentAuthorized", "ShipmentBooked", "PaymentCaptured"):
        await expect(events.get_by_role("row").filter(has_text=event)).to_have_count(1)
    await expect(events.get_by_role("row").filter(has_text="OrderConfirmed")).to_contain_text("notifications")
    await expect(page.get_by_role("region", name="Ledger entries")).to_contain_text("card clearing")
    for section, state in (("Reservation", "committed"), ("Payment and ledger", "captured"), ("Shipment", "booked")):
        await expect(page.locator("section", has=page.get_by_role("heading", name=section))).to_contain_text(state)
    await expect(page.locator(".mails li")).to_have_count(1)


@pytest.mark.usefixtures("traded")
async def test_a_refused_order_shows_what_was_undone(page: Page, api: aiohttp.ClientSession) -> None:
    order = await newest(api, "STATE_REFUSED", "CARD_DECLINED")
    await page.goto(f"/console#/{order['name']}")
    await expect(page.locator(".refusal")).to_contain_text("CARD_DECLINED")
    await expect(page.locator('[data-key="reserve_stock"] .undo')).to_contain_text("undone")
    await expect(page.locator('[data-key="authorize_payment"].bad')).to_contain_text("refused")
    await expect(page.locator('[data-key="capture_payment"]')).to_contain_text("never begun")
    await expect(page.get_by_role("tree").get_by_text("undo reserve_stock")).to_be_visible()
    await expect(page.get_by_role("tree").locator(".failed").first).to_be_visible()
    await expect(page.get_by_role("complementary", name="Chosen span")).to_contain_text("failed")
    await expect(page.get_by_role("region", name="Events")).to_contain_text("ReservationReleased")


@pytest.mark.usefixtures("traded")
async def test_orders_are_found_by_state_and_by_id(page: Page, api: aiohttp.ClientSession) -> None:
    refused = await newest(api, "STATE_REFUSED", "CARD_DECLINED")
    await page.goto("/console#/orders")
    await page.get_by_label("state").select_option("refused")
    await expect(page.locator("tbody .badge.good")).to_have_count(0)
    await expect(page.locator("tbody .badge.bad").first).to_be_visible()
    await page.get_by_role("searchbox").fill(refused["name"][-8:])
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_role("searchbox").fill(refused["name"])
    await page.get_by_role("searchbox").press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text(refused["name"].removeprefix("orders/"))


async def test_a_dead_letter_is_replayed(page: Page, fleet: Plan) -> None:
    nobody, order = (OrderConfirmed(name=f"orders/{uuid4()}", total=money(255, "GBP")) for _ in range(2))
    order.email = "ann@shop.example"
    database = await asyncpg.connect(fleet.database_url("notifications"))
    async with NatsBus(fleet.nats_url, "tests") as bus:
        await database.execute("ALTER TABLE mails RENAME TO mislaid")
        try:
            await bus.publish([as_event(nobody), as_event(order)])
            await page.goto("/console#/dead-letters")
            rows = page.locator("tbody tr")
            await expect(rows).to_have_count(2, timeout=40_000)
        finally:
            await database.execute("ALTER TABLE mislaid RENAME TO mails")
            await database.close()
    await rows.filter(has_text=order.name[-8:]).get_by_role("button").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("notifications: 1 handled, 0 failed again.")
    await expect(rows).to_have_count(1)
    await rows.get_by_role("button").click()
    await expect(page.get_by_role("status")).to_have_text("notifications: 0 handled, 1 failed again.")
    await expect(rows).to_contain_text("has no mail address")


def as_event(message: OrderConfirmed) -> Event:
    return Event(
        id=f"{message.name}/2",
        source="orders",
        type=message.DESCRIPTOR.full_name,
        key=message.name,
        time=datetime.now(UTC),
        trace=Trace.start().traceparent,
        payload=message.SerializeToString(),
    )


async def test_nothing_is_asked_while_nobody_looks(page: Page) -> None:
    await page.goto("/console")
    await expect(page.locator(".card").first).to_be_visible()
    hide = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => true })"
    await page.evaluate(hide)
    await asyncio.sleep(1.5)  # for what is under way
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await asyncio.sleep(2.5)
    assert not asked
    async with page.expect_response("**/v1/traffic"):
        await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")


async def test_a_page_that_stays_open_keeps_nothing_of_the_beats_before(page: Page) -> None:
    await page.add_init_script("""
        globalThis.listening = 0;
        for (const [name, step] of [["addEventListener", 1], ["removeEventListener", -1]]) {
          AbortSignal.prototype[name] = function (...given) {
            listening += step;
            return EventTarget.prototype[name].apply(this, given);
          };
        }
    """)
    await page.goto("/console")
    for _ in range(3):
        async with page.expect_response("**/v1/traffic"):
            pass
    assert await page.evaluate("listening") <= 1


@pytest.mark.parametrize(
    ("missing", "said"),
    [("traffic", "Telemetry does not answer"), ("mesh", "The mesh does not answer")],
)
async def test_the_map_says_what_it_lacks_and_shows_the_rest(
    browser: Browser, url: str, missing: str, said: str
) -> None:
    page = await browser.new_page(base_url=url)
    status = '{"code": 14, "message": "The service could not be reached."}'
    await page.route(f"**/v1/{missing}", lambda route: route.fulfill(status=503, body=status))
    await page.goto("/console")
    await expect(page.get_by_role("status")).to_contain_text(said)
    await expect(page.locator('li[data-key="orders/1"]')).to_be_visible()
    known = "events \u2013" if missing == "traffic" else "events 0"
    await expect(page.locator('[data-key="service/orders"] .queues')).to_contain_text(known)
    await page.close()


@pytest.mark.parametrize(
    ("place", "said"),
    [(f"traces/{'0' * 31}1", "does not exist"), ("traces/zz", "does not match"), ("orders/nope", "does not exist")],
)
async def test_what_is_not_there_is_an_answer(browser: Browser, url: str, place: str, said: str) -> None:
    page = await browser.new_page(base_url=url)
    await page.goto(f"/console#/{place}")
    await expect(page.locator("main")).to_contain_text(said)
    await expect(page.locator("main")).not_to_contain_text("asks again")
    await expect(page.locator("#pulse")).to_contain_text("live")
    await page.close()


async def test_a_view_that_cannot_be_read_says_which_it_is_and_comes_by_itself(browser: Browser, url: str) -> None:
    page = await browser.new_page(base_url=url)
    status = '{"code": 14, "message": "The service could not be reached."}'
    await page.route("**/v1/objectives", lambda route: route.fulfill(status=503, body=status))
    await page.goto("/console#/objectives")
    await expect(page.get_by_role("status")).to_contain_text("The service could not be reached.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Objectives")
    await page.unroute_all()
    await expect(page.locator("main")).to_contain_text("error budget")
    await page.close()


async def test_a_hash_that_leads_nowhere_says_so(page: Page) -> None:
    for place in ("nosuch", "constructor", "__proto__", "map/of/what"):
        await page.goto(f"/console#/{place}")
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
        await page.get_by_role("link", name="The map").click()
        await expect(page.locator(".card").first).to_be_visible()


async def test_a_hash_that_means_nothing_is_an_answer_too(browser: Browser, url: str) -> None:
    page = await browser.new_page(base_url=url)
    await page.goto("/console#/orders/%E0%A4%A")
    await expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    await expect(page.locator("main")).to_contain_text("not UTF-8")
    await page.close()


async def test_a_fault_of_a_view_is_said_and_the_page_goes_on(browser: Browser, url: str) -> None:
    page = await browser.new_page(base_url=url)
    await page.route("**/v1/objectives", lambda route: route.fulfill(json={"objectives": 7}))
    await page.goto("/console#/objectives")
    await expect(page.get_by_role("status")).to_contain_text("This page has a fault")
    await expect(page.locator("#pulse .badge.bad")).to_be_visible()
    await page.unroute_all()
    await expect(page.locator("#pulse .badge.good")).to_be_visible()
    await expect(page.get_by_role("status")).to_have_count(0)
    await page.close()


SPANS = 400


def span(number: int, **more: Any) -> dict[str, Any]:
    start = datetime.fromtimestamp(1_700_000_000 + number, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parent = "" if number == 0 else f"{0:016x}"
    return {"id": f"{number:016x}", "parentId": parent, "service": "orders", "name": f"step {number}",
            "startTime": start, "duration": "0.5s", **more}  # fmt: skip


async def test_a_link_to_a_span_leads_to_it_wherever_it_is(page: Page) -> None:
    name = f"traces/{'a' * 32}"
    linked = {"trace": name, "spanId": f"{SPANS - 5:016x}"}
    spans = [span(number, links=[linked] if number == 300 else []) for number in range(SPANS)]
    spans[1].pop("name")
    trace = {"name": name, "spans": spans, "spanCount": SPANS, "startTime": spans[0]["startTime"], "duration": "400s"}
    await page.route(f"**/v1/{name}", lambda route: route.fulfill(json={"trace": trace}))
    await page.goto(f"/console#/{name}?span={300:016x}")
    details = page.get_by_role("complementary", name="Chosen span")
    await expect(page.get_by_role("treeitem").nth(300)).to_be_in_viewport()
    await expect(details).to_contain_text("step 300")
    await details.get_by_role("link", name=f"span {SPANS - 5:016x}").click()
    await expect(details).to_contain_text(f"step {SPANS - 5}")
    await expect(page.get_by_role("treeitem").nth(SPANS - 5)).to_be_in_viewport()
    await page.get_by_role("tree").evaluate("(it) => (it.scrollTop = 0)")
    await page.set_viewport_size({"width": 1400, "height": 900})  # for which the page is drawn anew
    await expect(page.get_by_role("treeitem").first).to_be_in_viewport()


async def test_the_way_back_leads_to_where_one_was(page: Page) -> None:
    orders = [{"name": f"orders/{number:08}", "placeTime": "2026-01-01T00:00:00Z"} for number in range(80)]
    await page.route("**/v1/orders?*", lambda route: route.fulfill(json={"orders": orders}))
    await page.goto("/console#/orders")
    last = page.get_by_role("link", name="00000079")
    await last.scroll_into_view_if_needed()
    await eventually(lambda: page.evaluate("history.state?.top > 0"))
    await page.get_by_role("navigation", name="Views").get_by_role("link", name="Sagas").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sagas")
    assert await page.evaluate("scrollY") == 0
    await page.go_back()
    await expect(last).to_be_in_viewport()


async def test_an_order_is_found_by_what_a_list_shows_of_its_id(page: Page) -> None:
    orders = [{"name": f"orders/{uuid4()}", "placeTime": "2026-01-01T00:00:00Z"} for _ in range(3)]
    await page.route("**/v1/orders?*", lambda route: route.fulfill(json={"orders": orders}))
    await page.goto("/console#/orders")
    await page.get_by_role("searchbox").fill(f"…{orders[1]['name'][-8:]}")
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody")).to_contain_text(orders[1]["name"][-8:])


async def test_who_looks_finds_no_lines_of_looking(page: Page, api: aiohttp.ClientSession) -> None:
    await page.goto("/console#/sagas")
    async with page.expect_response("**/v1/services/orders/sagas?*"):
        pass
    await expect(page.locator("main")).to_contain_text("stuck")
    async with api.get("/v1/logs", params={"service": "gateway", "page_size": "500"}) as answer:
        lines = (await answer.json())["logs"]
    assert [line for line in lines if line.get("attributes", {}).get("caller") == "console"] == []


async def test_an_orders_story_tells_of_its_returns(page: Page, fleet: Plan) -> None:
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        customer, product = await new_customer(shop), await new_product(shop, pieces=1)
        order = (await call(shop.orders.PlaceOrder, order_of(customer, product))).order
        line = ReturnLine(product=product, quantity=1, unit_price=order.lines[0].unit_price)
        request = CreateReturnRequest(request_id=str(uuid4()), order=order.name, customer=customer, lines=[line])

        async def confirmed() -> bool:
            found = await shop.orders.GetOrder(GetOrderRequest(name=order.name))
            return found.order.state == Order.STATE_CONFIRMED

        await eventually(confirmed)
        returned = (await call(shop.orders.CreateReturn, request)).returned
    await page.goto(f"/console#/{order.name}")
    rows = page.get_by_role("region", name="Returns").get_by_role("row")
    await expect(rows.filter(has_text=returned.name[-8:])).to_contain_text("completed")
    saga = page.locator("section", has=page.get_by_role("heading", name=f"return …{returned.name[-8:]}"))
    await expect(saga.locator(".steps > li.good")).to_have_count(2)
    events = page.get_by_role("region", name="Events").get_by_role("row")
    for event in ("ReturnRequested", "ReturnCompleted"):
        await expect(events.filter(has_text=event)).to_have_count(1)
    await expect(page.locator(".mails")).to_contain_text("ReturnCompleted")
