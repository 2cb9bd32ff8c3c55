"""What Prometheus is told to scrape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet import plan as plans
from fleet import targets
from fleet.plan import SLOTS, Plan

from .conftest import Suite


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("gateway", "mesh", "orders", "payments"):
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "__main__.py").touch()
    return tmp_path


def by_instance(plan: Plan) -> dict[str, tuple[str, list[str]]]:
    return {group["labels"]["instance"]: (group["labels"]["service"], group["targets"]) for group in targets.of(plan)}


def test_every_process_there_could_be_is_a_target_so_that_scaling_changes_nothing(root: Path) -> None:
    plan = plans.make(root, root / ".mercato", {})
    found = by_instance(plan)
    assert len(found) == 3 * SLOTS + 1  # of the mesh there is one
    assert found["orders/3"] == ("orders", [f"127.0.0.1:{plan.slots['orders'][2].metrics_port}"])


def test_services_in_one_process_are_one_target(root: Path) -> None:
    plan = plans.make(root, root / ".mercato", {}, together=True)
    found = by_instance(plan)
    assert {service for service, _ in found.values()} == {"gateway", "mesh", "together"}
    first = plan.hosted("together/1")[0]
    assert found["together/1"] == ("together", [f"127.0.0.1:{plan.slot(first).metrics_port}"])


def test_the_command_prints_them_for_prometheus_to_read(running: Suite) -> None:
    assert json.loads(running.mercato("targets")) == targets.of(running.plan)
