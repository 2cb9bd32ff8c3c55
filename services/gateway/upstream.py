"""The services behind the gateway: a channel to each, and for each method what calls it with bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc

from chassis.channels import open_channel
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from services.gateway.contract import Contract, backend_of, kind_of, path_of

CONNECT_S = 2.0
"""So long a start waits for the services; the gateway serves without those that are down."""

_log = logging.getLogger(__name__)


class Upstream:
    """Opens the channels, and closes them."""

    def __init__(self, contract: Contract, target: Callable[[str], str], resilience: Resilience) -> None:
        """Take what tells the gRPC target of a service by its name, and what protects from each."""
        self._contract = contract
        self._target = target
        self._resilience = resilience
        self._channels: dict[str, grpc.aio.Channel] = {}
        self.stubs: dict[str, Callable[..., Any]] = {}
        """What calls a method, by its path: bytes in, bytes out."""

    async def __aenter__(self) -> Self:
        for name in sorted({backend_of(service) for service in self._contract.services}):
            transport = self._channels[name] = open_channel(self._target(name))
            services = [service for service in self._contract.services if backend_of(service) == name]
            channel = ResilientChannel(transport, self._resilience.callee(name), services)
            for method in (method for service in services for method in service.methods):
                self.stubs[path_of(method)] = getattr(channel, kind_of(method))(path_of(method))
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
