"""A small shop on stage: the services of one order, with goods and customers to try things on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from google.type.postal_address_pb2 import PostalAddress
from mercato.catalog.v1 import catalog_pb2 as catalog_pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1 import customers_pb2 as customers_pb
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub
from mercato.inventory.v1 import inventory_pb2 as inventory_pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.orders.v1 import orders_pb2 as orders_pb
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub
from mercato.payments.v1 import payments_pb2 as payments_pb
from mercato.payments.v1.payments_pb2_grpc import PaymentServiceStub
from mercato.shipping.v1 import shipping_pb2 as shipping_pb
from mercato.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

from chassis.money import money
from tests.stage import Stage

PARTNERS = ("customers", "catalog", "inventory", "payments", "shipping")


def new_request_id() -> str:
    return str(uuid4())


@dataclass
class Shop:
    """Stubs of all services an order needs."""

    stage: Stage
    catalog: CatalogServiceStub
    customers: CustomerServiceStub
    inventory: InventoryServiceStub
    payments: PaymentServiceStub
    shipping: ShippingServiceStub
    orders: OrderServiceStub

    @classmethod
    async def open(cls, stage: Stage) -> Shop:
        """Start every service, then orders."""
        for name in (*PARTNERS, "orders"):
            await stage.start(name)
        return cls.on(stage)

    @classmethod
    def on(cls, stage: Stage) -> Shop:
        """Take what is on stage already."""
        return cls(
            stage,
            stage.stub(catalog_pb.DESCRIPTOR.services_by_name["CatalogService"], CatalogServiceStub),
            stage.stub(customers_pb.DESCRIPTOR.services_by_name["CustomerService"], CustomerServiceStub),
            stage.stub(inventory_pb.DESCRIPTOR.services_by_name["InventoryService"], InventoryServiceStub),
            stage.stub(payments_pb.DESCRIPTOR.services_by_name["PaymentService"], PaymentServiceStub),
            stage.stub(shipping_pb.DESCRIPTOR.services_by_name["ShippingService"], ShippingServiceStub),
            stage.stub(orders_pb.DESCRIPTOR.services_by_name["OrderService"], OrderServiceStub),
        )

    async def new_customer(self) -> str:
        """Make a customer; returns its name."""
        customer = customers_pb.Customer(
            name=f"customers/{uuid4().hex}",
            kind=customers_pb.Customer.KIND_ACCOUNT,
            display_name="Ada",
            email="ada@customers.example",
        )
        await self.customers.CreateCustomer(
            customers_pb.CreateCustomerRequest(request_id=new_request_id(), customer=customer)
        )
        return customer.name

    async def new_product(self, pieces: int = 100, price_minor: int = 250) -> str:
        """Make a product on offer at a price, with so many pieces on hand; returns its name."""
        name = f"products/{uuid4().hex}"
        product = catalog_pb.Product(
            name=name, title="Mug", prices=[catalog_pb.Price(amount=money(price_minor, "GBP"))]
        )
        await self.catalog.CreateProduct(catalog_pb.CreateProductRequest(request_id=new_request_id(), product=product))
        if pieces:
            await self.inventory.AdjustStock(
                inventory_pb.AdjustStockRequest(
                    request_id=new_request_id(),
                    reason=inventory_pb.REASON_OPENING,
                    lines=[inventory_pb.StockLine(product=name, quantity=pieces)],
                )
            )
        return name

    def order_of(
        self, customer: str, *lines: tuple[str, int], card_token: str = "tok_ok", region_code: str = "GB"
    ) -> orders_pb.PlaceOrderRequest:
        """Return the request for an order of (product, quantity) lines; carriage is free."""
        return orders_pb.PlaceOrderRequest(
            request_id=new_request_id(),
            customer=customer,
            lines=[orders_pb.PlaceOrderLine(product=product, quantity=quantity) for product, quantity in lines],
            carriage_agreed=True,
            shipping_address=PostalAddress(region_code=region_code, address_lines=["1 High Street"]),
            card_token=card_token,
        )

    async def place(self, request: orders_pb.PlaceOrderRequest) -> orders_pb.Order:
        """Place an order."""
        return (await self.orders.PlaceOrder(request)).order

    async def watch(self, name: str) -> list[orders_pb.Order]:
        """Follow an order to its final state; returns it after each change."""
        stream = self.orders.WatchOrder(orders_pb.WatchOrderRequest(name=name), timeout=20)
        return [response.order async for response in stream]

    async def final(self, name: str) -> orders_pb.Order:
        """Wait until an order is final."""
        return (await self.watch(name))[-1]

    async def stock(self, product: str) -> tuple[int, int]:
        """Return pieces on hand and held."""
        name = product.replace("products/", "stocks/")
        found = (await self.inventory.GetStock(inventory_pb.GetStockRequest(name=name))).stock
        return found.on_hand, found.held

    async def payment(self, order: str) -> payments_pb.Payment:
        """Return the payment of an order."""
        name = order.replace("orders/", "payments/")
        return (await self.payments.GetPayment(payments_pb.GetPaymentRequest(name=name))).payment

    async def shipment(self, order: str) -> shipping_pb.Shipment:
        """Return the shipment of an order."""
        name = order.replace("orders/", "shipments/")
        return (await self.shipping.GetShipment(shipping_pb.GetShipmentRequest(name=name))).shipment
