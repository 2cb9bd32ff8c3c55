"""Time, ids and waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.clock import SystemClock, derived_id, timestamp, utc
from chassis.errors import InvalidArgument


class Ticking(SystemClock):
    """Every look is a millisecond later."""

    def __init__(self) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now


def test_ids_are_uuids_of_version_7_that_sort_by_their_time() -> None:
    clock = Ticking()
    ids = [clock.new_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 1000
    assert all((UUID(each).version, UUID(each).variant) == (7, UUID(ids[0]).variant) for each in ids)
    assert int(ids[0].replace("-", "")[:12], 16) == 1767225600001


def test_ids_of_the_same_moment_differ() -> None:
    clock = SystemClock()
    assert len({clock.new_id() for _ in range(10_000)}) == 10_000


def test_a_derived_id_belongs_to_its_parts() -> None:
    assert derived_id("orders/1", "pay") == derived_id("orders/1", "pay")
    others = {derived_id("orders/1", "pay"), derived_id("orders/1pay"), derived_id("orders/", "1pay"), derived_id()}
    assert len(others) == 4
    assert UUID(derived_id("a")).version == 5


async def test_the_system_clock_waits_and_never_goes_back() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009
    assert clock.now().tzinfo is UTC


def test_times_survive_the_wire() -> None:
    time = datetime(2026, 2, 28, 23, 59, 59, 999999, UTC)
    assert utc(timestamp(time), "create_time") == time


@pytest.mark.parametrize("time", [Timestamp(seconds=10**15), Timestamp(seconds=-(10**15)), Timestamp(nanos=-1)])
def test_a_time_that_is_none_is_refused_by_name(time: Timestamp) -> None:
    with pytest.raises(InvalidArgument) as error:
        utc(time, "start_time")
    assert list(error.value.fields) == ["start_time"]
