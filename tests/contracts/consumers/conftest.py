"""What consumers' tests share: a mock for each provider, and the pacts that a whole run writes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chassis.testing.consumer import Pacts
from chassis.testing.mock import Mock


@pytest.fixture(scope="session")
def pacts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacts]:
    """The pacts of this run, written where MERCATO_PACTS says."""
    pacts = Pacts()
    yield pacts
    pacts.write(Path(os.environ.get("MERCATO_PACTS") or tmp_path_factory.mktemp("pacts")))


@pytest.fixture(scope="session")
async def mock() -> AsyncIterator[Mock]:
    """A mock provider."""
    async with Mock() as mock:
        yield mock
