"""Stock gRPC clients in a process of their own, as gRPC reads once and for all where its control plane is.

`python -m tests.mesh.caller MESH` makes the calls that lines of JSON on its input ask for, and prints what became of
them in the same way.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from typing import Any

import grpc


async def call(channel: grpc.aio.Channel, path: str, count: int, at_once: int, timeout_s: float) -> dict[str, Any]:
    """Make so many calls; count answers by who answered, and errors by status."""
    do: Any = channel.unary_unary(path)
    answers, errors, slowest_s, left = Counter[str](), Counter[str](), 0.0, iter(range(count))

    async def some() -> None:
        nonlocal slowest_s
        for _ in left:
            started = time.perf_counter()
            try:
                answers[(await do(b"", timeout=timeout_s)).decode()] += 1
            except grpc.aio.AioRpcError as error:
                errors[error.code().name] += 1
            slowest_s = max(slowest_s, time.perf_counter() - started)

    await asyncio.gather(*(some() for _ in range(at_once)))
    return {"answers": answers, "errors": errors, "slowest_s": slowest_s}


async def main() -> None:
    channels: dict[str, grpc.aio.Channel] = {}
    asked = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)

    async def answer(number: int, target: str, **options: Any) -> None:
        channel = channels.setdefault(target, grpc.aio.insecure_channel(target))
        print(json.dumps({"number": number, **await call(channel, **options)}), flush=True)  # noqa: T201

    async with asyncio.TaskGroup() as tasks:
        async for line in asked:
            tasks.create_task(answer(**json.loads(line)))
    for channel in channels.values():
        await channel.close()


if __name__ == "__main__":
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(
        {
            "xds_servers": [
                {
                    "server_uri": sys.argv[1],
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "tests/1", "cluster": "tests", "locality": {"zone": "a"}},
        }
    )
    asyncio.run(main())
