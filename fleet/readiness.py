"""When a process of a fleet is there for others: it answers, and where there is a mesh, calls are sent to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from fleet import control, databases, health, logs, mesh, ports
from fleet.errors import FleetError
from fleet.plan import Plan
from fleet.waiting import until

ENGINES = {"postgres": 5432, "nats": 4222}
"""The engines that a fleet can bring along, and their usual ports."""

_WATCH_S = 0.2
_LOOK_S = 0.1
_HOPELESS_AFTER_RESTARTS = 3
_LOG_LINES = 15

Tell = Callable[[str], None]
"""What is told to who waits: a line about what goes on, or goes differently."""


def nobody(_: str) -> None:
    """Nobody waits."""


async def until_ready(plan: Plan, names: Iterable[str], deadline: float, tell: Tell = nobody) -> None:
    """Return when all these processes answer and the mesh sends them calls; FleetError with a log's end where not.

    `deadline` is on the monotonic clock. A process that ended three times meanwhile is given up early.
    """
    names = list(names)
    waiting = {asyncio.create_task(_until_answers(plan, name)): name for name in names}
    restarts = {child["name"]: child["restarts"] for child in children(plan)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, timeout=_WATCH_S)
            for task in done:
                del waiting[task]
                task.result()
            for child in children(plan) if waiting else ():
                ended = child["restarts"] - restarts.get(child["name"], 0)
                if child["name"] in waiting.values() and ended >= _HOPELESS_AFTER_RESTARTS:
                    raise _not_ready(plan, child["name"], f"ended {ended} times")
            if waiting and time.monotonic() > deadline:
                raise _not_ready(plan, next(iter(waiting.values())), "did not answer in time")
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await _until_listed(plan, names, deadline, tell)


def children(plan: Plan) -> list[dict[str, Any]]:
    """What the supervisor says of each process that runs or should."""
    found: list[dict[str, Any]] = control.call(plan.home, "status")["children"]
    return found


def address(plan: Plan, name: str) -> str:
    """Where a process listens; empty where it hosts several instances."""
    if name in plan.hosted(name):
        return plan.slot(name).address
    if name not in ENGINES:
        return ""
    url = urlsplit((plan.postgres_url if name == "postgres" else plan.nats_url).partition(",")[0])
    return f"{url.hostname}:{url.port or ENGINES[name]}"


async def _until_answers(plan: Plan, name: str) -> None:
    if instances := plan.hosted(name):
        await asyncio.gather(*(health.until_serving(plan.slot(instance).address) for instance in instances))
    elif name == "postgres":
        await until(lambda: databases.answers(plan.postgres_url))
    else:
        host, _, port = address(plan, name).rpartition(":")
        await until(lambda: ports.listens(host, int(port)))


async def _until_listed(plan: Plan, names: Iterable[str], deadline: float, tell: Tell) -> None:
    """Return when the mesh lists all these as taking calls, since they were started; when it is away, say so."""
    started_at = {child["name"]: child["started_at"] for child in children(plan)}
    since = {instance: started_at.get(name, 0.0) for name in names for instance in plan.hosted(name)}
    if not (plan.mesh_address and since):
        return
    missing: list[str] = []
    try:
        async with asyncio.timeout(max(deadline - time.monotonic(), 0)), mesh.operate(plan) as operator:
            async for seen in operator.watch(_LOOK_S):
                missing = mesh.missing(seen, since)
                if not missing:
                    return
    except mesh.MeshAwayError as away:
        tell(f"{away}. Whether it lists {', '.join(since)} is not known; went on.")
    except TimeoutError:
        raise FleetError(f"serving, but the mesh sends no calls there: {'; '.join(missing)}") from None


def _not_ready(plan: Plan, name: str, what: str) -> FleetError:
    log = plan.home / "logs" / f"{name.replace('/', '-')}.log"
    end = logs.last(log, _LOG_LINES)
    why = f"the end of {log}:\n{end}" if end else "it wrote no log"
    where = address(plan, name)
    return FleetError(f"{name} {f'at {where} ' if where else ''}{what}; {why}")
