"""A canary, conducted: calls are shifted to a new version step by step, and back when it is worse."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from fleet import canary, mesh, metrics, rollout
from fleet.canary import Look, Tally
from fleet.errors import FleetError
from fleet.mesh import Operator
from fleet.plan import Plan
from fleet.readiness import Tell, children

PERCENTAGES = (5, 25, 50, 100)
CALLS_OF_A_LOOK = 20
"""A look is at so many calls to the new version at least: it warms up in few of them."""
_LOOK_EVERY_S = 0.5
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Options:
    """A step lasts `step_s` and until the new version served so many `calls`; it is given up after `wait_s` without."""

    calls: int
    step_s: float
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
        self.version = version
        self._options = options
        self._tell = tell
        self.beside = ""
        self._seen: dict[tuple[str, int], tuple[str, Tally]] = {}
        """By process (name and pid) its version and what it had served when it was looked at last."""

    async def run(self) -> str:
        """Shift all calls to the new version; returns why it went back instead, or nothing."""
        await self._find()
        looks: list[Look] = []
        try:
            for percent in PERCENTAGES:
                await self._step(percent, looks)
        except GoneWrong as why:
            await self._shift(0)
            return str(why)
        except BaseException:  # interrupted, or a defect: never leave calls where nobody looks after them
            await self._shift(0)
            raise
        return ""

    async def _find(self) -> None:
        """Find the version that has the calls now."""
        state = await self._operator.service(self._service)
        serving = {instance.version for instance in mesh.serving(state)}
        if self.version not in serving:
            raise FleetError(
                f"no instance of {self._service} that serves is {self.version}; "
                f"start one: mercato up --version {self._service}={self.version}"
            )
        called = {share.version for share in state.policy.split if share.weight} or serving
        beside = sorted((called & serving) - {self.version})
        if len(beside) != 1:
            raise FleetError(
                f"expected one version of {self._service} beside {self.version} to have the calls; "
                f"now it is {' and '.join(beside) or 'none'}; see `mercato mesh split`"
            )
        self.beside = beside[0]

    async def _step(self, percent: int, looks: list[Look]) -> None:
        """Give the new version its share for as long as it takes; GoneWrong where it is worse."""
        self._tell(f"{percent:3} % of {self._service} to {self.version} ...")
        await self._shift(percent)
        began = time.monotonic()
        start = last = await self._served()
        before = list(looks)
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now, lasted_s = await self._served(), time.monotonic() - began
            step = Look(now[self.version] - start[self.version], now[self.beside] - start[self.beside])
            latest = Look(now[self.version] - last[self.version], now[self.beside] - last[self.beside])
            if percent == PERCENTAGES[-1]:
                looks[len(before) :] = [canary.alone(step.new, before)]
            elif latest.new.calls >= CALLS_OF_A_LOOK:
                looks.append(latest)
                last = now
            if why := canary.worse(looks):
                raise GoneWrong(f"It {why}.")
            if step.new.calls >= self._options.calls and lasted_s >= self._options.step_s:
                self._tell(f"      {_said(self.version, step.new)}; {_said(self.beside, step.beside)}")
                return
            if step.new.calls < self._options.calls and lasted_s > self._options.wait_s:
                raise GoneWrong(
                    f"Too few calls to tell: {step.new.calls} of {self._options.calls} in {lasted_s:.0f} s at "
                    f"{percent} %; send it traffic, ask for fewer (--calls) or wait longer (--wait)."
                )

    async def _served(self) -> dict[str, Tally]:
        """What each version has served; GoneWrong where a process of the new one has ended or does not say."""
        running = {
            (child["name"], child["pid"]): child["version"]
            for child in children(self._plan)
            if child["name"].partition("/")[0] == self._service and child["pid"]
        }
        for (name, pid), (version, _) in self._seen.items():
            if version == self.version and (name, pid) not in running:
                raise GoneWrong(f"{name} ended; see `mercato logs {self._service}`.")
        for (name, pid), version in running.items():
            try:
                self._seen[name, pid] = version, await metrics.served(self._plan.slot(name).metrics_port, self._service)
            except FleetError as error:
                if version == self.version:
                    raise GoneWrong(f"{name}: {error}.") from error
        totals = {self.version: Tally(), self.beside: Tally()}
        for version, tally in self._seen.values():
            totals[version] = totals.get(version, Tally()) + tally
        return totals

    async def _shift(self, percent: int) -> None:
        """Give the new version so much of the calls; without giving up soon when the mesh is away."""
        shares = {self.beside: 100 - percent, self.version: percent}
        await self._operator.update(rollout.split(self._service, shares), "split", _PATIENCE_S)


def _said(version: str, tally: Tally) -> str:
    return f"{version} served {tally.calls}, {tally.failed} failed{_took(tally)}"


def _took(tally: Tally) -> str:
    total: dict[float, int] = {}
    for bounds in tally.seconds.values():
        total = {bound: total.get(bound, 0) + count for bound, count in bounds.items()}
    return f", 95 % within {canary.quantile(total, 0.95) * 1000:.3g} ms" if any(total.values()) else ""
