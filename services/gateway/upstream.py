"""The services behind the gateway: a channel to each, and for each method what calls it with bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from chassis.channels import open_channel
from chassis.errors import InvalidArgument, NotFound, invalid_field
from chassis.policy import is_everywhere
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from services.gateway.contract import Contract, backend_of, kind_of, path_of

LONGEST_NAME = 100
"""Of what a request names, an error repeats so much."""
CONNECT_S = 2.0
"""So long a start waits for the services; the gateway serves without those that are down."""

_log = logging.getLogger(__name__)


Stub = Callable[..., Any]
"""What calls a method: bytes in, bytes out."""


class NoSuchService(NotFound):
    """service: there is no {service}; known are {known}."""


class Addressed:
    """Calls a method that every service has at the one that a request names in its field `service`."""

    def __init__(self, method: MethodDescriptor, stubs: Mapping[str, Stub]) -> None:
        """Take a stub of each service by its name."""
        self._request = GetMessageClass(method.input_type)
        self._stubs = stubs

    def __call__(self, request: bytes, **options: Any) -> Any:
        """Begin a call; InvalidArgument or NotFound name the field where that says nobody who is there."""
        known = ", ".join(self._stubs)
        try:
            message: Any = self._request.FromString(request)
        except DecodeError as error:
            raise InvalidArgument(f"the request is not a {self._request.DESCRIPTOR.full_name}") from error
        if not message.service:
            raise invalid_field("service", f"expected who is asked, one of {known}")
        if message.service not in self._stubs:
            fields = {"service": f"expected one of {known}"}
            raise NoSuchService(fields=fields, service=message.service[:LONGEST_NAME], known=known)
        return self._stubs[message.service](request, **options)


class Upstream:
    """Opens the channels, and closes them."""

    def __init__(self, contract: Contract, target: Callable[[str], str], resilience: Resilience) -> None:
        """Take what tells the gRPC target of a service by its name, and what protects from each."""
        self._contract = contract
        self._target = target
        self._resilience = resilience
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.stubs: dict[str, Stub] = {}
        """By the method's path."""

    async def __aenter__(self) -> Self:
        everywhere = [service for service in self._contract.services if is_everywhere(service)]
        everywhere_stubs: dict[str, dict[str, Stub]] = {}
        for name in self._contract.backends:
            transport = self._channels[name] = open_channel(self._target(name))
            own = [service for service in self._contract.services if backend_of(service) == name]
            channel = ResilientChannel(transport, self._resilience.callee(name), [*own, *everywhere])
            self.stubs |= _stubs(channel, own)
            everywhere_stubs[name] = _stubs(channel, everywhere)
        for method in (method for service in everywhere for method in service.methods):
            by_name = {name: stubs[path_of(method)] for name, stubs in everywhere_stubs.items()}
            self.stubs[path_of(method)] = Addressed(method, by_name)
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await asyncio.gather(*(channel.channel_ready() for channel in self._channels.values()))
        for name in self._missing():
            _log.warning("service cannot be reached yet", extra={"target": name})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def _missing(self) -> Iterator[str]:
        for name, channel in self._channels.items():
            if channel.get_state() is not grpc.ChannelConnectivity.READY:
                yield name


def _stubs(channel: ResilientChannel, services: Iterable[ServiceDescriptor]) -> dict[str, Stub]:
    """Return what calls each method of these services over a channel, by its path."""
    methods = (method for service in services for method in service.methods)
    return {path_of(method): getattr(channel, kind_of(method))(path_of(method)) for method in methods}
