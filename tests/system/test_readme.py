"""The README says what is so: every setting that code reads is in its table, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("chassis", "fleet", "services", "loadtest")
INTERNAL = {"MERCATO_FLEET"}
"""What the fleet tells its own processes."""
OPTIONS = {
    "MERCATO_GATEWAY_CORS_ORIGINS", "MERCATO_NOTIFICATIONS_SMTP_URL", "MERCATO_PAYMENTS_DELAY_S",
    "MERCATO_TELEMETRY_KEEP_RATIO", "MERCATO_TELEMETRY_MAX_LOGS", "MERCATO_TELEMETRY_MAX_POINTS",
    "MERCATO_TELEMETRY_MAX_SPANS", "MERCATO_TELEMETRY_RETENTION_H",
}  # fmt: skip
"""Read as `settings.options`, by what follows the service's name."""


def test_the_table_of_settings_is_complete() -> None:
    code = "".join(path.read_text() for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    read = set(re.findall(r"\bMERCATO_[A-Z]+(?:_[A-Z]+)*\b", code)) - INTERNAL
    table = set(re.findall(r"`(MERCATO_[A-Z_]+)`", (ROOT / "README.md").read_text()))
    assert table == read | OPTIONS
    for option in OPTIONS:
        assert f'"{option.split("_", 2)[2].lower()}"' in code


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)\b", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named <= targets
