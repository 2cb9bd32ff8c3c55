"""Our protos against those last released: what buf says of style and of breaking changes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.contracts.regeneration import CONTRACTS, ROOT

IMAGE = ROOT / "generated" / "mercato" / "descriptors.binpb"
RELEASED = CONTRACTS / "released" / "protos.binpb"
MISSING = "contracts/released/protos.binpb is missing: `make release` writes it"


async def check(image: Path = IMAGE, released: Path = RELEASED) -> list[str]:
    """Return what buf finds, one line each."""
    if not await asyncio.to_thread(released.is_file):
        return [*await _buf("lint", str(image)), MISSING]
    return await _buf("lint", str(image)) + await _buf("breaking", str(image), "--against", str(released))


def release() -> None:
    """Make today's protos those that were last released."""
    files = FileDescriptorSet.FromString(IMAGE.read_bytes())
    for file in files.file:
        file.ClearField("source_code_info")
    RELEASED.parent.mkdir(parents=True, exist_ok=True)
    RELEASED.write_bytes(files.SerializeToString(deterministic=True))


async def _buf(*arguments: str) -> list[str]:
    buf = Path(sys.executable).parent / "buf"
    process = await asyncio.create_subprocess_exec(
        buf, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    lines = [f"buf {arguments[0]}: {line}" for line in output.decode().splitlines()]
    return lines or ([f"buf {arguments[0]} ended with {process.returncode}"] if process.returncode else [])
