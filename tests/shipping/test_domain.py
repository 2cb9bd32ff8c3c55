"""What can happen to a shipment, without I/O."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.shipping.v1.shipping_pb2 import Shipment, ShipmentCancelled

from chassis.errors import InvalidArgument
from services.shipping import domain
from services.shipping.tariff import DestinationNotServed

NOW = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
NAME = "shipments/1"
DISPATCHED, DELIVERED = Shipment.STATE_DISPATCHED, Shipment.STATE_DELIVERED


def evolved(shipment: Shipment, events: list[Message]) -> Shipment:
    for event in events:
        domain.evolve(shipment, event)
    return shipment


def booked(*tracked: Shipment.State.ValueType) -> Shipment:
    shipment = evolved(Shipment(), domain.book(NAME, "orders/1", 12, PostalAddress(region_code="GB"), NOW))
    for state in tracked:
        evolved(shipment, domain.track(shipment, state, "", NOW))
    return shipment


def test_the_tracking_number_always_is_the_same_and_differs_from_others() -> None:
    numbers = {domain.tracking_number(f"shipments/{number}") for number in range(1000)}
    assert len(numbers) == 1000
    assert all(len(number) == 20 and number[2:].isdigit() for number in numbers)
    assert booked().tracking_number == domain.tracking_number(NAME) == "MC926534406990688126"


@pytest.mark.parametrize(
    ("shipment", "state"),
    [
        (Shipment(), Shipment.STATE_CANCELLED),
        (booked(), Shipment.STATE_CANCELLED),
        (booked(DISPATCHED), Shipment.STATE_RECALLED),
        (booked(DISPATCHED, DELIVERED), Shipment.STATE_RECALLED),
    ],
)
def test_undoing_depends_on_whether_it_left(shipment: Shipment, state: Shipment.State.ValueType) -> None:
    evolved(shipment, domain.cancel(shipment, NAME))
    assert (shipment.name, shipment.state) == (NAME, state)
    assert domain.cancel(shipment, NAME) == []


def test_what_was_undone_is_not_booked() -> None:
    tombstone = evolved(Shipment(), [ShipmentCancelled(name=NAME)])
    with pytest.raises(domain.ShipmentNotBookable, match="shipments/1 was cancelled"):
        domain.refuse_late_booking(tombstone)
    domain.refuse_late_booking(booked())


def test_tracking_keeps_where_it_has_been() -> None:
    shipment = booked(DISPATCHED, DISPATCHED, DELIVERED)
    assert shipment.state == DELIVERED
    assert [event.state for event in shipment.tracking_events] == [DISPATCHED, DISPATCHED, DELIVERED]


@pytest.mark.parametrize("events", [[], [DISPATCHED], [DELIVERED]])
def test_what_is_over_is_not_tracked(events: list[Shipment.State.ValueType]) -> None:
    shipment = booked(*events)
    if DELIVERED not in events:
        evolved(shipment, domain.cancel(shipment, NAME))
    with pytest.raises(domain.ShipmentNotTrackable, match=r"cancelled|recalled|delivered"):
        domain.track(shipment, DELIVERED, "", NOW)


def test_tracking_has_a_limit() -> None:
    with pytest.raises(domain.TooManyTrackingEvents):
        booked(*[DISPATCHED] * 201)


def test_a_booking_needs_a_destination_that_is_served() -> None:
    with pytest.raises(DestinationNotServed):
        domain.book(NAME, "orders/1", 1, PostalAddress(region_code="ZZ"), NOW)
    with pytest.raises(InvalidArgument) as refused:
        domain.book(NAME, "orders/1", 1, PostalAddress(region_code="gb"), NOW)
    assert list(refused.value.fields) == ["address.region_code"]
