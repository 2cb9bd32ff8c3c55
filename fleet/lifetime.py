"""A process that does not outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent_pid: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process as soon as its parent ends, however it ends.

    A change of user clears the wish, an exec keeps it. Elsewhere than on Linux there is no such wish; what is left
    over there is found and ended by the next `mercato up` or `mercato down`.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(with_signal)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it ended before the kernel heard of the wish
        os.kill(os.getpid(), signal.SIGKILL)
