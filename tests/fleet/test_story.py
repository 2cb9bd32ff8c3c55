"""What a story says of traces: which were recorded, which were not, and which nobody could be asked about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from mercato.operations.v1.operations_pb2 import ListSagasResponse, Saga
from mercato.orders.v1.orders_pb2 import GetOrderResponse, Order
from mercato.telemetry.v1.telemetry_pb2 import GetTraceRequest, GetTraceResponse, ListTracesResponse, Trace

from fleet.story import MOST_TRACES, teller

NAMES = [f"traces/{number:032x}" for number in range(1, MOST_TRACES + 4)]


@dataclass
class Front(grpc.GenericRpcHandler):
    """A gateway that knows one order, whose sagas were written in all those traces, and telemetry that knows some."""

    recorded: set[str] = field(default_factory=set)
    telemetry_is_away: bool = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        method = handler_call_details.method.rpartition("/")[2]

        async def answer(data: bytes, context: Any) -> bytes:
            if self.telemetry_is_away and "mercato.telemetry" in handler_call_details.method:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
            if (message := self._answer(method, data)) is None:
                await context.abort(grpc.StatusCode.NOT_FOUND, "")
                raise AssertionError
            return message.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(self, method: str, data: bytes) -> Message | None:
        match method:
            case "GetOrder":
                return GetOrderResponse(order=Order(name="orders/1"))
            case "ListSagas":
                return ListSagasResponse(sagas=[Saga(kind="Checkout", trace=name) for name in NAMES])
            case "ListTraces":
                return ListTracesResponse(traces=[Trace(name=name) for name in sorted(self.recorded)])
            case "GetTrace" if (name := GetTraceRequest.FromString(data).name) in self.recorded:
                return GetTraceResponse(trace=Trace(name=name))
        return None


@pytest.fixture
async def front() -> AsyncIterator[tuple[Front, str]]:
    front, server = Front(), grpc.aio.server()
    server.add_generic_rpc_handlers((front,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield front, f"127.0.0.1:{port}"
    await server.stop(0)


async def test_it_tells_which_traces_were_recorded_and_names_the_others(front: tuple[Front, str]) -> None:
    gateway, address = front
    gateway.recorded = set(NAMES[:3])
    async with teller(address, ["orders", "telemetry"]) as asked:
        story = await asked.tell("orders/1")
    assert [trace.name for trace in story.traces] == NAMES[:3]
    assert story.unrecorded == NAMES[3:MOST_TRACES]
    assert story.further == story.as_dict()["further"] == NAMES[MOST_TRACES:]


@pytest.mark.parametrize("about", ["orders/1", NAMES[0]])
async def test_no_trace_counts_as_unrecorded_while_telemetry_is_away(front: tuple[Front, str], about: str) -> None:
    gateway, address = front
    gateway.telemetry_is_away = True
    async with teller(address, ["orders", "telemetry"]) as asked:
        story = await asked.tell(about)
    assert (story.traces, story.unrecorded) == ([], [])
    assert "telemetry" in story.missing
