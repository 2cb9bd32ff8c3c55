"""How statements are named: by what they do to which tables, never by values."""

from __future__ import annotations

import pytest

from chassis.telemetry.sql import summary


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT name, state FROM orders WHERE name = $1", "SELECT orders"),
        ("INSERT INTO events (subject) VALUES ($1)", "INSERT events"),
        ("UPDATE sagas SET status = $1 WHERE kind = $2 RETURNING 1", "UPDATE sagas"),
        ("DELETE FROM inbox WHERE create_time < $1", "DELETE inbox"),
        (
            "WITH w0 AS (INSERT INTO events (a) VALUES ($1)), w1 AS (INSERT INTO orders (a) VALUES ($2)"
            " ON CONFLICT (name) DO UPDATE SET a = EXCLUDED.a) SELECT 1 / (SELECT count(*) FROM w0)",
            "INSERT events INSERT orders",
        ),
        ("SELECT pg_advisory_lock($1)", "SELECT"),
        (
            "UPDATE stocks SET held = held + q FROM (SELECT unnest($1::text[]) AS p FROM unnest($2::int[]) AS q) AS x",
            "UPDATE stocks",
        ),
    ],
)
def test_a_statement_is_named_by_what_it_does_to_which_tables(sql: str, said: str) -> None:
    assert summary(sql) == said
