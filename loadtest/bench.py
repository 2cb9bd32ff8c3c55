"""Figures of the running suite: throughput, latency, CPU an order; shown by layout, with what the chassis costs."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import quantiles

import psutil
from mercato.orders.v1 import orders_pb2 as orders
from rich.console import Console
from rich.table import Table

from chassis.errors import AlreadyExists
from fleet import lifecycle
from fleet.client import Shop, call, connect
from fleet.errors import FleetError
from fleet.plan import FRONT, Plan
from loadtest import requests
from loadtest.finals import Finals
from loadtest.lines import read
from loadtest.origins import Sale
from loadtest.overhead import Overhead
from loadtest.plan import Identity, Options, plan
from loadtest.plan import Plan as TradePlan

DURATION_S = 15.0
MOST_ORDERS = 2000
_CONCURRENCY = 32
_POLL_S = 0.05
_AIM_ORDERS_PER_S, _AIM_RATIO = 100, 1.3


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> Latency:
        """Find the percentiles of many durations."""
        hundredths = quantiles(seconds, n=100, method="inclusive")
        return cls(hundredths[49] * 1000, hundredths[98] * 1000)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one layout."""

    layout: str
    confirmed_count: int
    lines_per_order: float
    duration_s: float
    """From the first order placed until the last was confirmed."""
    orders_per_s: float
    place_order: Latency
    placed_to_confirmed: Latency
    cpu_ms_per_order: dict[str, float]
    """By process; PostgreSQL with all its children."""


async def measure(
    fleet: Plan,
    trade: Path,
    *,
    duration_s: float = DURATION_S,
    most_orders: int = MOST_ORDERS,
) -> Figures:
    """Measure the running suite with baskets from real trade, for so long or so many orders."""
    made = plan(read(trade), Options())
    sales = [step for step in made.steps if isinstance(step, Sale)]
    async with connect(fleet.slot(f"{FRONT}/1").address) as shop:
        load = _Load(shop, duration_s, most_orders)
        await load.prepare(made, sales)
        pids = {member.name: member.pid for member in await lifecycle.members(fleet) if member.pid}
        before, started = _cpu_s(pids), time.monotonic()
        await load.run(sales)
        duration_s, after = time.monotonic() - started, _cpu_s(pids)
    count = len(load.confirmed_s)
    return Figures(
        "together" if fleet.together else "a process each",
        count,
        load.line_count / count,
        duration_s,
        count / duration_s,
        Latency.of(load.placed_s),
        Latency.of(load.confirmed_s),
        {name: (after[name] - before[name]) * 1000 / count for name in after},
    )


def show(layouts: Sequence[Figures], costs: Overhead, console: Console) -> None:
    """Print them as tables, each layout in a column, and say of each whether it reached its aim."""
    table = Table(title=f"Orders, {_CONCURRENCY} at once", title_justify="left", title_style="bold")
    table.add_column("")
    for figures in layouts:
        table.add_column(figures.layout, justify="right")
    table.add_column("aim", justify="right")
    table.add_row(
        "placed and confirmed", *(f"{it.orders_per_s:.0f} orders/s" for it in layouts), f"at least {_AIM_ORDERS_PER_S}"
    )
    table.add_row("CPU an order", *(f"{sum(it.cpu_ms_per_order.values()):.2f} ms" for it in layouts))
    table.add_row("PlaceOrder, p50 / p99", *(_milliseconds(it.place_order) for it in layouts))
    table.add_row("placed to confirmed, p50 / p99", *(_milliseconds(it.placed_to_confirmed) for it in layouts))
    table.add_row("orders", *(f"{it.confirmed_count:,} of {it.lines_per_order:.0f} lines" for it in layouts))
    console.print(table)
    processes = Table(title="CPU an order by process, ms", title_justify="left", title_style="bold")
    processes.add_column("")
    for figures in layouts:
        processes.add_column(figures.layout, justify="right")
    most_ms = Counter[str]()
    for figures in layouts:
        most_ms |= Counter(figures.cpu_ms_per_order)
    for name, _ in most_ms.most_common():
        cells = (it.cpu_ms_per_order.get(name) for it in layouts)
        processes.add_row(name, *("" if cpu_ms is None else f"{cpu_ms:.2f}" for cpu_ms in cells))
    console.print(processes)
    calls = Table(title="CPU of a call", title_justify="left", title_style="bold")
    for title in ("bare grpc.aio server", "through the whole chassis", "that is", "aim"):
        calls.add_column(title, justify="right")
    calls.add_row(
        f"{costs.bare_us:.0f} µs", f"{costs.chassis_us:.0f} µs", f"{costs.ratio:.2f} times", f"at most {_AIM_RATIO}"
    )
    console.print(calls)
    for figures in layouts:
        verdict = "reaches" if figures.orders_per_s >= _AIM_ORDERS_PER_S else "misses"
        rate = f"{figures.orders_per_s:.0f} orders/s"
        console.print(f"{figures.layout}: {rate} {verdict} the aim of {_AIM_ORDERS_PER_S}", highlight=False)


