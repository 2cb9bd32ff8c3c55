"""What every service serves is asked of the one that the request names, over HTTP and gRPC alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1.operations_pb2_grpc import OperationsServiceStub

from chassis.clock import SystemClock
from chassis.operations import OPERATIONS, Operations
from chassis.server import Server
from services.gateway.contract import Contract
from services.gateway.gateway import Gateway
from tests.gateway.conftest import settings

SERVED = ("orders", "payments")


class Desk(Operations):
    """The operations of one service, which refuse who asks another there; it has one saga, of its own name."""

    async def ListSagas(self, request: pb.ListSagasRequest, context: Any) -> pb.ListSagasResponse:
        await super().ListSagas(request, context)
        return pb.ListSagasResponse(sagas=[pb.Saga(subject=f"{self._service}/1")])


@dataclass
class Fronted:
    """A gateway before two services."""

    http: aiohttp.ClientSession
    operations: OperationsServiceStub
    channel: grpc.aio.Channel


@pytest.fixture(scope="module")
async def fronted() -> AsyncIterator[Fronted]:
    contract, targets = Contract.load(), {}
    async with AsyncExitStack() as stack:
        for name in SERVED:
            server = Server(settings(service=name), SystemClock())
            await server.add(OPERATIONS, Desk(name, None, None, None))
            await stack.enter_async_context(server)
            targets[name] = f"ipv4:127.0.0.1:{server.port}"
        told = settings(targets={**dict.fromkeys(contract.backends, "ipv4:127.0.0.1:1"), **targets})
        gateway = await stack.enter_async_context(Gateway(told, SystemClock(), contract))
        http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{gateway.http_port}"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}"))
        stub: Any = OperationsServiceStub(channel)
        yield Fronted(http, stub, channel)


@pytest.mark.parametrize("service", SERVED)
async def test_the_one_that_is_named_answers(fronted: Fronted, service: str) -> None:
    async with fronted.http.get(f"/v1/services/{service}/sagas") as answer:
        assert (await answer.json())["sagas"] == [{"subject": f"{service}/1"}]
    [saga] = (await fronted.operations.ListSagas(pb.ListSagasRequest(service=service))).sagas
    assert saga.subject == f"{service}/1"


async def test_a_body_goes_to_the_one_that_the_path_names(fronted: Fronted) -> None:
    async with fronted.http.post("/v1/services/orders/deadLetters:replay", json={"ids": ["1"]}) as answer:
        assert (await answer.json())["message"] == "this service handles no events"


async def test_nobody_of_that_name_is_not_found_and_those_that_are_there_are_told(fronted: Fronted) -> None:
    async with fronted.http.get("/v1/services/bakery/sagas") as answer:
        assert answer.status == 404
        status = await answer.json()
    assert "bakery" in status["message"]
    assert "orders" in status["details"][1]["fieldViolations"][0]["description"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fronted.operations.ListSagas(pb.ListSagasRequest(service="bakery"))
    assert (caught.value.code(), fields(caught.value)) == (grpc.StatusCode.NOT_FOUND, ["service"])


async def test_nobody_named_is_a_field_that_lacks(fronted: Fronted) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fronted.operations.ListSagas(pb.ListSagasRequest())
    assert (caught.value.code(), fields(caught.value)) == (grpc.StatusCode.INVALID_ARGUMENT, ["service"])


async def test_what_is_no_message_is_refused(fronted: Fronted) -> None:
    call: Any = fronted.channel.unary_unary(f"/{OPERATIONS.full_name}/ListSagas")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_one_that_is_known_but_away_is_unavailable(fronted: Fronted) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fronted.operations.ListSagas(pb.ListSagasRequest(service="shipping"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def fields(error: grpc.aio.AioRpcError) -> list[str]:
    """Return the fields that an error names."""
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    found = BadRequest()
    assert any(detail.Unpack(found) for detail in status.details)
    return [violation.field for violation in found.field_violations]
