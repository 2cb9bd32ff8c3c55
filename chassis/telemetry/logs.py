"""Structured logs: one JSON line an event, written in batches."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import sleep, time
from typing import NamedTuple

import orjson

from chassis.call import Call, current_call
from chassis.settings import Settings
from chassis.telemetry.instance import current_telemetry, fields_of
from chassis.telemetry.redaction import plain
from chassis.telemetry.trace import Trace

OURS = "/mercato."
"""How the paths of methods begin that are worth a line a call; others are health, telemetry, discovery."""
LARGEST_SENT, LONGEST_SENT = 16_000, 2_000
"""Bytes of a line, and characters of a value, beyond which values are cut for telemetry; in the file they are whole."""
FLUSH_S = 0.1
FLUSH_LINES = 200

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Handler):
    """Writes records to standard output as JSON lines: errors at once, others when there are many or after a moment."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.instance: Mapping[str, str] = fields_of(settings)
        self._lines: deque[bytes | CallLine] = deque()
        self._writing = threading.RLock()  # a finalizer may log while its thread writes
        threading.Thread(target=self._write_now_and_then, name="logs", daemon=True).start()
        atexit.register(self.flush)

    def handle(self, record: logging.LogRecord) -> bool:
        """Take one record, without the lock of other handlers.

        A finalizer that logs in the thread that writes would wait for who holds it, and that one for the writing.
        """
        accepted = bool(self.filter(record))
        if accepted:
            self.emit(record)
        return accepted

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record; one that cannot be written is told to standard error, never to who logged it."""
        try:
            line, telemetry = self._line(record), current_telemetry()
            written = orjson.dumps(line, option=orjson.OPT_UTC_Z)
            self.take(written)
            if telemetry:
                telemetry.log(line if len(written) <= LARGEST_SENT else _cut(line))
        except Exception:
            self.handleError(record)
        if record.levelno >= logging.ERROR:
            self.flush()

    def take(self, line: bytes | CallLine) -> None:
        """Take one line."""
        self._lines.append(line)
        if len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what was taken. Where standard output takes no more, it is lost: there is nowhere left to say so."""
        with self._writing, suppress(OSError, ValueError):
            taken = list[bytes | CallLine]()
            with suppress(IndexError):  # also where a finalizer logs meanwhile, and so has taken the rest
                while True:
                    taken.append(self._lines.popleft())
            if taken:
                lines = [line if isinstance(line, bytes) else line.json() for line in taken]
                sys.stdout.buffer.write(b"\n".join(lines) + b"\n")
                sys.stdout.buffer.flush()

    def _line(self, record: logging.LogRecord) -> dict[str, object]:
        telemetry, call = current_telemetry(), current_call()
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "message": record.getMessage(),
            **(telemetry.fields if telemetry else self.instance),
            "logger": record.name,
        }
        if call is not None:
            line |= {"trace": call.trace.trace_id, "span": call.trace.span_id, "caller": call.caller}
        line |= {key: plain(value) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = logging.Formatter().formatException(record.exc_info)
        return line

    def _write_now_and_then(self) -> None:
        while True:
            sleep(FLUSH_S)
            self.flush()


class CallLog:
    """Writes a line for each call of one method, in the name of the instance it is made for.

    It is at the level INFO, for methods that are not ours (health, telemetry, discovery) at DEBUG. In the file is every
    call; sent to telemetry are those that are sampled.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._log = logging.getLogger("mercato.calls")
        self._sink = next((handler for handler in logging.getLogger().handlers if isinstance(handler, JsonLines)), None)
        self._level = logging.INFO if method.startswith(OURS) else logging.DEBUG
        self._telemetry = current_telemetry()
        instance = self._telemetry.fields if self._telemetry else self._sink.instance if self._sink else {}
        level = logging.getLevelName(self._level)
        self._constant = {"level": level, "message": "call", **instance, "logger": self._log.name, "method": method}

    def write(self, call: Call, code: str, duration_s: float) -> None:
        """Note how a call ended. It is made a line later, with others: that costs a third of making it alone."""
        if not self._log.isEnabledFor(self._level):
            return
        if self._sink is None:
            self._log.log(self._level, "call", extra={"method": self._method, "code": code, "ms": _ms(duration_s)})
            return
        line = CallLine(self._constant, time(), call.trace, call.caller, code, duration_s)
        self._sink.take(line)
        if call.trace.sampled and self._telemetry:
            self._telemetry.log(line.fields())


class CallLine(NamedTuple):
    """What a line says of a call."""

    constant: Mapping[str, object]
    time_s: float
    trace: Trace
    caller: str
    code: str
    duration_s: float

    def json(self) -> bytes:
        """Return it as it is written."""
        return orjson.dumps(self.fields(), option=orjson.OPT_UTC_Z)

    def fields(self) -> dict[str, object]:
        """Return what it says."""
        return {
            "time": datetime.fromtimestamp(self.time_s, UTC),
            **self.constant,
            "trace": self.trace.trace_id,
            "span": self.trace.span_id,
            "caller": self.caller,
            "code": self.code,
            "ms": _ms(self.duration_s),
        }


def configure_logs(settings: Settings) -> None:
    """Send all logs of this process to JSON lines."""
    logging.basicConfig(level=settings.log_level, handlers=[JsonLines(settings)], force=True)
    logging.getLogger("nats").setLevel(logging.WARNING)
    logging.getLogger("grpc._cython").setLevel(logging.INFO)  # at DEBUG it tells of every turn of the event loop
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _cut(line: Mapping[str, object]) -> dict[str, object]:
    """Return a line without the ends of its long values, as thousands of lines may wait in memory to be sent."""
    return {
        key: value if len(text := str(value)) <= LONGEST_SENT else text[:LONGEST_SENT] for key, value in line.items()
    }


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 2)
