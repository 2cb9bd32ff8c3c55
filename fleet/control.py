"""The control socket of a supervisor: one JSON line there, one back."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleet.errors import FleetError

_FILE = "control.sock"
_BACKLOG = 32
_LONGEST_LINE = 65_536
_REQUEST_TIMEOUT_S = 1.0
_ANSWER_TIMEOUT_S = 60.0


class NotRunningError(FleetError):
    """The fleet is not running; start it with `mercato up`."""

    def __init__(self) -> None:
        super().__init__("the fleet is not running; start it with `mercato up`")


class NotAnsweringError(FleetError):
    """The supervisor is there but does not answer."""


def call(home: Path, do: str, *, timeout_s: float = _ANSWER_TIMEOUT_S, **arguments: object) -> Any:
    """Ask the supervisor of the fleet in `home`; FleetError says what it refused."""
    with socket.socket(socket.AF_UNIX) as connection, _short(home) as folder:
        connection.settimeout(timeout_s)
        try:
            connection.connect(f"{folder}/{_FILE}")
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            line = _read_line(connection)
        except (FileNotFoundError, ConnectionError):
            raise NotRunningError from None
        except TimeoutError:
            raise NotAnsweringError(f"the supervisor did not answer `{do}` within {timeout_s:.0f} s") from None
    if not line:
        raise NotRunningError
    answer = json.loads(line)
    if "error" in answer:
        raise FleetError(answer["error"])
    return answer["result"]


@contextlib.contextmanager
def listening(home: Path) -> Iterator[socket.socket]:
    """The supervisor's side, to be accepted from; the file is there exactly as long."""
    file = home / _FILE
    file.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        with _short(home) as folder:
            listener.bind(f"{folder}/{_FILE}")
        listener.listen(_BACKLOG)
        try:
            yield listener
        finally:
            file.unlink(missing_ok=True)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Read a request; FleetError where it is none. A client that says nothing is waited for a second."""
    connection.settimeout(_REQUEST_TIMEOUT_S)
    try:
        request = json.loads(_read_line(connection))
    except (ValueError, OSError) as error:
        raise FleetError(f"expected a JSON object on one line: {error}") from error
    if not isinstance(request, dict):
        raise FleetError("expected a JSON object on one line")
    return request


def answer(connection: socket.socket, **fields: object) -> None:
    """Send `result` or `error`; a client that went away does not mind."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(fields).encode() + b"\n")


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.readline(_LONGEST_LINE)


@contextlib.contextmanager
def _short(folder: Path) -> Iterator[str]:
    """A name of the folder that is short however deep it lies: a socket's address has room for 107 bytes."""
    if sys.platform != "linux":
        yield str(folder)
        return
    try:
        descriptor = os.open(folder, os.O_PATH)
    except FileNotFoundError:
        raise NotRunningError from None
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
