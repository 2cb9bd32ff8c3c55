"""Event-sourced aggregates: events are the truth, the state row is their snapshot.

State, events (with them the outbox) and the answer to the request commit in one statement. Nobody locks: two changes
at once both write the next version, one is refused by the primary key of `events`, reads again and decides again.
Those that were refused once take turns within their instance, so that a crowd does not keep itself from getting on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import asyncpg
from google.protobuf import symbol_database
from google.protobuf.message import Message

from chassis.clock import Clock
from chassis.database import Batch, ConcurrentChange, Database, Deadlock
from chassis.errors import Aborted, AlreadyExists, NotFound
from chassis.groupcommit import GroupCommit
from chassis.idempotency import Requests
from chassis.outbox import Outbox
from chassis.pages import Page, page_limit

State = TypeVar("State", bound=Message)
Response = TypeVar("Response", bound=Message)
Evolve = Callable[[State, Message], None]
"""Applies one event to the state, in place. It may not fail: the event has happened."""
Project = Callable[[Batch, State, Message], None]
"""Adds what else one event writes in the same transaction; gets the state after it."""

MAX_TRIES = 20


class EtagMismatch(Aborted):
    """{name} was changed since it was read; read it again."""


@dataclass(frozen=True, slots=True)
class Versioned(Generic[State]):
    """A state and how many events made it."""

    state: State
    version: int


class Repository(Generic[State]):
    """The aggregates of one kind, each under its resource name, in a table of their own.

    The table has the columns `name text PRIMARY KEY, version integer, state bytea`, and one for each of `columns`, by
    which it can be filtered. With a `group`, changes are written by its one writer.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        clock: Clock,
        *,
        table: str,
        state: type[State],
        evolve: Evolve[State],
        project: Project[State] | None = None,
        columns: Mapping[str, Callable[[State], object]] | None = None,
        group: GroupCommit | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._requests = Requests(database, clock)
        self._table = table
        self._type = state
        self._evolve = evolve
        self._project = project
        self._columns = dict(columns or {})
        self._writer = group or database
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._has_etag = "etag" in state.DESCRIPTOR.fields_by_name
        names = ["name", "version", "state", *self._columns]
        values = ", ".join(f"${number}" for number in range(1, len(names) + 1))
        updates = ", ".join(f"{name} = EXCLUDED.{name}" for name in names[1:])
        self._upsert = (
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT (name) DO UPDATE SET {updates}"  # noqa: S608
        )

    async def find(self, name: str) -> State | None:
        """Return an aggregate's state; None when there is none."""
        found = await self._load(name)
        return found.state if found else None

    async def get(self, name: str) -> State:
        """Return an aggregate's state; NotFound when there is none."""
        found = await self._load(name)
        if found is None:
            raise NotFound(name=name)
        return found.state

    async def batch_get(self, names: Sequence[str]) -> list[State]:
        """Return many states in the order asked; NotFound names the first that is missing."""
        found = await self.load(names)
        for name in names:
            if name not in found:
                raise NotFound(name=name)
        return [found[name].state for name in names]

    async def load(self, names: Sequence[str]) -> dict[str, Versioned[State]]:
        """Return those of many aggregates that exist, by name: what to `save` changes of many in one batch from."""
        rows = await self._database.rows(
            f"SELECT name, version, state FROM {self._table} WHERE name = ANY($1)",  # noqa: S608
            list(names),
        )
        return {row["name"]: self._parse(row) for row in rows}

    async def page(
        self, page_size: int, page_token: str, *, descending: bool = False, **filters: object
    ) -> Page[State]:
        """Return one page by name, of those whose columns have the given values."""
        conditions = "".join(f" AND {column} = ${number}" for number, column in enumerate(filters, start=3))
        after, direction = ("($1 = '' OR name < $1)", "DESC") if descending else ("name > $1", "ASC")
        rows = await self._database.rows(
            f"SELECT name, version, state FROM {self._table} "  # noqa: S608
            f"WHERE {after}{conditions} ORDER BY name {direction} LIMIT $2",
            page_token, page_limit(page_size) + 1, *filters.values(),
        )  # fmt: skip
        return Page.of([self._parse(row).state for row in rows], page_size, lambda state: str(state.name))  # type: ignore[attr-defined]

    async def create(
        self, name: str, events: Iterable[Message], respond: Callable[[State], Response], also: Batch | None = None
    ) -> Response:
        """Begin an aggregate with its first events; AlreadyExists when there is one of that name."""
        batch = Batch()
        state = self.save(batch, name, Versioned(self._type(), 0), events)
        response = respond(state)
        if also:
            batch.extend(also)
        try:
            await self.commit(batch, response)
        except ConcurrentChange:
            raise AlreadyExists(name=name) from None
        return response

    async def change(
        self,
        name: str,
        decide: Callable[[State], Iterable[Message]],
        respond: Callable[[State], Response],
        *,
        etag: str = "",
        absent: bool = False,
        also: Batch | None = None,
        known: State | None = None,
    ) -> Response:
        """Change an aggregate: `decide` reads its state and returns what happens, `respond` makes the answer.

        `decide` may be called again when others change the aggregate at once. NotFound when there is none, unless
        `absent` allows it to begin with this change. With an `etag`, EtagMismatch when it is another version's. What
        `also` holds commits together with the change. A state that is `known`, with its etag, spares reading it: where
        it has changed since, nothing is written, and it is read after all.
        """
        turn: AbstractAsyncContextManager[None] = nullcontext()
        for _ in range(MAX_TRIES):
            async with turn:
                before = self._taken(known) if known is not None else await self._load(name)
                known = None
                if before is None:
                    if not absent:
                        raise NotFound(name=name)
                    before = Versioned(self._type(), 0)
                if etag and etag != str(before.version):
                    raise EtagMismatch(name=name)
                batch = Batch()
                response = respond(self.save(batch, name, before, decide(before.state)))
                if also:
                    batch.extend(also)
                try:
                    await self.commit(batch, response)
                except (ConcurrentChange, Deadlock):
                    turn = self._turns.setdefault(name, asyncio.Lock())
                    continue
                return response
        raise ConcurrentChange

    def save(self, batch: Batch, name: str, before: Versioned[State], events: Iterable[Message]) -> State:
        """Add to `batch` what makes `events` happen to an aggregate; return the state after them."""
        state, happened = before.state, list(events)
        for event in happened:
            self._evolve(state, event)
            if self._project:
                self._project(batch, state, event)
        version = before.version + len(happened)
        if self._has_etag:
            state.etag = str(version)  # type: ignore[attr-defined]
        if happened:
            self._outbox.add(batch, name, before.version + 1, happened)
            values = [column(state) for column in self._columns.values()]
            batch.add(self._upsert, name, version, state.SerializeToString(), *values)
        return state

    async def commit(self, batch: Batch, response: Message) -> None:
        """Commit what was saved into a batch, with the answer to the call; RequestRepeated, ConcurrentChange."""
        self._requests.store(batch, response)
        await self._writer.commit(batch)
        self._outbox.wake()

    async def rebuild(self, name: str) -> State:
        """Return an aggregate's state made anew from its events alone."""
        rows = await self._database.rows("SELECT type, payload FROM events WHERE subject = $1 ORDER BY version", name)
        state = self._type()
        for row in rows:
            self._evolve(state, parse_event(row["type"], row["payload"]))
        if self._has_etag:
            state.etag = str(len(rows))  # type: ignore[attr-defined]
        return state

    def _taken(self, known: State) -> Versioned[State]:
        state = self._type()
        state.CopyFrom(known)
        return Versioned(state, int(known.etag))  # type: ignore[attr-defined]

    async def _load(self, name: str) -> Versioned[State] | None:
        row = await self._database.row(
            f"SELECT name, version, state FROM {self._table} WHERE name = $1",  # noqa: S608
            name,
        )
        return self._parse(row) if row else None

    def _parse(self, row: asyncpg.Record) -> Versioned[State]:
        return Versioned(self._type.FromString(row["state"]), row["version"])


def parse_event(full_name: str, payload: bytes) -> Message:
    """Return the event of a type that this process knows; KeyError when it knows it not."""
    message_type: type[Message] = symbol_database.Default().GetSymbol(full_name)
    return message_type.FromString(payload)
