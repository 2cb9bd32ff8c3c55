"""What tests share: one real PostgreSQL for all, and a stage for the services of one test module."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet import lifecycle, ports
from fleet import plan as plans
from fleet.client import Shop, connect
from fleet.embedded import postgres
from fleet.plan import FRONT, Plan
from tests.stage import Stage, stage

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
async def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a PostgreSQL for this run of the tests."""
    async with postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="module", name="stage")
async def stage_of_module(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stage on which a test module starts the services it is about."""
    async with stage(postgres_url, tmp_path_factory.mktemp("nats")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plan]:
    """The whole suite, running as it does for a user, for one test module.

    Services find each other by the mesh; with MERCATO_DISCOVERY=static at fixed addresses.
    """
    told = {name: value for name, value in os.environ.items() if name == "MERCATO_DISCOVERY"}
    home = tmp_path_factory.mktemp("fleet") / ".mercato"
    http_port, grpc_port = ports.free_block(2)
    await lifecycle.up(home, lambda: plans.make(ROOT, home, told, http_port=http_port, grpc_port=grpc_port), TIMEOUT_S)
    yield Plan.load(home)
    lifecycle.down(home, TIMEOUT_S)


@pytest.fixture
async def shop(fleet: Plan) -> AsyncIterator[Shop]:
    """Stubs of all services, through the gateway's gRPC port."""
    async with connect(fleet.slot(f"{FRONT}/1").address) as opened:
        yield opened
