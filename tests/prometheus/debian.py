"""Debian's Prometheus and Alertmanager, which the rules and configurations are held against."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "deploy" / "observability"
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""The programs, and what of Debian they are in."""


def program(name: str) -> str:
    """Return where a program is; a test without it has failed, as it proves nothing."""
    return shutil.which(name) or pytest.fail(f"{name} is missing: apt-get install {PACKAGES[name]}", pytrace=False)


def check(name: str, *arguments: str | Path) -> str:
    """Run a program that checks something; returns what it says, and fails where it finds something."""
    ended = subprocess.run(
        [program(name), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout
