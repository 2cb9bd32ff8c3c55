"""The story of an order, a return or a trace: everything that any service knows about it, asked through the gateway."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from mercato.inventory.v1.inventory_pb2 import GetReservationRequest, Reservation
from mercato.notifications.v1.notifications_pb2 import ListMailsRequest, Mail
from mercato.operations.v1 import operations_pb2
from mercato.operations.v1.operations_pb2 import (
    Event,
    ListEventsRequest,
    ListHandledEventsRequest,
    ListSagasRequest,
    Saga,
)
from mercato.operations.v1.operations_pb2_grpc import OperationsServiceStub
from mercato.orders.v1.orders_pb2 import GetOrderRequest, GetReturnRequest, ListReturnsRequest, Order, Return
from mercato.payments.v1.payments_pb2 import GetPaymentRequest, LedgerEntry, ListLedgerEntriesRequest, Payment
from mercato.shipping.v1.shipping_pb2 import GetShipmentRequest, Shipment
from mercato.telemetry.v1 import telemetry_pb2
from mercato.telemetry.v1.telemetry_pb2 import GetTraceRequest, ListTracesRequest, Trace
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub

from chassis.channels import Channel
from chassis.errors import MercatoError, NotFound
from chassis.telemetry.redaction import redact
from fleet.client import Shop
from fleet.errors import FleetError

CALLER = "operator"
MOST = 1000
"""Of each kind of thing."""
MOST_TRACES = 10
_SUBJECT = re.compile(r"(orders|returns)/[A-Za-z0-9_-]{1,64}")
_TRACE = re.compile(r"(?:traces/)?([0-9a-f]{32})")

Answer = TypeVar("Answer")
Head = Order | Return
Resource = Reservation | Payment | Shipment


@dataclass(frozen=True)
class ToldEvent:
    """An event, who told of it, and who has handled it when."""

    service: str
    event: Event
    handled: Mapping[str, datetime]


@dataclass
class Story:
    """What is known; `missing` says who did not answer, so that what they know is not in it."""

    name: str
    head: Head | None = None
    traces: list[Trace] = field(default_factory=list)
    """Those that were recorded, with their spans, the earliest first."""
    unrecorded: list[str] = field(default_factory=list)
    """The names of those that were not, as far as telemetry says."""
    further: list[str] = field(default_factory=list)
    """The names of those beyond the first ten, which were not asked for."""
    sagas: list[Saga] = field(default_factory=list)
    events: list[ToldEvent] = field(default_factory=list)
    ledger: list[LedgerEntry] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, less what is sensitive."""
        return {
            "name": self.name,
            "head": redact(self.head) if self.head else None,
            "traces": [redact(each) for each in self.traces],
            "unrecorded": self.unrecorded,
            "further": self.further,
            "sagas": [redact(each) for each in self.sagas],
            "events": [
                {**redact(each.event), "service": each.service, "handled": _times(each.handled)} for each in self.events
            ],
            "ledger": [redact(each) for each in self.ledger],
            "resources": [redact(each) for each in self.resources],
            "mails": [redact(each) for each in self.mails],
            "missing": self.missing,
        }


def name_of(text: str) -> str:
    """Read what a story can be about: `orders/ID`, `returns/ID`, `traces/ID` or a trace's id alone; FleetError."""
    if _SUBJECT.fullmatch(text):
        return text
    if match := _TRACE.fullmatch(text):
        return f"traces/{match[1]}"
    raise FleetError(f"{text!r}: expected orders/ID, returns/ID, or a trace's id of 32 hexadecimal digits")


