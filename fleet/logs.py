"""The logs of all processes of a fleet: files of lines, read as one stream in the order of time."""

from __future__ import annotations

import heapq
import json
import re
import shutil
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

_LARGEST_BYTES = 32 * 1024 * 1024
_POLL_S = 0.1
_BEGINNING = datetime.fromtimestamp(0, UTC)
_ENGINE_LINE = re.compile(
    r"(?:\[\d+\] )?(?P<day>\d{4}[-/]\d\d[-/]\d\d) (?P<clock>\d\d:\d\d:\d\d\.\d+)(?: UTC \[\d+\])? "
    r"(?:\[(?P<short>\w+)\]|(?P<level>\w+):) +(?P<message>.*)"
)
_LEVELS = {"INF": "INFO", "WRN": "WARNING", "ERR": "ERROR", "DBG": "DEBUG", "FTL": "FATAL", "LOG": "INFO"}


@dataclass(frozen=True)
class Line:
    """One line of a log; `fields` are what it says besides."""

    time: datetime
    level: str
    service: str
    message: str
    fields: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        """The line as one JSON object, also where the process wrote plain text."""
        named = {"time": self.time.isoformat(), "level": self.level, "service": self.service, "message": self.message}
        return json.dumps(named | self.fields)


def read(folder: Path, service: str | None = None, newest: int | None = None) -> list[Line]:
    """The `newest` lines, or all, of one service or of all, oldest first."""
    merged = heapq.merge(*(_lines(file) for file in _files(folder, service)), key=lambda line: line.time)
    return list(deque(merged, newest))


def follow(folder: Path, service: str | None = None) -> Iterator[Line]:
    """Lines written from now on, without end; those found together in the order of their time."""
    tails = {file: _Tail(file, from_end=True) for file in _files(folder, service)}
    while True:
        for file in _files(folder, service):
            tails.setdefault(file, _Tail(file, from_end=False))
        found = [line for tail in tails.values() for line in tail.new_lines()]
        yield from sorted(found, key=lambda line: line.time)
        if not found:
            time.sleep(_POLL_S)


def last(file: Path, count: int) -> str:
    """The last lines of one file as they are; empty when there is none."""
    if not file.exists():
        return ""
    with file.open(errors="replace") as stream:
        return "".join(deque(stream, count)).rstrip()


def keep_small(folder: Path) -> None:
    """Move what a large file holds aside, in place of what was moved before: its process goes on writing to it."""
    for file in folder.glob("*.log"):
        if file.stat().st_size > _LARGEST_BYTES:
            shutil.copyfile(file, file.with_suffix(".log.1"))
            with file.open("r+b") as stream:
                stream.truncate(0)


class _Tail:
    """What is added to one file."""

    def __init__(self, file: Path, *, from_end: bool) -> None:
        self._file = file
        self._position = file.stat().st_size if from_end else 0
        self._before = _blank(file)

    def new_lines(self) -> list[Line]:
        with self._file.open(errors="replace") as stream:
            if self._file.stat().st_size < self._position:  # moved aside because it was large
                self._position = 0
            stream.seek(self._position)
            lines = list(_whole_lines(stream))
            self._position = stream.tell()
        parsed = []
        for text in lines:
            self._before = _parse(text, self._before)
            parsed.append(self._before)
        return parsed


def _whole_lines(stream: TextIO) -> Iterator[str]:
    """Lines that are written to their end; leaves the stream before one that is not."""
    while True:
        start = stream.tell()
        text = stream.readline()
        if not text.endswith("\n"):
            stream.seek(start)
            return
        yield text


def _files(folder: Path, service: str | None) -> list[Path]:
    return [file for file in sorted(folder.glob("*.log")) if service in (None, file.stem, _service(file))]


def _service(file: Path) -> str:
    return re.sub(r"-\d+$", "", file.stem)


def _blank(file: Path) -> Line:
    return Line(_BEGINNING, "", _service(file), "")


def _lines(file: Path) -> Iterable[Line]:
    before = _blank(file)
    with file.open(errors="replace") as stream:
        for text in stream:
            before = _parse(text, before)
            yield before


def _parse(text: str, before: Line) -> Line:
    """A line of JSON, or of an engine, or any other (a traceback's, say), which then is as old as the one before."""
    text = text.rstrip("\n")
    try:
        fields = json.loads(text)
        when = datetime.fromisoformat(fields.pop("time"))
    except (ValueError, TypeError, AttributeError, KeyError):
        return _parse_plain(text, before)
    return Line(
        time=when if when.tzinfo else when.replace(tzinfo=UTC),
        level=str(fields.pop("level", "")),
        service=str(fields.pop("service", before.service)),
        message=str(fields.pop("message", "")),
        fields=fields,
    )


def _parse_plain(text: str, before: Line) -> Line:
    match = _ENGINE_LINE.fullmatch(text)
    if not match:
        return Line(before.time, "", before.service, text)
    when = datetime.fromisoformat(f"{match['day'].replace('/', '-')}T{match['clock']}+00:00")
    level = match["short"] or match["level"]
    return Line(when, _LEVELS.get(level, level), before.service, match["message"])
