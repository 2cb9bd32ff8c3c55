"""A canary, conducted: calls are shifted to a new version step by step, and back when it is worse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from fleet import canary, mesh, metrics, rollout
from fleet.canary import Step, Tally
from fleet.errors import FleetError
from fleet.mesh import Operator
from fleet.plan import Plan
from fleet.readiness import Tell, children

PERCENTAGES = (5, 25, 50, 100)
_LOOK_EVERY_S = 0.5
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Options:
    """A step lasts until the new version served so many `calls`, and is given up where it did not in `wait_s`."""

    calls: int
    wait_s: float


class GoneWrong(Exception):
    """Why a canary goes back."""


class Canary:
    """One canary of a service: `version`, beside the one that has the calls now."""

    def __init__(
        self, plan: Plan, operator: Operator, service: str, version: str, options: Options, tell: Tell
    ) -> None:
        self._plan = plan
        self._operator = operator
        self._service = service
        self._version = version
        self._options = options
        self._tell = tell
        self.beside = ""
        self._seen: dict[tuple[str, int], tuple[str, Tally]] = {}
        """By process (name and pid) its version and what it had served when it was looked at last."""

    async def run(self) -> str:
        """Shift all calls to the new version; returns why it went back instead, or nothing."""
        await self._look()
        steps: list[Step] = []
        try:
            for percent in PERCENTAGES:
                steps.append(await self._step(percent, steps))
        except GoneWrong as why:
            await self._shift(0)
            return str(why)
        except BaseException:  # interrupted, or a defect: never leave calls where nobody looks after them
            await self._shift(0)
            raise
        return ""

    async def _look(self) -> None:
        """Find both versions and their processes."""
        serving = mesh.serving(await self._operator.service(self._service))
        versions = sorted({instance.version for instance in serving})
        if self._version not in versions:
            raise FleetError(
                f"no instance of {self._service} that serves is {self._version}; "
                f"start one: mercato up --version {self._service}={self._version}"
            )
        others = [version for version in versions if version != self._version]
        if len(others) != 1:
            raise FleetError(
                f"expected {self._version} beside one other version of {self._service}; serving: {', '.join(versions)}"
            )
        self.beside = others[0]

    async def _step(self, percent: int, before: Sequence[Step]) -> Step:
        """Give the new version its share until it had calls enough; GoneWrong where it is worse."""
        self._tell(f"{percent:3} % of {self._service} to {self._version} ...")
        await self._shift(percent)
        began, start = time.monotonic(), await self._served()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = await self._served()
            new, beside = now[self._version] - start[self._version], now[self.beside] - start[self.beside]
            if percent == PERCENTAGES[-1]:  # nothing is beside it any more: hold it against what was
                beside = reduce(add, (step.beside for step in before), beside)
            step = Step(new, beside)
            if why := canary.worse([*before, step]):
                raise GoneWrong(why)
            waited_s = time.monotonic() - began
            if new.calls >= self._options.calls:
                self._tell(f"      {_said(self._version, new)}; {_said(self.beside, beside)}")
                return step
            if waited_s > self._options.wait_s:
                raise GoneWrong(
                    f"too few calls to tell: {new.calls} of {self._options.calls} in {waited_s:.0f} s at {percent} %; "
                    "send it traffic, or ask for fewer with --calls or wait longer with --wait"
                )

    async def _served(self) -> dict[str, Tally]:
        """What each version has served; GoneWrong where a process of the new one has ended or does not say."""
        running = {
            (child["name"], child["pid"]): child["version"]
            for child in children(self._plan)
            if child["name"].partition("/")[0] == self._service and child["pid"]
        }
        for (name, pid), (version, _) in self._seen.items():
            if version == self._version and (name, pid) not in running:
                raise GoneWrong(f"{name} ended; see `mercato logs {self._service}`")
        for (name, pid), version in running.items():
            try:
                self._seen[name, pid] = version, await metrics.served(self._plan.slot(name).metrics_port, self._service)
            except FleetError as error:
                if version == self._version:
                    raise GoneWrong(f"{name}: {error}") from error
        totals = {self._version: Tally(), self.beside: Tally()}
        for version, tally in self._seen.values():
            totals[version] = totals.get(version, Tally()) + tally
        return totals

    async def _shift(self, percent: int) -> None:
        """Give the new version so much of the calls; without giving up soon when the mesh is away."""
        shares = {self.beside: 100 - percent, self._version: percent}
        await self._operator.update(rollout.split(self._service, shares), "split", _PATIENCE_S)


def _said(version: str, tally: Tally) -> str:
    return f"{version} served {tally.calls}, {tally.failed} failed{_took(tally)}"


def _took(tally: Tally) -> str:
    total: dict[float, int] = {}
    for bounds in tally.seconds.values():
        total = {bound: total.get(bound, 0) + count for bound, count in bounds.items()}
    return f", 95 % within {canary.quantile(total, 0.95) * 1000:.3g} ms" if any(total.values()) else ""
