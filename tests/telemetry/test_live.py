"""Counters are followed over restarts, and rates and quantiles come out of what they grew by."""

from __future__ import annotations

import tracemalloc
from math import inf

import pytest

from services.telemetry import live
from services.telemetry.live import Growth, Live, Series
from services.telemetry.otlp import Sender
from services.telemetry.points import Kind, Reading
from services.telemetry.rates import is_fault, is_refusal, quantile

ORDERS = Sender("orders", "orders/1", "v1")


def calls(total: float, time_s: float, start_s: float = 0, **of: str) -> Reading:
    return Reading("calls", Kind.COUNTER, tuple(of.items()), int(start_s * 1e9), int(time_s * 1e9), total)


def took(time_s: float, *buckets: int, bounds: tuple[float, ...] = (0.1, 0.5)) -> Reading:
    return Reading("took", Kind.HISTOGRAM, (), 0, int(time_s * 1e9), sum(buckets), bounds, buckets)


class Told:
    """What it was told of that grew. Nothing was counted before."""

    def __init__(self) -> None:
        self.growths: list[Growth] = []
        self.live = Live(40.0, self)

    def count(self, sender: Sender, reading: Reading, growth: Growth, now_s: float) -> None:
        if growth.value:
            self.growths.append(growth)

    def counted(self, sender: Sender, reading: Reading) -> Reading | None:
        return None

    def take(self, now_s: float, *readings: Reading) -> int:
        return self.live.take(ORDERS, list(readings), now_s)

    @property
    def values(self) -> list[float]:
        return [growth.value for growth in self.growths]

    def series(self, now_s: float) -> Series:
        [instance] = self.live.heard(now_s)
        [series] = instance.series.values()
        return series


@pytest.fixture(name="told")
def nothing_told() -> Told:
    return Told()


def test_what_stood_there_before_we_looked_does_not_count(told: Told) -> None:
    for now_s, total in (100, 7), (102, 7), (104, 10):
        told.take(now_s, calls(total, now_s))
    assert told.values == [3]


def test_what_an_instance_did_not_tell_of_before_was_zero(told: Told) -> None:
    told.take(100, calls(7, 100))
    told.take(102, calls(7, 102), calls(2, 102, code="UNAVAILABLE"))
    assert told.values == [2]


def test_the_parts_of_a_first_batch_belong_together(told: Told) -> None:
    told.take(100, calls(7, 100))
    told.take(100.1, calls(2, 100.1, code="UNAVAILABLE"))
    assert told.values == []


def test_what_began_after_we_did_counts_from_its_beginning(told: Told) -> None:
    told.take(100, calls(7, 100, start_s=90))
    assert told.values == [7]
    [instance] = told.live.heard(100)
    assert instance.begin_of(10) == 90
    told.live.take(Sender("other", "other/1", "v1"), [calls(5, 100, start_s=41)], 100)
    told.live.take(Sender("elder", "elder/1", "v1"), [calls(5, 100, start_s=39)], 100)
    assert told.values == [7, 5], "or with us"


def test_a_process_that_begins_anew_counts_from_zero(told: Told) -> None:
    for now_s, total in (100, 50), (102, 60), (104, 4), (106, 5):
        told.take(now_s, calls(total, now_s))
    assert told.values == [10, 4, 1]
    assert told.series(106).growth(100).value == 15


def test_one_that_says_that_it_began_anew_counts_from_zero_though_it_grew(told: Told) -> None:
    told.take(100, calls(5, 100))
    told.take(104, calls(6, 104, start_s=103))
    assert told.values == [6]


def test_a_histogram_of_which_a_bucket_shrank_began_anew(told: Told) -> None:
    told.take(100, took(100, 0, 0, 10))
    told.take(102, took(102, 11, 0, 0))
    assert told.growths == [Growth(11, (11, 0, 0))]


def test_one_that_says_anew_with_each_reading_when_it_began_is_the_same(told: Told) -> None:
    for now_s, total in (100, 5), (102, 7), (104, 8):
        told.take(now_s, calls(total, now_s, start_s=now_s - 2))
    assert told.values == [5, 2, 1]


def test_what_comes_late_does_not_count_as_a_beginning(told: Told) -> None:
    for time_s, total in (100, 5), (104, 9), (102, 7), (106, 10):
        told.take(106, calls(total, time_s))
    assert told.values == [4, 1]


def test_a_histogram_with_other_bounds_is_another_that_begins_anew(told: Told) -> None:
    told.take(100, took(100, 1, 1, 1))
    told.take(102, took(102, 2, 1, 1))
    told.take(104, took(104, 2, 3, bounds=(1.0,)))
    assert told.growths == [Growth(1, (1, 0, 0)), Growth(5, (2, 3))]
    [instance] = told.live.heard(104)
    assert [series.growth(0) for series in instance.series.values()] == [Growth(1, (1, 0, 0)), Growth(5, (2, 3))]


def test_a_metric_that_becomes_another_kind_is_another_metric(told: Told) -> None:
    told.take(100, took(100, 1, 1, 1))
    told.take(102, calls(3, 102)._replace(metric="took"))
    told.take(104, took(104, 2, 1, 1))
    assert told.growths == [Growth(3, ()), Growth(1, (1, 0, 0))]


