"""What contracts say about calling their methods."""

from __future__ import annotations

from mercato.catalog.v1 import catalog_pb2
from mercato.operations.v1 import operations_pb2
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2

from chassis.policy import LONGEST_STREAM_S, UNARY_TIMEOUT_S, Objective, Policy

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
    assert Policy.of(read) == Policy(
        "/mercato.catalog.v1.CatalogService/GetProduct", 2.0, True, True, False, Objective(latency_s=0.1)
    )
    assert Policy.of(write) == Policy(
        "/mercato.catalog.v1.CatalogService/CreateProduct", 2.0, True, False, True, Objective()
    )
    assert not Policy.of(replay).request_id
    assert not Policy.of(CATALOG.methods_by_name["ImportProducts"]).request_id


def test_how_well_a_method_is_to_answer_is_said_in_its_contract_or_by_default() -> None:
    assert Policy.of(ORDERS.methods_by_name["PlaceOrder"]).objective == Objective(0.999, 0.5, 0.99)
    assert Policy.of(ORDERS.methods_by_name["CancelOrder"]).objective == Objective(0.999, 0.5, 0.99)
    assert Policy.of(PAYMENTS.methods_by_name["CapturePayment"]).objective == Objective(latency_s=1)


def test_streams_have_no_objective_of_latency() -> None:
    assert Policy.of(ORDERS.methods_by_name["WatchOrder"]).objective == Objective(latency_s=None)
    assert Policy.of(CATALOG.methods_by_name["ImportProducts"]).objective == Objective(0.99, latency_s=None)
