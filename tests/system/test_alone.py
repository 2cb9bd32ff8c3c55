"""Every service can be deployed alone: with the chassis, the contracts and its own folder."""

from __future__ import annotations

import signal
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

from tests.stage import Stage
from tests.system.alone import alone

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/__main__.py"))


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_starts_in_a_tree_of_its_own(service: str, stage: Stage, tmp_path: Path) -> None:
    for part in ("chassis", "generated", f"services/{service}"):
        copytree(ROOT / part, tmp_path / part, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "services/__init__.py").touch()
    database_url = await stage.new_database(service)
    async with alone(tmp_path, service, MERCATO_DATABASE_URL=database_url, MERCATO_NATS_URL=stage.nats_url) as running:
        running.process.send_signal(signal.SIGTERM)
        assert await running.process.wait() == 0


def test_every_folder_of_services_is_a_service() -> None:
    folders = {path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(SERVICES)
