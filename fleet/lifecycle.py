"""Bringing a fleet up, watching it and taking it down: what the `mercato` command does, without the printing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from fleet import control, databases, health, logs, processes
from fleet.errors import FleetError
from fleet.instances import note
from fleet.plan import MESH, Plan
from fleet.readiness import ENGINES, Tell, address, children, nobody, until_ready
from fleet.waiting import until

_LOG_LINES = 15


@dataclass(frozen=True)
class Member:
    """One process of a fleet, or one instance of those that are `within` a process together.

    An engine's `health` is empty: it speaks no gRPC. Figures of a process are with the process alone. `note` is what an
    instance lacks, as it says itself.
    """

    name: str
    state: str
    pid: int | None
    address: str
    health: str
    restarts: int
    uptime_s: float
    pss_bytes: int
    version: str = ""
    within: str = ""
    note: str = ""


async def up(home: Path, make_plan: Callable[[], Plan], timeout_s: float, tell: Tell = nobody) -> bool:
    """Start a fleet, or what is missing of it, and return when every instance serves; False when it ran already."""
    with _alone(home):
        started = not _runs(home)
        if started:
            processes.end_leftovers(home)
            plan = make_plan()
            plan.save()
            _start_supervisor(plan)
        plan = Plan.load(home)
        deadline = time.monotonic() + timeout_s
        await until_ready(plan, ENGINES, deadline, tell)
        running = children(plan)
        present = {child["name"].partition("/")[0] for child in running}
        missing = [program for program in plan.programs if program not in present]
        wanted = await _start(plan, missing, deadline, tell)
        staying = [child["name"] for child in running if child["state"] != "stopping"]
        await until_ready(plan, [*staying, *wanted], deadline, tell)
    return started


def down(home: Path, timeout_s: float) -> list[str]:
    """End a fleet, its front first and its engines last; by force what is left after the time. Says what it ended."""
    if not home.exists():
        return []
    with _alone(home):
        steps: list[str] = []
        with contextlib.suppress(control.NotRunningError, control.NotAnsweringError):
            steps = control.call(home, "down", timeout_s=timeout_s)
            processes.wait_ended(processes.of_fleet(home))
        return steps + [f"killed {process.pid}, a leftover" for process in processes.end_leftovers(home)]


async def scale(plan: Plan, counts: dict[str, int], timeout_s: float, tell: Tell = nobody) -> list[str]:
    """Run so many instances of each service, or version as `orders/v2`; returns their names when they serve."""
    names = control.call(plan.home, "scale", counts=counts)
    await until_ready(plan, names, time.monotonic() + timeout_s, tell)
    return list(names)


async def restart(plan: Plan, name: str, timeout_s: float, tell: Tell = nobody) -> list[str]:
    """End gently and start again a process, or all instances of a service, one after the other."""
    program = plan.program(name)
    names = [child["name"] for child in children(plan) if child["name"].startswith(f"{program}/")] or [program]
    for each in names:
        await _replace(plan, "restart", each, timeout_s, tell)
    return names


async def kill(plan: Plan, name: str, timeout_s: float, tell: Tell = nobody) -> list[str]:
    """End by force, as a crash would, and return when what came in its place is ready."""
    return await _replace(plan, "kill", name, timeout_s, tell)


async def until_gone(plan: Plan, name: str, timeout_s: float) -> None:
    """Return when there is no such process any more; FleetError after the time."""

    async def gone() -> bool:
        return all(child["name"] != name for child in children(plan))

    try:
        async with asyncio.timeout(timeout_s):
            await until(gone)
    except TimeoutError:
        raise FleetError(f"{name} did not end within {timeout_s:.0f} s; see `mercato ps`") from None


async def members(plan: Plan) -> list[Member]:
    """Every process that runs or should, the supervisor first; after a shared one, the instances within it."""
    status = control.call(plan.home, "status")
    supervisor = {"name": "supervisor", "state": "running", "restarts": 0, "version": "", **status["supervisor"]}
    shown = [supervisor, *status["children"]]
    return list(chain.from_iterable(await asyncio.gather(*(_members(plan, child) for child in shown))))


async def _start(plan: Plan, programs: list[str], deadline: float, tell: Tell) -> list[str]:
    """Start one process of each of these programs; the mesh first, as channels wait 1 s where it is not there yet."""
    urls = {service: plan.database_url(service) for service in plan.services}
    first: list[str] = []
    if MESH in programs:
        await databases.provide(plan.postgres_url, [urls.pop(MESH)])
        first = control.call(plan.home, "scale", counts={MESH: 1})
    await databases.provide(plan.postgres_url, urls.values())
    await until_ready(plan, first, deadline, tell)
    counts = {program: 1 for program in programs if program != MESH}
    return [*first, *control.call(plan.home, "scale", counts=counts)]


async def _replace(plan: Plan, do: str, name: str, timeout_s: float, tell: Tell) -> list[str]:
    """Have processes ended, and return their names when others are ready in their places."""
    before = {child["name"]: child["pid"] for child in children(plan)}
    names: list[str] = control.call(plan.home, do, name=name)
    deadline = time.monotonic() + timeout_s

    async def replaced() -> bool:
        now = {child["name"]: child["pid"] for child in children(plan)}
        return all(now[each] not in (None, before[each]) for each in names)

    try:
        async with asyncio.timeout(timeout_s):
            await until(replaced)
    except TimeoutError:
        raise FleetError(f"{name} was not replaced within {timeout_s:.0f} s; see `mercato ps`") from None
    await until_ready(plan, names, deadline, tell)
    return names


async def _members(plan: Plan, child: dict[str, Any]) -> list[Member]:
    name, pid = child["name"], child["pid"]
    instances = plan.hosted(name)
    addresses = [plan.slot(instance).address for instance in instances]
    healths, notes = await asyncio.gather(
        asyncio.gather(*map(health.state, addresses)), asyncio.gather(*map(note, addresses))
    )
    process = Member(
        name=name,
        state=child["state"],
        pid=pid,
        address=address(plan, name),
        health=next((each for each in healths if each != health.SERVING), health.SERVING) if healths else "",
        restarts=child["restarts"],
        uptime_s=time.time() - child["started_at"] if pid else 0.0,
        pss_bytes=processes.pss_bytes(pid, with_children=name in ENGINES) if pid else 0,
        version=child["version"],
        note=notes[0] if instances == (name,) else "",
    )
    within = [
        Member(instance, child["state"], None, where, each, 0, 0.0, 0, child["version"], within=name, note=lacks)
        for instance, where, each, lacks in zip(instances, addresses, healths, notes, strict=True)
        if instance != name
    ]
    return [process, *within]


def _runs(home: Path) -> bool:
    try:
        control.call(home, "status")
    except control.NotRunningError:
        return False
    return True


def _start_supervisor(plan: Plan) -> None:
    """Return when it listens on its control socket, in the background."""
    log = plan.home / "logs" / "supervisor.log"
    path = [str(plan.root), str(plan.root / "generated"), *(str(Path(entry).absolute()) for entry in sys.path)]
    environment = {**os.environ, processes.MARK: str(plan.home), "PYTHONPATH": os.pathsep.join(path)}
    environment.pop("MERCATO_POSTGRES_URL", None)  # the admin's: not for services
    command = [sys.executable, "-m", "fleet.supervisor", str(plan.home)]
    with log.open("ab") as output:
        ended = subprocess.run(
            command, cwd=plan.root, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    if ended.returncode != 0:
        raise FleetError(f"the supervisor could not start; the end of {log}:\n{logs.last(log, _LOG_LINES)}")


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no other command brings this fleet up or down, and keep others waiting."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
