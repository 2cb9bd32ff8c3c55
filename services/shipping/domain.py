"""What can happen to a shipment."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.shipping.v1.shipping_pb2 import Shipment, ShipmentBooked, ShipmentCancelled, ShipmentTracked, TrackingEvent

from chassis.addresses import check_address
from chassis.clock import derived_id, timestamp
from chassis.errors import FailedPrecondition
from services.shipping.tariff import zone_of

MOST_TRACKING_EVENTS = 200
UNDONE = (Shipment.STATE_CANCELLED, Shipment.STATE_RECALLED)


class ShipmentNotBookable(FailedPrecondition):
    """{name} was cancelled and cannot be booked any more."""


class ShipmentNotTrackable(FailedPrecondition):
    """{name} is {state}: nothing more is to come of it."""


class TooManyTrackingEvents(FailedPrecondition):
    """{name} was tracked {most} times, and cannot be more often."""


def book(name: str, order: str, pieces: int, address: PostalAddress, now: datetime) -> list[Message]:
    """Book a shipment with the carrier."""
    check_address(address)
    zone_of(address.region_code)
    shipment = Shipment(
        name=name,
        state=Shipment.STATE_BOOKED,
        order=order,
        pieces=pieces,
        address=address,
        tracking_number=tracking_number(name),
        create_time=timestamp(now),
    )
    return [ShipmentBooked(shipment=shipment)]


def tracking_number(name: str) -> str:
    """Return the carrier's number of a shipment: always the same for the same shipment."""
    return f"MC{UUID(derived_id('tracking number', name)).int % 10**18:018}"


def refuse_late_booking(shipment: Shipment) -> None:
    """Raise ShipmentNotBookable when a shipment was undone."""
    if shipment.state in UNDONE:
        raise ShipmentNotBookable(name=shipment.name)


def cancel(shipment: Shipment, name: str) -> list[Message]:
    """Undo a shipment, whether it is still here, left already or was never booked."""
    if shipment.state in UNDONE:
        return []
    left = shipment.state in (Shipment.STATE_DISPATCHED, Shipment.STATE_DELIVERED)
    return [ShipmentCancelled(name=name, recalled=left)]


def track(shipment: Shipment, state: Shipment.State.ValueType, description: str, now: datetime) -> list[Message]:
    """Note what the carrier told."""
    if shipment.state in (*UNDONE, Shipment.STATE_DELIVERED):
        told = Shipment.State.Name(shipment.state).removeprefix("STATE_").lower()
        raise ShipmentNotTrackable(name=shipment.name, state=told)
    if len(shipment.tracking_events) >= MOST_TRACKING_EVENTS:
        raise TooManyTrackingEvents(name=shipment.name, most=MOST_TRACKING_EVENTS)
    event = TrackingEvent(state=state, description=description, event_time=timestamp(now))
    return [ShipmentTracked(name=shipment.name, tracking_event=event)]


def evolve(shipment: Shipment, event: Message) -> None:
    """Apply what happened."""
    match event:
        case ShipmentBooked():
            shipment.CopyFrom(event.shipment)
        case ShipmentCancelled():
            shipment.name = event.name
            shipment.state = Shipment.STATE_RECALLED if event.recalled else Shipment.STATE_CANCELLED
        case ShipmentTracked():
            shipment.state = event.tracking_event.state
            shipment.tracking_events.append(event.tracking_event)
