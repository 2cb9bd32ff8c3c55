"""What a supervisor refuses before it does anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet import plan as plans
from fleet.errors import FleetError
from fleet.supervisor import Supervisor

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", plans.SINGLE)
def test_of_what_there_is_one_there_cannot_be_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    with pytest.raises(FleetError, match=rf"^{program}=2: expected 0 or 1: there is one {program}, "):
        Supervisor(plans.make(ROOT, tmp_path, {})).scale({program: 2})
