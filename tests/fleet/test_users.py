"""The same fleet as root and as an ordinary user, below homes that nobody else may look into."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import REPOSITORY, Runner, Suite, suite_at


def test_root_runs_postgres_as_somebody_else_also_below_a_closed_home(running: Suite) -> None:
    assert any(parent.stat().st_mode & 0o077 == 0 for parent in running.root.parents)
    assert running.home.stat().st_mode & 0o777 == 0o700
    for process in running.processes():
        as_root = os.geteuid() == 0 and "postgres" not in process.name()
        assert (process.uids().effective == 0) == as_root


def test_an_ordinary_user_runs_everything_below_a_closed_home(public: Path, ordinary: Runner) -> None:
    home = public / "home"
    home.mkdir(mode=0o700)
    os.chown(home, ordinary.uid, -1)
    with suite_at(home / "shop", ordinary) as suite:
        suite.mercato("up")
        assert {process.uids().effective for process in suite.processes()} == {ordinary.uid}
        assert "back after" in suite.mercato("kill", "postgres")
        assert "back after" in suite.mercato("kill", "echo")
        assert home.stat().st_mode & 0o777 == 0o700


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="mercato-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def ordinary(public: Path) -> Runner:
    """The user who runs the tests; or where that is root another, who is given all code where he may read it."""
    if os.geteuid() != 0:
        return Runner()
    base, environment, code = public / "python", public / "venv", public / "code"
    stdlib, libraries = Path(os.__file__).parent, Path(sysconfig.get_config_var("LIBDIR"))
    link(stdlib, base / stdlib.relative_to(sys.base_prefix), "site-packages", "dist-packages", "test")
    (base / "bin").mkdir()
    python = shutil.copy(Path(sys.executable).resolve(), base / "bin" / "python3")
    for library in libraries.glob("libpython3.*so*"):
        shutil.copy(library, base / "lib")
    link(Path(sys.prefix), environment)
    for room in ("chassis", "fleet", "generated", "loadtest"):
        link(REPOSITORY / room, code / room)
    packages = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    return Runner(
        uid=pwd.getpwnam("nobody").pw_uid,
        python=str(python),
        path=(code, code / "generated", packages),
        environment={"LD_LIBRARY_PATH": str(base / "lib"), "HOME": str(public / "home")},
    )


def link(source: Path, target: Path, *without: str) -> None:
    """A copy of the folder that shares its files where it can."""

    def link_or_copy(file: str, copy: str) -> None:
        try:
            os.link(file, copy)
        except OSError:
            shutil.copy2(file, copy)

    shutil.copytree(
        source.resolve(), target, symlinks=True, copy_function=link_or_copy, ignore=shutil.ignore_patterns(*without)
    )
