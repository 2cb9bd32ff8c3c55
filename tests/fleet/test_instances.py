"""What instances say of themselves, as `mercato ps` shows it."""

from __future__ import annotations

import socket

from mercato.operations.v1.operations_pb2 import Dependency, Instance
from rich.console import Console

from fleet import screen
from fleet.health import SERVING
from fleet.instances import lacking, note
from fleet.lifecycle import Member

DATABASE = Dependency(name="database", problem="connection refused")
MESH = Dependency(name="mesh", optional=True, problem="not registered")
BUS = Dependency(name="bus", optional=True, available=True)


def member(health: str, note: str) -> Member:
    return Member("orders/1", "running", 7, "127.0.0.1:1", health, 0, 1.0, 0, "v1", note=note)


def shown(health: str, note: str) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(screen.table([member(health, note)]))
    return captured.get()


def test_what_it_cannot_serve_without_comes_first_and_what_is_there_not_at_all() -> None:
    assert lacking(Instance(dependencies=[MESH, BUS, DATABASE])) == (
        "database: connection refused; without mesh: not registered"
    )
    assert lacking(Instance(dependencies=[BUS])) == ""


def test_why_an_instance_is_not_ready_stands_beside_its_health() -> None:
    assert "NOT_SERVING: database: connection refused" in shown(
        "NOT_SERVING", lacking(Instance(dependencies=[DATABASE]))
    )
    assert "SERVING without mesh: not registered" in shown(SERVING, lacking(Instance(dependencies=[MESH])))
    assert "UNAVAILABLE " in shown("UNAVAILABLE", "")


def test_on_a_narrow_terminal_a_process_has_one_line_with_all_of_it() -> None:
    well = Member("notifications/1", "running", 98765, "127.0.0.1:31999", SERVING, 12, 416.0, 141 * 2**20, "v1")
    away = Member("customers/1", "running", 98766, "127.0.0.1:31998", "NOT_SERVING", 0, 86399.0, 41 * 2**20, "v1")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(screen.table([well, away]))
    _, *lines = captured.get().splitlines()
    assert [line.split() for line in lines] == [
        ["notifications/1", "127.0.0.1:31999", "v1", "SERVING", "98765", "12", "6m56s", "141.0"],
        ["customers/1", "127.0.0.1:31998", "v1", "NOT_SERVING", "98766", "0", "23h59m", "41.0"],
    ]


async def test_who_does_not_answer_has_nothing_to_say() -> None:
    assert await note("127.0.0.1:1") == ""


async def test_who_listens_and_does_not_answer_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said = await note(f"127.0.0.1:{listener.getsockname()[1]}")
    assert said == "no answer within 1 s"
