"""The same request again gets the same answer: answers are stored in the transaction that made them true.

It is optimistic. A first request pays nothing: its answer is one more row of its own commit. A repeated one runs into
that row, or into the state its first try left behind, and only then is the stored answer looked up.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

from google.protobuf.message import Message

from chassis.call import Call, current_call
from chassis.clock import Clock
from chassis.database import Batch, Database, RequestRepeated
from chassis.errors import InvalidArgument

RETENTION = timedelta(days=30)


class RequestIdReused(InvalidArgument):
    """request_id: {request_id} was used for another request before; use a new one."""


def digest(method: str, request: Message) -> bytes:
    """Return what tells one request from another."""
    return sha256(method.encode() + request.SerializeToString(deterministic=True)).digest()


class Requests:
    """The answers one service gave."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def store(self, batch: Batch, response: Message) -> None:
        """Add the answer to the call being served to what commits; without a request_id there is nothing to add."""
        call = current_call()
        if call is not None and call.request_id:
            batch.add(
                "INSERT INTO requests VALUES ($1, $2, $3, $4, $5)",
                call.caller, call.request_id, call.request_digest, response.SerializeToString(), self._clock.now(),
            )  # fmt: skip

    async def stored(self, call: Call) -> bytes | None:
        """Return the answer given before, serialized; RequestIdReused when it was to another request."""
        row = await self._database.row(
            "SELECT digest, response FROM requests WHERE caller = $1 AND id = $2", call.caller, call.request_id
        )
        if row is None:
            return None
        if row["digest"] != call.request_digest:
            raise RequestIdReused(request_id=call.request_id, fields={"request_id": "used for another request before"})
        return bytes(row["response"])

    async def refuse_repeated(self) -> None:
        """RequestRepeated when the call was answered before: for methods that act elsewhere before they commit."""
        call = current_call()
        if call is not None and call.request_id and await self.stored(call) is not None:
            raise RequestRepeated

    async def prune(self) -> None:
        """Forget answers older than the retention."""
        await self._database.value("DELETE FROM requests WHERE create_time < $1", self._clock.now() - RETENTION)
