"""Spans of SQL statements: https://opentelemetry.io/docs/specs/semconv/database/. Values never show: they are apart."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from functools import lru_cache

import asyncpg
from asyncpg.connection import LoggedQuery
from opentelemetry.trace import SpanKind

from chassis.telemetry.spans import NOTHING, past, recorded, span

LONGEST_TEXT = 2000

_PART = re.compile(
    r"\b(?:(INSERT)\s+INTO|(UPDATE)(?!\s+SET)|(DELETE)\s+FROM|(SELECT)\b.*?\bFROM|(?:FROM|JOIN))\s+(?:ONLY\s+)?([a-z_][\w.]*)",
    re.IGNORECASE | re.DOTALL,
)

_NAMED = re.compile(r"\b(\w+) AS \(")


def statement(database: str, sql: str) -> AbstractContextManager[None]:
    """Record a statement that is run within the block, where the call being served is sampled."""
    return span(summary(sql), SpanKind.CLIENT, _about(database, sql)) if recorded() else NOTHING


def statements(database: str, connection: asyncpg.Connection[asyncpg.Record]) -> AbstractContextManager[None]:
    """Record each statement that is run on a connection within the block, where the call being served is sampled."""

    def tell(query: LoggedQuery) -> None:
        past(summary(query.query), SpanKind.CLIENT, _about(database, query.query), query.elapsed, query.exception)

    return connection.query_logger(tell) if recorded() else NOTHING


def committed(database: str, sql: str, duration_s: float) -> None:
    """Record a statement that was just committed together with those of others, where the call served is sampled."""
    if recorded():
        past(summary(sql), SpanKind.CLIENT, _about(database, sql), duration_s, None)


def _about(database: str, sql: str) -> dict[str, str]:
    return {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "db.query.summary": summary(sql),
        "db.query.text": sql[:LONGEST_TEXT],
    }


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
