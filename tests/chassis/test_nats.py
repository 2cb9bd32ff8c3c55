"""The bus as services see it, on a real NATS that hangs, dies and forgets."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import nats
import pytest

import chassis.nats
from chassis.bus import Delivery, Event, Progress
from chassis.nats import STREAM, BusUnavailable, NatsBus
from chassis.telemetry.trace import Trace
from tests.chassis.engines import Engine, nats_engine
from tests.stage import eventually

TRACE = Trace.start().traceparent


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.nats, "FETCH_WAIT_S", 0.3)
    monkeypatch.setattr(chassis.nats, "ACK_WAIT_S", 1.0)
    monkeypatch.setattr(chassis.nats, "ASK_TIMEOUT_S", 0.5)


@pytest.fixture(scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    async with nats_engine(tmp_path_factory.mktemp("nats")) as engine:
        yield engine


@pytest.fixture
async def bus(engine: Engine) -> AsyncIterator[NatsBus]:
    async with NatsBus(engine.url, "tests/1") as bus:
        yield bus


@pytest.fixture
def topic() -> str:
    return f"mercato.tests.{uuid4().hex}"


def event(topic: str, number: int = 1, key: str = "tests/1") -> Event:
    return Event(
        id=f"{key}/{topic}/{number}",
        source="tests",
        type=topic,
        key=key,
        time=datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
        trace=TRACE,
        payload=str(number).encode(),
    )


async def take(bus: NatsBus, group: str, topic: str, count: int) -> list[Delivery]:
    """Take so many deliveries, without acknowledging any."""
    taken: list[Delivery] = []
    async with asyncio.timeout(20), aclosing(bus.consume(group, [topic])) as incoming:
        async for deliveries in incoming:
            taken += deliveries
            if len(taken) >= count:
                break
    return taken


async def drain(bus: NatsBus, group: str, topic: str, count: int) -> list[Event]:
    """Take so many events and acknowledge them."""
    deliveries = await take(bus, group, topic, count)
    for delivery in deliveries:
        await delivery.ack()
    return [delivery.event for delivery in deliveries]


async def test_what_is_published_arrives_as_it_was_and_in_order(bus: NatsBus, topic: str) -> None:
    events = [event(topic, number) for number in range(500)]
    await bus.publish(events)
    assert await drain(bus, "all", topic, 500) == events


async def test_an_event_published_again_is_stored_once(bus: NatsBus, topic: str) -> None:
    first, second = event(topic, 1), event(topic, 2)
    await bus.publish([first])
    await bus.publish([first, second])
    assert await drain(bus, "once", topic, 2) == [first, second]


async def test_every_group_gets_all_and_its_members_share(bus: NatsBus, engine: Engine, topic: str) -> None:
    shared: list[Event] = []

    async def member(bus: NatsBus) -> None:
        async for deliveries in bus.consume("sharing", [topic]):
            for delivery in deliveries:
                shared.append(delivery.event)
                await delivery.ack()

    async with NatsBus(engine.url, "tests/2") as other:
        members = [asyncio.create_task(member(each)) for each in (bus, other)]
        events = [event(topic, number) for number in range(300)]
        for begin in range(0, 300, 10):
            await bus.publish(events[begin : begin + 10])
        assert await drain(bus, "alone", topic, 300) == events

        async def all_shared() -> bool:
            return len(shared) >= 300

        await eventually(all_shared)
        for task in members:
            task.cancel()
        await asyncio.gather(*members, return_exceptions=True)
    assert sorted(each.id for each in shared) == sorted(each.id for each in events)


async def test_it_tells_how_many_wait_and_whether_a_group_gets_on(bus: NatsBus, topic: str) -> None:
    assert await bus.progress("progress") == Progress()
    await bus.publish([event(topic, 1), event(topic, 2)])
    taken = await take(bus, "progress", topic, 2)
    before = await bus.progress("progress")
    assert before.pending == 2
    await taken[0].ack()

    async def got_on() -> bool:
        now = await bus.progress("progress")
        return now.pending == 1 and now.handled > before.handled

    await eventually(got_on)


async def test_what_is_not_acknowledged_comes_again(bus: NatsBus, topic: str) -> None:
    await bus.publish([event(topic)])
    [first] = await take(bus, "again", topic, 1)
    [second] = await take(bus, "again", topic, 1)  # after ACK_WAIT_S
    assert (first.attempt, second.attempt) == (1, 2)
    await second.retry(0.05)
    [third] = await take(bus, "again", topic, 1)
    assert (third.attempt, third.event) == (3, event(topic))
    await third.ack()
    await third.ack()  # once more is no harm
    await third.retry(0)
    await bus.publish([event(topic, 2)])
    assert [each.payload for each in await drain(bus, "again", topic, 1)] == [b"2"]


async def test_what_is_no_event_holds_up_nobody(bus: NatsBus, engine: Engine, topic: str) -> None:
    stranger = await nats.connect(engine.url)
    await stranger.publish(topic, b"no headers")
    await stranger.publish(topic, b"", headers={"ce-id": "1", "ce-time": "yesterday"})
    await stranger.flush()
    await stranger.close()
    await bus.publish([event(topic)])
    assert await drain(bus, "strangers", topic, 1) == [event(topic)]


async def test_a_follower_hears_of_all_from_now_on(bus: NatsBus, engine: Engine, topic: str) -> None:
    other_topic = f"{topic}.other"
    await bus.publish([event(topic, 0)])
    async with NatsBus(engine.url, "tests/2") as other, bus.follow([topic, other_topic]) as events:
        await other.publish([event(topic, 1), event(other_topic, 2)])  # at once: following began before
        heard = [await asyncio.wait_for(anext(events), 5) for _ in range(2)]
    assert [each.payload for each in heard] == [b"1", b"2"]


async def test_a_broker_that_hangs_costs_time_and_nothing_else(
    bus: NatsBus, engine: Engine, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis.nats, "PUBLISH_TIMEOUT_S", 0.1)
    engine.signal(signal.SIGSTOP)
    try:
        for begin in range(0, 5000, 500):
            with pytest.raises(BusUnavailable):
                await bus.publish([event(topic, number) for number in range(begin, begin + 500)])
    finally:
        engine.signal(signal.SIGCONT)
    monkeypatch.undo()
    last = event(topic, 5000)
    await bus.publish([last])
    assert (await drain(bus, "hanging", topic, 1))[0].type == topic


async def test_a_broker_that_dies_is_found_again(bus: NatsBus, engine: Engine, topic: str) -> None:
    await bus.publish([event(topic, 1)])
    consuming = asyncio.create_task(drain(bus, "dying", topic, 2))
    before = bus.incarnation
    await engine.kill()
    large = replace(event(topic, 2), payload=b"x" * 100_000)
    for _ in range(5000):  # as in an hour of trying
        with pytest.raises(BusUnavailable):
            await bus.publish([large])
    await engine.start()

    async def reconnected() -> bool:
        return bus.incarnation > before

    await eventually(reconnected)
    await bus.publish([event(topic, 2)])
    assert {each.payload for each in await consuming} == {b"1", b"2"}


async def test_a_broker_that_forgot_all_is_told_again(tmp_path: Path, topic: str) -> None:
    async with nats_engine(tmp_path) as engine, NatsBus(engine.url, "tests/1") as bus:
        await bus.publish([event(topic, 1)])
        incoming = bus.consume("forgotten", [topic])
        assert [each.event.payload for each in await anext(incoming)] == [b"1"]
        await engine.kill()
        shutil.rmtree(tmp_path / "nats" / "jetstream")
        await engine.start()
        coming = asyncio.ensure_future(anext(incoming))

        async def published() -> bool:
            try:
                await bus.publish([event(topic, 2)])
            except BusUnavailable:
                return False
            return True

        await eventually(published)
        assert [each.event.payload for each in await asyncio.wait_for(coming, 10)] == [b"2"]
        await incoming.aclose()


async def test_a_stream_that_is_deleted_is_made_again(bus: NatsBus, engine: Engine, topic: str) -> None:
    incoming = bus.consume("deleted", [topic])
    await bus.publish([event(topic, 1)])
    assert len(await anext(incoming)) == 1
    operator = await nats.connect(engine.url)
    await operator.jetstream().delete_stream(STREAM)
    await operator.close()
    with pytest.raises(BusUnavailable):
        await bus.publish([event(topic, 2)])
    await bus.publish([event(topic, 2)])
    assert [each.event.payload for each in await asyncio.wait_for(anext(incoming), 10)] == [b"2"]
    await incoming.aclose()


async def test_what_cannot_be_stored_is_not_certain(bus: NatsBus, topic: str) -> None:
    with pytest.raises(BusUnavailable):
        await bus.publish([replace(event(topic), payload=b"x" * 2_000_000)])
    await bus.publish([event(topic)])
