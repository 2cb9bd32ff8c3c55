"""The stock of each product. The database itself refuses to oversell: held never exceeds on hand.

An instance reserves, commits and releases through one writer, which stands still while stock is adjusted, so that none
of these waits for another's rows. Changes by two instances may; should they meet crosswise, the database ends one, and
its caller is told to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import asyncpg
from google.protobuf.message import Message
from mercato.inventory.v1.inventory_pb2 import (
    AdjustStockResponse,
    Movement,
    Reason,
    Reservation,
    ReservationCommitted,
    ReservationExpired,
    ReservationReleased,
    Stock,
    StockAdjusted,
    StockLine,
    StockReserved,
)

from chassis.clock import Clock, timestamp
from chassis.database import Batch, Database, execute
from chassis.errors import Aborted, NotFound
from chassis.idempotency import Requests
from chassis.outbox import Outbox
from chassis.pages import Page, page_limit, position_of
from services.inventory.domain import OutOfStock


class StockContended(Aborted):
    """The stock is being changed by many at once; try again."""


class Stocks:
    """What is on hand and what is held, by product."""

    def __init__(
        self, database: Database, writing: asyncio.Lock, outbox: Outbox, requests: Requests, clock: Clock
    ) -> None:
        """`writing` is held by who writes stock in this instance."""
        self._database = database
        self._writing = writing
        self._outbox = outbox
        self._requests = requests
        self._clock = clock

    async def get(self, name: str) -> Stock:
        """Return the stock of one product; NotFound when it never had any."""
        row = await self._database.row("SELECT * FROM stocks WHERE product = $1", _product(name))
        if row is None:
            raise NotFound(name=name)
        return _stock(row)

    async def page(self, page_size: int, page_token: str) -> Page[Stock]:
        """Return one page by name."""
        rows = await self._database.rows(
            "SELECT * FROM stocks WHERE product > $1 ORDER BY product LIMIT $2",
            _product(page_token), page_limit(page_size) + 1,
        )  # fmt: skip
        return Page.of([_stock(row) for row in rows], page_size, lambda stock: stock.name)

    async def movements(self, parent: str, page_size: int, page_token: str) -> Page[Movement]:
        """Return one page of what changed a product's stock, oldest first."""
        rows = await self._database.rows(
            "SELECT * FROM movements WHERE product = $1 AND position > $2 ORDER BY position LIMIT $3",
            _product(parent), position_of(page_token), page_limit(page_size) + 1,
        )  # fmt: skip
        movements = [
            Movement(
                name=f"{parent}/movements/{row['position']}",
                reason=row["reason"],
                quantity=row["quantity"],
                reference=row["reference"],
                create_time=timestamp(row["create_time"]),
            )
            for row in rows
        ]
        name: Callable[[Movement], str] = lambda movement: movement.name  # noqa: E731
        return Page.of(movements, page_size, name)

    def follow(self, batch: Batch, reservation: Reservation, event: Message) -> None:
        """Add to the batch what an event of a reservation does to the stock."""
        lines = reservation.lines
        match event:
            case StockReserved():
                self._change(batch, lines, on_hand=0, held=1)
            case ReservationCommitted():
                self._change(batch, lines, on_hand=-1, held=-1)
                self._move(batch, lines, -1, Reason.REASON_SALE, reservation.name)
            case ReservationReleased(restocked=True):
                self._change(batch, lines, on_hand=1, held=0)
                self._move(batch, lines, 1, Reason.REASON_SALE_UNDONE, reservation.name)
            case ReservationReleased() | ReservationExpired():
                self._change(batch, lines, on_hand=0, held=-1)

    async def adjust(self, request_id: str, adjusted: StockAdjusted) -> AdjustStockResponse:
        """Change what is on hand, all lines or none; OutOfStock when a line would take more than is available."""
        products = [line.product for line in adjusted.lines]
        try:
            async with self._writing, self._database.transaction() as connection:
                await connection.execute(
                    "INSERT INTO stocks (product) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", products
                )
                change = Batch()
                self._change(change, adjusted.lines, on_hand=1, held=0)
                self._move(change, adjusted.lines, 1, adjusted.reason, adjusted.reference)
                await execute(connection, change)
                rows = await connection.fetch("SELECT * FROM stocks WHERE product = ANY($1) ORDER BY product", products)
                response = AdjustStockResponse(stocks=[_stock(row) for row in rows])
                done = Batch()
                self._outbox.add(done, f"adjustments/{request_id}", 1, [adjusted])
                self._requests.store(done, response)
                await execute(connection, done)
        except asyncpg.CheckViolationError:
            raise await self.shortage(adjusted.lines, sign=-1) from None
        self._outbox.wake()
        return response

    async def shortage(self, lines: Iterable[StockLine], sign: int = 1) -> OutOfStock | StockContended:
        """Return the error that names the first line of which more is wanted than is available."""
        wanted = {line.product: sign * line.quantity for line in lines}
        rows = await self._database.rows(
            "SELECT product, on_hand - held AS available FROM stocks WHERE product = ANY($1)", list(wanted)
        )
        available = {row["product"]: row["available"] for row in rows}
        for product, quantity in wanted.items():
            if quantity > available.get(product, 0):
                return OutOfStock(product=product, quantity=quantity, available=available.get(product, 0))
        return StockContended()  # it was short, and is no more

    def _change(self, batch: Batch, lines: Iterable[StockLine], *, on_hand: int, held: int) -> None:
        products, quantities = _columns(lines)
        if not products:
            return
        batch.add(
            "UPDATE stocks SET on_hand = on_hand + $3 * change.quantity, held = held + $4 * change.quantity"
            " FROM unnest($1::text[], $2::text[]::bigint[]) AS change (product, quantity)"
            " WHERE stocks.product = change.product RETURNING 1",
            products, quantities, on_hand, held, name="changed", rows=len(products),
        )  # fmt: skip

    def _move(
        self, batch: Batch, lines: Iterable[StockLine], sign: int, reason: Reason.ValueType, reference: str
    ) -> None:
        products, quantities = _columns(lines)
        batch.add(
            "INSERT INTO movements (product, reason, quantity, reference, create_time)"
            " SELECT product, $3, $4 * quantity, $5, $6"
            " FROM unnest($1::text[], $2::text[]::bigint[]) AS change (product, quantity)",
            products, quantities, reason, sign, reference, self._clock.now(),
        )  # fmt: skip


def _columns(lines: Iterable[StockLine]) -> tuple[list[str], list[str]]:
    """Products and quantities, both as texts: asyncpg looks up any other array type anew with each connection."""
    pairs = [(line.product, str(line.quantity)) for line in lines]
    return [product for product, _ in pairs], [quantity for _, quantity in pairs]


def _product(stock_name: str) -> str:
    return f"products/{stock_name.removeprefix('stocks/')}" if stock_name else ""


def _stock(row: asyncpg.Record) -> Stock:
    return Stock(
        name=f"stocks/{row['product'].removeprefix('products/')}",
        on_hand=row["on_hand"],
        held=row["held"],
        available=row["on_hand"] - row["held"],
    )
