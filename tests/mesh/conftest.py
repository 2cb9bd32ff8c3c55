"""One mesh for all tests of it. It needs no bus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.mesh.world import World
from tests.mesh.world import world as open_world
from tests.stage import Stage


@pytest.fixture(scope="session", name="stage")
async def stage_of_mesh(postgres_url: str) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(postgres_url, "", stack)


@pytest.fixture(scope="session")
async def world(stage: Stage) -> AsyncIterator[World]:
    await stage.start("mesh")
    async with open_world(stage.targets["mesh"].removeprefix("ipv4:")) as opened:
        yield opened
