"""What the tests of the gate share: every provider, really running."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from chassis.testing.bridge import Provider
from tests.contracts.providers import providers_on


@pytest.fixture(scope="session")
async def running(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, Provider]]:
    """All providers, by name."""
    async with providers_on(postgres_url, tmp_path_factory.mktemp("nats")) as running:
        yield running
