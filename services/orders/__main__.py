"""Composition root of orders."""

from __future__ import annotations

from pathlib import Path

from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from mercato.customers.v1 import customers_pb2, customers_pb2_grpc
from mercato.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2, payments_pb2_grpc
from mercato.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from chassis.app import App, run
from chassis.repository import Repository
from services.orders import domain
from services.orders.checkout import Checkout
from services.orders.returning import Returning
from services.orders.service import OrderService
from services.orders.watch import OrderWatch


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    bus = await app.open_bus()

    catalog = app.client(catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"], catalog_pb2_grpc.CatalogServiceStub)
    customers = app.client(
        customers_pb2.DESCRIPTOR.services_by_name["CustomerService"], customers_pb2_grpc.CustomerServiceStub
    )
    inventory = app.client(
        inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"], inventory_pb2_grpc.InventoryServiceStub
    )
    payments = app.client(
        payments_pb2.DESCRIPTOR.services_by_name["PaymentService"], payments_pb2_grpc.PaymentServiceStub
    )
    shipping = app.client(
        shipping_pb2.DESCRIPTOR.services_by_name["ShippingService"], shipping_pb2_grpc.ShippingServiceStub
    )

    orders = Repository(
        database, app.outbox, app.clock,
        table="orders", state=orders_pb2.Order, evolve=domain.evolve_order,
        columns={"customer": lambda order: order.customer, "status": lambda order: order.state},
    )  # fmt: skip
    returns = Repository(
        database, app.outbox, app.clock,
        table="returns", state=orders_pb2.Return, evolve=domain.evolve_return,
        columns={"purchase": lambda it: it.order},
    )  # fmt: skip
    sagas = app.carry_on(
        Checkout(orders, inventory, payments, shipping, app.clock).saga(),
        Returning(returns, inventory, payments, app.clock).saga(),
    )
    watch = OrderWatch(orders, bus)
    app.background(watch.run)
    servicer = OrderService(orders, returns, sagas, watch, catalog, customers, shipping, app.clock)
    app.serve(orders_pb2.DESCRIPTOR.services_by_name["OrderService"], servicer)


def main() -> None:
    run("orders", compose)


if __name__ == "__main__":
    main()
