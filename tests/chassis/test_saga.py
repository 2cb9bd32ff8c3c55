"""Any saga: all done or all undone, whatever its steps answer, whoever carries it on, wherever it crashes."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import chassis.saga_run
import chassis.sagas
from chassis.call import Call, current_call, serving
from chassis.clock import SystemClock
from chassis.database import Batch, Database
from chassis.errors import Aborted, DeadlineExceeded, FailedPrecondition, Internal, ResourceExhausted, Unavailable
from chassis.migrations import migrate
from chassis.saga import STUCK_ATTEMPTS, Refusal, Saga, Step
from chassis.saga_run import LEASE
from chassis.saga_view import SagaView
from chassis.sagas import AT_ONCE, Sagas
from chassis.telemetry.trace import Trace
from tests.chassis.engines import postgres_engine
from tests.stage import Stage, eventually

STEPS = ("pack", "pay", "post")
KIND, FORWARD_KIND = "Trip", "OneWay"
AMBIGUOUS = (Unavailable(), DeadlineExceeded(), Aborted(), Internal(), ResourceExhausted(), KeyError("a defect"))


class OutOfStamps(FailedPrecondition):
    """There are no stamps."""


class ShiftedClock(SystemClock):
    """The system's time, put forward."""

    def __init__(self) -> None:
        self._shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self._shift

    def advance(self, by: timedelta) -> None:
        self._shift += by


class Partners:
    """What the steps call: repeatable, undoable before done, failing and hanging as told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.effects: defaultdict[str, set[str]] = defaultdict(set)
        self._undone: set[tuple[str, str]] = set()
        self._failures: defaultdict[str, list[Exception]] = defaultdict(list)
        self._held: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}

    def fail(self, action: str, *errors: Exception) -> None:
        """Let an action raise these, one a try."""
        self._failures[action] += errors

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._failures.clear()

    def hold(self, point: str) -> tuple[asyncio.Event, asyncio.Event]:
        """Stop once at `before pay`, `after undo pay` ...; returns (is there, may go on)."""
        self._held[point] = asyncio.Event(), asyncio.Event()
        return self._held[point]

    async def act(self, action: str, subject: str) -> None:
        """Do or undo a step."""
        step = action.removeprefix("undo ")
        await self.stop_at(f"before {action}")
        self.log.append(action)
        if self._failures[action]:
            raise self._failures[action].pop(0)
        if action != step:
            self._undone.add((subject, step))
            self.effects[subject].discard(step)
        elif (subject, step) not in self._undone:
            self.effects[subject].add(step)
        await self.stop_at(f"after {action}")

    async def stop_at(self, point: str) -> None:
        """Stop here if told so."""
        if point in self._held:
            there, go = self._held.pop(point)
            there.set()
            await go.wait()


class World:
    """A database, partners, a clock, and instances that carry sagas on."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.partners = Partners()
        self.clock = ShiftedClock()
        self.load_errors: list[Exception] = []
        self.traces: list[Trace] = []
        self.ended_by: defaultdict[str, set[str]] = defaultdict(set)
        self._count = 0

    def definition(self, kind: str = KIND, deadline_s: float = 60.0) -> Saga[str]:
        """Return a saga of three steps, the last of which needs no undo."""

        def act(action: str) -> Callable[[str], asyncio.Future[None]]:
            return lambda subject: asyncio.ensure_future(self.partners.act(action, subject))

        return Saga(
            kind=kind,
            steps=[
                Step(name, act(name), act(f"undo {name}") if name != "post" else None, deadline_s) for name in STEPS
            ],
            load=self.load,
            complete=self.complete,
            undone=self.undone if kind == KIND else None,
        )

    async def load(self, subject: str) -> str:
        if self.load_errors:
            raise self.load_errors.pop(0)
        return subject

    async def complete(self, subject: str, batch: Batch) -> None:
        call = current_call()
        assert call is not None
        self.traces.append(call.trace)
        self.ended_by[call.caller].add(subject)
        await self.partners.act("complete", subject)
        await self._end(subject, "done", batch)

    async def undone(self, subject: str, refusal: Refusal, batch: Batch) -> None:
        await self.partners.act("end", subject)
        await self._end(subject, f"undone: {refusal.step} {refusal.reason}", batch)

    async def _end(self, subject: str, how: str, batch: Batch) -> None:
        batch.add("INSERT INTO ends VALUES ($1, $2)", subject, how)
        await self.database.commit(batch)
        await self.partners.stop_at("after commit")

    def instance(self, owner: str = "trips/1", *definitions: Saga[str]) -> Sagas:
        """Return an instance; it carries on nothing yet."""
        return Sagas(self.database, self.clock, owner, definitions or [self.definition()])

    async def begin(self, sagas: Sagas, kind: str = KIND, *, and_carry_on: bool = True) -> str:
        """Begin a saga; returns its subject."""
        self._count += 1
        subject, batch = f"trips/{self._count}", Batch()
        carry_on = sagas.begin(batch, kind, subject)
        await self.database.commit(batch)
        if and_carry_on:
            carry_on(subject)
        return subject

    async def unwind(self, sagas: Sagas, subject: str) -> None:
        batch = Batch()
        turn_round = sagas.unwind(batch, KIND, subject, Refusal("", "CANCELLED", "changed my mind"))
        await self.database.commit(batch)
        turn_round()

    async def ends(self, subject: str) -> list[str]:
        """Return how a saga ended; more than once would be wrong."""
        return [row["how"] for row in await self.database.rows("SELECT how FROM ends WHERE subject = $1", subject)]

    async def ended(self, subject: str, how: str) -> None:
        """Wait until it ended; hold its end against `how`, its effects against its end."""

        async def there() -> bool:
            return bool(await self.ends(subject))

        await eventually(there)
        assert await self.ends(subject) == [how]
        assert self.partners.effects[subject] & {"pack", "pay"} == ({"pack", "pay"} if how == "done" else set())

    async def live(self, sagas: Sagas) -> SagaView:
        [saga] = await sagas.live(10)
        return saga


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.saga_run, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(chassis.sagas, "POLL_S", 0.02)


