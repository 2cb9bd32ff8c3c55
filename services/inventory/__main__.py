"""Composition root of inventory."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from mercato.inventory.v1 import inventory_pb2

from chassis.app import App, run
from chassis.groupcommit import GroupCommit
from chassis.repository import Repository
from services.inventory import domain
from services.inventory.service import InventoryService
from services.inventory.stock import Stocks
from services.inventory.sweeper import Sweeper


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    group = GroupCommit(database)
    app.background(group.run)
    stocks = Stocks(database, group.writing, app.outbox, app.requests, app.clock)
    reservations = Repository(
        database, app.outbox, app.clock,
        table="reservations", state=inventory_pb2.Reservation, evolve=domain.evolve, project=stocks.follow,
        group=group,
        columns={"status": lambda it: it.state, "expire_time": lambda it: it.expire_time.ToDatetime(UTC)},
    )  # fmt: skip
    app.background(Sweeper(database, reservations, app.clock).run)
    servicer = InventoryService(reservations, stocks, app.clock)
    app.serve(inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"], servicer)


def main() -> None:
    run("inventory", compose)


if __name__ == "__main__":
    main()
