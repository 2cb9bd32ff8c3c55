"""Who can use the console: by keyboard, on a phone, in the light and in the dark, by what is read aloud, offline."""

from __future__ import annotations

from itertools import product

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.console.conftest import Scheme
from tests.console.test_live import newest
from tests.stage import eventually

VIEWS = ("map", "map?on=service/orders", "orders", "sagas", "dead-letters", "traffic", "objectives", "traces", "logs")
WIDTHS = (390, 1280)
POLICY = "default-src 'self'; frame-ancestors 'none'"


@pytest.fixture(scope="session")
async def places(traded: None, api: aiohttp.ClientSession) -> list[str]:
    """Every view, with an order that went well, one that did not, and its trace."""
    good = await newest(api, "STATE_CONFIRMED")
    bad = await newest(api, "STATE_REFUSED", "CARD_DECLINED")
    traces: list[str] = []

    async def traced() -> bool:
        async with api.get("/v1/traces", params={"subject": bad["name"]}) as answer:
            traces[:] = [trace["name"] for trace in (await answer.json()).get("traces", [])]
        return bool(traces)

    await eventually(traced)
    return [f"#/{place}" for place in (*VIEWS, good["name"], bad["name"], traces[0])]


async def shown(page: Page, place: str) -> None:
    """Go to a place and wait until it has been read."""
    await page.goto(f"/console{place}")
    await expect(page.get_by_role("heading", level=1)).to_be_attached()


async def test_no_view_is_wider_than_a_phone(page: Page, places: list[str]) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    for place in places:
        await shown(page, place)
        assert await page.evaluate("document.documentElement.scrollWidth") == 390, place


async def test_a_dead_letter_can_be_replayed_on_a_phone_without_scrolling_sideways(page: Page) -> None:
    letter = {"id": "orders/1/2", "type": "mercato.orders.v1.OrderConfirmed", "key": "orders/1", "error": "long " * 40}
    await page.route("**/deadLetters?*", lambda route: route.fulfill(json={"deadLetters": [letter]}))
    await page.set_viewport_size({"width": 390, "height": 844})
    await shown(page, "#/dead-letters")
    box = await page.get_by_role("button", name="Replay orders/1/2").first.bounding_box()
    assert box
    assert box["x"] + box["width"] < 390


async def test_no_view_is_out_of_reach(page: Page) -> None:
    await shown(page, "#/map")
    for width in (390, 768, 961, 1280):
        await page.set_viewport_size({"width": width, "height": 844})
        await within_reach(page, width)


async def within_reach(page: Page, width: int) -> None:
    """Hold that the links to all views are to be seen."""
    for link in await page.get_by_role("navigation", name="Views").get_by_role("link").all():
        box = await link.bounding_box()
        assert box
        assert box["x"] + box["width"] <= width
        assert await link.evaluate(
            "(it) => it.offsetLeft + it.offsetWidth <= it.parentNode.offsetLeft + it.parentNode.clientWidth"
        )


@pytest.mark.parametrize(("scheme", "width"), list(product(("light", "dark"), WIDTHS)))
async def test_axe_finds_nothing_serious(
    browser: Browser, url: str, places: list[str], scheme: Scheme, width: int
) -> None:
    viewport = ViewportSize(width=width, height=900)
    async with await browser.new_context(
        base_url=url, color_scheme=scheme, viewport=viewport, bypass_csp=True
    ) as context:
        page = await context.new_page()
        for place in places:
            await shown(page, place)
            assert await serious_faults(page) == [], place


async def serious_faults(page: Page) -> list[str]:
    """Return what axe finds serious or critical on a page whose context bypasses its CSP, and where."""
    return [
        f"{one['id']}: {node['html']}"
        for one in (await Axe().run(page)).response["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


async def test_a_keyboard_is_enough(page: Page, places: list[str]) -> None:
    await shown(page, places[0])
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the view")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await reach(page, "gateway")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("complementary", name="Details")).to_contain_text("gateway/1")
    await page.get_by_role("link", name="Map").focus()
    await reach(page, "Orders")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Orders")
    await reach(page, "…")
    await page.keyboard.press("Enter")
    tree = page.get_by_role("tree", name="Spans")
    await expect(tree).to_be_visible()
    await tree.locator("[tabindex='0']").focus()
    await page.keyboard.press("Home")
    first = tree.get_by_role("treeitem").first
    await expect(first).to_be_focused()
    await expect(first).to_have_attribute("aria-selected", "true")
    count = await tree.get_by_role("treeitem").count()
    await page.keyboard.press("ArrowLeft")
    await expect(tree.get_by_role("treeitem")).not_to_have_count(count)
    await page.keyboard.press("ArrowRight")
    await expect(tree.get_by_role("treeitem")).to_have_count(count)
    await page.keyboard.press("ArrowDown")
    await expect(tree.get_by_role("treeitem").nth(1)).to_be_focused()
    await expect(page.get_by_role("complementary", name="Chosen span")).to_contain_text("client")


async def reach(page: Page, name: str) -> None:
    """Press Tab until something whose text begins so has the focus."""
    for _ in range(40):
        await page.keyboard.press("Tab")
        if (await page.evaluate("document.activeElement.textContent")).startswith(name):
            return
    pytest.fail(f"Tab does not lead to {name}")


async def test_a_person_chooses_light_or_dark(page: Page) -> None:
    await page.emulate_media(color_scheme="light")
    await page.goto("/console")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(ground)
    await page.get_by_role("button", name="Show in dark").click()
    assert await page.evaluate(ground) != light
    await page.reload()
    await expect(page.get_by_role("button", name="Show in light")).to_be_visible()
    assert await page.evaluate(ground) != light


async def test_its_files_allow_nothing_inline_and_nothing_from_elsewhere(api: aiohttp.ClientSession) -> None:
    for path in ("/console", "/console/main.js", "/console/style.css", "/console/icon.svg"):
        async with api.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Security-Policy"] == POLICY
    async with api.get("/") as answer:
        assert 'href="/console"' in await answer.text()
