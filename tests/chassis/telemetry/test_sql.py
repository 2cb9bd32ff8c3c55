"""How statements are named: by what they do to which tables, never by values."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chassis.call import Call, serving
from chassis.database import Database
from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.sql import summary
from chassis.telemetry.trace import Trace
from tests.stage import Stage, eventually


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


@pytest.fixture(scope="module")
async def database(stage: Stage) -> AsyncIterator[Database]:
    async with Database(await stage.new_database("jars")) as opened:
        await opened.value("CREATE TABLE jars (name text PRIMARY KEY, sweets integer NOT NULL CHECK (sweets >= 0))")
        yield opened


async def test_each_statement_of_a_transaction_is_recorded(database: Database) -> None:
    exported, telemetry = InMemorySpanExporter(), Telemetry(Settings("tests", "tests/1"))
    telemetry.provider.add_span_processor(SimpleSpanProcessor(exported))
    telemetry.tell()
    call = Call("/tests", "tests", deadline=None, trace=Trace.start(sampled=True))
    with serving(call):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO jars VALUES ($1, $2)", "secret", 1)
            await connection.fetch("SELECT * FROM jars")
        with pytest.raises(asyncpg.CheckViolationError) as refused:
            async with database.transaction() as connection:
                await connection.execute("UPDATE jars SET sweets = $1", -1)

    async def told() -> bool:
        return len(exported.get_finished_spans()) == 7

    await eventually(told)
    spans = exported.get_finished_spans()
    assert [span.name for span in spans] == [
        "BEGIN", "INSERT jars", "SELECT jars", "COMMIT", "BEGIN", "UPDATE jars", "ROLLBACK",
    ]  # fmt: skip
    assert {span.parent.span_id for span in spans if span.parent} == {int(call.trace.span_id, 16)}
    assert {span.attributes["db.namespace"] for span in spans if span.attributes} == {database.name}
    assert [span.name for span in spans if span.status.status_code is StatusCode.ERROR] == ["UPDATE jars"]
    assert "secret" not in "".join(map(ReadableSpan.to_json, spans))
    assert "secret" not in str(refused.value), "nor in what is logged of it"
