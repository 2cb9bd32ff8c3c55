"""What the console's modules work out, asked in the browser itself."""

from __future__ import annotations

import json
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


async def test_in_a_large_trace_what_failed_or_is_sought_stays_open(page: Page) -> None:
    spans = [
        {"id": name, "parentId": parent, "failed": failed}
        for name, parent, failed in (
            ("PlaceOrder", "", False),
            ("ReserveStock", "PlaceOrder", False),
            ("INSERT", "ReserveStock", False),
            ("undo", "PlaceOrder", False),
            ("VoidPayment", "undo", True),
            ("CommitStock", "PlaceOrder", False),
            ("UPDATE", "CommitStock", False),
        )
    ]
    told = json.dumps(spans)
    assert await run(page, "spans.js", f"it.plainCalls({told})") == ["ReserveStock", "CommitStock"]
    assert await run(page, "spans.js", f"[...it.above({told}, 'UPDATE')]") == ["CommitStock", "PlaceOrder"]


async def test_spans_that_are_below_each_other_are_shown_as_well(page: Page) -> None:
    spans = [
        {"id": name, "parentId": parent, "startTime": f"2026-01-01T00:00:00.00{at}Z"}
        for name, parent, at in (("root", "", 0), ("own", "own", 1), ("one", "other", 2), ("other", "one", 3))
    ]
    rows = await run(page, "spans.js", f"it.rows({spans}).map((row) => [row.span.id, row.depth, row.children])")
    assert rows == [["root", 0, 0], ["own", 0, 0], ["one", 0, 1], ["other", 1, 0]]
    closed = await run(page, "spans.js", f"it.rows({spans}, new Set(['one'])).map((row) => row.span.id)")
    assert closed == ["root", "own", "one"]
    assert await run(page, "spans.js", f"[...it.above({spans}, 'one')]") == ["other", "one"]


STUCK = {
    "step": "authorize_payment",
    "attempts": 24,
    "status": "stuck",
    "refusal": {"reason": "NO_CARRIER"},
    "steps": [
        {"name": "reserve_stock", "state": "STATE_TO_UNDO"},
        {"name": "authorize_payment", "state": "STATE_TO_UNDO"},
        {"name": "book_shipment", "state": "STATE_REFUSED"},
    ],
}


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([], "to be undone, failed 24 times"),
        ([{"name": "undo authorize_payment", "duration": "0.25s"}] * 2, "to be undone, 2 tries, 500 ms"),
    ],
)
async def test_what_fails_while_a_saga_unwinds_is_the_way_back(page: Page, spans: list[Any], said: str) -> None:
    step = f"it.sagaSteps({json.dumps(STUCK)}, {json.dumps(spans)}).children[1]"
    assert await run(page, "saga.js", f"{step}.querySelector('.undo').textContent") == said
    assert await run(page, "saga.js", f"{step}.querySelector('small').textContent") == "done"


async def test_where_all_report_to_has_wires_only_from_the_door(page: Page) -> None:
    within = ("orders", "catalog", "payments", "shipping")
    edges = [("gateway", name) for name in (*within, "mesh")] + [(name, "mesh") for name in within]
    edges += [("orders", "payments"), ("orders", "catalog")]
    traffic = json.dumps({"edges": [{"caller": caller, "callee": callee} for caller, callee in edges]})
    found = await run(page, "fleet.js", f"[...it.links({{ mesh: null, traffic: {traffic} }}).keys()]")
    assert [key for key in found if key.endswith("/mesh")] == ["edge/gateway/mesh"]
    assert "edge/orders/payments" in found


async def test_services_in_one_process_have_the_wires_of_their_calls(page: Page) -> None:
    pairs = [("gateway", "orders"), ("gateway", "inventory"), ("orders", "inventory"), ("orders", "payments")]
    pairs += [("mesh", "telemetry"), ("together", "inventory"), ("together", "orders")]
    traffic = json.dumps({"edges": [{"caller": caller, "callee": callee} for caller, callee in pairs]})
    found = await run(page, "fleet.js", f"[...it.links({{ mesh: null, traffic: {traffic} }}).keys()]")
    assert found == [f"edge/{caller}/{callee}" for caller, callee in pairs if caller != "together"]


@pytest.mark.parametrize(
    ("instance", "word"),
    [
        ({"state": "STATE_UNHEALTHY", "reason": "database: no answer within 2 s"}, "not ready"),
        ({"state": "STATE_UNHEALTHY", "reason": "it refuses connections"}, "down"),
        ({"state": "STATE_DRAINING", "reason": "drained by its policy"}, "draining"),
    ],
)
async def test_an_instance_that_runs_and_lacks_something_is_not_called_down(
    page: Page, instance: dict[str, str], word: str
) -> None:
    assert await run(page, "health.js", f"it.health({instance}).word") == word


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


@pytest.mark.parametrize(
    ("traffic", "asked"),
    [
        ({"instances": [{"service": "together", "gauges": {"mercato.dead_letters": 1}}]}, ["catalog", "orders"]),
        (
            {
                "instances": [
                    {"service": "orders", "instance": "orders/1", "gauges": {"mercato.dead_letters": 1}},
                    {"service": "catalog", "instance": "catalog/1", "gauges": {"mercato.loop.delay": 0}},
                ]
            },
            ["orders"],
        ),
        (None, ["catalog", "orders"]),
    ],
    ids=["in one process", "each tells", "nobody tells"],
)
async def test_asked_are_all_but_those_who_tell_that_they_have_none(
    page: Page, traffic: dict[str, Any] | None, asked: list[str]
) -> None:
    fleet = f"{{ mesh: null, traffic: {json.dumps(traffic)} }}"
    found = await run(page, "fleet.js", f"it.thoseWith({fleet}, ['catalog', 'orders'], 'mercato.dead_letters')")
    assert found == asked


