"""Import of many products: a stream, committed a good many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from mercato.catalog.v1.catalog_pb2 import ImportProductsRequest, ImportProductsResponse, Product

from chassis.clock import Clock
from chassis.database import Batch, ConcurrentChange, Database
from chassis.errors import InvalidArgument
from chassis.outbox import Outbox
from chassis.repository import MAX_TRIES, Repository, Versioned
from services.catalog import domain

AT_ONCE = 200
"""So many products are read together, and commit together."""


class Importer:
    """Brings products in."""

    def __init__(self, database: Database, outbox: Outbox, products: Repository[Product], clock: Clock) -> None:
        self._database = database
        self._outbox = outbox
        self._products = products
        self._clock = clock

    async def run(self, requests: AsyncIterator[ImportProductsRequest]) -> ImportProductsResponse:
        """Bring a stream in. InvalidArgument says which message is wrong; what was committed before it, stays."""
        counts: Counter[str] = Counter()
        waiting: dict[str, Product] = {}
        received = 0
        try:
            async for request in requests:
                product = domain.checked(request.product, self._clock.now())
                received += 1
                if len(waiting) == AT_ONCE or product.name in waiting:
                    counts += await self._commit(waiting)
                    waiting = {}
                waiting[product.name] = product
        except InvalidArgument as error:
            raise InvalidArgument(f"message {received + 1}: {error}", fields=error.fields) from None
        counts += await self._commit(waiting)
        return ImportProductsResponse(**counts)

    async def _commit(self, asked: Mapping[str, Product]) -> Counter[str]:
        for _ in range(MAX_TRIES):
            with suppress(ConcurrentChange):
                return await self._try_commit(asked)
        raise ConcurrentChange

    async def _try_commit(self, asked: Mapping[str, Product]) -> Counter[str]:
        counts: Counter[str] = Counter()
        batches = []
        known = await self._products.load(list(asked))
        for name, product in sorted(asked.items()):  # sorted, so that two imports at once never lock each other out
            before = known.get(name, Versioned(Product(), 0))
            events = domain.bring_in(before.state, product, self._clock.now())
            batches.append(Batch())
            self._products.save(batches[-1], name, before, events)
            counts["created_count" if not before.version else "updated_count" if events else "unchanged_count"] += 1
        await self._database.commit_all(batches)
        self._outbox.wake()
        return counts
