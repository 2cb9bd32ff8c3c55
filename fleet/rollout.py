"""Changing what runs without failing a call: one instance after the other, and a new version beside the old."""

from __future__ import annotations

import time
from itertools import groupby
from operator import itemgetter

from mercato.mesh.v1.mesh_pb2 import Policy, VersionWeight

from fleet import control, lifecycle, mesh
from fleet.errors import FleetError
from fleet.mesh import Operator
from fleet.plan import FRONT, SINGLE, TOGETHER, Plan
from fleet.readiness import Tell, children, nobody, until_ready


async def roll(plan: Plan, name: str, timeout_s: float, tell: Tell = nobody) -> list[str]:
    """Restart an instance, or all of a service, one after the other, so that there is always another to take the calls.

    Where only one of a version runs, one more comes beside it first and goes at the end; when that one does not come
    up, nothing else was touched. `timeout_s` is for each step.
    """
    asked = plan.program(name)
    program = asked.partition("/")[0]
    if program in (FRONT, *SINGLE):
        why = "clients know one address of it" if program == FRONT else "there is one, and clients go on without it"
        raise FleetError(f"{program} cannot be restarted so: {why}; use `mercato restart {program}`")
    beside = [child for child in children(plan) if child["name"].partition("/")[0] == program]
    chosen = [child for child in beside if asked in (program, child["name"]) and child["state"] != "stopping"]
    if not chosen:
        raise FleetError(f"{name} is not running")
    by_version = itemgetter("version")
    for version, group in groupby(sorted(chosen, key=by_version), by_version):
        names = [child["name"] for child in group]
        alone = sum(child["version"] == version for child in beside) == 1
        spares = [await _surge(plan, f"{program}/{version}", names[0], timeout_s, tell)] if alone else []
        for each in names:
            tell(f"{each}: drains, ends and starts again")
            await lifecycle.restart(plan, each, timeout_s, tell)
        for spare in spares:
            tell(f"{spare}: drains and ends")
            control.call(plan.home, "retire", name=spare)
            await lifecycle.until_gone(plan, spare, timeout_s)
    return [child["name"] for child in chosen]


async def add_version(plan: Plan, service: str, version: str, timeout_s: float, tell: Tell = nobody) -> list[str]:
    """Start an instance of a version beside those that run, which gets no calls until it is asked to."""
    if plan.program(service) == TOGETHER:
        raise FleetError(f"{service} runs in {TOGETHER}; a version needs its own process: start without --together")
    if service not in plan.services or service in (FRONT, *SINGLE):
        known = ", ".join(name for name in plan.services if name not in (FRONT, *SINGLE))
        raise FleetError(f"unknown service {service!r}; expected one of {known}")
    runs = [child for child in children(plan) if child["name"].partition("/")[0] == service]
    already = [child["name"] for child in runs if child["version"] == version]
    if already:
        return already
    async with mesh.operate(plan) as operator:
        await _keep_calls_from(operator, service, version, sorted({child["version"] for child in runs}))
    tell(f"{service}: no calls for {version} until `mercato mesh split` or `mercato canary` gives it some")
    return await lifecycle.scale(plan, {f"{service}/{version}": 1}, timeout_s, tell)


async def _keep_calls_from(operator: Operator, service: str, version: str, beside: list[str]) -> None:
    """Give a version that comes none of the calls; those that run keep their shares, or get equal ones."""
    set_before = {each.version: each.weight for each in (await operator.service(service)).policy.split}
    shares = {each: set_before.get(each, 0) for each in beside}
    if not any(shares.values()):
        shares = dict.fromkeys(beside, 100)
    await operator.update(split(service, shares | {version: 0}), "split")


def split(service: str, shares: dict[str, int]) -> Policy:
    """The policy that gives each version of a service its share."""
    weights = [VersionWeight(version=version, weight=weight) for version, weight in shares.items()]
    return Policy(name=mesh.policy_name(service), split=weights)


async def _surge(plan: Plan, of_version: str, name: str, timeout_s: float, tell: Tell) -> str:
    """Have one more beside the only one; returns its name when it serves."""
    names: list[str] = control.call(plan.home, "scale", counts={of_version: 2})
    (spare,) = set(names) - {name}
    tell(f"{spare}: starts beside {name}, which is alone")
    try:
        await until_ready(plan, [spare], time.monotonic() + timeout_s, tell)
    except BaseException:
        control.call(plan.home, "retire", name=spare)
        raise
    return spare
