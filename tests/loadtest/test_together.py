"""The layout with all services but the gateway in one process: the same trade, and the same books after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from fleet import check, lifecycle, logs, ports
from fleet import plan as plans
from fleet.client import Shop
from fleet.errors import FleetError
from fleet.plan import TOGETHER, Plan
from loadtest.books import read_books
from loadtest.lines import read
from loadtest.plan import Options, plan
from loadtest.reconcile import reconcile
from loadtest.replay import Replay
from tests.stage import eventually

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plan]:
    home = tmp_path_factory.mktemp("together") / ".mercato"
    http_port, grpc_port = ports.free_block(2)
    await lifecycle.up(
        home,
        lambda: plans.make(ROOT, home, {}, http_port=http_port, grpc_port=grpc_port, together=True),
        TIMEOUT_S,
    )
    yield Plan.load(home)
    lifecycle.down(home, TIMEOUT_S)


async def trade(fleet: Plan, shop: Shop, file: Path) -> None:
    """Sell and take back; all of it is to end right."""
    made = plan(read(file), Options())
    result = await Replay(made, shop, concurrency=4).run()
    assert reconcile(made, result, await read_books(shop, made)).is_clean
    assert {proof.name: proof.violations for proof in await check.check(fleet) if proof.violations} == {}


def lines_of(fleet: Plan, service: str) -> list[logs.Line]:
    return logs.Reader(fleet.home / "logs", TOGETHER, service).read()


async def test_orders_go_through_without_a_network_between_services(fleet: Plan, shop: Shop, write: Write) -> None:
    members = {member.name: member for member in await lifecycle.members(fleet)}
    hosted = fleet.programs[TOGETHER]
    assert [name for name, member in members.items() if member.within] == [f"{service}/1" for service in hosted]
    assert {member.health for name, member in members.items() if "/" in name} == {"SERVING"}
    assert {name for name, member in members.items() if member.pid} == {
        "supervisor", "postgres", "nats", "gateway/1", "mesh/1", "telemetry/1", "together/1",
    }  # fmt: skip
    await trade(
        fleet,
        shop,
        write(
            "1,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom",
            "2,22139,SPOONS,3,01/12/2010 08:30,4.95,,France",
            "C3,85123A,HEART,-2,01/12/2010 09:10,2.55,17850,United Kingdom",
        ),
    )
    serving = {slot.port for service in hosted for slot in fleet.slots[service]}
    calling = [each.raddr.port for each in psutil.Process(members["together/1"].pid).net_connections() if each.raddr]
    assert not serving & set(calling)
    calls = [line for line in lines_of(fleet, "payments") if "AuthorizePayment" in line.fields.get("method", "")]
    assert {(line.fields["instance"], line.fields["caller"]) for line in calls} == {("payments/1", "orders")}


async def lived_twice_and_lives(fleet: Plan, instance: str) -> bool:
    """Whether an instance was killed, then ended gently, and serves again; what it logs comes a little late."""
    own = lines_of(fleet, instance.partition("/")[0])
    assert {line.fields["instance"] for line in own} == {instance}
    assert not [line for line in own if line.level == "ERROR"]
    life = [line.message for line in own if line.message in ("serving", "stopped")]
    return life == ["serving", "serving", "stopped", "serving"]


async def test_it_crashes_and_ends_as_a_whole_and_comes_back(fleet: Plan, shop: Shop, write: Write) -> None:
    assert await lifecycle.kill(fleet, "orders", TIMEOUT_S) == ["together/1"]
    assert await lifecycle.restart(fleet, "payments/1", TIMEOUT_S) == ["together/1"]
    for instance in fleet.hosted("together/1"):
        await eventually(partial(lived_twice_and_lives, fleet, instance))
    await trade(fleet, shop, write("4,85123A,HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom"))


async def test_it_is_scaled_as_a_whole(fleet: Plan, shop: Shop, write: Write) -> None:
    with pytest.raises(FleetError, match=r"orders runs in together; scale that: together=2"):
        await lifecycle.scale(fleet, {"orders": 2}, TIMEOUT_S)
    assert await lifecycle.scale(fleet, {TOGETHER: 2}, TIMEOUT_S) == ["together/1", "together/2"]
    await trade(fleet, shop, write(*(f"{n},85123A,HEART,1,01/12/2010 08:26,2.55,17850,EIRE" for n in range(5, 15))))
    assert {line.fields["instance"] for line in lines_of(fleet, "orders")} == {"orders/1", "orders/2"}
