"""Composition root of shipping."""

from __future__ import annotations

from pathlib import Path

from mercato.shipping.v1 import shipping_pb2

from chassis.app import App, run
from chassis.repository import Repository
from services.shipping.domain import evolve
from services.shipping.service import ShippingService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    shipments = Repository(
        database, app.outbox, app.clock, table="shipments", state=shipping_pb2.Shipment, evolve=evolve
    )
    app.serve(shipping_pb2.DESCRIPTOR.services_by_name["ShippingService"], ShippingService(shipments, app.clock))


def main() -> None:
    run("shipping", compose)


if __name__ == "__main__":
    main()
