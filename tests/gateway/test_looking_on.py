"""Who looks on is not seen among those looked at: the console's calls are no part of what is counted and logged."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import REGISTRY

from chassis.telemetry.rpc import CONSOLE
from tests.gateway.conftest import Running

ROUTE, METHOD = "/v1/orders", "mercato.orders.v1.OrderService/ListOrders"


def made(caller: str) -> float:
    """The calls that were made in the name of a caller."""
    labels = {"mercato_caller": caller, "rpc_method": METHOD, "rpc_response_status_code": "OK"}
    return REGISTRY.get_sample_value("rpc_client_call_duration_seconds_count", labels) or 0.0


def served(route: str) -> float:
    """The requests that the gateway counts as served."""
    labels = {"http_request_method": "GET", "http_route": route, "http_response_status_code": "200"}
    return REGISTRY.get_sample_value("http_server_request_duration_seconds_count", labels) or 0.0


@pytest.mark.parametrize(("caller", "looks_on"), [(CONSOLE, True), ("shop", False)])
async def test_requests_of_the_console_count_as_its_own(
    gateway: Running, caplog: pytest.LogCaptureFixture, caller: str, looks_on: bool
) -> None:
    caplog.set_level(logging.INFO)
    before = made("gateway"), made(CONSOLE), served(ROUTE)
    async with gateway.http.get(ROUTE, headers={"X-Mercato-Caller": caller}) as answer:
        assert answer.status == 200
    now = made("gateway"), made(CONSOLE), served(ROUTE)
    grown = [after - earlier for earlier, after in zip(before, now, strict=True)]
    assert grown == ([0, 1, 0] if looks_on else [1, 0, 1])
    assert (f"GET {ROUTE}" in caplog.messages) is not looks_on


async def test_its_files_are_its_own_too(gateway: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = served("/console"), served("/docs")
    for path in ("/console", "/docs"):
        async with gateway.http.get(path) as answer:
            assert answer.status == 200
    assert (served("/console"), served("/docs")) == (before[0], before[1] + 1)
    assert [message for message in caplog.messages if message.startswith("GET")] == ["GET /docs"]
