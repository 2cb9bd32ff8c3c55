"""Composition root of customers."""

from __future__ import annotations

from pathlib import Path

from mercato.customers.v1 import customers_pb2

from chassis.app import App, run
from chassis.repository import Repository
from services.customers.domain import evolve
from services.customers.service import CustomerService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    customers = Repository(
        database, app.outbox, app.clock, table="customers", state=customers_pb2.Customer, evolve=evolve
    )
    app.serve(customers_pb2.DESCRIPTOR.services_by_name["CustomerService"], CustomerService(customers, app.clock))


def main() -> None:
    run("customers", compose)


if __name__ == "__main__":
    main()