def _milliseconds(latency: Latency) -> str:
    return f"{latency.p50_ms:.0f} / {latency.p99_ms:.0f} ms"


class _Load:
    """A closed loop: each of so many buyers places its next order when its last is final."""

    def __init__(self, shop: Shop, duration_s: float, most_orders: int) -> None:
        self._shop = shop
        self._duration_s = duration_s
        self._most_orders = most_orders
        self._identity = Identity(f"bench-{uuid.uuid4().hex[:8]}")
        self.placed_s: list[float] = []
        self.confirmed_s: list[float] = []
        self.line_count = 0

    async def prepare(self, made: TradePlan, sales: list[Sale]) -> None:
        """Fill the catalogue and the shelves, and let the customers in."""
        await call(self._shop.catalog.ImportProducts, requests.products(made))
        rounds = self._most_orders // len(sales) + 1
        opening = Counter({product: pieces * rounds for product, pieces in made.opening.items()})
        for request in requests.opening(replace(made, identity=self._identity, opening=opening)):
            await call(self._shop.inventory.AdjustStock, request)
        for invoice in {sale.invoice.customer: sale.invoice for sale in sales}.values():
            with suppress(AlreadyExists):
                await call(self._shop.customers.CreateCustomer, requests.customer(self._identity, invoice))

    async def run(self, sales: list[Sale]) -> None:
        """Place orders until the time or their number is up, and wait for the last."""
        finals = Finals(self._shop, _POLL_S)
        baskets = islice(cycle(sales), self._most_orders)
        until = time.monotonic() + self._duration_s
        async with asyncio.TaskGroup() as polling:
            task = polling.create_task(finals.poll())
            async with asyncio.TaskGroup() as buyers:
                for _ in range(_CONCURRENCY):
                    buyers.create_task(self._buy(baskets, finals, until))
            task.cancel()

    async def _buy(self, baskets: Iterator[Sale], finals: Finals, until: float) -> None:
        for sale in baskets:
            request = requests.order(self._identity, sale)
            request.request_id = str(uuid.uuid4())
            started = time.monotonic()
            placed = await call(self._shop.orders.PlaceOrder, request)
            self.placed_s.append(time.monotonic() - started)
            order = await finals.wait(placed.order.name)
            if order.state != orders.Order.STATE_CONFIRMED:
                raise FleetError(f"{order.name} was refused under load: {order.refusal.reason}")
            taken = order.final_time.ToNanoseconds() - order.place_time.ToNanoseconds()
            self.confirmed_s.append(taken / 1e9)
            self.line_count += len(order.lines)
            if time.monotonic() > until:
                return


def _cpu_s(pids: dict[str, int]) -> dict[str, float]:
    """Read the CPU time of each process with its children, and of this one, which makes the load."""
    used = {name: _with_children_s(psutil.Process(pid), whole=name == "postgres") for name, pid in pids.items()}
    return {**used, "load generator": time.process_time()}


def _with_children_s(process: psutil.Process, *, whole: bool) -> float:
    total_s = 0.0
    for member in (process, *(process.children() if whole else ())):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total_s += times.user + times.system
    return total_s
