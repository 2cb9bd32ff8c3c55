"""What all services hold at a moment: read through their interfaces where they have one, else from their databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from google.protobuf.message import Message
from mercato.inventory.v1.inventory_pb2 import REASON_RETURN, REASON_SALE, REASON_SALE_UNDONE, Reservation
from mercato.notifications.v1.notifications_pb2 import ListMailsRequest
from mercato.orders.v1.orders_pb2 import (
    Order,
    OrderCancelled,
    OrderConfirmed,
    OrderRefused,
    Return,
    ReturnCompleted,
)
from mercato.payments.v1.payments_pb2 import (
    AccountBalance,
    Credit,
    GetTrialBalanceRequest,
    ListCreditsRequest,
    ListPaymentsRequest,
    Payment,
)
from mercato.shipping.v1.shipping_pb2 import ListShipmentsRequest, Shipment

from chassis.repository import parse_event
from fleet.client import Shop, call, pages
from fleet.plan import Plan
from services.orders.domain import evolve_order, evolve_return

TOLD_BY_MAIL = (OrderConfirmed, OrderRefused, OrderCancelled, ReturnCompleted)
"""The events that ask for a mail."""

_CONNECT_TIMEOUT_S, _QUERY_TIMEOUT_S = 5.0, 60.0

State = TypeVar("State", bound=Message)
Pieces = Counter[tuple[str, str]]
"""Pieces by what they belong to (a reservation, a return) and product."""


@dataclass(slots=True)
class Snapshot:
    """Everything the invariants are about. Amounts are in minor units."""

    orders: dict[str, Order]
    returns: dict[str, Return]
    rebuilt: dict[str, Message]
    """Orders and returns, made anew from their events alone."""
    live_sagas: set[tuple[str, str]]
    """Kind and subject of each saga that is not done."""
    mail_events: Counter[tuple[str, str]]
    """Type and subject of each event that asks for a mail."""
    mails: Counter[tuple[str, str]]
    """Type and subject of the event each mail tells of."""
    payments: list[Payment]
    credit_notes: list[Credit]
    balances: list[AccountBalance]
    booked: dict[str, tuple[int, int]]
    """What the ledger says that the processor took and gave, by payment or credit."""
    processed: dict[str, tuple[int, int]]
    """What the card processor's own books say of the same."""
    stocks: dict[str, tuple[int, int]]
    """On hand and held, by product."""
    adjusted: Counter[str]
    """Pieces that came in or went out otherwise than by a sale, by product."""
    restocked: Pieces
    """Pieces that came back, by return."""
    reservations: dict[str, Reservation]
    shipments: list[Shipment]
    unpublished: dict[str, int]
    """Events still to be published, by service."""
    dead_letters: dict[str, int]
    """Events that could not be handled, by service."""


