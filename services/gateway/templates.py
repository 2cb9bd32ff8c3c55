"""Path templates of google.api.http: `/v1/{name=orders/*}:cancel`; the grammar stands in google/api/http.proto."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_SEGMENT = re.compile(r"/(?:\{([\w.]+)(?:=([^{}]+))?\}|([^/{}:]+))")
_VERB = re.compile(r":([^/{}:]+)")
_SLASH = re.compile("%2f", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Variable:
    """A field that takes its value from a run of segments."""

    field: str
    """Its path in the request: `product.name`."""
    start: int
    end: int | None
    """Exclusive; None where it takes all that is left."""
    single: bool
    """Whether it is one segment, and may therefore hold an encoded slash."""

    def value(self, segments: Sequence[str]) -> str:
        """Return the field's text out of the segments of a raw path; UnicodeDecodeError when it is not UTF-8."""
        if self.single:
            return unquote(segments[self.start], errors="strict")
        kept = (_SLASH.sub("%252F", segment) for segment in segments[self.start : self.end])
        return "/".join(unquote(segment, errors="strict") for segment in kept)


@dataclass(frozen=True)
class Template:
    """A path template, taken apart."""

    text: str
    segments: tuple[str, ...]
    """Literals, `*` for any one segment, `**` for all that are left."""
    variables: tuple[Variable, ...]
    verb: str
    """What follows the colon; empty without one."""

    @classmethod
    def parse(cls, text: str) -> Template:
        """Take a template apart; ValueError says what is wrong with it."""
        segments: list[str] = []
        variables: list[Variable] = []
        position = 0
        while match := _SEGMENT.match(text, position):
            field, pattern, literal = match.groups()
            start, position = len(segments), match.end()
            segments += (pattern or "*").split("/") if field else [literal]
            if field:
                end = None if segments[-1] == "**" else len(segments)
                variables.append(Variable(field, start, end, single=pattern in (None, "*")))
        verb = _VERB.fullmatch(text, position)
        if not segments or (position < len(text) and not verb) or "**" in segments[:-1] or not all(segments):
            raise ValueError(f"{text!r} is not a path template of google.api.http")
        return cls(text, tuple(segments), tuple(variables), verb[1] if verb else "")
