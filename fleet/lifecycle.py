"""Bringing a fleet up, watching it and taking it down: what the `mercato` command does, without the printing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fleet import control, databases, health, logs, ports, processes
from fleet.errors import FleetError
from fleet.plan import Plan
from fleet.waiting import until

_WATCH_S = 0.2
_HOPELESS_AFTER_RESTARTS = 3
_LOG_LINES = 15
_ENGINES = {"postgres": 5432, "nats": 4222}  # and their usual ports


@dataclass(frozen=True)
class Member:
    """One process of a fleet, or one instance of those that are `within` a process together.

    An engine's `health` is empty: it speaks no gRPC. Figures of a process are with the process alone.
    """

    name: str
    state: str
    pid: int | None
    address: str
    health: str
    restarts: int
    uptime_s: float
    pss_bytes: int
    within: str = ""


async def up(home: Path, make_plan: Callable[[], Plan], timeout_s: float) -> bool:
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
        await until_ready(plan, _ENGINES, deadline)
        await databases.provide(plan.postgres_url, [plan.database_url(service) for service in plan.services])
        children = _children(home)
        present = {child["name"].partition("/")[0] for child in children}
        missing = [program for program in plan.programs if program not in present]
        wanted = control.call(home, "scale", counts=dict.fromkeys(missing, 1))
        staying = [child["name"] for child in children if child["state"] != "stopping"]
        await until_ready(plan, [*staying, *wanted], deadline)
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


async def scale(plan: Plan, counts: dict[str, int], timeout_s: float) -> list[str]:
    """Run so many instances of each service; returns the names of all of them when they serve."""
    names = control.call(plan.home, "scale", counts=counts)
    await until_ready(plan, names, time.monotonic() + timeout_s)
    return list(names)


async def restart(plan: Plan, name: str, timeout_s: float) -> list[str]:
    """End gently and start again a process, or all instances of a service, one after the other."""
    program = plan.program(name)
    names = [child["name"] for child in _children(plan.home) if child["name"].startswith(f"{program}/")] or [program]
    for each in names:
        await _replace(plan, "restart", each, timeout_s)
    return names


async def kill(plan: Plan, name: str, timeout_s: float) -> list[str]:
    """End by force, as a crash would, and return when what came in its place is ready."""
    return await _replace(plan, "kill", name, timeout_s)


async def members(plan: Plan) -> list[Member]:
    """Every process that runs or should, the supervisor first; after a shared one, the instances within it."""
    status = control.call(plan.home, "status")
    children = [{"name": "supervisor", "state": "running", "restarts": 0, **status["supervisor"]}, *status["children"]]
    return list(chain.from_iterable(await asyncio.gather(*(_members(plan, child) for child in children))))


async def until_ready(plan: Plan, names: Iterable[str], deadline: float) -> None:
    """Return when all these processes answer; FleetError with the end of its log where one will not.

    `deadline` is on the monotonic clock. A process that ended three times meanwhile is given up early.
    """
    waiting = {asyncio.create_task(_until_answers(plan, name)): name for name in names}
    restarts = {child["name"]: child["restarts"] for child in _children(plan.home)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, timeout=_WATCH_S)
            for task in done:
                del waiting[task]
                task.result()
            for child in _children(plan.home) if waiting else ():
                ended = child["restarts"] - restarts.get(child["name"], 0)
                if child["name"] in waiting.values() and ended >= _HOPELESS_AFTER_RESTARTS:
                    raise _not_ready(plan, child["name"], f"ended {ended} times")
            if waiting and time.monotonic() > deadline:
                raise _not_ready(plan, next(iter(waiting.values())), "did not answer in time")
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _until_answers(plan: Plan, name: str) -> None:
    if instances := plan.hosted(name):
        await asyncio.gather(*(health.until_serving(plan.slot(instance).address) for instance in instances))
    elif name == "postgres":
        await until(lambda: databases.answers(plan.postgres_url))
    else:
        host, _, port = _address(plan, name).rpartition(":")
        await until(lambda: ports.listens(host, int(port)))


def _address(plan: Plan, name: str) -> str:
    if name in plan.hosted(name):
        return plan.slot(name).address
    if name not in _ENGINES:
        return ""
    url = urlsplit((plan.postgres_url if name == "postgres" else plan.nats_url).partition(",")[0])
    return f"{url.hostname}:{url.port or _ENGINES[name]}"


async def _replace(plan: Plan, do: str, name: str, timeout_s: float) -> list[str]:
    """Have processes ended, and return their names when others are ready in their places."""
    before = {child["name"]: child["pid"] for child in _children(plan.home)}
    names: list[str] = control.call(plan.home, do, name=name)
    deadline = time.monotonic() + timeout_s

    async def replaced() -> bool:
        now = {child["name"]: child["pid"] for child in _children(plan.home)}
        return all(now[each] not in (None, before[each]) for each in names)

    try:
        async with asyncio.timeout(timeout_s):
            await until(replaced)
    except TimeoutError:
        raise FleetError(f"{name} was not replaced within {timeout_s:.0f} s; see `mercato ps`") from None
    await until_ready(plan, names, deadline)
    return names


async def _members(plan: Plan, child: dict[str, Any]) -> list[Member]:
    name, pid = child["name"], child["pid"]
    instances = plan.hosted(name)
    healths = await asyncio.gather(*(health.state(plan.slot(instance).address) for instance in instances))
    process = Member(
        name=name,
        state=child["state"],
        pid=pid,
        address=_address(plan, name),
        health=next((each for each in healths if each != health.SERVING), health.SERVING) if healths else "",
        restarts=child["restarts"],
        uptime_s=time.time() - child["started_at"] if pid else 0.0,
        pss_bytes=processes.pss_bytes(pid, with_children=name in _ENGINES) if pid else 0,
    )
    within = [
        Member(instance, child["state"], None, plan.slot(instance).address, each, 0, 0.0, 0, within=name)
        for instance, each in zip(instances, healths, strict=True)
        if instance != name
    ]
    return [process, *within]


def _children(home: Path) -> list[dict[str, Any]]:
    children: list[dict[str, Any]] = control.call(home, "status")["children"]
    return children


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


def _not_ready(plan: Plan, name: str, what: str) -> FleetError:
    log = plan.home / "logs" / f"{name.replace('/', '-')}.log"
    end = logs.last(log, _LOG_LINES)
    why = f"the end of {log}:\n{end}" if end else "it wrote no log"
    address = _address(plan, name)
    return FleetError(f"{name} {f'at {address} ' if address else ''}{what}; {why}")


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Wait until no other command brings this fleet up or down, and keep others waiting."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
