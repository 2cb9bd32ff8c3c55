"""A stranger's pact needs nothing of ours: the stock Pact verifier's own command line agrees with the gate."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from chassis.testing.bridge import MESSAGES, STATES, Bridge, Provider
from chassis.testing.pacts import find, read
from tests.contracts.regeneration import CONTRACTS

BIN = Path(sys.executable).parent


async def stock_verifier(file: Path, provider: Provider) -> tuple[int, str]:
    """Run `pact verifier` on a pact; return its exit code and what it printed."""
    pact = shutil.which("pact", path=os.pathsep.join([str(BIN), os.environ["PATH"]]))
    assert pact, "the package pact-python-cli brings it"
    async with Bridge(read(file), provider) as bridge:
        process = await asyncio.create_subprocess_exec(
            pact, "verifier", "--file", str(file), "--provider-name", provider.name, "--no-colour",
            "--hostname", "127.0.0.1", "--port", str(bridge.port), "--state-change-url", bridge.url + STATES,
            "--transports", f"message:{bridge.port}{MESSAGES}",
            env={**os.environ, "PACT_DO_NOT_TRACK": "true"}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


@pytest.mark.parametrize("file", find(CONTRACTS), ids=lambda file: f"{file.parent.name}-{file.stem}")
async def test_it_is_content(file: Path, running: Mapping[str, Provider]) -> None:
    pact = read(file)
    code, output = await stock_verifier(file, running[pact.provider])
    assert code == 0, output
    for interaction in pact.interactions:
        assert interaction.description in output


async def test_it_is_not_where_a_provider_breaks_its_consumer(running: Mapping[str, Provider]) -> None:
    async def nothing(**_: object) -> None:
        pass

    broken = replace(running["inventory"], states=dict.fromkeys(running["inventory"].states, nothing))
    code, output = await stock_verifier(CONTRACTS / "orders" / "inventory.json", broken)
    assert code != 0
    assert "Mismatch with header 'grpc-status': Expected '9' to be equal to '0'" in output
