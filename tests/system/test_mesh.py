"""The mesh under load: instances come, go, crash and change while calls through the gateway go on."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
from prometheus_client import REGISTRY

from fleet import check, lifecycle, mesh, metrics, ports, readiness, rollout
from fleet import plan as plans
from fleet.client import connect
from fleet.plan import FRONT, MESH, Discovery, Plan
from loadtest import lines
from loadtest.books import read_books
from loadtest.commands import DEMO_DAY, REAL_TRADE
from loadtest.plan import Options, plan
from loadtest.reconcile import reconcile
from loadtest.replay import Replay
from tests.stage import eventually
from tests.system.load import load

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
CALLS_PER_S = 200

BROKEN = """

class _Broken(OrderService):
    _calls = 0

    async def ListOrders(self, request, context):
        _Broken._calls += 1
        if _Broken._calls % 20 == 0:
            raise RuntimeError("one in twenty")
        return await super().ListOrders(request, context)


OrderService = _Broken
"""


@pytest.fixture(scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plan]:
    """The whole suite with the mesh, from a tree of its own that tests may change."""
    root = tmp_path_factory.mktemp("tree")
    for part in ("chassis", "generated", "services"):
        copytree(ROOT / part, root / part, ignore=ignore_patterns("__pycache__"))
    home = root / ".mercato"
    http_port, grpc_port = ports.free_block(2)
    await lifecycle.up(
        home,
        lambda: plans.make(root, home, {}, http_port=http_port, grpc_port=grpc_port, discovery=Discovery.MESH),
        TIMEOUT_S,
    )
    yield Plan.load(home)
    lifecycle.down(home, TIMEOUT_S)


@pytest.fixture
async def one_of_each(fleet: Plan) -> AsyncIterator[None]:
    """Leaves the fleet with one instance of each service, of the usual version, and no policy."""
    yield
    for version in {child["version"] for child in of_orders(fleet)}:
        await lifecycle.scale(fleet, {f"orders/{version}": int(version == "v1")}, TIMEOUT_S)
    await mercato(fleet, "mesh", "reset")


def front(fleet: Plan) -> str:
    return fleet.slot(f"{FRONT}/1").address


def of_orders(fleet: Plan) -> list[dict[str, Any]]:
    return [child for child in readiness.children(fleet) if child["name"].startswith("orders/")]


def pids(fleet: Plan) -> dict[str, int]:
    return {child["name"]: child["pid"] for child in readiness.children(fleet)}


async def served(fleet: Plan) -> dict[str, int]:
    """How many calls each instance of orders has served."""
    return {
        child["name"]: (await metrics.served(fleet.slot(child["name"]).metrics_port, "orders")).calls
        for child in of_orders(fleet)
    }


async def mercato(fleet: Plan, *arguments: str, expect: int = 0) -> str:
    """Run the command as a user does; returns what it printed."""
    process = await start(fleet, *arguments)
    output, _ = await process.communicate()
    assert process.returncode == expect, output.decode()
    return output.decode()


async def start(fleet: Plan, *arguments: str) -> asyncio.subprocess.Process:
    """Start the command as a user does."""
    environment = os.environ | {"MERCATO_HOME": str(fleet.home), "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}
    environment["GRPC_VERBOSITY"] = "NONE"  # what gRPC notes on standard error is not what the command says
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet", *arguments,
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


def ends_of_calls() -> Counter[str]:
    """The calls of this process that ended, by their code."""
    ends = Counter[str]()
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == "rpc_client_call_duration_seconds_count":
                ends[sample.labels["rpc_response_status_code"]] += int(sample.value)
    return ends


async def listed(fleet: Plan) -> list[str]:
    """The instances of orders that the mesh lists as serving."""
    async with mesh.operate(fleet) as operator:
        return [instance.name for instance in mesh.serving(await operator.service("orders"))]


async def shares(fleet: Plan, during_s: float) -> dict[str, float]:
    """Which part of the calls each instance of orders served meanwhile."""
    before = await served(fleet)
    await asyncio.sleep(during_s)
    counts = {name: count - before[name] for name, count in (await served(fleet)).items()}
    return {name: count / sum(counts.values()) for name, count in counts.items()}


@pytest.mark.usefixtures("one_of_each")
async def test_calls_spread_over_new_instances_within_a_second_and_a_crash_of_one_fails_none(fleet: Plan) -> None:
    before = pids(fleet)
    async with load(front(fleet), CALLS_PER_S) as sent:
        await lifecycle.scale(fleet, {"orders": 3}, TIMEOUT_S)
        await asyncio.sleep(1)
        spread = await shares(fleet, 1.5)
        assert spread.keys() == {"orders/1", "orders/2", "orders/3"}
        assert min(spread.values()) > 0.1, spread  # how even exactly: tests/mesh
        assert pids(fleet).items() >= before.items()
        await lifecycle.kill(fleet, "orders/2", TIMEOUT_S)
        await asyncio.sleep(1)
    assert sent.count > 500
    assert sent.failures == []


@pytest.mark.usefixtures("one_of_each")
async def test_a_rolling_restart_under_a_replay_fails_no_call(fleet: Plan) -> None:
    said: list[str] = []
    before = ends_of_calls()
    async with connect(front(fleet)) as shop, load(front(fleet), 50) as sent:
        made = plan(lines.read(REAL_TRADE, DEMO_DAY.date()), Options(DEMO_DAY.date(), 0, 0))
        replaying = asyncio.create_task(Replay(made, shop, concurrency=2).run())
        for service in ("orders", "payments"):
            await rollout.roll(fleet, service, TIMEOUT_S, said.append)
        assert not replaying.done(), "the restarts came too late"
        report = reconcile(made, await replaying, await read_books(shop, made))
    assert report.is_clean, report
    assert sent.failures == []
    assert (ends_of_calls() - before).keys() == {"OK"}
    assert [proof for proof in await check.check(fleet) if proof.violations] == []
    assert said[:3] == [
        "orders/2: starts beside orders/1, which is alone",
        "orders/1: drains, ends and starts again",
        "orders/2: drains and ends",
    ]
    assert {name for name in pids(fleet) if name.startswith(("orders", "payments"))} == {"orders/1", "payments/1"}


@pytest.mark.usefixtures("one_of_each")
async def test_while_the_mesh_is_dead_calls_go_on_and_what_changed_is_seen_when_it_is_back(fleet: Plan) -> None:
    told: list[str] = []
    async with load(front(fleet), CALLS_PER_S / 2) as sent:
        await lifecycle.scale(fleet, {"orders": 2}, TIMEOUT_S)
        os.kill(pids(fleet)[MESH + "/1"], signal.SIGKILL)
        await lifecycle.scale(fleet, {MESH: 0}, TIMEOUT_S)
        await lifecycle.scale(fleet, {"orders": 3}, TIMEOUT_S, told.append)
        assert "the mesh does not answer" in told[0]
        assert "the mesh does not answer" in await mercato(fleet, "mesh", "--json", expect=1)
        await asyncio.sleep(5)
        assert (await shares(fleet, 0.5))["orders/3"] == 0.0
        await lifecycle.scale(fleet, {MESH: 1, "orders": 3}, TIMEOUT_S)

        async def third_is_called() -> bool:
            return (await served(fleet))["orders/3"] > 0

        await eventually(third_is_called)
        assert set(await listed(fleet)) == {"orders/1", "orders/2", "orders/3"}
    assert sent.count > 500
    assert sent.failures == []


@pytest.mark.usefixtures("one_of_each")
async def test_a_good_canary_reaches_all_calls_and_a_bad_one_goes_back_by_itself(fleet: Plan) -> None:
    async with load(front(fleet), CALLS_PER_S) as sent:
        assert "no calls for v2" in await mercato(fleet, "up", "--version", "orders=v2")
        assert (await shares(fleet, 0.5))["orders/2"] == 0.0
        promoted = await mercato(fleet, "canary", "orders", "v2", "--calls", "40", "--step", "1")
        assert "v2 has all calls of orders" in promoted
        assert (await shares(fleet, 0.5)) == {"orders/1": 0.0, "orders/2": 1.0}
        assert sent.failures == []

        code = fleet.root / "services" / "orders" / "service.py"
        code.write_text(code.read_text() + BROKEN)
        await mercato(fleet, "up", "--version", "orders=v3")
        went_back = await mercato(fleet, "canary", "orders", "v3", "--calls", "40", "--step", "1", expect=1)
        assert re.search(r"Went back: v3 of orders gets no calls. It fails .* of its calls, beside 0.0%", went_back)
        assert (await shares(fleet, 0.5)) == {"orders/1": 0.0, "orders/2": 1.0, "orders/3": 0.0}
        failures = len(sent.failures)
        await lifecycle.kill(fleet, "orders/2", TIMEOUT_S)
        await asyncio.sleep(0.5)
        assert not [failure for failure in sent.failures[failures:] if "INTERNAL" in failure]
    code.write_text(code.read_text().removesuffix(BROKEN))


@pytest.mark.usefixtures("one_of_each")
async def test_a_canary_goes_back_when_its_process_dies_and_when_it_is_interrupted(fleet: Plan) -> None:
    async def weight_of_v2() -> int:
        async with mesh.operate(fleet) as operator:
            return {each.version: each.weight for each in (await operator.service("orders")).policy.split}["v2"]

    async def has_calls() -> bool:
        return await weight_of_v2() > 0

    async def begun() -> asyncio.subprocess.Process:
        process = await start(fleet, "canary", "orders", "v2", "--calls", "100000")
        await eventually(has_calls)
        return process

    await mercato(fleet, "up", "--version", "orders=v2")
    canary = await begun()
    await lifecycle.kill(fleet, "orders/2", TIMEOUT_S)
    output, _ = await canary.communicate()
    assert (canary.returncode, b"orders/2" in output, await weight_of_v2()) == (1, True, 0), output
    for interruption in (signal.SIGINT, signal.SIGTERM):
        canary = await begun()
        canary.send_signal(interruption)
        output, _ = await canary.communicate()
        assert (canary.returncode, b"Interrupted" in output, await weight_of_v2()) == (1, True, 0), output


@pytest.mark.usefixtures("one_of_each")
async def test_policies_are_set_and_shown_from_the_command_line(fleet: Plan) -> None:
    shown = json.loads(await mercato(fleet, "mesh", "--json"))
    orders = next(service for service in shown["services"] if service["service"] == "orders")
    assert [(it["name"], it["version"], it["state"]) for it in orders["instances"]] == [
        ("orders/1", "v1", "STATE_SERVING")
    ]
    assert {client["name"] for client in shown["clients"]} >= {"gateway/1"}
    states = {config["state"] for client in shown["clients"] for config in client["configs"]}
    assert states == {"STATE_ACKED"}

    said = await mercato(
        fleet, "mesh", "fault", "orders", "--abort", "NOT_FOUND", "--percent", "100", "--method", "ListOrders"
    )
    assert said == "orders: 100 % of calls of ListOrders are refused with NOT_FOUND\n"
    async with load(front(fleet), 20) as sent:

        async def refused() -> bool:
            return any(failure.startswith("NOT_FOUND") for failure in sent.failures)

        await eventually(refused)
        await mercato(fleet, "mesh", "limit", "orders", "100")
        assert "at most 100 calls" in await mercato(fleet, "mesh", "fault", "orders", "--off")
        failures = len(sent.failures)
        await asyncio.sleep(0.5)
        assert len(sent.failures) == failures
    assert "no other takes calls of orders" in await mercato(fleet, "mesh", "drain", "orders/1", expect=1)
    assert "orders at most 100 calls of each client" in " ".join((await mercato(fleet, "mesh")).split())
    assert "no instance of orders that serves is v9" in await mercato(fleet, "mesh", "split", "orders", "v1=9", "v9=1")
    assert "expected one of" in await mercato(fleet, "mesh", "split", "parcels", "v1=1", expect=1)
    assert await mercato(fleet, "mesh", "reset", "orders") == "Forgotten: orders\n"


@pytest.mark.usefixtures("one_of_each")
async def test_a_drained_instance_gets_no_calls_until_that_is_undone(fleet: Plan) -> None:
    await lifecycle.scale(fleet, {"orders": 2}, TIMEOUT_S)
    async with load(front(fleet), 50) as sent:
        assert "no new calls to orders/1" in await mercato(fleet, "mesh", "drain", "orders/1")
        await asyncio.sleep(0.5)
        assert (await shares(fleet, 0.5)) == {"orders/1": 0.0, "orders/2": 1.0}
        await mercato(fleet, "mesh", "drain", "orders/1", "--undo")

        async def called() -> bool:
            return (await shares(fleet, 0.3))["orders/1"] > 0

        await eventually(called)
    assert sent.failures == []
