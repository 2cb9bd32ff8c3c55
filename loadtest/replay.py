"""Drives a plan through the suite as a client would. All it asks for it may ask for again: nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mercato.orders.v1 import orders_pb2 as orders

from chassis.errors import AlreadyExists, MercatoError
from fleet.client import GaveUpError, Shop, call, pages
from loadtest import requests
from loadtest.finals import FINAL_TIMEOUT_S, POLL_S, Finals
from loadtest.origins import Sale, Takeback, settle
from loadtest.plan import Booking, Plan, Step
from loadtest.trade import Invoice, Item, Role


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the order of a sale."""

    order: str
    """`orders/{order}`; empty when it could not be placed."""
    state: orders.Order.State.ValueType
    reason: str
    """Why it was refused."""

    @property
    def took_place(self) -> bool:
        """Whether it was carried out, though it may be cancelled since."""
        return self.state in (orders.Order.STATE_CONFIRMED, orders.Order.STATE_CANCELLED)


@dataclass(slots=True)
class Result:
    """What became of everything."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Of each sale, by the number of its invoice."""
    failures: dict[int, str] = field(default_factory=dict)
    """Why the line of a number could not be booked, though it should have been."""


@dataclass(slots=True)
class Tally:
    """How far a replay is."""

    total_count: int
    """Lines to be done."""
    phase: str = "starting"
    done_count: int = 0
    outstanding_count: int = 0
    """Orders that are placed and not final."""
    final_count: int = 0
    """Orders that are."""


class Replay:
    """One run of a plan."""

    def __init__(self, plan: Plan, shop: Shop, *, concurrency: int, speed: float | None = None) -> None:
        """Have at most `concurrency` steps outstanding; go `speed` times as fast as it was, None: as fast as can be."""
        self.tally = Tally(sum(len(step.items) for step in (*plan.early, *plan.steps)))
        self._plan = plan
        self._identity = plan.identity
        self._shop = shop
        self._slots = asyncio.Semaphore(concurrency)
        self._speed = speed
        self._result = Result()
        self._outcomes: dict[str, asyncio.Future[Outcome]] = {}
        self._customers: set[str] = set()
        self._customer_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._finals = Finals(shop)

    async def run(self) -> Result:
        """Carry the plan out. Raises GaveUpError when the suite did not answer, or an order did not end."""
        await self._open_shop()
        self.tally.phase = "trading"
        self._outcomes = {
            step.invoice.number: asyncio.get_running_loop().create_future()
            for step in self._plan.steps
            if isinstance(step, Sale)
        }
        try:
            async with asyncio.TaskGroup() as background:
                polling = background.create_task(self._finals.poll())
                await self._trade()
                polling.cancel()
        except* GaveUpError as group:
            raise group.exceptions[0] from None
        self.tally.phase = "waiting for returns"
        await self._until_returns_complete()
        self._result.outcomes = {number: future.result() for number, future in self._outcomes.items()}
        return self._result

    async def _open_shop(self) -> None:
        self.tally.phase = "catalogue"
        await call(self._shop.catalog.ImportProducts, requests.products(self._plan))
        self.tally.phase = "opening stock"
        for request in requests.opening(self._plan):
            await call(self._shop.inventory.AdjustStock, request)
        for booking in self._plan.early:
            await self._take(booking)

    async def _trade(self) -> None:
        begin = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for step in self._plan.steps:
                await self._until(step.invoice.time, begin)
                await self._slots.acquire()
                task = group.create_task(self._take(step))
                task.add_done_callback(lambda _: self._slots.release())

    async def _until(self, time: datetime, begin: float) -> None:
        if self._speed:
            after_s = (time - self._plan.steps[0].invoice.time).total_seconds() / self._speed
            await asyncio.sleep(begin + after_s - asyncio.get_running_loop().time())

    async def _take(self, step: Step) -> None:
        match step:
            case Sale():
                await self._sell(step)
            case Takeback():
                await self._take_back(step)
            case Booking(item=item):
                if item.role is Role.FEE:
                    await self._book(step.items, self._shop.payments.RecordFee, requests.fee(self._identity, step))
                else:
                    request = requests.adjustment(self._identity, step)
                    await self._book(step.items, self._shop.inventory.AdjustStock, request)
        self.tally.done_count += len(step.items)

    async def _sell(self, sale: Sale) -> None:
        await self._let_in(sale.invoice)
        placed = await self._book(sale.items, self._shop.orders.PlaceOrder, requests.order(self._identity, sale))
        outcome = Outcome("", orders.Order.STATE_UNSPECIFIED, "")
        if placed:
            self.tally.outstanding_count += 1
            order = await self._finals.wait(placed.order.name)
            self.tally.outstanding_count -= 1
            outcome = Outcome(order.name, order.state, order.refusal.reason)
            self.tally.final_count += 1
        self._outcomes[sale.invoice.number].set_result(outcome)

    async def _take_back(self, takeback: Takeback) -> None:
        outcomes = {sale: await self._outcomes[sale.invoice.number] for sale in takeback.sales}
        settlement = settle(takeback, {sale.invoice.number: outcome.took_place for sale, outcome in outcomes.items()})
        await self._let_in(takeback.invoice)
        if settlement.cancels:
            order_name = outcomes[settlement.cancels].order
            request = requests.cancellation(self._identity, takeback, order_name)
            if await self._book(takeback.items, self._shop.orders.CancelOrder, request):
                order = await self._finals.wait(order_name)
                outcome = Outcome(order.name, order.state, order.refusal.reason)
                self._outcomes[settlement.cancels.invoice.number] = _known(outcome)
        for sale, items in settlement.returns.items():
            back = requests.returned(self._identity, takeback, outcomes[sale].order if sale else "", items)
            await self._book(items, self._shop.orders.CreateReturn, back)
        for item in settlement.credited:
            credit = requests.credit(self._identity, takeback, item)
            await self._book([item], self._shop.payments.IssueCredit, credit)

    async def _let_in(self, invoice: Invoice) -> None:
        async with self._customer_locks[invoice.customer]:
            if invoice.customer not in self._customers:
                with suppress(AlreadyExists):
                    await call(self._shop.customers.CreateCustomer, requests.customer(self._identity, invoice))
                self._customers.add(invoice.customer)

    async def _book(self, items: Sequence[Item], method: Callable[..., Any], request: Any) -> Any:
        """Call; where the answer is a definite no, keep it as the failure of these lines and return None."""
        try:
            return await call(method, request)
        except MercatoError as error:
            for item in items:
                self._result.failures[item.line.number] = f"{error.reason}: {error.message}"
            return None

    async def _until_returns_complete(self) -> None:
        try:
            async with asyncio.timeout(FINAL_TIMEOUT_S):
                while True:
                    if await self._are_returns_complete():
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise GaveUpError(f"returns were not complete after {FINAL_TIMEOUT_S:.0f} s") from None

    async def _are_returns_complete(self) -> bool:
        returns = await pages(self._shop.orders.ListReturns, orders.ListReturnsRequest(page_size=1000))
        ours = (back for back in returns if self._identity.label(back.reference))
        return all(back.state == orders.Return.STATE_COMPLETED for back in ours)


def _known(outcome: Outcome) -> asyncio.Future[Outcome]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(outcome)
    return future
