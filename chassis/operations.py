"""Events, dead letters and sagas of a service, for operators (mercato.operations.v1)."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1 import operations_pb2_grpc

from chassis.clock import timestamp
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.errors import NotFound, invalid_field
from chassis.pages import Page, page_limit
from chassis.repository import parse_event
from chassis.saga_view import SagaView
from chassis.sagas import Sagas
from chassis.telemetry.redaction import redact
from chassis.telemetry.trace import Trace

OPERATIONS = pb.DESCRIPTOR.services_by_name["OperationsService"]


class Operations(operations_pb2_grpc.OperationsServiceServicer):
    """Serves OperationsService from the chassis' own tables; a service without a database has nothing to list."""

    def __init__(self, service: str, database: Database | None, consumer: Consumer | None, sagas: Sagas | None) -> None:
        self._service = service
        self._database = database
        self._consumer = consumer
        self._sagas = sagas

    async def ListDeadLetters(  # noqa: N802
        self, request: pb.ListDeadLettersRequest, context: Any
    ) -> pb.ListDeadLettersResponse:
        """See the contract."""
        self._check(request.service)
        rows = await self._rows(
            "SELECT * FROM dead_letters ORDER BY create_time LIMIT $1", page_limit(request.page_size)
        )
        letters = [
            pb.DeadLetter(
                id=row["id"],
                type=row["type"],
                key=row["key"],
                error=row["error"],
                attempts=row["attempts"],
                create_time=timestamp(row["create_time"]),
                trace=_trace(row["trace"]),
            )
            for row in rows
        ]
        return pb.ListDeadLettersResponse(dead_letters=letters)

    async def ReplayDeadLetters(  # noqa: N802
        self, request: pb.ReplayDeadLettersRequest, context: Any
    ) -> pb.ReplayDeadLettersResponse:
        """See the contract."""
        self._check(request.service)
        if self._consumer is None:
            raise NotFound("this service handles no events")
        handled, failed = await self._consumer.replay(list(request.ids))
        return pb.ReplayDeadLettersResponse(handled_count=handled, failed_count=failed)

    async def ListSagas(self, request: pb.ListSagasRequest, context: Any) -> pb.ListSagasResponse:  # noqa: N802
        """See the contract."""
        self._check(request.service)
        most = page_limit(request.page_size)
        if self._sagas is None:
            views = []
        elif request.subject:
            views = await self._sagas.about(request.subject, most)
        else:
            views = await self._sagas.live(most)
        return pb.ListSagasResponse(sagas=[_saga(view) for view in views])

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:  # noqa: N802
        """See the contract."""
        self._check(request.service)
        rows = await self._rows(
            "SELECT * FROM events WHERE subject = $1 ORDER BY version LIMIT $2",
            request.subject, page_limit(request.page_size),
        )  # fmt: skip
        page = Page.of([_event(row) for row in rows], request.page_size, lambda event: event.id)
        return pb.ListEventsResponse(events=page.items)

    async def ListHandledEvents(  # noqa: N802
        self, request: pb.ListHandledEventsRequest, context: Any
    ) -> pb.ListHandledEventsResponse:
        """See the contract."""
        self._check(request.service)
        rows = await self._rows("SELECT * FROM inbox WHERE id = ANY($1) ORDER BY create_time, id", list(request.ids))
        events = [pb.HandledEvent(id=row["id"], handle_time=timestamp(row["create_time"])) for row in rows]
        return pb.ListHandledEventsResponse(events=events)

    def _check(self, service: str) -> None:
        """Hold who is asked against who this is."""
        if service not in ("", self._service):
            raise invalid_field("service", f"expected {self._service}, which is asked here, or none")

    async def _rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return await self._database.rows(query, *arguments) if self._database else []


def _saga(view: SagaView) -> pb.Saga:
    return pb.Saga(
        kind=view.kind,
        subject=view.subject,
        status=view.status,
        step=view.step,
        attempts=view.attempts,
        error=view.error,
        update_time=timestamp(view.update_time),
        steps=[
            pb.SagaStep(
                name=step.name,
                state=pb.SagaStep.State.Value(f"STATE_{step.state.name}"),
                compensated=step.compensated,
            )
            for step in view.steps
        ],
        refusal=pb.SagaRefusal(**vars(view.refusal)) if view.refusal else None,
        trace=_trace(view.trace),
    )


def _event(row: asyncpg.Record) -> pb.Event:
    published = row["publish_time"]
    return pb.Event(
        id=f"{row['subject']}/{row['version']}",
        type=row["type"],
        subject=row["subject"],
        version=row["version"],
        create_time=timestamp(row["create_time"]),
        publish_time=timestamp(published) if published else None,
        trace=_trace(row["trace"]),
        body=_body(row["type"], row["payload"]),
    )


def _body(full_name: str, payload: bytes) -> str:
    """Return an event's message as JSON; of a type that this version of the service does not know, nothing."""
    try:
        return orjson.dumps(redact(parse_event(full_name, payload))).decode()
    except KeyError:
        return ""


def _trace(traceparent: str) -> str:
    """Return the name of a trace; empty where there was none."""
    trace = Trace.parse(traceparent)
    return f"traces/{trace.trace_id}" if trace else ""
