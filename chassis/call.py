"""The call being served: who asks, until when, in which trace. It travels with the task, not as a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from chassis.telemetry.trace import Trace


@dataclass(slots=True)
class Call:
    """One call, or one piece of background work that calls others."""

    method: str
    """`/mercato.orders.v1.OrderService/PlaceOrder`."""
    caller: str
    """The service or client that calls; idempotency is scoped to it."""
    deadline: float | None
    """When it has to be done, on the event loop's clock in seconds; None: no deadline of the caller's."""
    trace: Trace
    request_id: str = ""
    """The caller's idempotency key; empty where the method has none."""
    request_digest: bytes = b""
    """Tells whether the same request_id came with the same request."""
    ours_to_end: bool = False
    """Whether we have to end it at its deadline, as gRPC does so only for the caller's own."""


_CURRENT: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """Return the call this task works for; None outside of one."""
    return _CURRENT.get()


def begin(call: Call) -> Call:
    """Make `call` the one this task works for until it ends."""
    _CURRENT.set(call)
    return call


@contextmanager
def serving(call: Call) -> Iterator[Call]:
    """Make `call` the one this task works for within the block."""
    token = _CURRENT.set(call)
    try:
        yield call
    finally:
        _CURRENT.reset(token)
