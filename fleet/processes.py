"""The processes of a fleet as the machine sees them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "_MERCATO_FLEET"
"""The environment variable that every process of a fleet carries from its start: the fleet's home."""

_END_TIMEOUT_S = 10.0
_POLL_S = 0.02


def pss_bytes(pid: int, *, with_children: bool = False) -> int:
    """The memory of a process, or of all it started too; shared pages count in proportion. 0 when it is gone."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *(process.children(recursive=True) if with_children else ())):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = member.memory_full_info()
                total += getattr(memory, "pss", memory.uss)
    return total


def of_fleet(home: Path) -> list[psutil.Process]:
    """Every living process that belongs to the fleet with this home."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(home):
                found |= {process, *process.children(recursive=True)}  # PostgreSQL's own children hide their mark
    return sorted(found, key=lambda process: process.pid)


def wait_ended(processes: Iterable[psutil.Process], timeout_s: float = _END_TIMEOUT_S) -> None:
    """Wait until they are gone, for a limited time; one that only its parent has yet to take note of is."""
    deadline = time.monotonic() + timeout_s
    while any(_lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def end_leftovers(home: Path) -> list[psutil.Process]:
    """End by force every process of a fleet whose supervisor is gone; returns what it ended."""
    leftovers = of_fleet(home)
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    wait_ended(leftovers)
    return leftovers


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
