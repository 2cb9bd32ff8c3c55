"""What commits is published: promptly, in order, at least once, whatever the broker does meanwhile."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from mercato.catalog.v1 import catalog_pb2 as pb

import chassis.nats
import chassis.outbox
from chassis.bus import Event
from chassis.call import Call, serving
from chassis.clock import SystemClock
from chassis.database import Batch, Database
from chassis.migrations import migrate
from chassis.nats import BusUnavailable, NatsBus
from chassis.outbox import BATCH, EventTooLarge, Outbox
from chassis.telemetry.trace import Trace
from tests.chassis.engines import Engine, nats_engine
from tests.chassis.shelf import Shelf, created, longer, new_name
from tests.stage import Stage, eventually

TYPES = [pb.ProductCreated.DESCRIPTOR.full_name, pb.ProductUpdated.DESCRIPTOR.full_name]


@pytest.fixture(autouse=True, scope="module")
def patient() -> Iterator[None]:
    """Let relays publish when they are woken, not because they look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chassis.outbox, "POLL_S", 600.0)
        patch.setattr(chassis.outbox, "RETRY_S", 0.1)
        patch.setattr(chassis.nats, "FETCH_WAIT_S", 0.5)
        yield


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    async with nats_engine(tmp_path) as engine:
        yield engine


@pytest.fixture
async def shelves(postgres_url: str, engine: Engine, tmp_path: Path) -> AsyncIterator[list[Shelf]]:
    """Two instances of one service."""
    async with AsyncExitStack() as stack:
        stage = Stage(postgres_url, engine.url, stack)
        (tmp_path / "migrations").mkdir()
        first = await Shelf.open(stage, tmp_path / "migrations")
        second = Shelf()
        second.migrations = first.migrations
        url = first.app.settings.database_url
        await stage.start("catalog", second.compose, instance="catalog/2", database_url=url)
        yield [first, second]


async def published(url: str, group: str, count: int) -> list[Event]:
    """Return all events of products on the bus, in its order; there have to be so many."""
    events: list[Event] = []
    async with (
        asyncio.timeout(20),
        NatsBus(url, "tests/1") as bus,
        aclosing(bus.consume(group, TYPES)) as incoming,
    ):
        async for deliveries in incoming:
            for delivery in deliveries:
                events.append(delivery.event)
                await delivery.ack()
            if len(events) >= count:
                break
    assert len(events) == count
    return events


async def write(shelf: Shelf, name: str, changes: int) -> None:
    for _ in range(changes):
        await shelf.products.change(name, longer, lambda product: product)


async def new_products(shelf: Shelf, count: int) -> list[str]:
    names = [new_name() for _ in range(count)]
    for name in names:
        await shelf.products.create(name, created(name, ""), lambda product: product)
    return names


def by_subject(events: Sequence[Event]) -> dict[str, list[int]]:
    """Return the versions of each subject in the order they were published."""
    versions: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        versions[event.key].append(int(event.id.rpartition("/")[2]))
    return versions


async def unpublished(shelf: Shelf) -> int:
    count: int = await shelf.app.database.value("SELECT count(*) FROM events WHERE publish_time IS NULL")
    return count


async def drained(shelf: Shelf) -> None:
    async def none_left() -> bool:
        return await unpublished(shelf) == 0

    await eventually(none_left)


async def test_an_event_is_out_as_soon_as_it_is_committed(shelves: list[Shelf]) -> None:
    shelf, name = shelves[0], new_name()
    async with shelf.app.bus.follow(TYPES) as events:
        begun = Trace.start()
        with serving(Call("/tests", "tests", None, begun)):
            await shelf.products.create(name, created(name), lambda product: product)
        event = await asyncio.wait_for(anext(events), 5)
    assert (event.id, event.key, event.source, event.type) == (f"{name}/1", name, "catalog", TYPES[0])
    assert event.trace == begun.traceparent
    assert pb.ProductCreated.FromString(event.payload).product == pb.Product(name=name, title="Mug")
    await drained(shelf)


