"""The gate, run by `make contracts`: whether what is here may go out; with `--release`, it is what went out."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chassis.testing.gate import verify_all
from chassis.testing.verdict import Verdict, all_green
from fleet.broker import Broker
from fleet.errors import FleetError
from tests.contracts import protos
from tests.contracts.providers import providers
from tests.contracts.regeneration import CONTRACTS, ROOT, compare, regenerate

LOG = ROOT / ".build" / "contracts.log"


async def main(release: bool = False, contracts: Path = CONTRACTS) -> int:
    """Run everything, print one table and what is wrong; return the exit code."""
    broker = Broker(ROOT)
    if release:
        broker.require_clean()
    with tempfile.TemporaryDirectory() as folder:
        (fresh := Path(folder) / "pacts").mkdir()
        failed, buf, verdicts = await asyncio.gather(
            regenerate(fresh), protos.check(), _verify(broker, contracts, Path(folder))
        )
        problems = failed or compare(fresh, contracts, services())
    if release and not protos.RELEASED.exists():  # the first one breaks nothing
        buf = [line for line in buf if line != protos.MISSING]
    _print(verdicts, problems + buf)
    green = all_green(verdicts) and not problems and not buf
    if green and release:
        protos.release()
        broker.record(verdicts)
    return 0 if green else 1


def services() -> list[str]:
    """Return the names of our services."""
    return sorted(main.parent.name for main in ROOT.glob("services/*/__main__.py"))


async def _verify(broker: Broker, contracts: Path, folder: Path) -> list[Verdict]:
    """Verify the pacts here, and those of what is deployed where they differ."""
    deployed = folder / "deployed"
    for each in broker.deployed_pacts():
        file = deployed / Path(each.path).relative_to("contracts")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(each.data)
    with _quiet():
        async with providers(folder) as running:
            verdicts = await verify_all(contracts, running)
            return verdicts + (await verify_all(deployed, running) if deployed.exists() else [])


@contextmanager
def _quiet() -> Iterator[None]:
    """Let the verifier, which prints by itself, print into a file."""
    LOG.parent.mkdir(exist_ok=True)
    kept = os.dup(1)
    with LOG.open("wb") as log:
        os.dup2(log.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _print(verdicts: Sequence[Verdict], problems: Sequence[str]) -> None:
    console = Console(highlight=False)
    table = Table("consumer", "provider", "about", "interactions", "verdict")
    for each in verdicts:
        verdict = Text("green", "green") if each.green else Text("red", "bold red")
        about = "events" if each.events else "calls"
        table.add_row(each.consumer, each.provider, about, str(each.interactions), verdict)
    console.print(table)
    for each in verdicts:
        for problem in each.problems:
            console.print(f"{each.consumer} breaks by {each.provider}: {problem}", markup=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, markup=False, soft_wrap=True)
    if not all_green(verdicts) or problems:
        console.print(f"Red: this may not go out. What the verifier saw is in {LOG.relative_to(ROOT)}.", markup=False)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main("--release" in sys.argv[1:])))
    except FleetError as error:
        sys.exit(f"error: {error}")
