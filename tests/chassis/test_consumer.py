"""Events handled once, in the transaction that notes them; what cannot be handled is kept, listed and replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
from google.protobuf.message import Message
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.operations.v1 import operations_pb2 as operations
from mercato.operations.v1.operations_pb2_grpc import OperationsServiceStub

import chassis.consumer
import chassis.nats
from chassis.app import App
from chassis.bus import Event
from chassis.call import current_call
from chassis.consumer import ATTEMPTS
from chassis.database import Batch, Database
from chassis.telemetry.trace import Trace
from tests.chassis.engines import nats_engine, postgres_engine
from tests.stage import Stage, eventually

OPERATIONS = operations.DESCRIPTOR.services_by_name["OperationsService"]


class Notes:
    """Notes the title of every product it hears of; refuses titles it was told to."""

    app: App
    migrations: Path

    def __init__(self, migrations: Path) -> None:
        (migrations / "001_notes.sql").write_text("CREATE TABLE notes (product text, title text NOT NULL, trace text)")
        self.migrations = migrations
        self.refused: set[str] = set()
        self.tries: list[str] = []

    async def compose(self, app: App) -> None:
        self.app = app
        await app.open_database(self.migrations)
        await app.open_bus()
        app.consume({pb.ProductCreated: self.note})

    def note(self, batch: Batch, message: Message, event: Event) -> None:
        assert isinstance(message, pb.ProductCreated)
        self.tries.append(message.product.title)
        if message.product.title in self.refused:
            raise ValueError(f"cannot stand {message.product.title}")
        call = current_call()
        assert call is not None
        batch.add("INSERT INTO notes VALUES ($1, $2, $3)", event.key, message.product.title, call.trace.traceparent)

    async def titles(self) -> list[str]:
        return [row["title"] for row in await self.app.database.rows("SELECT title FROM notes ORDER BY title")]

    async def noted(self, *titles: str) -> None:
        """Wait until these titles are noted, each as often as it is named."""

        async def all_there() -> bool:
            found = await self.titles()
            return all(found.count(title) >= titles.count(title) for title in titles)

        await eventually(all_there)


@pytest.fixture(autouse=True, scope="module")
def impatient() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chassis.consumer, "RETRY_S", (0.02,) * 4)
        patch.setattr(chassis.nats, "FETCH_WAIT_S", 0.5)
        yield


@pytest.fixture(scope="module")
async def started(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Notes:
    notes = Notes(tmp_path_factory.mktemp("notes"))
    await stage.start("notes", notes.compose)
    stage.targets["operations"] = stage.targets["notes"]
    return notes


@pytest.fixture
async def notes(started: Notes) -> AsyncIterator[Notes]:
    started.refused.clear()
    started.tries.clear()
    yield started
    await started.app.database.value("TRUNCATE notes, dead_letters")


@pytest.fixture
def desk(stage: Stage, started: Notes) -> OperationsServiceStub:
    return stage.stub(OPERATIONS, OperationsServiceStub)


def title() -> str:
    return uuid4().hex


def creation(title: str, payload: bytes | None = None) -> Event:
    name = f"products/{uuid4().hex}"
    message = pb.ProductCreated(product=pb.Product(name=name, title=title))
    return Event(
        id=f"{name}/1",
        source="catalog",
        type=message.DESCRIPTOR.full_name,
        key=name,
        time=datetime.now(UTC),
        trace=Trace.start().traceparent,
        payload=message.SerializeToString() if payload is None else payload,
    )


async def publish_copies(stage: Stage, event: Event, count: int) -> None:
    """Publish an event several times so that the broker does not know that it is one."""
    client = await nats.connect(stage.nats_url)
    headers = {
        "ce-id": event.id,
        "ce-source": event.source,
        "ce-type": event.type,
        "ce-partitionkey": event.key,
        "ce-time": event.time.isoformat(),
        "traceparent": event.trace,
    }
    for _ in range(count):
        await client.publish(event.type, event.payload, headers=headers)
    await client.flush()
    await client.close()


async def dead_letters(desk: OperationsServiceStub) -> dict[str, operations.DeadLetter]:
    response = await desk.ListDeadLetters(operations.ListDeadLettersRequest(page_size=1000))
    return {letter.id: letter for letter in response.dead_letters}


async def buried(desk: OperationsServiceStub, event: Event) -> operations.DeadLetter:
    async def there() -> bool:
        return event.id in await dead_letters(desk)

    await eventually(there)
    return (await dead_letters(desk))[event.id]


async def test_an_event_is_handled_in_the_trace_it_happened_in(notes: Notes) -> None:
    event = creation(title())
    await notes.app.bus.publish([event])
    await notes.noted(pb.ProductCreated.FromString(event.payload).product.title)
    row = await notes.app.database.row("SELECT * FROM notes")
    assert row is not None
    assert (row["product"], row["trace"]) == (event.key, event.trace)


async def test_an_event_delivered_again_has_one_effect(notes: Notes, stage: Stage) -> None:
    twice, after = title(), title()
    await publish_copies(stage, creation(twice), 3)  # in one batch
    await notes.noted(twice)
    event = creation(after)
    for _ in range(3):  # in batches of their own
        await publish_copies(stage, event, 1)
        await notes.noted(after)
    last = title()
    await notes.app.bus.publish([creation(last)])
    await notes.noted(last)
    assert sorted(await notes.titles()) == sorted([twice, after, last])


async def test_two_instances_handle_each_event_once(notes: Notes, stage: Stage) -> None:
    titles = [title() for _ in range(200)]
    async with AsyncExitStack() as stack:
        own, url = Stage(stage.postgres_url, stage.nats_url, stack), notes.app.settings.database_url
        await own.start("notes", Notes(notes.migrations).compose, instance="notes/2", database_url=url)
        for begin in range(0, 200, 5):
            await notes.app.bus.publish([creation(each) for each in titles[begin : begin + 5]])
        await notes.noted(*titles)
    assert sorted(await notes.titles()) == sorted(titles)


async def test_a_bad_event_holds_up_no_other_and_ends_as_a_dead_letter(
    notes: Notes, desk: OperationsServiceStub
) -> None:
    bad, good = title(), [title() for _ in range(20)]
    notes.refused.add(bad)
    event = creation(bad)
    events = [creation(each) for each in good]
    await notes.app.bus.publish([*events[:10], event, *events[10:]])
    await notes.noted(*good)
    letter = await buried(desk, event)
    assert notes.tries.count(bad) >= ATTEMPTS
    assert (letter.type, letter.key, letter.attempts) == (event.type, event.key, ATTEMPTS)
    assert bad in letter.error
    assert sorted(await notes.titles()) == sorted(good)


async def test_what_breaks_a_constraint_is_a_dead_letter_too(notes: Notes, desk: OperationsServiceStub) -> None:
    nul, good = creation("\x00"), creation(title())
    garbage = creation("", payload=b"\xff\xff")
    await notes.app.bus.publish([nul, good, garbage])
    assert "mercato.catalog.v1.ProductCreated" in (await buried(desk, garbage)).error
    await buried(desk, nul)
    assert len(await notes.titles()) == 1


async def test_a_dead_letter_is_replayed_when_its_cause_is_gone(notes: Notes, desk: OperationsServiceStub) -> None:
    bad, worse = title(), title()
    notes.refused |= {bad, worse}
    event, other = creation(bad), creation(worse)
    await notes.app.bus.publish([event, other])
    await buried(desk, event)
    await buried(desk, other)
    replayed = await desk.ReplayDeadLetters(operations.ReplayDeadLettersRequest())
    assert (replayed.handled_count, replayed.failed_count) == (0, 2)
    assert (await dead_letters(desk))[event.id].attempts == ATTEMPTS + 1
    notes.refused.clear()
    replayed = await desk.ReplayDeadLetters(operations.ReplayDeadLettersRequest(ids=[event.id]))
    assert (replayed.handled_count, replayed.failed_count) == (1, 0)
    assert await notes.titles() == [bad]
    replayed = await desk.ReplayDeadLetters(operations.ReplayDeadLettersRequest())
    assert (replayed.handled_count, replayed.failed_count) == (1, 0)
    assert await dead_letters(desk) == {}
    assert sorted(await notes.titles()) == sorted([bad, worse])


async def test_a_dead_letter_that_was_handled_meanwhile_is_cleared_without_effect(
    notes: Notes, stage: Stage, desk: OperationsServiceStub
) -> None:
    bad = title()
    notes.refused.add(bad)
    event = creation(bad)
    await notes.app.bus.publish([event])
    await buried(desk, event)
    notes.refused.clear()
    await publish_copies(stage, event, 1)
    await notes.noted(bad)
    replayed = await desk.ReplayDeadLetters(operations.ReplayDeadLettersRequest())
    assert (replayed.handled_count, replayed.failed_count) == (1, 0)
    assert await notes.titles() == [bad]
    assert await dead_letters(desk) == {}


async def test_a_stopped_consumer_hands_back_what_it_had(stage: Stage, tmp_path: Path) -> None:
    """Nobody has to wait until the broker gives up on it."""
    database_url, mine = await stage.new_database("handing"), title()
    first, second = Notes(tmp_path), Notes(tmp_path)
    async with nats_engine(tmp_path) as engine:
        async with AsyncExitStack() as stack:
            own = Stage(stage.postgres_url, engine.url, stack)
            await own.start("handing", first.compose, database_url=database_url)
            async with Database(database_url) as database, database.transaction() as connection:
                await connection.execute("LOCK TABLE inbox IN EXCLUSIVE MODE")  # it tries, and waits
                await first.app.bus.publish([creation(mine)])
                await eventually(lambda: true_when(mine in first.tries))
                await stack.aclose()
        async with AsyncExitStack() as stack:
            own = Stage(stage.postgres_url, engine.url, stack)
            await own.start("handing", second.compose, database_url=database_url)
            async with asyncio.timeout(chassis.nats.ACK_WAIT_S / 2):
                await second.noted(mine)
            assert await second.titles() == [mine]


async def true_when(condition: bool) -> bool:
    return condition


async def test_known_ids_are_forgotten_long_after_the_bus_forgot_them(notes: Notes) -> None:
    first = title()
    await notes.app.bus.publish([creation(first)])
    await notes.noted(first)
    database, consumer = notes.app.database, notes.app.consumer
    assert consumer is not None
    assert await database.value("SELECT count(*) FROM inbox") > 0
    await consumer.prune()
    assert await database.value("SELECT count(*) FROM inbox") > 0
    await database.value(
        "UPDATE inbox SET create_time = create_time - $1::interval", chassis.consumer.RETENTION + timedelta(1)
    )
    await consumer.prune()
    assert await database.value("SELECT count(*) FROM inbox") == 0


async def test_a_database_that_is_away_for_a_moment_delays_the_effect_alone(stage: Stage, tmp_path: Path) -> None:
    async with postgres_engine(tmp_path) as engine, AsyncExitStack() as stack:
        own = Stage(engine.url, stage.nats_url, stack)
        (tmp_path / "migrations").mkdir()
        notes = Notes(tmp_path / "migrations")
        await own.start("away", notes.compose)
        before, meanwhile = [title() for _ in range(5)], [title() for _ in range(5)]
        await notes.app.bus.publish([creation(each) for each in before])
        await notes.noted(*before)
        await engine.kill()
        await notes.app.bus.publish([creation(each) for each in meanwhile])
        await asyncio.sleep(0.5)  # it tries, and cannot
        await engine.start()
        await notes.noted(*meanwhile)
        mine: list[Any] = [each for each in await notes.titles() if each in {*before, *meanwhile}]
        assert sorted(mine) == sorted(before + meanwhile)
