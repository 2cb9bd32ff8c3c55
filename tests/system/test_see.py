"""The commands that show what goes on inside, on the whole suite as a user runs it."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import psutil
import pytest
from mercato.orders.v1 import orders_pb2
from mercato.telemetry.v1.telemetry_pb2 import ListTracesRequest
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub

from fleet import lifecycle, ports
from fleet import plan as plans
from fleet.client import Shop, call, connect
from fleet.health import SERVING
from fleet.plan import FRONT, Plan
from fleet.readiness import children
from loadtest import lines
from loadtest.books import read_books
from loadtest.commands import DEMO_DAY, REAL_TRADE
from loadtest.plan import Options, plan
from loadtest.reconcile import reconcile
from loadtest.replay import Replay
from tests.stage import eventually
from tests.system.load import load
from tests.system.test_mesh import mercato
from tests.system.test_promises import new_customer, new_product, order_of

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
EVERYBODY = {"gateway", "orders", "customers", "catalog", "inventory", "payments", "shipping", "notifications"}


@pytest.fixture(scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plan]:
    """The whole suite, which records every trace."""
    home = tmp_path_factory.mktemp("fleet") / ".mercato"
    http_port, grpc_port = ports.free_block(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MERCATO_TRACES_PER_SECOND", "1000")
        await lifecycle.up(
            home, lambda: plans.make(ROOT, home, {}, http_port=http_port, grpc_port=grpc_port), TIMEOUT_S
        )
    yield Plan.load(home)
    lifecycle.down(home, TIMEOUT_S)


@pytest.fixture(scope="module")
async def placed(fleet: Plan) -> AsyncIterator[list[str]]:
    """Two orders that are over: one confirmed, one refused."""
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        customer, product = await new_customer(shop), await new_product(shop, pieces=10)
        yield [await order(shop, customer, product, token) for token in ("tok_ok", "tok_decline")]


async def order(shop: Shop, customer: str, product: str, card_token: str) -> str:
    """Place an order and wait for its end and its mail; returns its name."""
    name: str = (await call(shop.orders.PlaceOrder, order_of(customer, product, card_token))).order.name

    async def over() -> bool:
        found = (await call(shop.orders.GetOrder, orders_pb2.GetOrderRequest(name=name))).order
        return found.state in (orders_pb2.Order.STATE_CONFIRMED, orders_pb2.Order.STATE_REFUSED)

    await eventually(over)
    return name


async def recorded(fleet: Plan, name: str, services: set[str]) -> dict[str, Any]:
    """Return an order's story once its trace has come in from all these."""
    story: dict[str, Any] = {}

    async def whole() -> bool:
        story.update(json.loads(await mercato(fleet, "trace", name, "--json")))
        seen = {service for trace in story["traces"] for service in trace["services"]}
        return bool(story["mails"]) and services <= seen

    await eventually(whole, timeout_s=30)
    return story


async def test_the_story_of_an_order_is_told(fleet: Plan, placed: list[str]) -> None:
    confirmed = placed[0]
    story = await recorded(fleet, confirmed, EVERYBODY)
    assert story["missing"] == {}
    [trace] = story["traces"]
    assert any(span["name"] == "process mercato.orders.v1.OrderConfirmed" for span in trace["spans"])
    text = await mercato(fleet, "trace", confirmed)
    for said in (
        f"{confirmed}  CONFIRMED", "OrderService/PlaceOrder", "reserve_stock", "✓ capture_payment",
        "handled by notifications", "card_clearing ← sales", "COMMITTED", "CAPTURED", "BOOKED",
        "Your order is confirmed",
    ):  # fmt: skip
        assert said in text
    assert "example" not in text  # of the mail address
    assert f"{confirmed}  CONFIRMED" in await mercato(fleet, "trace", trace["name"])


async def test_the_story_of_a_refused_order_says_why_and_what_was_undone(fleet: Plan, placed: list[str]) -> None:
    await recorded(fleet, placed[1], EVERYBODY - {"shipping"})
    text = await mercato(fleet, "trace", placed[1])
    for said in (
        "REFUSED",
        "CARD_DECLINED",
        "↶ reserve_stock",
        "✗ authorize_payment",
        "undo reserve_stock",
        "RELEASED",
    ):
        assert said in text


async def test_the_story_of_an_order_goes_on_with_what_was_brought_back(fleet: Plan) -> None:
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        name = await order(shop, await new_customer(shop), await new_product(shop, pieces=1), "tok_ok")
        bought = (await call(shop.orders.GetOrder, orders_pb2.GetOrderRequest(name=name))).order
        line = orders_pb2.ReturnLine(product=bought.lines[0].product, quantity=1, unit_price=bought.lines[0].unit_price)
        request = orders_pb2.CreateReturnRequest(
            request_id=str(uuid4()), order=bought.name, customer=bought.customer, lines=[line]
        )
        returned = (await call(shop.orders.CreateReturn, request)).returned
    text = ""

    async def told() -> bool:
        nonlocal text
        text = await mercato(fleet, "trace", bought.name)
        return "✓ refund_customer" in text and "ReturnCompleted" in text

    await eventually(told)
    assert returned.name in text
    assert "✓ restock_goods" in text


