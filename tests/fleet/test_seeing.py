"""What the commands that look inside say where there is nothing to look at."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fleet import plan as plans
from fleet import seeing
from fleet.errors import FleetError

ROOT = Path(__file__).parents[2]


async def test_a_suite_that_tells_elsewhere_says_so_and_is_not_waited_for(tmp_path: Path) -> None:
    plan = plans.make(ROOT, tmp_path, {"MERCATO_TELEMETRY": "collector.example:4317"})
    with pytest.raises(
        FleetError, match=r"has no telemetry of its own: it was started with MERCATO_TELEMETRY=collector\.example"
    ):
        await anext(seeing.traffic(plan, timedelta(seconds=10), 1.0))