def shared(live: Live, now_s: float, *readings: Reading) -> None:
    live.take(Sender("orders", "orders", "v1"), list(readings), now_s)


def test_processes_that_do_not_say_which_instance_they_are_add_up(told: Told) -> None:
    for now_s in (100, 101, 110, 111, 120, 121):  # both idle, and one of them long there
        process = calls(1000, now_s, start_s=20) if now_s % 10 else calls(500, now_s, start_s=30)
        shared(told.live, now_s, process)
    assert told.values == []
    shared(told.live, 130, calls(510, 130, start_s=30))
    shared(told.live, 131, calls(1001, 131, start_s=20))
    shared(told.live, 132, calls(7, 132, start_s=125), calls(70, 132, start_s=20, code="UNAVAILABLE"))
    assert told.values == [10, 1, 7], "the third is new, and what the first tells of late was there before"
    [instance] = told.live.heard(132)
    assert [series.growth(0).value for series in instance.series.values()] == [18, 0]


def test_of_very_many_processes_none_is_counted_twice(told: Told) -> None:
    for now_s in range(100, 200, 20):
        for start_s in range(20):
            shared(told.live, now_s + start_s, calls(1000, now_s + start_s, start_s=start_s + 1))
    assert told.values == []


def test_an_instance_is_gone_when_it_is_silent_and_forgotten_after_a_while(told: Told) -> None:
    told.take(100, calls(1, 100))
    assert len(list(told.live.heard(114))) == 1
    assert list(told.live.heard(115)) == []
    told.live.forget(221)
    told.take(222, calls(9, 222))
    assert told.values == [], "it is new again"
    told.take(224, calls(9, 224, start_s=60, code="OK"))
    told.live.forget(345)
    told.take(346, calls(9, 346, start_s=60, code="OK"))
    assert told.values == [9], "and what was counted before is not counted again"


def test_only_so_many_series_are_kept(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_SERIES", 2)
    assert told.take(100, *(calls(1, 100, code=str(number)) for number in range(5))) == 3
    assert told.live.take(Sender("other", "other/1", "v1"), [calls(1, 100)], 100) == 1
    told.live.forget(300)
    assert told.take(300, calls(1, 300)) == 0


def test_a_series_that_is_told_no_more_is_forgotten_and_counted_once(told: Told) -> None:
    told.take(100, calls(1, 100, code="OK"), calls(5, 100, code="UNAVAILABLE"))
    for now_s in range(102, 230, 2):
        told.take(now_s, calls(1, now_s, code="OK"))
    told.live.forget(230)
    told.take(230, calls(6, 230, code="UNAVAILABLE"))
    told.take(232, calls(8, 232, code="UNAVAILABLE"))
    assert told.values == [2]


def test_one_instance_cannot_take_the_room_of_all(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_OF_INSTANCE", 3)
    assert told.take(100, *(calls(1, 100, code=str(number)) for number in range(5))) == 2
    assert told.live.take(Sender("other", "other/1", "v1"), [calls(1, 100)], 100) == 0
    for now_s in range(102, 230, 2):
        told.take(now_s, calls(1, now_s, code="0"))
    told.live.forget(230)
    assert told.take(230, calls(1, 230, code="4")) == 0, "there is room again"


def test_what_is_sent_very_often_takes_no_more_memory(told: Told) -> None:
    told.take(0, calls(0, 0))
    tracemalloc.start()
    for number in range(1, 10_001):
        told.live.take(ORDERS, [calls(number, number / 1000)], number / 1000)
        told.growths.clear()
    assert tracemalloc.get_traced_memory()[0] < 100_000
    tracemalloc.stop()
    assert told.series(10).growth(5).value == pytest.approx(5000, abs=500)


def test_what_is_kept_of_a_series_goes_back_as_far_as_one_may_ask(told: Told) -> None:
    for now_s in range(0, 1000, 2):
        told.take(now_s, calls(now_s, now_s))
    assert told.series(998).growth(998 - 120).value == 120
    assert told.series(998).growth(0).value == pytest.approx(120, abs=4), "and not much further"


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, 0.0),
        ({0.1: 0, inf: 0}, 0.99, 0.0),
        ({0.1: 10, inf: 0}, 0.5, 0.05),
        ({0.1: 50, 0.5: 50, inf: 0}, 0.5, 0.1),
        ({0.1: 50, 0.5: 50, inf: 0}, 0.75, 0.3),
        ({0.1: 98, 0.5: 1, inf: 1}, 0.99, 0.5),
        ({0.1: 0, 0.5: 0, inf: 5}, 0.5, 0.5),
        ({0.5: 50, 0.1: 50}, 0.75, 0.3),
    ],
)
def test_a_quantile_lies_where_values_spread_evenly_over_their_bucket(
    buckets: dict[float, int], share: float, expected: float
) -> None:
    assert quantile(buckets, share) == pytest.approx(expected)


def test_a_fault_is_the_servers_a_refusal_is_not() -> None:
    statuses = ("OK", "UNAVAILABLE", "NOT_FOUND", "CANCELLED", "200", "302", "404", "503", "²", "9" * 300)
    assert [status for status in statuses if is_fault(status)] == ["UNAVAILABLE", "503"]
    assert [status for status in statuses if is_refusal(status)] == ["NOT_FOUND", "CANCELLED", "404", "²", "9" * 300]