async def test_two_relays_keep_the_order_of_every_subject(shelves: list[Shelf], engine: Engine) -> None:
    names = await new_products(shelves[0], 8)
    writers = (write(shelf, name, 10) for shelf in shelves for name in names)
    await asyncio.gather(*writers)
    events = await published(engine.url, "order", 8 * 21)
    assert by_subject(events) == {name: list(range(1, 22)) for name in names}
    await drained(shelves[0])


async def test_a_long_backlog_goes_out_in_order(shelves: list[Shelf], engine: Engine) -> None:
    shelf, names, count = shelves[0], [new_name() for _ in range(3)], 2 * BATCH + 1
    await shelf.app.database.value(
        "INSERT INTO events (subject, version, type, payload, create_time, trace)"
        " SELECT ($1::text[])[1 + n % 3], 1 + n / 3, $2, '', now(), $3 FROM generate_series(0, $4 - 1) AS g (n)",
        names, TYPES[0], Trace.start().traceparent, count,
    )  # fmt: skip
    shelf.app.outbox.wake()
    versions = by_subject(await published(engine.url, "backlog", count))
    assert all(versions[name] == list(range(1, len(versions[name]) + 1)) for name in names)


async def test_a_broker_that_was_away_gets_what_happened_meanwhile(shelves: list[Shelf], engine: Engine) -> None:
    [name] = await new_products(shelves[0], 1)
    await drained(shelves[0])
    await engine.kill()
    await asyncio.gather(*(write(shelf, name, 5) for shelf in shelves))  # nobody who commits has to wait
    assert await unpublished(shelves[0]) == 10
    await engine.start()
    await drained(shelves[0])
    assert by_subject(await published(engine.url, "away", 11)) == {name: list(range(1, 12))}


async def test_a_broker_that_lost_what_it_had_not_on_disk_gets_it_again(
    shelves: list[Shelf], engine: Engine, tmp_path: Path
) -> None:
    [name] = await new_products(shelves[0], 1)
    await write(shelves[0], name, 5)
    await drained(shelves[0])
    await engine.kill()
    shutil.rmtree(tmp_path / "nats" / "jetstream")
    await engine.start()
    for shelf in shelves:
        await eventually(lambda bus=shelf.app.bus: reconnected(bus))  # type: ignore[misc]
        shelf.app.outbox.wake()
    assert by_subject(await published(engine.url, "lost", 6)) == {name: list(range(1, 7))}


async def reconnected(bus: NatsBus) -> bool:
    return bus.incarnation > 0


async def test_what_was_published_but_not_noted_is_stored_once(stage: Stage, engine: Engine, tmp_path: Path) -> None:
    class Uncertain(NatsBus):
        async def publish(self, events: Sequence[Event]) -> None:
            await super().publish(events)
            raise BusUnavailable

    (tmp_path / "none").mkdir()
    clock, batch = SystemClock(), Batch()
    async with (
        Database(await stage.new_database("uncertain")) as database,
        Uncertain(engine.url, "tests/1") as uncertain,
        NatsBus(engine.url, "tests/2") as bus,
    ):
        await migrate(database, tmp_path / "none")
        outbox = Outbox(database, uncertain, clock, "catalog")
        outbox.add(batch, "products/1", 1, created("products/1") * 3)
        await database.commit(batch)
        with pytest.raises(BusUnavailable):
            await outbox.publish_once()
        again = Outbox(database, bus, clock, "catalog")
        assert [await again.publish_once() for _ in range(2)] == [3, 0]
    assert by_subject(await published(engine.url, "twice", 3)) == {"products/1": [1, 2, 3]}


async def test_an_event_the_broker_would_refuse_is_refused_to_who_causes_it(shelves: list[Shelf]) -> None:
    shelf, name = shelves[0], new_name()
    with pytest.raises(EventTooLarge, match=name):
        await shelf.products.create(name, created(name, "x" * 1_000_000), lambda product: product)
    assert await shelf.products.find(name) is None
