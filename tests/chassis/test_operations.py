"""What operators see of a service: its events, who handled them, and sagas step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from google.protobuf.message import Message
from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1.operations_pb2_grpc import OperationsServiceStub
from mercato.orders.v1.orders_pb2 import Order, OrderPlaced

from chassis.app import App
from chassis.call import Call, serving
from chassis.database import Batch
from chassis.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from chassis.operations import OPERATIONS
from chassis.saga import Refusal, Saga, Step
from chassis.saga_view import step_states
from chassis.telemetry.redaction import REDACTED
from chassis.telemetry.trace import Trace
from tests.stage import Stage, eventually

STEPS = ["pack", "pay", "post"]
TRACE = Trace.start()


class OutOfStamps(FailedPrecondition):
    """There are no stamps."""


class Desk:
    """A service with a saga, and with events that it tells of and hears of itself."""

    app: App

    def __init__(self, migrations: Path) -> None:
        self.migrations = migrations
        self.error: Exception | None = None

    async def compose(self, app: App) -> None:
        self.app = app
        await app.open_database(self.migrations)
        await app.open_bus()
        app.consume({OrderPlaced: lambda batch, message, event: None})
        steps = [*(Step(name, self.nothing, self.nothing) for name in STEPS[:2]), Step("post", self.post)]
        app.carry_on(Saga("Trip", steps, self.load, self.end, lambda work, refusal, batch: self.end(work, batch)))

    async def nothing(self, work: str) -> None:
        pass

    async def post(self, work: str) -> None:
        if self.error:
            raise self.error

    async def load(self, subject: str) -> str:
        return subject

    async def end(self, work: str, batch: Batch) -> None:
        await self.app.database.commit(batch)

    async def happen(self, subject: str, *events: Any) -> None:
        """Commit events."""
        batch = Batch()
        with serving(Call("", "tests", None, TRACE)):
            self.app.outbox.add(batch, subject, 1, events)
        await self.app.database.commit(batch)
        self.app.outbox.wake()

    async def travel(self) -> str:
        """Begin a saga; returns its subject."""
        subject, batch = f"trips/{uuid4().hex}", Batch()
        assert self.app.sagas
        with serving(Call("", "tests", None, TRACE)):
            carry_on = self.app.sagas.begin(batch, "Trip", subject)
        await self.app.database.commit(batch)
        carry_on(subject)
        return subject


@pytest.fixture(scope="module")
async def desk(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("none"))
    await stage.start("desk", desk.compose)
    stage.targets["operations"] = stage.targets["desk"]
    return desk


@pytest.fixture
def operator(stage: Stage, desk: Desk) -> OperationsServiceStub:
    return stage.stub(OPERATIONS, OperationsServiceStub)


def placed(subject: str) -> OrderPlaced:
    return OrderPlaced(order=Order(name=subject, email="ann@shop.example", card_token="tok_1"))


async def saga(operator: OperationsServiceStub, subject: str, status: str) -> pb.Saga:
    """Return the saga of a subject when it has got so far."""
    found: list[pb.Saga] = []

    async def there() -> bool:
        found[:] = (await operator.ListSagas(pb.ListSagasRequest(subject=subject))).sagas
        return found[0].status == status

    await eventually(there)
    return found[0]


def states(saga: pb.Saga) -> list[str]:
    return [pb.SagaStep.State.Name(step.state).removeprefix("STATE_") for step in saga.steps]


async def test_events_of_a_subject_are_listed_in_order_without_what_is_sensitive(
    desk: Desk, operator: OperationsServiceStub
) -> None:
    subject = f"orders/{uuid4().hex}"
    await desk.happen(f"orders/{uuid4().hex}", placed("orders/another"))
    await desk.happen(subject, placed(subject), placed(subject))

    async def published() -> bool:
        events = (await operator.ListEvents(pb.ListEventsRequest(service="desk", subject=subject))).events
        return all(event.HasField("publish_time") for event in events)

    await eventually(published)
    first, second = (await operator.ListEvents(pb.ListEventsRequest(subject=subject))).events
    assert (first.id, second.id) == (f"{subject}/1", f"{subject}/2")
    assert (first.type, first.subject, second.version) == ("mercato.orders.v1.OrderPlaced", subject, 2)
    assert first.trace == f"traces/{TRACE.trace_id}"
    assert orjson.loads(first.body) == {"order": {"name": subject, "email": REDACTED, "cardToken": REDACTED}}
    limited = await operator.ListEvents(pb.ListEventsRequest(subject=subject, page_size=1))
    assert [event.id for event in limited.events] == [first.id]


async def test_of_an_event_that_this_version_does_not_know_all_but_its_body_shows(
    desk: Desk, operator: OperationsServiceStub
) -> None:
    subject = f"orders/{uuid4().hex}"
    await desk.happen(subject, placed(subject))
    await desk.app.database.value("UPDATE events SET type = 'mercato.later.v1.Done' WHERE subject = $1", subject)
    [event] = (await operator.ListEvents(pb.ListEventsRequest(subject=subject))).events
    assert (event.type, event.body) == ("mercato.later.v1.Done", "")


async def test_it_tells_which_events_it_handled(desk: Desk, operator: OperationsServiceStub) -> None:
    subject = f"orders/{uuid4().hex}"
    await desk.happen(subject, placed(subject))
    asked = pb.ListHandledEventsRequest(ids=[f"{subject}/1", f"{subject}/2"])

    async def handled() -> bool:
        return [event.id for event in (await operator.ListHandledEvents(asked)).events] == [f"{subject}/1"]

    await eventually(handled)


async def test_a_saga_that_is_done_shows_by_its_subject_and_no_longer_among_the_live(
    desk: Desk, operator: OperationsServiceStub
) -> None:
    subject = await desk.travel()
    done = await saga(operator, subject, "done")
    assert (done.kind, done.trace, states(done)) == ("Trip", f"traces/{TRACE.trace_id}", ["DONE"] * 3)
    assert [(step.name, step.compensated) for step in done.steps] == [("pack", True), ("pay", True), ("post", False)]
    live = (await operator.ListSagas(pb.ListSagasRequest())).sagas
    assert subject not in [each.subject for each in live]


async def test_a_saga_that_turned_round_says_why(
    desk: Desk, operator: OperationsServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "error", OutOfStamps())
    undone = await saga(operator, await desk.travel(), "undone")
    assert undone.refusal == pb.SagaRefusal(step="post", reason="OUT_OF_STAMPS", message="There are no stamps.")
    assert states(undone) == ["UNDONE", "UNDONE", "REFUSED"]


async def test_a_live_saga_shows_its_step_and_its_tries(
    desk: Desk, operator: OperationsServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "error", Unavailable())
    subject = await desk.travel()

    async def tried() -> bool:
        return any(each.attempts for each in (await operator.ListSagas(pb.ListSagasRequest())).sagas)

    await eventually(tried)
    live = await saga(operator, subject, "running")
    assert (live.step, states(live)) == ("post", ["DONE", "DONE", "CURRENT"])
    assert live.error.startswith("UNAVAILABLE")


@pytest.mark.parametrize(
    ("done", "refused_at", "expected"),
    [
        (0, None, "CURRENT TO_DO TO_DO"),
        (3, None, "DONE DONE DONE"),
        (1, "post", "TO_UNDO UNDONE REFUSED"),
        (2, "pay", "TO_UNDO TO_UNDO SKIPPED"),  # it stayed in doubt, so it is undone too
        (3, "", "TO_UNDO TO_UNDO TO_UNDO"),
        (1, "", "TO_UNDO UNDONE UNDONE"),
        (0, "pack", "REFUSED SKIPPED SKIPPED"),
        (0, "", "UNDONE UNDONE UNDONE"),
        (0, "a step of an older version", "UNDONE UNDONE UNDONE"),
    ],
)
def test_states_of_steps_follow_from_how_far_a_saga_is(done: int, refused_at: str | None, expected: str) -> None:
    refusal = None if refused_at is None else Refusal(refused_at, "REASON", "why")
    assert [state.name for state in step_states(STEPS, done, refusal)] == expected.split()


async def test_another_service_is_not_asked_here(operator: OperationsServiceStub) -> None:
    asked: list[tuple[Any, Message]] = [
        (operator.ListEvents, pb.ListEventsRequest(service="orders", subject="orders/1")),
        (operator.ListSagas, pb.ListSagasRequest(service="orders")),
        (operator.ListDeadLetters, pb.ListDeadLettersRequest(service="orders")),
        (operator.ReplayDeadLetters, pb.ReplayDeadLettersRequest(service="orders")),
        (operator.ListHandledEvents, pb.ListHandledEventsRequest(service="orders", ids=["1"])),
    ]
    for call, request in asked:
        with pytest.raises(InvalidArgument) as refused:
            await call(request)
        assert list(refused.value.fields) == ["service"]


async def test_a_service_without_a_database_has_nothing_to_list(stage: Stage) -> None:
    async def compose(app: App) -> None:
        pass

    await stage.start("empty", compose)
    stage.targets["operations"] = stage.targets["empty"]
    operator = stage.stub(OPERATIONS, OperationsServiceStub)
    assert not (await operator.ListEvents(pb.ListEventsRequest(subject="orders/1"))).events
    assert not (await operator.ListHandledEvents(pb.ListHandledEventsRequest(ids=["orders/1/1"]))).events
    assert not (await operator.ListSagas(pb.ListSagasRequest())).sagas
    assert not (await operator.ListDeadLetters(pb.ListDeadLettersRequest())).dead_letters
    with pytest.raises(NotFound):
        await operator.ReplayDeadLetters(pb.ReplayDeadLettersRequest())