class Teller:
    """Asks the services of a fleet; what one of them cannot answer is left out."""

    def __init__(self, channel: grpc.aio.Channel, services: Iterable[str]) -> None:
        """Take the channel to the gateway, and the names of the services behind it."""
        self._services = sorted(services)
        self._shop = Shop(lambda _: channel)
        self._operations = OperationsServiceStub(_typed(channel, operations_pb2, "OperationsService"))
        self._telemetry = TelemetryServiceStub(_typed(channel, telemetry_pb2, "TelemetryService"))
        self._missing: dict[str, str] = {}

    @property
    def missing(self) -> Mapping[str, str]:
        """Who did not answer so far, and why."""
        return self._missing

    async def tell(self, name: str) -> Story:
        """Return the story of an order, a return, or a trace and the order or return it is about; FleetError."""
        if not name.startswith("traces/"):
            story = await self._existing(name)
            await self._find_traces(story)
        else:
            trace = await self._trace(name)
            about = [each for each in trace.subjects if _SUBJECT.fullmatch(each)] if trace else []
            story = await self._about(about[0]) if about else Story(name)
            self._add_traces(story, {name: trace})
        story.missing = self._missing
        return story

    async def traces(self, name: str) -> list[str]:
        """Return the names of all traces in which something happened to an order or a return, recorded or not."""
        return [name] if name.startswith("traces/") else await self._trace_names(await self._existing(name))

    async def _existing(self, name: str) -> Story:
        story = await self._about(name)
        if story.head is None and "orders" not in self._missing:
            raise FleetError(f"there is no {name}; GET /v1/{name.partition('/')[0]} of the gateway lists some")
        return story

    async def _about(self, name: str) -> Story:
        story = Story(name, await self._head(name))
        subjects, returns = _subjects(name, story.head), await self._returns(name)
        telling = [*subjects.items(), *(("orders", each) for each in returns)]
        sagas, told, story.ledger, story.resources, mails = await asyncio.gather(
            asyncio.gather(*map(self._sagas, (name, *returns))),
            asyncio.gather(*(self._events(service, subject) for service, subject in telling)),
            self._ledger(subjects.get("payments", "")),
            self._resources(name),
            asyncio.gather(*map(self._mails, (name, *returns))),
        )
        story.sagas, story.mails = list(chain(*sagas)), list(chain(*mails))
        story.events = await self._with_handled(list(chain(*told)))
        return story

    async def _returns(self, name: str) -> list[str]:
        """Return the names of what was brought back of an order."""
        if not name.startswith("orders/"):
            return []
        answer = await self._ask("orders", self._shop.orders.ListReturns(ListReturnsRequest(order=name)))
        return [each.name for each in answer.returns] if answer else []

    async def _sagas(self, subject: str) -> Iterable[Saga]:
        answer = await self._ask("orders", self._operations.ListSagas(_of("orders", ListSagasRequest, subject)))
        return answer.sagas if answer else ()

    async def _mails(self, subject: str) -> Iterable[Mail]:
        request = ListMailsRequest(regarding=subject, page_size=MOST)
        answer = await self._ask("notifications", self._shop.notifications.ListMails(request))
        return answer.mails if answer else ()

    async def _head(self, name: str) -> Head | None:
        """Return the order or return itself."""
        if name.startswith("orders/"):
            order = await self._ask("orders", self._shop.orders.GetOrder(GetOrderRequest(name=name)))
            return order.order if order else None
        returned = await self._ask("orders", self._shop.orders.GetReturn(GetReturnRequest(name=name)))
        return returned.returned if returned else None

    async def _events(self, service: str, subject: str) -> list[tuple[str, Event]]:
        answer = await self._ask(service, self._operations.ListEvents(_of(service, ListEventsRequest, subject)))
        return [(service, event) for event in answer.events] if answer else []

    async def _with_handled(self, told: Sequence[tuple[str, Event]]) -> list[ToldEvent]:
        """Add who handled each event, and put all in the order of time."""
        handled: dict[str, dict[str, datetime]] = {event.id: {} for _, event in told}
        if handled:
            ids = list(handled)[:MOST]
            answers = await asyncio.gather(
                *(
                    self._ask(each, self._operations.ListHandledEvents(ListHandledEventsRequest(service=each, ids=ids)))
                    for each in self._services
                )
            )
            for service, answer in zip(self._services, answers, strict=True):
                for each in answer.events if answer else ():
                    handled[each.id][service] = each.handle_time.ToDatetime(UTC)
        events = [ToldEvent(service, event, handled[event.id]) for service, event in told]
        return sorted(events, key=lambda each: (each.event.create_time.ToNanoseconds(), each.event.version))

    async def _ledger(self, subject: str) -> list[LedgerEntry]:
        if not subject:
            return []
        request = ListLedgerEntriesRequest(subject=subject, page_size=MOST)
        answer = await self._ask("payments", self._shop.payments.ListLedgerEntries(request))
        return list(answer.entries) if answer else []

    async def _resources(self, name: str) -> list[Resource]:
        """Return what bears an order's id: its reservation, payment and shipment, as far as there are any."""
        kind, _, own = name.partition("/")
        if kind != "orders":
            return []
        reservation, payment, shipment = await asyncio.gather(
            self._ask(
                "inventory", self._shop.inventory.GetReservation(GetReservationRequest(name=f"reservations/{own}"))
            ),
            self._ask("payments", self._shop.payments.GetPayment(GetPaymentRequest(name=f"payments/{own}"))),
            self._ask("shipping", self._shop.shipping.GetShipment(GetShipmentRequest(name=f"shipments/{own}"))),
        )
        found: list[Resource] = []
        if reservation:
            found.append(reservation.reservation)
        if payment:
            found.append(payment.payment)
        if shipment:
            found.append(shipment.shipment)
        return found

    async def _find_traces(self, story: Story) -> None:
        names = await self._trace_names(story)
        names, story.further = names[:MOST_TRACES], names[MOST_TRACES:]
        self._add_traces(story, dict(zip(names, await asyncio.gather(*map(self._trace, names)), strict=True)))

    def _add_traces(self, story: Story, found: Mapping[str, Trace | None]) -> None:
        story.traces = sorted(filter(None, found.values()), key=lambda trace: trace.start_time.ToNanoseconds())
        if "telemetry" not in self._missing:  # else nobody knows
            story.unrecorded = [name for name, trace in found.items() if trace is None]

    async def _trace_names(self, story: Story) -> list[str]:
        """Return those that sagas and events were written in, then others that telemetry knows of."""
        request = ListTracesRequest(subject=story.name, page_size=MOST_TRACES)
        away = "telemetry" in self._missing  # it was waited for once
        known = None if away else await self._ask("telemetry", self._telemetry.ListTraces(request))
        names = [
            *(saga.trace for saga in story.sagas),
            *(each.event.trace for each in story.events),
            *(trace.name for trace in (known.traces if known else ())),
        ]
        return [name for name in dict.fromkeys(names) if name]

    async def _trace(self, name: str) -> Trace | None:
        if "telemetry" in self._missing:
            return None
        answer = await self._ask("telemetry", self._telemetry.GetTrace(GetTraceRequest(name=name)))
        return answer.trace if answer else None

    async def _ask(self, service: str, call: Awaitable[Answer]) -> Answer | None:
        """Return an answer; None where there is none of that name, or where the service is away, which is noted."""
        try:
            return await call
        except NotFound:
            return None
        except MercatoError as error:
            self._missing.setdefault(service, error.message)
            return None


@asynccontextmanager
async def teller(address: str, services: Iterable[str]) -> AsyncIterator[Teller]:
    """Open a fleet at the `host:port` of its gateway's gRPC."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield Teller(channel, services)


def _subjects(name: str, head: Head | None) -> dict[str, str]:
    """Return what tells of it, by service: what belongs to an order bears its id, as does what was paid back of it."""
    kind, _, own = name.partition("/")
    if kind == "orders":
        others = {"inventory": f"reservations/{own}", "payments": f"payments/{own}", "shipping": f"shipments/{own}"}
        return {"orders": name, **others}
    paid = head.order.partition("/")[2] if isinstance(head, Return) else ""
    return {"orders": name, "payments": f"payments/{paid}" if paid else f"credits/{own}"}


def _of(service: str, make: Any, subject: str) -> Any:
    return make(service=service, subject=subject, page_size=MOST)


def _typed(channel: grpc.aio.Channel, module: Any, name: str) -> Any:
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return Channel(channel, [service], CALLER)


def _times(handled: Mapping[str, datetime]) -> dict[str, str]:
    return {service: time.isoformat() for service, time in handled.items()}
