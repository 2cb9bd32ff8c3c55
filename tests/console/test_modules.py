"""What the console's modules work out, asked in the browser itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from playwright.async_api import Page


async def run(page: Page, module: str, expression: str) -> Any:
    """Return what an expression over a module's exports is."""
    await page.goto("/console")
    return await page.evaluate(f"async () => {{ const it = await import('/console/{module}'); return {expression}; }}")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("{ currencyCode: 'GBP', units: '1234', nanos: 500000000 }", "£1,234.50"),
        ("{ currencyCode: 'GBP', units: '-3', nanos: -50000000 }", "\u2212£3.05"),
        ("{ currencyCode: 'GBP', nanos: -10000000 }", "\u2212£0.01"),
        (
            "{ currencyCode: 'JPY', units: '9223372036854775807', nanos: 999999999 }",
            "9,223,372,036,854,775,807.999999999 JPY",
        ),
        ("{ currencyCode: 'GBP' }", "£0.00"),
        ("undefined", "\u2013"),
    ],
)
async def test_money_is_exact(page: Page, amount: str, text: str) -> None:
    assert await run(page, "money.js", f"it.money({amount})") == text


async def test_many_times_an_amount_is_exact(page: Page) -> None:
    amount = "{ currencyCode: 'GBP', units: '90071992547409', nanos: 930000000 }"
    assert await run(page, "money.js", f"it.money(it.times({amount}, '1000'))") == "£90,071,992,547,409,930.00"


async def test_spans_are_told_apart_by_nanoseconds(page: Page) -> None:
    first, second = "2026-01-01T00:00:00.000000001Z", "2026-01-01T00:00:00.0000015Z"
    assert await run(page, "time.js", f"it.between('{first}', '{second}')") == pytest.approx(0.001499)


async def test_a_waterfall_has_children_below_parents_and_strangers_at_the_top(page: Page) -> None:
    spans = [
        {"id": name, "parentId": parent, "startTime": f"2026-01-01T00:00:00.00{at}Z", "duration": "0.001s"}
        for name, parent, at in (
            ("late", "root", 3),
            ("root", "", 1),
            ("early", "root", 2),
            ("lost", "gone", 0),
            ("leaf", "late", 4),
        )
    ]
    rows = await run(page, "spans.js", f"it.rows({spans}).map((row) => [row.span.id, row.depth, row.offset])")
    assert rows == [["lost", 0, 0], ["root", 0, 1], ["early", 1, 2], ["late", 1, 3], ["leaf", 2, 4]]
    closed = await run(page, "spans.js", f"it.rows({spans}, new Set(['root'])).map((row) => row.span.id)")
    assert closed == ["lost", "root"]


async def test_the_map_puts_callees_after_callers_and_no_card_on_another(page: Page) -> None:
    names = ["gateway", "orders", "payments", "catalog", "alone"]
    pairs = [
        ("gateway", "orders"),
        ("gateway", "payments"),
        ("orders", "payments"),
        ("orders", "catalog"),
        ("payments", "orders"),
    ]
    nodes = [{"name": name, "height": 80} for name in names]
    links = [{"key": f"{a}/{b}", "from": a, "to": b} for a, b in pairs]
    expression = f"(({{ nodes, wires }}) => [[...nodes], [...wires]])(it.layout({nodes}, {links}, 1000))"
    placed, wires = await run(page, "layout.js", expression)
    at = {name: (where["x"], where["y"], where["height"]) for name, where in placed}
    assert at["gateway"][0] < at["orders"][0] < at["catalog"][0]
    assert len(wires) == len(links)
    for x in {place[0] for place in at.values()}:
        column = sorted((y, y + height) for left, y, height in at.values() if left == x)
        assert all(above[1] <= below[0] for above, below in pairwise(column))
    assert await run(page, "layout.js", expression) == [placed, wires]


async def test_what_all_instances_look_at_counts_once(page: Page) -> None:
    letters, live = "mercato.dead_letters", "mercato.saga.live{mercato.saga.kind=Checkout,mercato.saga.status=stuck}"
    instances = [{"gauges": {letters: 2, live: 1}}, {"gauges": {letters: 3, live: 1}}, {}]
    assert await run(page, "fleet.js", f"it.common({instances}, '{letters}')") == 3
    assert await run(page, "fleet.js", f"it.common({instances}, 'mercato.saga.live', '=stuck')") == 1
    assert await run(page, "fleet.js", f"it.common({instances}, 'mercato.saga.live', '=running')") == 0


async def test_services_in_one_process_are_asked_though_they_tell_in_its_name(page: Page) -> None:
    mesh = {"services": [{"service": name} for name in ("gateway", "orders", "catalog")]}
    heard = [{"service": "together", "instance": "together/1", "gauges": {"mercato.dead_letters": 1}}]
    fleet = {"mesh": mesh, "traffic": {"instances": heard}}
    assert await run(page, "fleet.js", f"it.thoseWith({fleet}, 'mercato.dead_letters')") == ["catalog", "orders"]
    heard = [
        {"service": "orders", "instance": "orders/1", "gauges": {"mercato.dead_letters": 1}},
        {"service": "catalog", "instance": "catalog/1", "gauges": {"mercato.loop.delay": 0}},
    ]
    fleet = {"mesh": mesh, "traffic": {"instances": heard}}
    assert await run(page, "fleet.js", f"it.thoseWith({fleet}, 'mercato.dead_letters')") == ["orders"]
