"""What tests share: one real PostgreSQL for all, and a stage for the services of one test module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fleet.embedded import postgres
from tests.stage import Stage, stage


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
