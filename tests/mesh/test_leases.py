"""The registry by itself, with time in the test's hand."""

from __future__ import annotations

from typing import Any

import pytest
from mercato.mesh.v1.mesh_pb2 import Instance, Vitals

from chassis.clock import SystemClock
from chassis.errors import InvalidArgument
from services.mesh import registry as module
from services.mesh.changes import Changes
from services.mesh.registry import CHECK_S, FORGET_S, LEASE_S, RegisteredAnew, Registry, Stream, TooManyInstances

SERVING, DRAINING, UNHEALTHY = Instance.STATE_SERVING, Instance.STATE_DRAINING, Instance.STATE_UNHEALTHY


class HandClock(SystemClock):
    """Time that goes on when it is told to."""

    time_s = 1000.0

    def monotonic(self) -> float:
        return self.time_s


class Case:
    def __init__(self, *known: Instance) -> None:
        self.clock = HandClock()
        self.registry = Registry(self.clock, Changes(), known)

    def registers(self, stream: Stream, **fields: Any) -> None:
        self.registry.register(stream, instance(**fields))

    def after(self, delay_s: float) -> Case:
        self.clock.time_s += delay_s
        self.registry.expire()
        return self

    def checked(self, failure: str, *, certain: bool = False) -> Case:
        self.registry.checked("orders/1", "127.0.0.1:1", failure, certain=certain)
        return self

    @property
    def states(self) -> dict[str, Instance.State.ValueType]:
        return {each.name: each.state for each in self.registry.instances}

    @property
    def state(self) -> Instance.State.ValueType | None:
        return self.states.get("orders/1")


def instance(**fields: Any) -> Instance:
    told = {"name": "orders/1", "service": "orders", "address": "127.0.0.1:1", "version": "v1", "weight": 1}
    return Instance(**{**told, "state": SERVING, **fields})


def test_one_failed_check_is_forgiven_two_are_not() -> None:
    case = Case()
    case.registers(Stream())
    assert case.checked("slow").state == SERVING
    assert case.checked("").checked("slow").state == SERVING
    assert case.checked("slow").state == UNHEALTHY
    assert case.registry.instances[0].reason == "slow"
    assert case.checked("").state == SERVING
    assert case.checked("refuses", certain=True).state == UNHEALTHY


def test_an_instance_that_says_it_is_not_well_is_out_for_its_own_reason_until_it_says_otherwise() -> None:
    case, stream = Case(), Stream()
    case.registers(stream)
    case.checked("").registers(stream, state=UNHEALTHY, reason="database: connection refused")
    assert case.state == UNHEALTHY
    assert case.checked("it says NOT_SERVING", certain=True).state == UNHEALTHY
    assert case.registry.instances[0].reason == "database: connection refused"
    assert not case.registry.due()
    case.registers(stream)
    assert len(case.registry.due()) == 1
    assert case.checked("").state == SERVING
    assert case.registry.instances[0].reason == ""


def test_what_a_check_found_at_an_earlier_address_counts_for_nothing() -> None:
    case = Case()
    case.registers(Stream(), address="127.0.0.1:2")
    assert case.checked("refuses", certain=True).state == SERVING


def test_each_is_checked_every_second_and_at_once_when_its_stream_ends() -> None:
    case, stream = Case(), Stream()
    case.registers(stream)
    assert len(case.registry.due()) == 1
    assert not case.registry.due()
    case.checked("").after(CHECK_S / 2)
    assert not case.registry.due()
    case.registry.left(stream)
    assert len(case.registry.due()) == 1


def test_an_instance_that_is_gone_is_forgotten_after_a_while_one_that_is_silent_is_not() -> None:
    case, stream = Case(), Stream()
    case.registers(stream)
    case.registers(Stream(), name="orders/2")
    case.registry.left(stream)
    assert case.after(LEASE_S).states == {"orders/1": UNHEALTHY, "orders/2": UNHEALTHY}
    assert case.after(FORGET_S - LEASE_S - 1).state == UNHEALTHY
    assert case.after(1 + LEASE_S).states == {"orders/2": UNHEALTHY}


def test_those_known_from_before_count_for_one_lease_but_who_was_out_stays_out() -> None:
    case = Case(
        instance(),
        instance(name="orders/2", state=UNHEALTHY, reason="it refuses connections"),
        instance(name="orders/3", state=DRAINING),
    )
    assert case.states == {"orders/1": SERVING, "orders/2": UNHEALTHY, "orders/3": DRAINING}
    assert case.after(LEASE_S).states == {"orders/1": UNHEALTHY, "orders/2": UNHEALTHY}
    case.registers(Stream(), name="orders/2")
    assert case.states["orders/2"] == SERVING


def test_a_newer_stream_takes_over_from_an_older_one() -> None:
    case, older, newer = Case(), Stream(), Stream()
    case.registers(older)
    case.registers(newer, address="127.0.0.1:2")
    with pytest.raises(RegisteredAnew):
        case.registers(older)
    case.registry.left(older)
    assert case.checked("").after(LEASE_S - 1).state == SERVING
    assert case.registry.instances[0].address == "127.0.0.1:2"


def test_a_stream_is_for_one_instance() -> None:
    case, stream = Case(), Stream()
    case.registers(stream)
    with pytest.raises(InvalidArgument, match="orders/1"):
        case.registers(stream, name="orders/2")


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_INSTANCES", 1)
    case = Case()
    case.registers(Stream())
    with pytest.raises(TooManyInstances):
        case.registers(Stream(), name="orders/2")
    case.registers(Stream())


def test_only_what_others_are_told_is_stored() -> None:
    case, stream = Case(), Stream()
    case.registers(stream)
    assert case.registry.unsaved == {"orders/1"}
    case.registry.unsaved.clear()
    case.registers(stream, vitals=Vitals(calls=7))
    assert not case.registry.unsaved
    case.registers(stream, state=DRAINING)
    assert case.registry.unsaved == {"orders/1"}


def test_calls_per_second_are_those_of_the_last_seconds_and_of_one_process() -> None:
    case, stream = Case(), Stream()
    for calls in (0, 10, 30, 5, 15):
        case.registers(stream, vitals=Vitals(calls=calls))
        case.after(1)
    assert case.registry.rates() == {"orders/1": 10}
    assert case.after(10).registry.rates() == {"orders/1": 0}
