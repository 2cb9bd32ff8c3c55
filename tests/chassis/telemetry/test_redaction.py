"""What is sensitive never shows, wherever in a message it stands; everything else is as JSON has it."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.type.postal_address_pb2 import PostalAddress
from mercato.orders.v1.orders_pb2 import Order, OrderPlaced

from chassis.telemetry.redaction import REDACTED, redact


def guest() -> Any:
    """A message type with a secret, itself in a list and in a map."""
    file = FileDescriptorProto(name="guest.proto", package="party", syntax="proto3")
    message = file.message_type.add(name="Guest")
    nested = message.nested_type.add(name="ByNameEntry")
    nested.options.map_entry = True
    nested.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING, label=1)
    nested.field.add(name="value", number=2, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".party.Guest", label=1)
    message.field.add(name="name", number=1, type=FieldDescriptorProto.TYPE_STRING, label=1)
    message.field.add(name="pin_codes", number=2, type=FieldDescriptorProto.TYPE_INT32, label=3)
    message.field.add(
        name="friends", number=3, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".party.Guest", label=3
    )
    message.field.add(
        name="by_name", number=4, type=FieldDescriptorProto.TYPE_MESSAGE, type_name=".party.Guest.ByNameEntry", label=3
    )
    message.field[1].options.debug_redact = True
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("party.Guest"))


def test_sensitive_fields_of_any_kind_are_redacted_and_others_are_not() -> None:
    order = Order(name="orders/1", email="ann@shop.example", shipping_address=PostalAddress(locality="Leeds"))
    shown = redact(OrderPlaced(order=order))
    assert shown == {"order": {"name": "orders/1", "email": REDACTED, "shippingAddress": REDACTED}}
    assert order.email == "ann@shop.example"


def test_what_is_not_set_is_not_shown_as_if_it_were() -> None:
    assert redact(Order(name="orders/1")) == {"name": "orders/1"}


def test_lists_and_maps_are_looked_through_however_deep() -> None:
    inner = {"name": "Bo", "pinCodes": [1, 2]}
    message: Message = ParseDict(
        {
            "friends": [inner, {"name": "Di", "friends": [inner]}],
            "byName": {"bo": inner, "cy": {"byName": {"bo": inner}}},
        },
        guest()(),
    )
    hidden = {"name": "Bo", "pinCodes": REDACTED}
    assert redact(message) == {
        "friends": [hidden, {"name": "Di", "friends": [hidden]}],
        "byName": {"bo": hidden, "cy": {"byName": {"bo": hidden}}},
    }


def test_what_is_packed_is_redacted_too() -> None:
    packed = AnyMessage()
    packed.Pack(Order(name="orders/1", email="ann@shop.example"))
    assert redact(packed)["email"] == REDACTED


def test_messages_with_a_json_of_their_own_stay_as_they_are() -> None:
    struct = Struct()
    struct.update({"fields": "x", "values": {"a": [1]}})
    order = Order(name="orders/1")
    order.place_time.GetCurrentTime()
    for message in (struct, order):
        assert redact(message) == MessageToDict(message)