async def read(plan: Plan, shop: Shop) -> Snapshot:
    """Read everything. What changes meanwhile may be seen in one place and not yet in another."""
    async with _database(plan, "orders") as orders_database:
        live_sagas = await orders_database.fetch(
            "SELECT kind, subject FROM sagas WHERE status IN ('running', 'unwinding')"
        )
        orders = await _states(orders_database, "orders", Order)
        returns = await _states(orders_database, "returns", Return)
        rebuilt_orders = await _rebuilt(orders_database, "orders/", Order, evolve_order)
        rebuilt_returns = await _rebuilt(orders_database, "returns/", Return, evolve_return)
        mail_events = await orders_database.fetch(
            "SELECT type, subject FROM events WHERE type = ANY($1)", [t.DESCRIPTOR.full_name for t in TOLD_BY_MAIL]
        )
    async with _database(plan, "inventory") as inventory:
        stocks = await inventory.fetch("SELECT product, on_hand, held FROM stocks")
        adjusted = await inventory.fetch(
            "SELECT product, sum(quantity)::bigint AS pieces FROM movements WHERE reason <> ALL($1) GROUP BY product",
            [REASON_SALE, REASON_SALE_UNDONE],
        )
        restocked = await inventory.fetch(
            "SELECT reference, product, sum(quantity)::bigint AS pieces FROM movements"
            " WHERE reason = $1 AND reference LIKE 'returns/%' GROUP BY reference, product",
            REASON_RETURN,
        )
        reservations = await _states(inventory, "reservations", Reservation)
    async with _database(plan, "payments") as payments:
        booked = await payments.fetch(
            "SELECT subject, coalesce(sum(amount_minor) FILTER (WHERE debit_account = 'card_clearing'), 0)::bigint,"
            " coalesce(sum(amount_minor) FILTER (WHERE credit_account = 'card_clearing'), 0)::bigint"
            " FROM ledger_entries WHERE 'card_clearing' IN (debit_account, credit_account) GROUP BY subject"
        )
        processed = await payments.fetch(
            "SELECT payment, captured_minor, refunded_minor FROM processor_payments WHERE captured_minor > 0"
            " UNION ALL SELECT key, 0, amount_minor FROM processor_credits"
        )
    mails = await pages(shop.notifications.ListMails, ListMailsRequest(page_size=1000))
    counts = dict(zip(plan.services, await asyncio.gather(*(_queues(plan, s) for s in plan.services)), strict=True))
    return Snapshot(
        orders=orders,
        returns=returns,
        rebuilt={**rebuilt_orders, **rebuilt_returns},
        live_sagas={(row["kind"], row["subject"]) for row in live_sagas},
        mail_events=Counter((row["type"], row["subject"]) for row in mail_events),
        mails=Counter((mail.event_type, mail.regarding) for mail in mails),
        payments=await pages(shop.payments.ListPayments, ListPaymentsRequest(page_size=1000)),
        credit_notes=await pages(shop.payments.ListCredits, ListCreditsRequest(page_size=1000)),
        balances=list((await call(shop.payments.GetTrialBalance, GetTrialBalanceRequest())).balances),
        booked={subject: (taken, given) for subject, taken, given in booked},
        processed={name: (taken, given) for name, taken, given in processed},
        stocks={row["product"]: (row["on_hand"], row["held"]) for row in stocks},
        adjusted=Counter({row["product"]: row["pieces"] for row in adjusted}),
        restocked=Counter({(row["reference"], row["product"]): row["pieces"] for row in restocked}),
        reservations=reservations,
        shipments=await pages(shop.shipping.ListShipments, ListShipmentsRequest(page_size=1000)),
        unpublished={service: events for service, (events, _) in counts.items()},
        dead_letters={service: letters for service, (_, letters) in counts.items()},
    )


@asynccontextmanager
async def _database(plan: Plan, service: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Open a service's database, to read one consistent state of it."""
    url = plan.database_url(service)
    connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S, command_timeout=_QUERY_TIMEOUT_S)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def _states(database: asyncpg.Connection[Any], table: str, state: type[State]) -> dict[str, State]:
    rows = await database.fetch(f"SELECT name, state FROM {table}")  # noqa: S608
    return {row["name"]: state.FromString(row["state"]) for row in rows}


async def _rebuilt(
    database: asyncpg.Connection[Any], prefix: str, state: type[State], evolve: Callable[[State, Message], None]
) -> Mapping[str, State]:
    rebuilt: dict[str, State] = {}
    query = (
        "SELECT subject, version, type, payload FROM events WHERE starts_with(subject, $1) ORDER BY subject, version"
    )
    async for row in database.cursor(query, prefix, prefetch=1000):
        aggregate = rebuilt.setdefault(row["subject"], state())
        evolve(aggregate, parse_event(row["type"], row["payload"]))
        if "etag" in state.DESCRIPTOR.fields_by_name:
            aggregate.etag = str(row["version"])  # type: ignore[attr-defined]
    return rebuilt


async def _queues(plan: Plan, service: str) -> tuple[int, int]:
    """Count what waits to be published and what could not be handled; nothing for a service without a database."""
    async with _database(plan, service) as database:
        if await database.fetchval("SELECT to_regclass('events') IS NULL"):
            return 0, 0
        unpublished = await database.fetchval("SELECT count(*) FROM events WHERE publish_time IS NULL")
        return unpublished, await database.fetchval("SELECT count(*) FROM dead_letters")
