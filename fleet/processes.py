"""The processes of a fleet as the machine sees them."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import psutil

MARK = "_MERCATO_FLEET"
"""The environment variable that every process of a fleet carries from its start: the fleet's home."""

_END_TIMEOUT_S = 10.0


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
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == str(home):
                found |= {process, *process.children(recursive=True)}  # PostgreSQL's own children hide their mark
    return sorted(found, key=lambda process: process.pid)


def wait_ended(home: Path, timeout_s: float = _END_TIMEOUT_S) -> list[psutil.Process]:
    """Wait until no process of the fleet is left; returns those that are after the time."""
    _, alive = psutil.wait_procs(of_fleet(home), timeout_s)
    return list(alive)


def end_leftovers(home: Path) -> list[psutil.Process]:
    """End by force every process of a fleet whose supervisor is gone; returns what it ended."""
    leftovers = of_fleet(home)
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(leftovers, _END_TIMEOUT_S)
    return leftovers
