"""Real Prometheus and Alertmanager on a real fleet: what is to be seen is there, and who is to be called is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from mercato.mesh.v1.mesh_pb2 import Fault, Policy

from deploy.observability.dashboards import Dashboard, Panel, load
from deploy.observability.rules import BAD
from fleet import lifecycle, mesh, ports
from fleet.client import Shop, connect
from fleet.plan import FRONT, Plan
from loadtest import lines
from loadtest.commands import DEMO_DAY, REAL_TRADE
from loadtest.plan import Options, plan
from loadtest.replay import Replay
from tests.prometheus.debian import HERE
from tests.prometheus.watch import Watch, watching
from tests.stage import eventually
from tests.system.test_promises import new_customer, new_product, order_of

PANELS = [(dashboard, panel) for dashboard in load() for panel in dashboard.panels]
FILLED_IN = {"$__rate_interval": "10s", "$service": ".+"}
"""What Grafana puts in the place of its variables, where who looks has chosen nothing."""
AUTHORIZE = "mercato.payments.v1.PaymentService/AuthorizePayment"
EVERY_S = 0.1
TIMEOUT_S = 60.0

InTrouble = Callable[[Plan], AbstractAsyncContextManager[None]]


@pytest.fixture(scope="module")
async def watch(fleet: Plan, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watch]:
    async with watching(fleet, tmp_path_factory.mktemp("watch")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def traded(fleet: Plan, watch: Watch) -> AsyncIterator[None]:
    """A day of trade, with cards that are refused and goods that lack; from then on some buyers and visitors."""
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop, aiohttp.ClientSession() as session:
        await Replay(plan(lines.read(REAL_TRADE), Options(DEMO_DAY, 5, 10)), shop, concurrency=16).run()
        async with again_and_again(await buyer(shop)), again_and_again(visitor(fleet, session)):
            yield


async def buyer(shop: Shop) -> Callable[[], Awaitable[object]]:
    customer, product = await new_customer(shop), await new_product(shop, pieces=10_000)
    return lambda: shop.orders.PlaceOrder(order_of(customer, product))


def visitor(fleet: Plan, session: aiohttp.ClientSession) -> Callable[[], Awaitable[object]]:
    url = f"http://{ports.LOOPBACK}:{fleet.slot(f'{FRONT}/1').http_port}/v1/products?page_size=1"

    async def look() -> None:
        async with session.get(url) as response:
            await response.read()

    return look


@asynccontextmanager
async def again_and_again(do: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    async def work() -> None:
        while True:
            await do()
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


@pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{dashboard.name}: {panel.title}" for dashboard, panel in PANELS]
)
async def test_every_panel_has_something_to_show(
    watch: Watch, traded: None, dashboard: Dashboard, panel: Panel
) -> None:
    for query in panel.queries.values():

        async def shows(query: str = query) -> bool:
            for variable, value in FILLED_IN.items():
                query = query.replace(variable, value)
            return bool(await watch.values(query))

        await eventually(shows)


async def test_every_metric_that_is_asked_for_is_one_of_the_fleets(watch: Watch, traded: None) -> None:
    """A query about a metric that was renamed shows nothing, which looks like peace."""
    operations = (HERE / "prometheus" / "rules" / "operations.yml").read_text()
    queries = [query for _, panel in PANELS for query in panel.queries.values()]
    queries += re.findall(r"(?:expr: \|-\n|expr: )(.*?)\n +(?:for|labels):", operations, re.DOTALL)
    asked = {name for query in queries for name in metrics_in(query)}
    known = {name.removesuffix("_total") for name in await watch.get("metadata")}
    assert len(asked) > 25
    assert {name for name in asked if not {name, re.sub("_(total|count|bucket)$", "", name)} & known} == set()


def metrics_in(query: str) -> set[str]:
    """Return the metrics of ours in a query, without those that rules record."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\b(?:by|on|ignoring|without|group_left) \([^)]*\)", "", bare)
    return set(re.findall(r"(?<![\w:])(?:rpc|http|messaging|mercato|db|process|python)_\w+(?!\w*:)", bare))


@asynccontextmanager
async def faulty(fleet: Plan, fault: Fault) -> AsyncIterator[None]:
    """The calls to payments go wrong on purpose."""
    async with mesh.operate(fleet) as operator:
        await operator.update(Policy(name=mesh.policy_name("payments"), fault=fault), "fault")
        try:
            yield
        finally:
            await operator.reset("payments")


def failing(fleet: Plan) -> AbstractAsyncContextManager[None]:
    return faulty(fleet, Fault(percent=100, abort_code=StatusCode.UNAVAILABLE.value[0]))


def slow(fleet: Plan) -> AbstractAsyncContextManager[None]:
    delay = Duration()
    delay.FromTimedelta(timedelta(seconds=1.2))
    return faulty(fleet, Fault(percent=100, delay=delay))


@asynccontextmanager
async def dead(fleet: Plan) -> AsyncIterator[None]:
    """There is no instance of payments, so that none counts anything."""
    await lifecycle.scale(fleet, {"payments": 0}, TIMEOUT_S)
    try:
        yield
    finally:
        await lifecycle.scale(fleet, {"payments": 1}, TIMEOUT_S)


@pytest.mark.parametrize(
    ("objective", "trouble"), [("latency", slow), ("availability", failing), ("availability", dead)]
)
async def test_somebody_is_called_when_payments_is_in_trouble_until_it_is_not_any_more(
    fleet: Plan, watch: Watch, traded: None, objective: str, trouble: InTrouble
) -> None:
    alert = {"alertname": "ErrorBudgetBurn", "objective": objective, "window": "1h", "rpc_method": AUTHORIZE}

    async def is_told(status: str) -> bool:
        return watch.is_told(status, severity="page", service="payments", **alert)

    assert not await is_told("firing")
    async with trouble(fleet):
        await eventually(lambda: is_told("firing"), TIMEOUT_S)
    await eventually(lambda: is_told("resolved"), TIMEOUT_S)
    await eventually(lambda: goes_well(watch, objective))  # it is not only that nobody calls any more


async def goes_well(watch: Watch, objective: str) -> bool:
    return bool(await watch.values(f'rpc_method:{BAD[objective]}:ratio_rate5m{{rpc_method="{AUTHORIZE}"}} < 0.01'))
