"""The pacts anew from the consumers' tests, held against those committed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Collection
from pathlib import Path

from chassis.testing.pacts import find

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
CONSUMERS = Path(__file__).parent / "consumers"


async def regenerate(folder: Path) -> list[str]:
    """Write the pacts of all consumers' tests into an empty folder; return what failed, one line each."""
    assert not find(folder), "stale pacts would stay"
    command = [sys.executable, "-m", "pytest", str(CONSUMERS), "-p", "no:cacheprovider", "--no-header", "--tb=line"]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env={**os.environ, "MERCATO_PACTS": str(folder)}, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode == 0:
        return []
    told = [line for line in output.decode().splitlines() if line.startswith(("FAILED", "ERROR"))]
    return told or [f"the consumers' tests ended with {process.returncode}: {output.decode()[-500:]}"]


def compare(fresh: Path, committed: Path, services: Collection[str]) -> list[str]:
    """Return how the committed pacts of our services differ from fresh ones; those of strangers have no tests here."""
    anew = {file.relative_to(fresh): file.read_bytes() for file in find(fresh)}
    kept = {file.relative_to(committed): file.read_bytes() for file in find(committed)}
    ours = {file for file in kept if file.parent.name in services}
    return [
        *(f"{file}: {problem}" for file in sorted(anew) if (problem := _difference(anew[file], kept.get(file)))),
        *(f"{file}: no consumer's test makes it any more" for file in sorted(ours - anew.keys())),
        *([] if anew else ["the consumers' tests made no pacts"]),
    ]


def _difference(anew: bytes, kept: bytes | None) -> str:
    if kept is None:
        return "is not committed"
    return "" if anew == kept else "the consumer's tests agree on something else than is committed"