@pytest.fixture(scope="module")
async def database(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    async with Database(await stage.new_database("sagas")) as database:
        await prepare(database, tmp_path_factory.mktemp("none"))
        yield database


async def prepare(database: Database, folder: Path) -> None:
    await migrate(database, folder)
    await database.value("CREATE TABLE ends (subject text NOT NULL, how text NOT NULL)")


@pytest.fixture
async def world(database: Database) -> World:
    await database.value("TRUNCATE sagas, ends")
    return World(database)


@asynccontextmanager
async def running(*instances: Sagas) -> AsyncIterator[None]:
    """Let instances carry sagas on, until they are stopped in good order."""
    tasks = [asyncio.create_task(each.run()) for each in instances]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def crash(sagas: Sagas, task: asyncio.Task[None], monkeypatch: pytest.MonkeyPatch) -> None:
    """End an instance as kill -9 does: it gives nothing back."""

    async def nothing(before: datetime) -> None:
        pass

    monkeypatch.setattr(sagas, "_give_back", nothing)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_all_steps_are_done_in_order_and_completed_once(world: World) -> None:
    sagas = world.instance()
    async with running(sagas):
        await world.ended(await world.begin(sagas), "done")
    assert world.partners.log == [*STEPS, "complete"]
    assert await sagas.live(10) == []


@pytest.mark.parametrize("at", range(len(STEPS)), ids=STEPS)
async def test_a_refusal_undoes_what_was_done_in_reverse(world: World, at: int) -> None:
    sagas = world.instance()
    world.partners.fail(STEPS[at], OutOfStamps())
    async with running(sagas):
        await world.ended(await world.begin(sagas), f"undone: {STEPS[at]} OUT_OF_STAMPS")
    undone = [f"undo {step}" for step in STEPS[:at][::-1]]
    assert world.partners.log == [*STEPS[: at + 1], *undone, "end"]


@pytest.mark.parametrize("at", [*STEPS, "complete"])
async def test_doubt_is_resolved_by_trying_again(world: World, at: str) -> None:
    sagas = world.instance()
    world.partners.fail(at, *AMBIGUOUS)
    async with running(sagas):
        await world.ended(await world.begin(sagas), "done")
    assert Counter(world.partners.log) == {**dict.fromkeys((*STEPS, "complete"), 1), at: len(AMBIGUOUS) + 1}


async def test_doubt_may_end_in_a_refusal(world: World) -> None:
    sagas = world.instance()
    world.partners.fail("pay", Unavailable(), OutOfStamps())
    async with running(sagas):
        await world.ended(await world.begin(sagas), "undone: pay OUT_OF_STAMPS")
    assert world.partners.log == ["pack", "pay", "pay", "undo pack", "end"]


@pytest.mark.parametrize("at", ["undo pay", "undo pack", "end"])
async def test_undoing_is_tried_until_it_succeeds(world: World, at: str) -> None:
    sagas = world.instance()
    world.partners.fail("post", OutOfStamps())
    world.partners.fail(at, OutOfStamps(), *AMBIGUOUS)  # even a refusal is no way out
    async with running(sagas):
        await world.ended(await world.begin(sagas), "undone: post OUT_OF_STAMPS")
    assert world.partners.log.count(at) == len(AMBIGUOUS) + 2


@pytest.mark.parametrize("at", range(len(STEPS)), ids=STEPS)
async def test_doubt_past_its_deadline_undoes_the_step_in_doubt_too(world: World, at: int) -> None:
    sagas = world.instance()
    world.partners.fail(STEPS[at], *[Unavailable()] * 1000)
    async with running(sagas):
        subject = await world.begin(sagas)

        async def in_doubt() -> bool:
            return world.partners.log.count(STEPS[at]) >= 3

        await eventually(in_doubt)
        world.clock.advance(timedelta(seconds=61))
        await world.ended(subject, f"undone: {STEPS[at]} STEP_TIMED_OUT")
    undone = [action for action in world.partners.log if action.startswith("undo")]
    assert undone == [f"undo {step}" for step in STEPS[: at + 1][::-1] if step != "post"]


async def test_an_undo_that_keeps_failing_is_reported_as_stuck_and_never_dropped(world: World) -> None:
    sagas = world.instance()
    world.partners.fail("pay", OutOfStamps())
    world.partners.fail("undo pack", *[OutOfStamps()] * 1000)
    async with running(sagas):
        subject = await world.begin(sagas)

        async def stuck() -> bool:
            return (await world.live(sagas)).status == "stuck"

        await eventually(lambda: unwinding(world, sagas))
        await eventually(stuck)
        live = await world.live(sagas)
        assert (live.kind, live.subject, live.step) == (KIND, subject, "pack")
        assert live.attempts >= STUCK_ATTEMPTS
        assert live.error == "OUT_OF_STAMPS: There are no stamps."
        assert await sagas.count() == {(KIND, "stuck"): 1}
        world.partners.heal()
        world.clock.advance(timedelta(minutes=1))
        await world.ended(subject, "undone: pay OUT_OF_STAMPS")
    assert await sagas.live(10) == []


async def unwinding(world: World, sagas: Sagas) -> bool:
    return (await world.live(sagas)).status in ("unwinding", "stuck")


@pytest.mark.parametrize("error", [OutOfStamps(), KeyError("a defect")], ids=["refused", "defect"])
async def test_an_end_that_keeps_failing_is_reported_as_stuck(world: World, error: Exception) -> None:
    sagas = world.instance()
    world.partners.fail("complete", *[error] * 1000)
    async with running(sagas):
        subject = await world.begin(sagas)

        async def stuck() -> bool:
            return (await world.live(sagas)).status == "stuck"

        await eventually(stuck)
        assert (await world.live(sagas)).error.startswith(("OUT_OF_STAMPS", "KeyError"))
        world.partners.heal()
        world.clock.advance(timedelta(minutes=1))
        await world.ended(subject, "done")


async def test_what_cannot_be_loaded_is_tried_again_and_shows(world: World) -> None:
    sagas = world.instance()
    world.load_errors = [KeyError("a defect"), Unavailable(), OutOfStamps()]
    async with running(sagas):
        subject = await world.begin(sagas, and_carry_on=False)
        world.clock.advance(LEASE + timedelta(seconds=1))
        await world.ended(subject, "done")
    world.load_errors = [OutOfStamps()] * 1000
    async with running(sagas):
        await world.begin(sagas, and_carry_on=False)
        world.clock.advance(LEASE + timedelta(seconds=1))

        async def shows() -> bool:
            live = await world.live(sagas)
            return live.attempts > 3 and live.error.startswith("OUT_OF_STAMPS")

        await eventually(shows)


FORWARD = [f"{when} {action}" for action in (*STEPS, "complete") for when in ("before", "after")] + ["after commit"]
BACKWARD = [
    f"{when} {action}" for action in ("pack", "pay", "undo pay", "undo pack", "end") for when in ("before", "after")
] + ["before post", "after commit"]


@pytest.mark.parametrize("heir", ["the same", "another"])
@pytest.mark.parametrize(
    ("point", "how"),
    [(point, "done") for point in FORWARD] + [(point, "undone: post OUT_OF_STAMPS") for point in BACKWARD],
)
async def test_a_crash_at_any_point_changes_nothing_about_the_end(
    world: World, point: str, how: str, heir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.instance("trips/1")
    if how != "done":
        world.partners.fail("post", *[OutOfStamps()] * 2)
    there, _ = world.partners.hold(point)
    task = asyncio.create_task(first.run())
    subject = await world.begin(first)
    await asyncio.wait_for(there.wait(), 5)
    await crash(first, task, monkeypatch)
    second = world.instance("trips/1" if heir == "the same" else "trips/2")
    async with running(second):
        if heir == "another" and point != "after commit":
            assert await world.ends(subject) == []
            world.clock.advance(LEASE + timedelta(seconds=1))
            second.wake()
        await world.ended(subject, how)
    counts = Counter(world.partners.log)
    expected = {*STEPS, "complete"} if how == "done" else {*STEPS, "undo pay", "undo pack", "end"}
    assert set(counts) == expected  # each at least once
    assert max(counts.values()) <= 2


@pytest.mark.parametrize("waits", [0, 3], ids=["at once", "after waiting"])
@pytest.mark.parametrize("error", [OutOfStamps(), Unavailable()], ids=["refused", "in doubt"])
async def test_who_repeats_steps_after_a_crash_and_turns_round_undoes_what_was_done_before_it(
    world: World, error: Exception, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.instance("trips/1")
    there, _ = world.partners.hold("before post")
    task = asyncio.create_task(first.run())
    subject = await world.begin(first)
    await asyncio.wait_for(there.wait(), 5)
    assert world.partners.effects[subject] == {"pack", "pay"}
    await crash(first, task, monkeypatch)
    world.partners.fail("pack", *[Unavailable()] * waits, *[error] * 1000)
    async with running(world.instance("trips/2")):
        world.clock.advance(LEASE + timedelta(seconds=1))

        async def waited() -> bool:
            return world.partners.log.count("pack") > 1

        await eventually(waited)
        if isinstance(error, OutOfStamps):
            await world.ended(subject, "undone: pack OUT_OF_STAMPS")
        else:
            world.clock.advance(timedelta(seconds=61))
            await world.ended(subject, "undone: pack STEP_TIMED_OUT")


async def test_a_stopped_instance_hands_over_at_once(world: World) -> None:
    first, second = world.instance("trips/1"), world.instance("trips/2")
    there, _ = world.partners.hold("after pay")
    async with running(first):
        subject = await world.begin(first)
        await there.wait()
    assert not [task for task in asyncio.all_tasks() if "_carry_on" in repr(task)]  # none goes on behind our back
    async with running(second):
        await world.ended(subject, "done")  # without waiting for the lease


async def test_two_instances_share_the_work_and_end_everything_once(world: World) -> None:
    first, second, dead = (world.instance(f"trips/{number}") for number in range(3))
    subjects = [await world.begin(dead, and_carry_on=False) for _ in range(100)]
    world.clock.advance(LEASE + timedelta(seconds=1))
    async with running(first, second):
        for subject in subjects:
            await world.ended(subject, "done")
    assert Counter(world.partners.log) == dict.fromkeys((*STEPS, "complete"), 100)
    assert all(len(ended) > 10 for ended in (world.ended_by["trips/0"], world.ended_by["trips/1"]))


async def test_what_was_begun_and_not_carried_on_is_found_when_its_lease_ends(world: World) -> None:
    sagas = world.instance()
    async with running(sagas):
        subject = await world.begin(sagas, and_carry_on=False)  # who began it was cancelled right after the commit
        world.clock.advance(LEASE + timedelta(seconds=1))
        await world.ended(subject, "done")
    assert world.partners.log == [*STEPS, "complete"]


async def test_what_is_carried_on_already_is_not_begun_again(world: World) -> None:
    sagas, batch = world.instance(), Batch()
    carry_on = sagas.begin(batch, KIND, "trips/1")
    await world.database.commit(batch)
    there, go = world.partners.hold("before pay")
    async with running(sagas):
        carry_on("trips/1")
        await there.wait()
        carry_on("trips/1")
        go.set()
        await world.ended("trips/1", "done")
    assert world.partners.log == [*STEPS, "complete"]


@pytest.mark.parametrize("point", ["before pay", "before complete", "after complete"])
async def test_of_two_that_hold_a_saga_one_ends_it(world: World, point: str) -> None:
    slow, quick = world.instance("trips/1"), world.instance("trips/2")
    there, go = world.partners.hold(point)
    async with running(slow):
        subject = await world.begin(slow)
        await there.wait()
        world.clock.advance(LEASE + timedelta(seconds=1))
        async with running(quick):
            await world.ended(subject, "done")
            go.set()
            await asyncio.sleep(0.1)
    assert await world.ends(subject) == ["done"]


async def test_an_instance_takes_no_saga_twice(world: World) -> None:
    sagas = world.instance()
    there, go = world.partners.hold("before pay")
    async with running(sagas):
        subject = await world.begin(sagas)
        await there.wait()
        world.clock.advance(LEASE + timedelta(seconds=1))
        sagas.wake()
        await asyncio.sleep(0.1)
        go.set()
        await world.ended(subject, "done")
    assert world.partners.log == [*STEPS, "complete"]


@pytest.mark.parametrize("point", [f"{when} {step}" for step in STEPS for when in ("before", "after")])
async def test_a_running_saga_can_be_turned_round_at_any_point(world: World, point: str) -> None:
    sagas = world.instance()
    there, go = world.partners.hold(point)
    async with running(sagas):
        subject = await world.begin(sagas)
        await there.wait()
        await world.unwind(sagas, subject)
        await asyncio.sleep(0.05)
        go.set()
        await world.ended(subject, "undone:  CANCELLED")
    at = STEPS.index(point.split()[1])
    assert world.partners.log == [*STEPS[: at + 1], "undo pay", "undo pack", "end"]


async def test_a_saga_can_be_turned_round_while_another_instance_carries_it_on(world: World) -> None:
    first, second = world.instance("trips/1"), world.instance("trips/2")
    there, go = world.partners.hold("before pay")
    async with running(first, second):
        subject = await world.begin(first)
        await there.wait()
        await world.unwind(second, subject)
        await world.ended(subject, "undone:  CANCELLED")
        go.set()
        await asyncio.sleep(0.1)
    assert await world.ends(subject) == ["undone:  CANCELLED"]
    assert not world.partners.effects[subject] & {"pack", "pay"}


async def test_steps_that_take_long_keep_the_lease(world: World) -> None:
    slow, other = world.instance("trips/1"), world.instance("trips/2")
    async with running(slow):
        points = [world.partners.hold(f"after {step}") for step in STEPS]
        subject = await world.begin(slow)
        async with running(other):
            for there, go in points:
                await there.wait()
                world.clock.advance(LEASE * 2 / 3)
                other.wake()
                await asyncio.sleep(0.05)
                go.set()
            await world.ended(subject, "done")
    assert world.partners.log == [*STEPS, "complete"]


async def test_turning_round_and_completing_at_once_is_decided_by_the_database(world: World) -> None:
    sagas = world.instance()
    there, go = world.partners.hold("after complete")
    async with running(sagas):
        subject = await world.begin(sagas)
        await there.wait()
        await world.unwind(sagas, subject)
        go.set()
        await world.ended(subject, "undone:  CANCELLED")
    assert [action for action in world.partners.log if action.startswith("undo")] == ["undo pay", "undo pack"]


async def test_what_is_done_can_be_undone_once(world: World) -> None:
    sagas = world.instance()
    async with running(sagas):
        subject = await world.begin(sagas)
        await world.ended(subject, "done")
        await world.database.value("TRUNCATE ends")
        for _ in range(2):
            await world.unwind(sagas, subject)
        await world.ended(subject, "undone:  CANCELLED")
        await world.unwind(sagas, subject)
        await asyncio.sleep(0.1)
    assert world.partners.log == [*STEPS, "complete", "undo pay", "undo pack", "end"]
    assert await world.ends(subject) == ["undone:  CANCELLED"]


async def test_a_saga_that_only_goes_forward_never_turns_round(world: World) -> None:
    sagas = world.instance("trips/1", world.definition(FORWARD_KIND))
    world.partners.fail("pay", OutOfStamps(), *AMBIGUOUS, *[OutOfStamps()] * 1000)
    async with running(sagas):
        subject = await world.begin(sagas, FORWARD_KIND)

        async def stuck() -> bool:
            return (await world.live(sagas)).status == "stuck"

        await eventually(stuck)
        world.clock.advance(timedelta(hours=1))  # past every deadline
        sagas.wake()
        await asyncio.sleep(0.1)
        assert (await world.live(sagas)).status == "stuck"
        world.partners.heal()
        world.clock.advance(timedelta(minutes=1))
        await world.ended(subject, "done")
    assert not [action for action in world.partners.log if action.startswith("undo")]
    with pytest.raises(AssertionError, match="only goes forward"):
        sagas.unwind(Batch(), FORWARD_KIND, subject, Refusal("", "", ""))


async def test_an_instance_takes_on_so_many_at_once_and_the_rest_in_turn(world: World) -> None:
    sagas = world.instance()
    gate = asyncio.Event()
    busy = most = 0
    act = world.partners.act

    async def slow(action: str, subject: str) -> None:
        nonlocal busy, most
        busy, most = busy + 1, max(most, busy + 1)
        await gate.wait()
        busy -= 1
        await act(action, subject)

    world.partners.act = slow  # type: ignore[method-assign]
    async with running(sagas):
        subjects = [await world.begin(sagas) for _ in range(AT_ONCE + 20)]

        async def full() -> bool:
            return busy >= AT_ONCE

        await eventually(full)
        await asyncio.sleep(0.1)
        gate.set()
        for subject in subjects:
            await world.ended(subject, "done")
    assert most == AT_ONCE


async def test_a_new_saga_is_carried_on_when_it_is_begun_and_not_when_somebody_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis.sagas, "POLL_S", 600.0)
    sagas = world.instance()
    async with running(sagas):
        for _ in range(3):
            await world.ended(await world.begin(sagas), "done")


async def test_steps_belong_to_the_trace_their_saga_was_begun_in(world: World) -> None:
    sagas, trace = world.instance(), Trace.start()
    with serving(Call("/tests", "tests", None, trace)):
        subject = await world.begin(sagas)
    async with running(sagas):
        await world.ended(subject, "done")
    assert {each.trace_id for each in world.traces} == {trace.trace_id}


async def test_a_database_that_is_away_delays_sagas_by_no_lease(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    async with postgres_engine(tmp_path) as engine, Database(engine.url) as database:
        await prepare(database, tmp_path / "none")
        world = World(database)
        sagas = world.instance()
        there, go = world.partners.hold("after pay")
        async with running(sagas):
            subject = await world.begin(sagas)
            await there.wait()
            await engine.kill()
            go.set()
            await asyncio.sleep(0.2)
            await engine.start()
            async with asyncio.timeout(LEASE.total_seconds() / 2):
                await world.ended(subject, "done")


async def test_where_a_saga_stands_is_told_by_the_name_of_its_step(world: World) -> None:
    saga = world.definition()
    assert [saga.step("running", done) for done in range(4)] == ["pack", "pay", "post", "post"]
    assert [saga.step("unwinding", done) for done in range(4)] == ["pack", "pack", "pay", "post"]
