"""ShippingService over real gRPC, with a real database."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from google.type.postal_address_pb2 import PostalAddress
from mercato.shipping.v1.shipping_pb2 import (
    DESCRIPTOR,
    BookShipmentRequest,
    CancelShipmentRequest,
    GetShipmentRequest,
    ListShipmentsRequest,
    QuoteCarriageRequest,
    Shipment,
    TrackShipmentRequest,
)
from mercato.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

from chassis.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from chassis.money import money
from chassis.repository import Repository
from services.shipping.domain import evolve
from tests.stage import Stage


@pytest.fixture(scope="module")
async def shipping(stage: Stage) -> ShippingServiceStub:
    await stage.start("shipping")
    return stage.stub(DESCRIPTOR.services_by_name["ShippingService"], ShippingServiceStub)


def new_id() -> str:
    return str(uuid4())


def booking(region_code: str = "GB", shipment_id: str = "") -> BookShipmentRequest:
    return BookShipmentRequest(
        request_id=new_id(),
        shipment_id=shipment_id or new_id(),
        order="orders/1",
        pieces=12,
        address=PostalAddress(region_code=region_code, address_lines=["1 High Street"]),
    )


def cancelling(name: str) -> CancelShipmentRequest:
    return CancelShipmentRequest(request_id=new_id(), name=name)


def tracking(name: str, state: Shipment.State.ValueType) -> TrackShipmentRequest:
    return TrackShipmentRequest(request_id=new_id(), name=name, state=state, description="Seen at the depot")


async def test_a_quote_is_given(shipping: ShippingServiceStub) -> None:
    quoted = await shipping.QuoteCarriage(QuoteCarriageRequest(region_code="DE", pieces=101, currency_code="GBP"))
    assert quoted.price == money(2700, "GBP")
    with pytest.raises(FailedPrecondition) as not_served:
        await shipping.QuoteCarriage(QuoteCarriageRequest(region_code="ZZ", pieces=1, currency_code="GBP"))
    assert not_served.value.reason == "DESTINATION_NOT_SERVED"
    assert not_served.value.data == {"region_code": "ZZ"}
    with pytest.raises(InvalidArgument) as refused:
        await shipping.QuoteCarriage(QuoteCarriageRequest(region_code="GB", pieces=1, currency_code="USD"))
    assert list(refused.value.fields) == ["currency_code"]


async def test_a_shipment_is_booked(shipping: ShippingServiceStub) -> None:
    request = booking()
    shipment = (await shipping.BookShipment(request)).shipment
    assert shipment.name == f"shipments/{request.shipment_id}"
    assert shipment.state == Shipment.STATE_BOOKED
    assert (shipment.order, shipment.pieces, shipment.address) == ("orders/1", 12, request.address)
    assert shipment.tracking_number
    assert (await shipping.GetShipment(GetShipmentRequest(name=shipment.name))).shipment == shipment


async def test_a_booking_sent_many_times_at_once_is_one(shipping: ShippingServiceStub) -> None:
    request = booking()
    answers = await asyncio.gather(*(shipping.BookShipment(request) for _ in range(20)))
    assert answers == [answers[0]] * 20


async def test_another_booking_of_the_same_id_is_refused(shipping: ShippingServiceStub) -> None:
    request = booking()
    await shipping.BookShipment(request)
    with pytest.raises(AlreadyExists):
        await shipping.BookShipment(booking(shipment_id=request.shipment_id))


async def test_a_request_id_serves_one_request(shipping: ShippingServiceStub) -> None:
    request = booking()
    await shipping.BookShipment(request)
    request.pieces = 13
    with pytest.raises(InvalidArgument) as reused:
        await shipping.BookShipment(request)
    assert "request_id" in reused.value.fields


async def test_a_destination_not_served_is_not_booked(shipping: ShippingServiceStub) -> None:
    request = booking("ZZ")
    with pytest.raises(FailedPrecondition) as not_served:
        await shipping.BookShipment(request)
    assert not_served.value.reason == "DESTINATION_NOT_SERVED"
    with pytest.raises(NotFound):
        await shipping.GetShipment(GetShipmentRequest(name=f"shipments/{request.shipment_id}"))


async def test_what_was_cancelled_before_it_was_booked_cannot_be_booked(shipping: ShippingServiceStub) -> None:
    request = booking()
    cancel = cancelling(f"shipments/{request.shipment_id}")
    tombstone = await shipping.CancelShipment(cancel)
    assert tombstone.shipment.state == Shipment.STATE_CANCELLED
    with pytest.raises(FailedPrecondition) as late:
        await shipping.BookShipment(request)
    assert late.value.reason == "SHIPMENT_NOT_BOOKABLE"
    assert await shipping.CancelShipment(cancel) == tombstone


async def test_cancelling_always_succeeds(shipping: ShippingServiceStub) -> None:
    request = booking()
    booked = await shipping.BookShipment(request)
    name = booked.shipment.name
    answers = [await shipping.CancelShipment(cancelling(name)) for _ in range(3)]
    assert [answer.shipment.state for answer in answers] == [Shipment.STATE_CANCELLED] * 3
    assert await shipping.BookShipment(request) == booked  # the answer to the booking is what it was


async def test_booking_and_cancelling_at_once_end_cancelled(shipping: ShippingServiceStub) -> None:
    requests = [booking() for _ in range(20)]
    bookings = [shipping.BookShipment(request) for request in requests]
    cancellations = [shipping.CancelShipment(cancelling(f"shipments/{request.shipment_id}")) for request in requests]
    answers = await asyncio.gather(*bookings, *cancellations, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {type(refusal) for refusal in refusals} <= {FailedPrecondition}
    for request in requests:
        shipment = await shipping.GetShipment(GetShipmentRequest(name=f"shipments/{request.shipment_id}"))
        assert shipment.shipment.state == Shipment.STATE_CANCELLED


async def test_a_dispatched_shipment_is_recalled_and_tracked_no_more(shipping: ShippingServiceStub) -> None:
    name = (await shipping.BookShipment(booking())).shipment.name
    tracked = (await shipping.TrackShipment(tracking(name, Shipment.STATE_DISPATCHED))).shipment
    assert tracked.state == Shipment.STATE_DISPATCHED
    assert [event.description for event in tracked.tracking_events] == ["Seen at the depot"]
    recalled = (await shipping.CancelShipment(cancelling(name))).shipment
    assert recalled.state == Shipment.STATE_RECALLED
    with pytest.raises(FailedPrecondition) as over:
        await shipping.TrackShipment(tracking(name, Shipment.STATE_DELIVERED))
    assert over.value.reason == "SHIPMENT_NOT_TRACKABLE"
    with pytest.raises(NotFound):
        await shipping.TrackShipment(tracking("shipments/nowhere", Shipment.STATE_DELIVERED))


async def test_pages_lead_through_all(shipping: ShippingServiceStub) -> None:
    expected = {(await shipping.BookShipment(booking())).shipment.name for _ in range(5)}
    names: list[str] = []
    token = ""
    while True:
        page = await shipping.ListShipments(ListShipmentsRequest(page_size=4, page_token=token))
        names += [shipment.name for shipment in page.shipments]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert expected <= set(names)


async def test_events_alone_make_the_same_shipment(shipping: ShippingServiceStub, stage: Stage) -> None:
    name = (await shipping.BookShipment(booking())).shipment.name
    await shipping.TrackShipment(tracking(name, Shipment.STATE_DISPATCHED))
    await shipping.CancelShipment(cancelling(name))
    app = stage.apps["shipping"]
    repository = Repository(app.database, app.outbox, app.clock, table="shipments", state=Shipment, evolve=evolve)
    stored = await repository.get(name)
    assert stored.state == Shipment.STATE_RECALLED
    assert await repository.rebuild(name) == stored
