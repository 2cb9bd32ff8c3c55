"""The logs of all processes of a fleet: files of lines, read as one stream in the order of time."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

_LARGEST_BYTES = 32 * 1024 * 1024
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


class Reader:
    """Reads the logs of one program, or of all, from where it left off; also of processes that begin later.

    `within` chooses one of the services that write to the same log, `traces` the lines written in traces of these ids,
    also those that were moved aside; a line that only tells of such a trace is not written in it.
    """

    def __init__(
        self,
        folder: Path,
        program: str | None = None,
        within: str | None = None,
        traces: Collection[str] = (),
    ) -> None:
        self._folder = folder
        self._program = program
        self._within = within
        self._traces = traces
        self._tails: dict[Path, _Tail] = {}

    def read(self, newest: int | None = None) -> list[Line]:
        """The `newest` lines, or all, that were not read yet, oldest first."""
        for file in sorted(self._folder.glob("*.log*" if self._traces else "*.log")):
            if self._program in (None, _service(file)):
                self._tails.setdefault(file, _Tail(file, self._traces))
        most = newest if self._within is None and not self._traces else None
        lines = [line for tail in self._tails.values() for line in tail.read(most)]
        found = [line for line in lines if self._within in (None, line.service)]
        if self._traces:
            found = [line for line in found if line.fields.get("trace") in self._traces]
        return list(deque(sorted(found, key=lambda line: line.time), newest))


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
    """What was added to one file since it was read last."""

    def __init__(self, file: Path, traces: Collection[str]) -> None:
        self._file = file
        self._traces = [trace.encode() for trace in traces]
        self._position = 0
        self._before = Line(_BEGINNING, "", _service(file), "")

    def read(self, newest: int | None) -> list[Line]:
        with self._file.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) < self._position:  # moved aside because it was large
                self._position = 0
            stream.seek(self._position)
            texts = deque(self._whole_lines(stream), newest)
        lines = []
        for text in texts:
            self._before = _parse(text, self._before)
            lines.append(self._before)
        return lines

    def _whole_lines(self, stream: BinaryIO) -> Iterator[str]:
        for text in stream:
            if not text.endswith(b"\n"):  # still being written: read the next time
                return
            self._position += len(text)
            if not self._traces or any(trace in text for trace in self._traces):
                yield text.decode(errors="replace")


def _service(file: Path) -> str:
    return re.sub(r"-\d+$", "", file.name.partition(".")[0])


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
