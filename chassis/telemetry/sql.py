"""Spans of SQL statements: https://opentelemetry.io/docs/specs/semconv/database/. Values never show: they are apart."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import lru_cache

from opentelemetry.trace import SpanKind

from chassis.telemetry.spans import NOTHING, recorded, span

LONGEST_TEXT = 2000

_PART = re.compile(
    r"\b(?:(INSERT)\s+INTO|(UPDATE)(?!\s+SET)|(DELETE)\s+FROM|(SELECT)\b.*?\bFROM|(?:FROM|JOIN))\s+(?:ONLY\s+)?([a-z_][\w.]*)",
    re.IGNORECASE | re.DOTALL,
)

_NAMED = re.compile(r"\b(\w+) AS \(")


def statement(database: str, sql: str) -> AbstractContextManager[None]:
    """Record a statement that is run within the block, where the call being served is sampled."""
    if not recorded():
        return NOTHING
    said = summary(sql)
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "db.query.summary": said,
        "db.query.text": sql[:LONGEST_TEXT],
    }
    return span(said, SpanKind.CLIENT, attributes)


@lru_cache(maxsize=512)
def summary(sql: str) -> str:
    """Return what a statement does to which tables: `INSERT events INSERT orders`; of each pair the first alone."""
    named = set(_NAMED.findall(sql))
    found = dict.fromkeys(
        f"{next(filter(None, match.groups()[:4]), 'SELECT').upper()} {match[5]}"
        for match in _PART.finditer(sql)
        if match[5] not in named and not (match[0].upper().startswith(("FROM", "SELECT")) and _is_called(sql, match))
    )
    return " ".join(found) or sql.split(maxsplit=1)[0].upper()


def _is_called(sql: str, match: re.Match[str]) -> bool:
    """Whether what is read from is a function, and no table."""
    return sql[match.end() :].startswith("(")