async def test_who_keeps_events_is_what_the_api_says(page: Page) -> None:
    keepers = await run(page, "fleet.js", "await it.readKeepers((path) => fetch(path).then((each) => each.json()))")
    assert keepers == ["catalog", "customers", "inventory", "notifications", "orders", "payments", "shipping"]


@pytest.mark.parametrize(
    ("silent", "number", "words"), [([], 0, "none"), (["orders"], 0, "not all answer"), (["orders"], 2, "two")]
)
async def test_nothing_is_well_before_all_have_answered(page: Page, silent: list[str], number: int, words: str) -> None:
    said = "two" if number else "none"
    badge = f"(({{ className, textContent }}) => [className, textContent])(it.tally({number}, '{said}', {silent}))"
    tone, text = await run(page, "parts.js", badge)
    assert text == words
    assert (tone == "badge good") is (words == "none")


REGISTERED = {"mesh/1": "1", "orders/1": "1", "catalog/1": "1"}


@pytest.mark.parametrize(
    ("readings", "returned"),
    [
        ([REGISTERED, REGISTERED | {"orders/1": "2"}], ["orders/1"]),
        ([REGISTERED, {}, REGISTERED | {"orders/1": "2"}], ["orders/1"]),
        ([REGISTERED, {}, dict.fromkeys(REGISTERED, "2")], ["mesh/1"]),
        ([REGISTERED, {"orders/1": "2"}, {"mesh/1": "3", "orders/1": "2"}, dict.fromkeys(REGISTERED, "3")],
         ["mesh/1", "orders/1"]),
        ([REGISTERED, {"mesh/1": "2", "orders/1": "2"}, dict.fromkeys(REGISTERED, "2")], ["mesh/1"]),
    ],
    ids=["a crash", "a crash unseen", "the mesh anew", "a crash after that", "the mesh anew, one by one"],
)  # fmt: skip
async def test_who_registers_with_a_mesh_that_is_new_did_not_come_back(
    page: Page, readings: list[dict[str, str]], returned: list[str]
) -> None:
    told = [
        {"services": [{"service": name.split("/")[0], "instances": [{"name": name, "registerTime": time}]}
                      for name, time in reading.items()]}
        for reading in readings
    ]  # fmt: skip
    remembered = f"{json.dumps(told)}.reduce((before, mesh) => it.remember(before, ...of(mesh)), undefined)"
    services = "(await import('/console/fleet.js')).services"
    expression = (
        f"await (async () => {{ const services = {services};"
        " const of = (mesh) => [{ mesh, traffic: null }, services({ mesh, traffic: null })];"
        f" return [...{remembered}.returned.keys()]; }})()"
    )
    assert sorted(await run(page, "glance.js", expression)) == returned


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("#/orders/a%2Fb?span=1", {"view": "orders", "argument": "a/b", "query": {"span": "1"}}),
        ("#/orders/%E0%A4%A", {"view": "orders", "argument": "%E0%A4%A", "query": {}}),
        ("", {"view": "map", "argument": "", "query": {}}),
    ],
)
async def test_a_hash_of_any_kind_is_a_place(page: Page, given: str, place: dict[str, Any]) -> None:
    assert await run(page, "router.js", f"it.parse('{given}')") == place


async def test_who_is_asked_too_often_or_too_slowly_is_asked_again(page: Page) -> None:
    final = "[400, 404, 408, 429, 503, 0].map((status) => new it.Failure(status, '').final)"
    assert await run(page, "api.js", final) == [True, True, False, False, False, False]


async def test_what_a_view_can_do_without_keeps_nobody_waiting(page: Page) -> None:
    told = await run(
        page,
        "api.js",
        """await (async () => {
          const answers = [];
          let asked = 0;
          const spare = new it.Spare(() => (asked++, new Promise((done, fail) => answers.push({ done, fail }))));
          const began = performance.now();
          const told = [await spare.ask("/a")];
          const waited = performance.now() - began;
          told.push(await spare.ask("/a"));
          answers[0].done("late");
          await new Promise((done) => setTimeout(done));
          const third = spare.ask("/a");
          answers[1].done("next");
          told.push(await third);
          const fourth = spare.ask("/a");
          answers[2].fail(new it.Failure(503, ""));
          told.push(await fourth, await spare.ask("/a"), asked, waited > 900 && waited < 3000, spare.lacking);
          const missing = spare.ask("/b");
          answers[3].fail(new it.Failure(404, ""));
          told.push((await missing) === undefined);
          return told;
        })()""",
    )
    assert told == [None, None, "next", None, None, 3, True, True, True]


@pytest.mark.parametrize(("width", "last"), [(390, 0.6), (1280, 0.92)])
async def test_no_tick_of_a_waterfall_stands_where_its_text_has_no_room(page: Page, width: int, last: float) -> None:
    span = {"id": "a", "name": "x", "service": "orders", "startTime": "2026-01-01T00:00:00Z", "duration": "0.545s"}
    tell = f"{{ state: {{ closed: new Set() }}, redraw() {{}}, width: {width} }}"
    ticks = f"it.waterfall({{ spans: [{json.dumps(span)}] }}, {tell}).querySelectorAll('.axis span')"
    places = await run(page, "waterfall.js", f"[...{ticks}].map((each) => Number(each.style.getPropertyValue('--at')))")
    assert len(places) > 1
    assert max(places) < last
