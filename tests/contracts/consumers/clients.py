"""What consumers' tests build: stubs as services have them, and what providers answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from chassis.channels import Channel, open_channel
from chassis.status import DOMAIN
from chassis.testing.mock import Mock

Stub = TypeVar("Stub")


def stub_of(mock: Mock, service: ServiceDescriptor, stub: Callable[[grpc.aio.Channel], Stub], caller: str) -> Stub:
    """Return a stub whose calls go to a mock, made as `App.client` makes it."""
    typed: Any = Channel(open_channel(mock.target, [service]), [service], caller)
    return stub(typed)


def failure(code: grpc.StatusCode, reason: str, message: str, **data: str) -> Status:
    """Return an error as our services answer it."""
    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=data))
    number: int = code.value[0]
    return Status(code=number, message=message, details=[detail])


FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND
CALLED_BY_ORDERS = {"mercato-caller": "orders"}
"""What a request_id is scoped to."""
