"""What the README says to start, started as it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import aiohttp
import pytest

from fleet import ports
from tests.prometheus.debian import HERE, program
from tests.prometheus.watch import running

FOLDERS = {"--config.file", "--storage.tsdb.path", "--storage.path"}
"""What differs where a program runs in a container."""


def flags(name: str) -> dict[str, str]:
    """Return what the README has a program started with."""
    text = (HERE / "README.md").read_text().replace("\\\n", " ")
    [command] = re.findall(rf"^{name} (.*)$", text, re.MULTILINE)
    return dict(flag.split("=", 1) for flag in shlex.split(command))


@pytest.mark.parametrize("name", ["prometheus", "alertmanager"])
def test_it_is_the_same_with_and_without_containers(name: str) -> None:
    [section] = re.findall(rf"^  {name}:\n(.*?)^  \w", (HERE / "compose.yaml").read_text(), re.MULTILINE | re.DOTALL)
    composed = dict(flag.split("=", 1) for flag in re.findall(r"- (--[^\s]+)", section))
    said = flags(name)
    assert {flag: said[flag] for flag in said.keys() - FOLDERS} == {
        flag: composed[flag] for flag in composed.keys() - FOLDERS
    }


async def test_prometheus_starts_as_the_readme_says_and_keeps_what_budgets_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    said = flags("prometheus")
    assert said.pop("--web.listen-address") == "127.0.0.1:9091"
    [port] = ports.free_block(1)
    command = [f"{flag}={value}" for flag, value in {**said, "--storage.tsdb.path": str(tmp_path / "series")}.items()]
    url = f"http://{ports.LOOPBACK}:{port}/api/v1/status/runtimeinfo"
    async with (
        running(port, tmp_path / "log", program("prometheus"), *command),
        aiohttp.ClientSession() as session,
        session.get(url) as response,
    ):
        assert (await response.json())["data"]["storageRetention"] == "5w"
