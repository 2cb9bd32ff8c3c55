"""The gate can't be fooled: whatever was not surely verified is red, and quickly so."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pact import Verifier

from chassis.testing.bridge import RUN, STATES, Bridge, Log, Provider
from chassis.testing.gate import judge, verify, verify_all
from chassis.testing.pacts import file_of, read
from chassis.testing.verdict import Verdict, all_green
from tests.contracts.regeneration import CONTRACTS

PACT = file_of(CONTRACTS, "orders", "inventory", events=False)
EVENTS = file_of(CONTRACTS, "notifications", "orders", events=True)
QUICK_S = 10.0


@pytest.fixture
def inventory(running: Mapping[str, Provider]) -> Provider:
    return running["inventory"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the one pact of orders with inventory."""
    (tmp_path / "orders").mkdir()
    shutil.copy(PACT, tmp_path / "orders" / "inventory.json")
    return tmp_path


def edit(folder: Path, change: Callable[[Any], object], name: str = "inventory.json") -> Path:
    file = folder / "orders" / name
    content = json.loads((folder / "orders" / "inventory.json").read_text())
    change(content)
    file.write_text(json.dumps(content))
    return file


def problem(verdict: Verdict) -> str:
    [found] = verdict.problems
    return found


async def test_an_honest_pact_is_green(folder: Path, running: Mapping[str, Provider]) -> None:
    """Without this, nothing below would mean anything."""
    [verdict] = await verify_all(folder, running)
    assert (verdict.green, verdict.interactions) == (True, 7)
    assert verdict.identity == read(PACT).identity


async def test_an_empty_folder(tmp_path: Path, running: Mapping[str, Provider]) -> None:
    [verdict] = await verify_all(tmp_path, running)
    assert "holds no pacts" in problem(verdict)
    assert not all_green([verdict])


async def test_a_folder_without_pacts(tmp_path: Path, running: Mapping[str, Provider]) -> None:
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "readme.txt").write_text("soon")
    assert not all_green(await verify_all(tmp_path, running))
    assert not all_green(await verify_all(tmp_path / "elsewhere", running))
    assert not all_green([])


async def test_a_file_that_is_no_pact(folder: Path, running: Mapping[str, Provider]) -> None:
    (folder / "orders" / "inventory.json").write_text("{}")
    assert "is not a Pact V4 file" in problem((await verify_all(folder, running))[0])


async def test_zero_interactions(folder: Path, inventory: Provider) -> None:
    file = edit(folder, lambda pact: pact.update(interactions=[]))
    assert problem(await verify(file, inventory)) == "has no interactions"


async def test_the_pact_of_another_provider(folder: Path, inventory: Provider, running: Mapping[str, Provider]) -> None:
    file = edit(folder, lambda pact: pact["provider"].update(name="payments"))
    assert problem(await verify(file, inventory)) == "is for provider payments, but its name says inventory"
    assert "is for inventory, not for payments" in (await verify(PACT, running["payments"])).problems


async def test_the_pact_of_another_consumer(folder: Path, inventory: Provider) -> None:
    file = edit(folder, lambda pact: pact["consumer"].update(name="gateway"))
    assert problem(await verify(file, inventory)) == "is of consumer gateway, but lies in the folder of orders"


async def test_an_unknown_provider(folder: Path, running: Mapping[str, Provider]) -> None:
    edit(folder, lambda pact: pact["provider"].update(name="stock"), "stock.json")
    verdicts = await verify_all(folder, running)
    assert [(verdict.provider, verdict.green) for verdict in verdicts] == [("inventory", True), ("stock", False)]


async def test_a_pending_interaction(folder: Path, inventory: Provider) -> None:
    file = edit(folder, lambda pact: pact["interactions"][0].update(pending=True))
    assert problem(await verify(file, inventory)) == "has a pending interaction: hold the pieces of an order"


async def test_two_of_one_description(folder: Path, inventory: Provider) -> None:
    file = edit(folder, lambda pact: pact["interactions"].append(pact["interactions"][0]))
    assert problem(await verify(file, inventory)) == "has two interactions of one description"


async def test_descriptors_missing(folder: Path, inventory: Provider) -> None:
    file = edit(folder, lambda pact: pact["interactions"][0]["request"].update(path="/mercato.inventory.v1.X/Y"))
    assert "carries no descriptor of /mercato.inventory.v1.X/Y" in problem(await verify(file, inventory))
    file = edit(folder, lambda pact: pact["metadata"].pop("grpc"))
    assert "carries no readable descriptors" in problem(await verify(file, inventory))


async def test_a_missing_state_handler(folder: Path, inventory: Provider) -> None:
    without = replace(inventory, states={name: it for name, it in inventory.states.items() if name != "stock"})
    began = monotonic()
    assert problem(await verify(PACT, without)) == "inventory has no state handler for: stock"
    assert monotonic() - began < QUICK_S


async def test_a_state_handler_that_fails(inventory: Provider) -> None:
    async def fails(**_: object) -> None:
        raise RuntimeError("no pieces today")

    began = monotonic()
    verdict = await verify(PACT, replace(inventory, states={**inventory.states, "stock": fails}))
    assert "RuntimeError: no pieces today" in verdict.problems
    assert monotonic() - began < QUICK_S


async def test_a_state_handler_that_does_nothing(inventory: Provider) -> None:
    async def nothing(**_: object) -> None:
        pass

    verdict = await verify(PACT, replace(inventory, states=dict.fromkeys(inventory.states, nothing)))
    assert "ReserveStock answers FAILED_PRECONDITION instead of OK (hold the pieces of an order)" in verdict.problems


async def test_a_filter_that_matches_nothing(inventory: Provider) -> None:
    assert problem(await verify(PACT, inventory, only="sell")) == "no interaction is described as 'sell'"


async def test_a_filter_never_stands_for_the_whole(inventory: Provider) -> None:
    verdict = await verify(PACT, inventory, only="^hold")
    assert (verdict.green, verdict.interactions, verdict.identity) == (True, 1, "")


async def test_a_provider_that_is_not_running(inventory: Provider) -> None:
    verdict = await verify(PACT, replace(inventory, target="127.0.0.1:1"))
    assert problem(verdict) == "inventory is not running: nothing answers at 127.0.0.1:1"


async def test_a_provider_that_emits_nothing(running: Mapping[str, Provider]) -> None:
    assert problem(await verify(EVENTS, replace(running["orders"], emitted=None))) == "orders emits no events"

    async def never(full_name: str) -> Any:
        raise TimeoutError

    verdict = await verify(EVENTS, replace(running["orders"], emitted=never), only="is confirmed")
    assert "orders emitted no mercato.orders.v1.OrderConfirmed" in verdict.problems


async def test_results_that_are_not_of_this_run(inventory: Provider) -> None:
    pact = read(PACT)
    results = await results_of(inventory, run="an earlier one")
    assert results["result"] is True
    found = list(judge(pact, pact.interactions, results, Log()))
    assert found == ["0 real calls were made in this run for 7 interactions"]


async def test_results_of_somebody_else(inventory: Provider) -> None:
    pact = read(PACT)
    done = Log(done=[each.subject for each in pact.interactions])
    results = await results_of(inventory, run="")
    assert list(judge(pact, pact.interactions, results, done)) == []
    for change in ({"consumer": "gateway"}, {"provider": "payments"}, {"pending": True}, {"description": "other"}):
        changed = {**results, "interactionResults": [{**each, **change} for each in results["interactionResults"]]}
        assert list(judge(pact, pact.interactions, changed, done)), change
    assert list(judge(pact, pact.interactions, {**results, "interactionResults": []}, done))
    assert list(judge(pact, pact.interactions, {**results, "result": False}, done))


async def test_calls_that_are_not_of_this_run(inventory: Provider) -> None:
    """Somebody else asks the bridge while it verifies."""
    pact = read(PACT)
    async with Bridge(pact, inventory, "this run") as bridge:
        verifier = verifier_of(bridge).add_custom_header(RUN, "another run")
        await asyncio.to_thread(verifier.verify)
        assert bridge.log.done == []


async def results_of(provider: Provider, run: str) -> dict[str, Any]:
    async with Bridge(read(PACT), provider, run) as bridge:
        verifier = verifier_of(bridge)
        await asyncio.to_thread(verifier.verify)
        return verifier.results


def verifier_of(bridge: Bridge) -> Verifier:
    verifier = Verifier("inventory", host="127.0.0.1").add_transport(url=bridge.url).add_source(PACT)
    return verifier.state_handler(bridge.url + STATES, teardown=False, body=True)
