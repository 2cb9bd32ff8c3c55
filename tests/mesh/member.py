"""An instance in a process of its own, which a test may stop and kill: `python -m tests.mesh.member MESH NAME`."""

from __future__ import annotations

import asyncio
import sys

import grpc
from mercato.mesh.v1.mesh_pb2_grpc import RegistryServiceStub

from tests.mesh.world import Member


async def main(mesh: str, name: str) -> None:
    member = Member(name)
    await member.serve()
    async with grpc.aio.insecure_channel(mesh) as channel:
        await member.register(RegistryServiceStub(channel))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
