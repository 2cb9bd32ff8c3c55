"""The OpenAPI document says what the gateway does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway.codec import Codec
from services.gateway.contract import Contract
from services.gateway.openapi import document
from services.gateway.operations import operations
from tests.gateway.conftest import Running


@pytest.fixture(scope="module")
async def served(running: Running) -> dict[str, Any]:
    async with running.http.get("/openapi.json") as answer:
        found: dict[str, Any] = await answer.json()
        return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_resolves(served: dict[str, Any]) -> None:
    found = set(references(served))
    assert found
    for reference in found:
        place: Any = served
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]


def test_every_operation_is_there_once(contract: Contract, served: dict[str, Any]) -> None:
    compiled = list(operations(contract, Codec(contract.image)))
    described = [item for path in served["paths"].values() for item in path.values()]
    assert len(described) == len(compiled)
    assert {item["operationId"] for item in described} == {
        f"{one.method.containing_service.name}_{one.method.name}" for one in compiled
    }


def test_path_parameters_are_those_of_the_path(served: dict[str, Any]) -> None:
    for path, item in served["paths"].items():
        for operation in item.values():
            named = {one["name"] for one in operation["parameters"] if one.get("in") == "path"}
            assert named == {part.split("}")[0] for part in path.split("{")[1:]}


async def test_described_path_leads_to_its_operation(gateway: Running, served: dict[str, Any]) -> None:
    """Every described path exists: with a wrong method it is 405, never 404."""
    for path in served["paths"]:
        filled = "".join(part.partition("}")[2] if index else part for index, part in enumerate(path.split("{")))
        concrete = path
        for name in [part.split("}")[0] for part in path.split("{")[1:]]:
            concrete = concrete.replace("{" + name + "}", "1")
        async with gateway.http.request("TRACE", concrete) as answer:
            assert answer.status == 405, (path, filled)


def test_comments_are_the_documentation(served: dict[str, Any]) -> None:
    operation = served["paths"]["/v1/orders"]["post"]
    assert operation["summary"] == "Place an order"
    assert "PRICE_NOT_OFFERED" in operation["description"]
    order = served["components"]["schemas"]["mercato.orders.v1.Order"]
    assert order["properties"]["total"]["description"] == "Lines and charges together."
    assert "Stock left" in served["components"]["schemas"]["mercato.orders.v1.Order.State"]["description"]


def test_rules_of_the_contract_are_in_the_schemas(served: dict[str, Any]) -> None:
    line = served["components"]["schemas"]["mercato.orders.v1.PlaceOrderLine"]["properties"]
    assert line["product"]["pattern"] == "^products/[A-Za-z0-9_-]{1,64}$"
    request = served["components"]["schemas"]["mercato.orders.v1.PlaceOrderRequest"]
    assert request["properties"]["requestId"]["format"] == "uuid"
    assert request["properties"]["lines"]["maxItems"] == 2000
    assert "shippingAddress" in request["required"]


def test_fields_that_the_path_sets_are_not_in_the_body(served: dict[str, Any]) -> None:
    operation = served["paths"]["/v1/products/{product}"]["patch"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert "name" not in body["properties"]["product"]["properties"]
    assert "title" in body["properties"]["product"]["properties"]


def test_streams_have_their_own_types(served: dict[str, Any]) -> None:
    watch = served["paths"]["/v1/orders/{order}:watch"]["get"]
    assert list(watch["responses"]["200"]["content"]) == ["text/event-stream"]
    imported = served["paths"]["/v1/products:import"]["post"]
    assert list(imported["requestBody"]["content"]) == ["application/x-ndjson"]


def test_query_parameters_are_described(served: dict[str, Any]) -> None:
    parameters = {one.get("name"): one for one in served["paths"]["/v1/orders"]["get"]["parameters"]}
    assert {"pageSize", "pageToken", "customer", "state"} < set(parameters)


def test_document_has_what_operators_ask_of_a_service_but_not_of_one_instance(contract: Contract) -> None:
    described = document(contract, operations(contract, Codec(contract.image)))
    assert "/v1/services/{service}/deadLetters:replay" in described["paths"]
    assert "InstanceService" not in str(described)
