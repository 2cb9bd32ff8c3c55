"""The customers service: `python -m services.customers`."""

from pathlib import Path

from mercato.customers.v1.customers_pb2 import DESCRIPTOR, Customer

from chassis.app import App, run
from chassis.repository import Repository
from services.customers.domain import evolve
from services.customers.service import CustomerService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    customers = Repository(database, app.outbox, app.clock, table="customers", state=Customer, evolve=evolve)
    app.serve(DESCRIPTOR.services_by_name["CustomerService"], CustomerService(customers, app.clock))


def main() -> None:
    run("customers", compose)


if __name__ == "__main__":
    main()
