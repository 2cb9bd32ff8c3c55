"""What contracts say about calling their methods."""

from __future__ import annotations

from mercato.catalog.v1 import catalog_pb2
from mercato.operations.v1 import operations_pb2
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2

from chassis.policy import LONGEST_STREAM_S, UNARY_TIMEOUT_S, Policy

CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"]
ORDERS = orders_pb2.DESCRIPTOR.services_by_name["OrderService"]
PAYMENTS = payments_pb2.DESCRIPTOR.services_by_name["PaymentService"]


def test_a_method_may_take_as_long_as_its_contract_says() -> None:
    assert Policy.of(CATALOG.methods_by_name["GetProduct"]).timeout_s == UNARY_TIMEOUT_S
    assert Policy.of(CATALOG.methods_by_name["ImportProducts"]).timeout_s == 60
    assert Policy.of(PAYMENTS.methods_by_name["CapturePayment"]).timeout_s == 5
    assert Policy.of(ORDERS.methods_by_name["WatchOrder"]).timeout_s == LONGEST_STREAM_S


def test_what_is_idempotent_is_retriable_and_what_has_an_id_answers_again() -> None:
    read, write = CATALOG.methods_by_name["GetProduct"], CATALOG.methods_by_name["CreateProduct"]
    replay = OPERATIONS.methods_by_name["ReplayDeadLetters"]
    assert Policy.of(read) == Policy("/mercato.catalog.v1.CatalogService/GetProduct", 2.0, True, True, False)
    assert Policy.of(write) == Policy("/mercato.catalog.v1.CatalogService/CreateProduct", 2.0, True, False, True)
    assert not Policy.of(replay).request_id
    assert not Policy.of(CATALOG.methods_by_name["ImportProducts"]).request_id
