"""Tells clients, by xDS, where the instances are and how to spread calls: the aggregated stream, state of the world.

The protocol: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from hashlib import sha256
from itertools import count
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2_grpc import AggregatedDiscoveryServiceServicer
from google.protobuf import any_pb2
from mercato.mesh.v1.mesh_pb2 import Client, ClientConfig

from chassis.clock import Clock, timestamp
from chassis.errors import invalid_field
from services.mesh.changes import Changes
from services.mesh.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources

ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""Make before break: what is pointed to comes before what points to it."""
MOST_NAMES = 1000
LONGEST_COMPLAINT = 2000
"""So many characters are kept of what a client says was wrong."""

_log = logging.getLogger(__name__)


class Subscription:
    """What one client asked for, and was sent, of one type."""

    def __init__(self, type_url: str) -> None:
        self._type_url = type_url
        self._names: frozenset[str] = frozenset()
        self._everything = False
        self._sent: dict[str, any_pb2.Any] = {}
        self._due = False
        self._nonce = ""
        self._config = ClientConfig(type=type_url.rpartition(".")[2])

    def take(self, request: DiscoveryRequest) -> str:
        """Take in what the client says; return what it complains of, where that is new."""
        complaint = ""
        if self._nonce:
            if request.response_nonce != self._nonce:
                return ""  # about an earlier response; one about the latest follows, and has all that this one says
            complaint = self._answered(request)
        elif not self._due:
            self._everything = not request.resource_names and self._type_url in (CLUSTER, LISTENER)
            self._due = True
        names = frozenset(request.resource_names)
        self._everything |= "*" in names
        self._due |= not names <= self._names
        self._names = names
        if not self._everything:
            self._sent = {name: each for name, each in self._sent.items() if name in names}
        return complaint

    def response(
        self, resources: Mapping[str, any_pb2.Any], nonce: str, *, breaks: bool = False
    ) -> DiscoveryResponse | None:
        """Return what to send now; None when the client has it.

        What is no more stays with a client for as long as it asks for it by name, as what it uses still points there.
        One that asks for everything loses it when it was told all else (`breaks`).
        """
        known = {**({} if breaks and self._everything else self._sent), **resources}
        wanted = {name: known[name] for name in (known if self._everything else self._names) if name in known}
        if wanted == self._sent and not self._due:
            return None
        self._sent, self._due, self._nonce = wanted, False, nonce
        self._config.version = _version(wanted)
        self._config.state = ClientConfig.STATE_SENT
        return DiscoveryResponse(
            type_url=self._type_url, resources=wanted.values(), version_info=self._config.version, nonce=nonce
        )

    def repeat(self) -> None:
        """Let the next response repeat what the client has."""
        self._due |= bool(self._sent)

    def config(self) -> ClientConfig:
        """Return it as people see it."""
        result = ClientConfig(names=sorted(self._sent if self._everything else self._names))
        result.MergeFrom(self._config)
        return result

    def _answered(self, request: DiscoveryRequest) -> str:
        before = self._config.error
        if not request.HasField("error_detail"):
            self._config.state, self._config.error = ClientConfig.STATE_ACKED, ""
            return ""
        self._config.state = ClientConfig.STATE_NACKED
        self._config.error = request.error_detail.message[:LONGEST_COMPLAINT] or "it gave no reason"
        return self._config.error if self._config.error != before else ""


class Subscriber:
    """One client: its stream and its subscriptions."""

    def __init__(self, clock: Clock) -> None:
        self.name = ""
        self._connect_time = timestamp(clock.now())
        self._subscriptions: dict[str, Subscription] = {}
        self._nonces = count(1)

    def take(self, request: DiscoveryRequest) -> None:
        """Take in a request; InvalidArgument where it names too much."""
        if len(request.resource_names) > MOST_NAMES:
            raise invalid_field("resource_names", f"expected at most {MOST_NAMES}")
        self.name = self.name or request.node.id
        if request.type_url not in ORDER:
            return  # nothing of that type will ever be here
        subscription = self._subscriptions.setdefault(request.type_url, Subscription(request.type_url))
        if complaint := subscription.take(request):
            kind = subscription.config().type
            _log.warning("refused by a client", extra={"client": self.name, "type": kind, "error": complaint})

    def responses(self, resources: Resources) -> Iterator[DiscoveryResponse]:
        """Yield what the client has to be told."""
        for type_url, breaks in *((each, False) for each in ORDER), (CLUSTER, True), (LISTENER, True):
            subscription = self._subscriptions.get(type_url)
            nonce = str(next(self._nonces))
            if subscription and (response := subscription.response(resources[type_url], nonce, breaks=breaks)):
                yield response
                if type_url == CLUSTER and ENDPOINTS in self._subscriptions:
                    self._subscriptions[ENDPOINTS].repeat()  # Envoy uses a changed cluster once it has got both

    def client(self) -> Client:
        """Return it as people see it."""
        configs = [self._subscriptions[type_url].config() for type_url in ORDER if type_url in self._subscriptions]
        return Client(name=self.name, connect_time=self._connect_time, configs=configs)


class Discovery(AggregatedDiscoveryServiceServicer):
    """Serves envoy.service.discovery.v3.AggregatedDiscoveryService. `build` makes the resources as they are now."""

    def __init__(self, build: Callable[[], Resources], changes: Changes, clock: Clock) -> None:
        self._build = build
        self._changes = changes
        self._clock = clock
        self._built = -1
        self._resources: Resources = {}
        self._subscribers: set[Subscriber] = set()

    @property
    def clients(self) -> list[Client]:
        """The clients whose streams are open, by name."""
        return sorted((subscriber.client() for subscriber in self._subscribers), key=lambda client: client.name)

    async def StreamAggregatedResources(  # noqa: N802, D102
        self, requests: AsyncIterator[DiscoveryRequest], context: Any
    ) -> AsyncIterator[DiscoveryResponse]:
        subscriber = Subscriber(self._clock)
        self._subscribers.add(subscriber)
        with self._changes.follow() as woken:
            reader = asyncio.create_task(_read(requests, subscriber, woken))
            try:
                while not reader.done():
                    woken.clear()
                    for response in subscriber.responses(self._current()):
                        yield response
                    await woken.wait()
                reader.result()
            finally:
                self._subscribers.discard(subscriber)
                reader.cancel()

    def _current(self) -> Resources:
        if self._built != self._changes.number:
            self._built, self._resources = self._changes.number, self._build()
        return self._resources


async def _read(requests: AsyncIterator[DiscoveryRequest], subscriber: Subscriber, woken: asyncio.Event) -> None:
    try:
        async for request in requests:
            subscriber.take(request)
            woken.set()
    finally:
        woken.set()


def _version(resources: Mapping[str, any_pb2.Any]) -> str:
    """Return what tells one content from another, also after the mesh was started again."""
    content = sha256()
    for name in sorted(resources):
        content.update(f"{name}\0{len(resources[name].value)}\0".encode() + resources[name].value)
    return content.hexdigest()[:12]
