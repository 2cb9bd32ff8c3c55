"""A small suite of services to run, and the real command to run it with."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from fleet import ports
from fleet.plan import Plan

REPOSITORY = Path(__file__).parents[2]
ECHO = Path(__file__).with_name("echo_service.py")


@dataclasses.dataclass(frozen=True)
class Runner:
    """Who runs the command, with which interpreter, and from where it imports."""

    uid: int = os.geteuid()
    python: str = sys.executable
    path: tuple[Path, ...] = (REPOSITORY, REPOSITORY / "generated")
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


QUIET = {"GRPC_VERBOSITY": "NONE"}
"""What gRPC notes on standard error is not what the command says."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """A tree with services, run by the `mercato` command in processes of its own."""

    root: Path
    runner: Runner
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        return self.root / ".mercato"

    @property
    def plan(self) -> Plan:
        return Plan.load(self.home)

    def add_service(self, name: str) -> Path:
        """A copy of the echo service; returns its main module."""
        folder = self.root / "services" / name
        folder.mkdir(parents=True)
        (folder.parent / "__init__.py").touch()
        main = folder / "__main__.py"
        main.write_text(ECHO.read_text())
        return main

    def mercato(self, *arguments: str, expect: int = 0, **environment: str) -> str:
        """Run the command; returns all it printed, having ended with the code expected."""
        ended = subprocess.run(
            self.command(*arguments), cwd=self.root, env=self.environment | QUIET | environment, user=self.runner.uid,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=90,
        )  # fmt: skip
        assert ended.returncode == expect, ended.stdout
        return ended.stdout

    def command(self, *arguments: str) -> list[str]:
        return [self.runner.python, "-m", "fleet", *arguments]

    def ps(self) -> dict[str, dict[str, Any]]:
        return {member["name"]: member for member in json.loads(self.mercato("ps", "--json"))}

    def processes(self) -> list[psutil.Process]:
        """The supervisor and every process below it."""
        supervisor = psutil.Process(self.ps()["supervisor"]["pid"])
        return [supervisor, *supervisor.children(recursive=True)]


RUNNER = Runner()


@contextlib.contextmanager
def suite_at(root: Path, runner: Runner = RUNNER) -> Iterator[Suite]:
    """A suite that is down again afterwards."""
    http_port, grpc_port = ports.free_block(2)
    suite = Suite(
        root,
        runner,
        {name: value for name, value in os.environ.items() if not name.startswith("MERCATO_")}
        | dict(runner.environment)
        | {"PYTHONPATH": os.pathsep.join(map(str, runner.path))}
        | {"MERCATO_HTTP_PORT": str(http_port), "MERCATO_GRPC_PORT": str(grpc_port), "MERCATO_DRAIN_S": "0"},
    )
    shutil.rmtree(root / "services", ignore_errors=True)
    for name in ("echo", "gateway"):
        suite.add_service(name)
    for path in (root, *(root / "services").rglob("*")):
        os.chown(path, runner.uid, -1)
    try:
        yield suite
    finally:
        suite.mercato("down")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree for one suite after the other; what their engines hold is kept, which saves time."""
    return tmp_path_factory.mktemp("shop")


@pytest.fixture
def suite(shop: Path) -> Iterator[Suite]:
    """A suite for a test that breaks it, not running yet."""
    with suite_at(shop) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """A running suite shared by tests that leave it as it was."""
    with suite_at(tmp_path_factory.mktemp("shared")) as shared:
        shared.mercato("up")
        yield shared
