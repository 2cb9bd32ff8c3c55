"""The real code of orders that calls others, with its own storage left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from google.protobuf.message import Message
from mercato.orders.v1.orders_pb2 import Order, Return

from chassis.clock import SystemClock
from chassis.saga import Step
from services.orders import domain
from services.orders.checkout import Checkout
from services.orders.returning import Returning
from services.orders.service import OrderService


class Store:
    """Keeps nothing: takes what is decided, and answers."""

    get: Any = None

    async def create(
        self, name: str, events: Iterable[Message], respond: Callable[[Order], Message], also: object
    ) -> Message:
        """Apply the events of a new order."""
        order = Order()
        for event in events:
            domain.evolve_order(order, event)
        return respond(order)


STORE: Any = Store()
SAGAS: Any = SimpleNamespace(begin=lambda *_: lambda _: None)
NOBODY: Any = None


def checkout(inventory: Any = None, payments: Any = None, shipping: Any = None) -> Mapping[str, Step[Order]]:
    """Return the steps of checkout by name."""
    saga = Checkout(STORE, inventory, payments, shipping, SystemClock()).saga()
    return {step.name: step for step in saga.steps}


def undo(step: Step[Order]) -> Any:
    """Return what undoes a step."""
    assert step.undo is not None
    return step.undo


def returning(inventory: Any = None, payments: Any = None) -> Mapping[str, Step[Return]]:
    """Return the steps of a return by name."""
    return {step.name: step for step in Returning(STORE, inventory, payments, SystemClock()).saga().steps}


def service(catalog: Any = None, customers: Any = None, shipping: Any = None) -> OrderService:
    """Return the servicer that takes orders."""
    return OrderService(STORE, NOBODY, SAGAS, NOBODY, catalog, customers, shipping, SystemClock())
