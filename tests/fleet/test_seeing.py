"""What the commands that look inside say where there is nothing to look at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from mercato.operations.v1.operations_pb2 import Event, ListEventsResponse, ListSagasResponse, Saga

from fleet import plan as plans
from fleet import seeing
from fleet.errors import FleetError
from fleet.plan import Plan
from fleet.story import teller
from loadtest import commands as trading

ROOT = Path(__file__).parents[2]


async def test_a_suite_that_tells_elsewhere_says_so_and_is_not_waited_for(tmp_path: Path) -> None:
    plan = plans.make(ROOT, tmp_path, {"MERCATO_TELEMETRY": "collector.example:4317"})
    with pytest.raises(
        FleetError, match=r"has no telemetry of its own: it was started with MERCATO_TELEMETRY=collector\.example"
    ):
        await anext(seeing.traffic(plan, timedelta(seconds=10), 1.0))


async def first(frames: AsyncIterator[object]) -> object:
    return await anext(frames)


@pytest.mark.parametrize(
    "look",
    [
        lambda plan: seeing.tell(plan, "orders/1"),
        lambda plan: seeing.traces(plan, "orders/1"),
        lambda plan: asyncio.run(first(seeing.traffic(plan, timedelta(seconds=10), 1.0))),
        lambda plan: trading.check(),
    ],
    ids=["trace", "logs", "top", "check"],
)
def test_that_nothing_runs_is_said_once_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Plan], object]
) -> None:
    monkeypatch.setenv("MERCATO_HOME", str(tmp_path))
    plan = plans.make(ROOT, tmp_path, {})
    plan.save()
    with pytest.raises(FleetError) as error:
        look(plan)
    assert str(error.value) == "the fleet is not running; start it with `mercato up`"


def test_who_does_not_answer_is_told_with_each_reason_once() -> None:
    away = {"orders": "It hangs.", "payments": "It could not be reached.", "shipping": "It could not be reached."}
    assert seeing.words(away) == "orders: It hangs.; payments, shipping: It could not be reached."


class Orders(grpc.GenericRpcHandler):
    """Knows the saga and an event of an order, and answers nothing else."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self._known: dict[str, Message] = {
            "ListSagas": ListSagasResponse(sagas=[Saga(trace=f"traces/{'a' * 32}")]),
            "ListEvents": ListEventsResponse(events=[Event(id="orders/1/1")]),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method.rpartition("/")[2]

        async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            self.asked[method] += 1
            if method not in self._known:
                await context.abort(grpc.StatusCode.UNAVAILABLE)
            return self._known[method].SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize(
    ("services", "asked"), [([], ["ListTraces"]), (["telemetry"], ["ListHandledEvents"])], ids=["for_traces", "before"]
)
async def test_telemetry_that_does_not_answer_is_waited_for_once(services: list[str], asked: list[str]) -> None:
    orders = Orders()
    server = grpc.aio.server(handlers=[orders])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with teller(f"127.0.0.1:{port}", services) as telling:
        told = await telling.tell("orders/1")
    await server.stop(None)
    assert told.sagas
    assert "telemetry" in told.missing
    of_telemetry = ("ListHandledEvents", "ListTraces", "GetTrace")
    assert [method for method in of_telemetry for _ in range(orders.asked[method])] == asked
