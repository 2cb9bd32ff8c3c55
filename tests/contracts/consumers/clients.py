"""Stubs as services have them, errors as services answer them, and how a call is agreed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from chassis.channels import Channel, open_channel
from chassis.errors import CANONICAL, MercatoError
from chassis.policy import is_everywhere
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from chassis.status import DOMAIN
from chassis.testing.consumer import Contract, Exchange
from chassis.testing.mock import Mock
from services.gateway.contract import backend_of

Stub = TypeVar("Stub")
Result = TypeVar("Result")

CALLED_BY_ORDERS = {"mercato-caller": "orders"}
"""What a request_id is scoped to."""
HAVE_SAGAS_OR_EVENTS = ("orders", "notifications")
"""The one has sagas, the other handles events."""
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def providers_of(service: ServiceDescriptor) -> tuple[str, ...]:
    """Return with whom calls of a service are agreed; where everybody serves it, with two who differ in it."""
    return HAVE_SAGAS_OR_EVENTS if is_everywhere(service) else (backend_of(service),)


def stub_of(mock: Mock, service: ServiceDescriptor, stub: Callable[[grpc.aio.Channel], Stub], caller: str) -> Stub:
    """Return a stub whose calls go to a mock, made as `App.client` makes it."""
    callee = Resilience().callee(service.file.package.split(".")[1])
    typed: Any = Channel(ResilientChannel(open_channel(mock.target), callee, [service]), [service], caller)
    return stub(typed)


def failure(code: grpc.StatusCode, reason: str, message: str, **data: str) -> Status:
    """Return an error as our services answer it."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=data))
    number: int = code.value[0]
    return Status(code=number, message=message, details=[detail])


async def agree(contract: Contract, mock: Mock, exchange: Exchange, ask: Callable[[], Awaitable[Result]]) -> Result:
    """Let the consumer ask what is in the exchange; return what it made of the answer."""
    async with contract.expecting(mock, exchange):
        return await ask()


async def agree_refusal(
    contract: Contract, mock: Mock, exchange: Exchange, ask: Callable[[], Awaitable[object]]
) -> None:
    """Let the consumer ask what is refused; it has to understand the refusal down to its details."""
    assert isinstance(exchange.answer, Status)
    info = ErrorInfo()
    exchange.answer.details[0].Unpack(info)
    async with contract.expecting(mock, exchange):
        with pytest.raises(MercatoError) as refusal:
            await ask()
        assert type(refusal.value) is CANONICAL[exchange.answer.code]
        assert (refusal.value.reason, refusal.value.data) == (info.reason, dict(info.metadata))
        assert refusal.value.message == exchange.answer.message
