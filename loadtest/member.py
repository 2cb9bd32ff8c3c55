"""An instance that registers with a mesh, and is well, slow or failing as it is told line by line on its input.

Started as a process by the benchmark of the mesh, with the environment of a service.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mercato.catalog.v1 import catalog_pb2

from chassis.app import App, run
from chassis.errors import Unavailable
from loadtest.echo import CATALOG, Echo, as_in_fleet

SERVICE = "catalog"
DELAYS_S = {"well": 0.005, "slow": 0.05, "failing": 0.0}
"""How long a call takes, by how the instance is."""


class Member(Echo):
    """The catalogue, with GetProduct alone, which names who answered."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._mood = "well"

    async def GetProduct(  # noqa: N802
        self, request: catalog_pb2.GetProductRequest, context: Any
    ) -> catalog_pb2.GetProductResponse:
        """Answer as the instance is now."""
        if self._mood == "failing":
            raise Unavailable
        await asyncio.sleep(DELAYS_S[self._mood])
        return catalog_pb2.GetProductResponse(product=catalog_pb2.Product(name=self._name))

    async def obey(self) -> None:
        """Become as told, until cancelled."""
        told = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
        async for line in told:
            self._mood = line.decode().strip()
        await asyncio.Event().wait()


async def compose(app: App) -> None:
    """Serve nothing else."""
    member = Member(app.settings.instance)
    app.serve(CATALOG, member)
    app.background(member.obey)


def main() -> None:
    """Serve until ended."""
    as_in_fleet()
    run(SERVICE, compose)


if __name__ == "__main__":
    main()
