"""What orders needs of inventory: to hold, let go and let leave the pieces of an order, and to take goods back."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from mercato.inventory.v1 import inventory_pb2 as pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from mercato.orders.v1.orders_pb2 import Order, OrderLine, Return, ReturnLine

from chassis.clock import derived_id
from chassis.testing.consumer import Contract, Exchange, Pacts, State
from chassis.testing.mock import Mock
from tests.contracts.consumers.clients import (
    CALLED_BY_ORDERS,
    FAILED_PRECONDITION,
    agree,
    agree_refusal,
    failure,
    stub_of,
)
from tests.contracts.consumers.orders import checkout, returning, undo

SERVICE = pb.DESCRIPTOR.services_by_name["InventoryService"]
ORDER = Order(name="orders/o1", lines=[OrderLine(product="products/mug", quantity=3)])
LINES = [pb.StockLine(product="products/mug", quantity=3)]
HELD = State("reservation", id="o1", product="products/mug", quantity=3)
RELEASED = State("released reservation", id="o1")
RESERVE = pb.ReserveStockRequest(request_id=derived_id("orders/o1", "reserve_stock"), reservation_id="o1", lines=LINES)
COMMIT = pb.CommitReservationRequest(request_id=derived_id("orders/o1", "commit_stock"), name="reservations/o1")
RELEASE = pb.ReleaseReservationRequest(request_id=derived_id("orders/o1", "release_stock"), name="reservations/o1")


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.calls("orders", "inventory")


@pytest.fixture
def inventory(mock: Mock) -> InventoryServiceStub:
    return stub_of(mock, SERVICE, InventoryServiceStub, "orders")


def exchange(description: str, method: str, request: Message, answer: Any, *given: State) -> Exchange:
    return Exchange(description, SERVICE.methods_by_name[method], request, answer, given, CALLED_BY_ORDERS)


async def test_reserve(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    stock = State("stock", product="products/mug", quantity=3)
    agreed = exchange("hold the pieces of an order", "ReserveStock", RESERVE, pb.ReserveStockResponse(), stock)
    await agree(contract, mock, agreed, lambda: checkout(inventory)["reserve_stock"].do(ORDER))


async def test_reserve_too_much(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    message = "Of products/mug only 2 pieces are available, not 3."
    data = {"product": "products/mug", "quantity": "3", "available": "2"}
    short = failure(FAILED_PRECONDITION, "OUT_OF_STOCK", message, **data)
    stock = State("stock", product="products/mug", quantity=2)
    agreed = exchange("refuse to hold more pieces than are available", "ReserveStock", RESERVE, short, stock)
    await agree_refusal(contract, mock, agreed, lambda: checkout(inventory)["reserve_stock"].do(ORDER))


async def test_release(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    answer = pb.ReleaseReservationResponse()
    held = exchange("let go the pieces held for an order", "ReleaseReservation", RELEASE, answer, HELD)
    await agree(contract, mock, held, lambda: undo(checkout(inventory)["reserve_stock"])(ORDER))
    never = exchange("let go what was never held", "ReleaseReservation", RELEASE, answer)
    await agree(contract, mock, never, lambda: undo(checkout(inventory)["reserve_stock"])(ORDER))


async def test_commit(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    agreed = exchange("let held pieces leave", "CommitReservation", COMMIT, pb.CommitReservationResponse(), HELD)
    await agree(contract, mock, agreed, lambda: checkout(inventory)["commit_stock"].do(ORDER))


async def test_commit_released(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    message, data = "reservations/o1 is no longer held.", {"name": "reservations/o1"}
    released = failure(FAILED_PRECONDITION, "RESERVATION_NOT_HELD", message, **data)
    description = "refuse to let pieces leave that are no longer held"
    agreed = exchange(description, "CommitReservation", COMMIT, released, HELD, RELEASED)
    await agree_refusal(contract, mock, agreed, lambda: checkout(inventory)["commit_stock"].do(ORDER))


async def test_restock(contract: Contract, mock: Mock, inventory: InventoryServiceStub) -> None:
    returned = Return(name="returns/r1", lines=[ReturnLine(product="products/mug", quantity=3)])
    request = pb.AdjustStockRequest(
        request_id=derived_id("returns/r1", "restock_goods"),
        reason=pb.REASON_RETURN,
        lines=LINES,
        reference="returns/r1",
    )
    agreed = exchange("take returned goods into stock", "AdjustStock", request, pb.AdjustStockResponse())
    await agree(contract, mock, agreed, lambda: returning(inventory)["restock_goods"].do(returned))
