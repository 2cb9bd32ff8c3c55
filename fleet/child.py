"""One process under supervision: forked, ended gently or by force, started again when it ended unasked."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from fleet.backoff import Backoff
from fleet.lifetime import end_with_parent

HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
"""The signals that wake the supervisor."""

_PR_SET_NAME = 15
_NEVER = float("inf")


class Child:
    """A process that `run` makes out of a fork; `wanted` says whether it should be there.

    `crashed` is whether the one before ended unasked, `forced` whether it had to be ended by force.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        *,
        log: Path,
        grace_s: float,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.wanted = False
        self.pid: int | None = None
        self.started_at = 0.0
        self.restarts = 0
        self.forced = False
        self.crashed = False
        self._run = run
        self._log = log
        self._grace_s = grace_s
        self._stop_signal = stop_signal
        self._backoff = Backoff()
        self._born = 0.0
        self._asked = False
        self._start_due = 0.0
        self._kill_due = _NEVER

    @property
    def state(self) -> str:
        """`running`, `stopping`, `waiting` for its next start, or `down`."""
        if self.pid is not None:
            return "stopping" if self._asked else "running"
        return "waiting" if self.wanted else "down"

    @property
    def due(self) -> float:
        """When `tick` has something to do, on the monotonic clock."""
        if self.pid is not None:
            return self._kill_due
        return self._start_due if self.wanted else _NEVER

    def tick(self) -> None:
        """Do what is due: start it, or end it by force."""
        if self.due > time.monotonic():
            return
        if self.pid is None:
            self.start()
        else:
            self.kill()
            self.forced = True
            self._kill_due = _NEVER

    def stop(self) -> None:
        """Ask it to end; `tick` uses force when its grace is over."""
        if self.pid is not None and not self._asked:
            self._asked, self.forced = True, False
            os.kill(self.pid, self._stop_signal)
            self._kill_due = time.monotonic() + self._grace_s

    def kill(self) -> None:
        """End it by force."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> float:
        """Note that the process is gone; returns after how many seconds it is to start again, if it is wanted."""
        now = time.monotonic()
        delay_s = 0.0 if self._asked else self._backoff.delay_s(lived_s=now - self._born)
        self.restarts += self.wanted
        self.crashed = not self._asked
        self.pid = None
        self._asked = False
        self._kill_due = _NEVER
        self._start_due = now + delay_s
        return delay_s

    def start(self) -> None:
        """Start it now."""
        self._born, self.started_at = time.monotonic(), time.time()
        supervisor = os.getpid()
        # A signal to the fork must not run the handlers, and through them wake the loop, that it still has of ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        self.pid = os.fork()
        if self.pid == 0:
            self._become(supervisor)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def _become(self, supervisor: int) -> NoReturn:
        """In the fork: let go of all that is the supervisor's, run, and end without the supervisor's clean-up."""
        code = 1
        atexit._clear()
        try:
            signal.set_wakeup_fd(-1)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            end_with_parent(supervisor)
            output = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(output, 1)
            os.dup2(output, 2)
            _close_all_but_standard()
            _set_title(self.name)
            self._run()
            code = 0
        except SystemExit as end:
            code = _exit_code(end)
        except BaseException:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _close_all_but_standard() -> None:
    """Close the supervisor's sockets: one left open here would seem to be answered after its end."""
    for descriptor in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        if descriptor > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed already
                os.close(descriptor)


def _exit_code(end: SystemExit) -> int:
    """As the interpreter does: a number is the code, anything else but None is a message."""
    if isinstance(end.code, str):
        sys.stderr.write(f"{end.code}\n")
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _set_title(name: str) -> None:
    """Show a name of at most 15 bytes in `ps -o comm` and `top`, so that forks can be told apart."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
