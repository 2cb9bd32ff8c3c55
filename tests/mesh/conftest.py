"""One mesh for each test module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.mesh.world import World
from tests.mesh.world import world as open_world
from tests.stage import Stage


@pytest.fixture(scope="module")
async def world(stage: Stage) -> AsyncIterator[World]:
    await stage.start("mesh")
    async with open_world(stage.targets["mesh"].removeprefix("ipv4:")) as opened:
        yield opened
