"""Dead letters and sagas of a service, for operators (mercato.operations.v1)."""

from __future__ import annotations

from typing import Any

from mercato.operations.v1 import operations_pb2, operations_pb2_grpc

from chassis.clock import timestamp
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.errors import NotFound
from chassis.pages import page_limit
from chassis.sagas import Sagas


class Operations(operations_pb2_grpc.OperationsServiceServicer):
    """Serves OperationsService from the chassis' own tables."""

    def __init__(self, database: Database, consumer: Consumer | None, sagas: Sagas | None) -> None:
        self._database = database
        self._consumer = consumer
        self._sagas = sagas

    async def ListDeadLetters(  # noqa: N802
        self, request: operations_pb2.ListDeadLettersRequest, context: Any
    ) -> operations_pb2.ListDeadLettersResponse:
        """See the contract."""
        rows = await self._database.rows(
            "SELECT * FROM dead_letters ORDER BY create_time LIMIT $1", page_limit(request.page_size)
        )
        letters = [
            operations_pb2.DeadLetter(
                id=row["id"],
                type=row["type"],
                key=row["key"],
                error=row["error"],
                attempts=row["attempts"],
                create_time=timestamp(row["create_time"]),
            )
            for row in rows
        ]
        return operations_pb2.ListDeadLettersResponse(dead_letters=letters)

    async def ReplayDeadLetters(  # noqa: N802
        self, request: operations_pb2.ReplayDeadLettersRequest, context: Any
    ) -> operations_pb2.ReplayDeadLettersResponse:
        """See the contract."""
        if self._consumer is None:
            raise NotFound("this service handles no events")
        handled, failed = await self._consumer.replay(list(request.ids))
        return operations_pb2.ReplayDeadLettersResponse(handled_count=handled, failed_count=failed)

    async def ListSagas(  # noqa: N802
        self, request: operations_pb2.ListSagasRequest, context: Any
    ) -> operations_pb2.ListSagasResponse:
        """See the contract."""
        live = await self._sagas.live(page_limit(request.page_size)) if self._sagas else []
        sagas = [
            operations_pb2.Saga(
                kind=each.kind,
                subject=each.subject,
                status=each.status,
                step=each.step,
                attempts=each.attempts,
                error=each.error,
                update_time=timestamp(each.update_time),
            )
            for each in live
        ]
        return operations_pb2.ListSagasResponse(sagas=sagas)