async def test_who_looks_is_not_recorded(fleet: Plan, placed: list[str]) -> None:
    await mercato(fleet, "trace", placed[0], "--json")
    await mercato(fleet, "top", "--json")
    async with (
        connect(fleet.slot(f"{FRONT}/1").address) as shop,
        grpc.aio.insecure_channel(fleet.slot(f"{FRONT}/1").address) as channel,
    ):
        name = await order(shop, await new_customer(shop), await new_product(shop, pieces=10), "tok_ok")
        telemetry = TelemetryServiceStub(channel)

        async def told() -> bool:  # that order, which was placed after they looked
            return bool((await telemetry.ListTraces(ListTracesRequest(subject=name))).traces)

        await eventually(told)
        recorded = (await telemetry.ListTraces(ListTracesRequest(page_size=1000))).traces
    assert not [trace.root for trace in recorded if trace.root.endswith(("/GetTraffic", "/ListSagas", "/ListEvents"))]


async def test_who_is_not_there_is_said_with_what_to_do(fleet: Plan) -> None:
    assert "there is no orders/nobody" in await mercato(fleet, "trace", "orders/nobody", expect=1)
    assert "expected orders/ID" in await mercato(fleet, "trace", "nonsense", expect=1)
    assert "was not recorded" in await mercato(fleet, "trace", "0" * 31 + "1", expect=1)
    assert "no line was written" in await mercato(fleet, "logs", "--trace", "0" * 31 + "1", expect=1)


async def test_log_lines_of_all_services_about_one_order_come_in_order(fleet: Plan, placed: list[str]) -> None:
    lines = [json.loads(line) for line in (await mercato(fleet, "logs", "--trace", placed[0], "--json")).splitlines()]
    assert {"orders", "customers", "catalog", "inventory", "payments", "shipping", "notifications"} <= {
        line["service"] for line in lines
    }
    assert len({line["trace"] for line in lines}) == 1
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    trace = lines[0]["trace"]
    again = await mercato(fleet, "logs", "--trace", f"traces/{trace}", "--json")
    assert [json.loads(line)["message"] for line in again.splitlines()][: len(lines)] == [it["message"] for it in lines]


async def test_rates_of_each_method_are_shown(fleet: Plan, placed: list[str]) -> None:
    async def counted() -> bool:
        await mercato(fleet, "trace", placed[0])
        methods = json.loads(await mercato(fleet, "top", "--service", "orders", "--window", "30", "--json"))
        return any(each["method"].endswith("GetOrder") and each["rates"]["p99_s"] > 0 for each in methods)

    await eventually(counted, timeout_s=30)
    assert "OrderService/GetOrder" in await mercato(fleet, "top", "--window", "30")
    assert "expected one of" in await mercato(fleet, "top", "--service", "bakery", expect=1)


async def test_what_is_logged_is_changed_while_it_runs(fleet: Plan) -> None:
    assert await mercato(fleet, "log-level", "orders", "debug") == "orders/1: INFO -> DEBUG\n"
    assert await mercato(fleet, "log-level", "orders/1", "INFO") == "orders/1: DEBUG -> INFO\n"
    everybody = json.loads(await mercato(fleet, "log-level", "all", "info", "--json"))
    assert {change["instance"] for change in everybody} == {f"{service}/1" for service in fleet.services}
    assert "expected one of" in await mercato(fleet, "log-level", "bakery", "debug", expect=1)


async def test_why_an_instance_takes_no_calls_is_shown_and_that_it_takes_them_again(fleet: Plan) -> None:
    [pid] = [child["pid"] for child in children(fleet) if child["name"] == "postgres"]
    hanging = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]

    async def says(expected: str) -> None:
        async def said() -> bool:
            members = {each["name"]: each for each in json.loads(await mercato(fleet, "ps", "--json"))}
            own = members["orders/1"]
            return f"{own['health']} {own['note']}".strip() == expected and members["gateway/1"]["health"] == SERVING

        await eventually(said, timeout_s=30)

    for process in hanging:
        with contextlib.suppress(psutil.NoSuchProcess):  # such as a worker of autovacuum that was about to end
            process.send_signal(signal.SIGSTOP)
    try:
        await says("NOT_SERVING database: no answer within 2 s")
        assert "NOT_SERVING: database: no answer within 2 s" in await mercato(fleet, "ps")
    finally:
        for process in hanging:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
    await says(SERVING)


async def test_nobody_notices_that_telemetry_hangs_or_is_gone(fleet: Plan) -> None:
    """A day is traded as ever, while what is told about it piles up and is dropped."""
    members = {child["name"]: child["pid"] for child in children(fleet)}
    telemetry = psutil.Process(members["telemetry/1"])
    others = [psutil.Process(pid) for name, pid in members.items() if "/" in name and name != "telemetry/1"]
    made = plan(lines.read(REAL_TRADE, DEMO_DAY.date()), Options(DEMO_DAY.date(), 0, 0))
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop, load(fleet.slot(f"{FRONT}/1").address, 50) as sent:
        telemetry.suspend()
        before = sum(process.memory_info().rss for process in others)
        result = await Replay(made, shop, concurrency=16).run()
        grown = sum(process.memory_info().rss for process in others) - before
        telemetry.kill()
        report = reconcile(made, result, await read_books(shop, made))
    assert report.is_clean, report
    assert sent.failures == []
    assert grown < len(others) * 32 * 2**20, "the queues have an end"

    async def back() -> bool:
        shown = {child["name"]: child for child in children(fleet)}["telemetry/1"]
        return shown["pid"] not in (None, telemetry.pid)

    await eventually(back)
