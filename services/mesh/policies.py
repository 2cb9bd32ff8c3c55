"""How calls to each service are to be spread, as users set it, kept in the mesh's own database."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from mercato.mesh.v1.mesh_pb2 import Policy, ResetPoliciesResponse, UpdatePolicyResponse

from chassis.clock import Clock
from chassis.database import Batch, Database
from chassis.errors import MercatoError
from chassis.idempotency import Requests
from services.mesh.changes import Changes
from services.mesh.domain import changed, service_of


class Policies:
    """The policies in force, by service; each change is in the database before it is in force."""

    def __init__(self, database: Database, requests: Requests, clock: Clock, changes: Changes) -> None:
        self._database = database
        self._requests = requests
        self._clock = clock
        self._changes = changes
        self._changing = asyncio.Lock()
        self.by_service: dict[str, Policy] = {}

    async def load(self) -> None:
        """Take what the database has."""
        rows = await self._database.rows("SELECT state FROM policies ORDER BY name")
        policies = [Policy.FromString(row["state"]) for row in rows]
        self.by_service = {service_of(policy.name): policy for policy in policies}
        self._changes.note()

    async def update(
        self, update: Policy, paths: Collection[str], methods: Collection[str], instances: Collection[str]
    ) -> UpdatePolicyResponse:
        """Change one policy; raises like `changed`."""
        async with self._changing:
            service = service_of(update.name)
            before = self.by_service.get(service, Policy())
            policy = changed(before, update, paths, methods, instances, self._clock.now())
            response, batch = UpdatePolicyResponse(policy=policy), Batch()
            batch.add(
                "INSERT INTO policies VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET state = EXCLUDED.state",
                policy.name, policy.SerializeToString(),
            )  # fmt: skip
            self._requests.store(batch, response)
            await self._commit(batch)
            self.by_service[service] = policy
            self._changes.note()
            return response

    async def reset(self, name: str) -> ResetPoliciesResponse:
        """Forget one policy, or all where no name is given."""
        async with self._changing:
            names = [policy.name for policy in self.by_service.values() if name in ("", policy.name)]
            response, batch = ResetPoliciesResponse(names=names), Batch()
            batch.add("DELETE FROM policies WHERE name = ANY($1::text[])", names)
            self._requests.store(batch, response)
            await self._commit(batch)
            for forgotten in names:
                del self.by_service[service_of(forgotten)]
            self._changes.note()
            return response

    async def _commit(self, batch: Batch) -> None:
        try:
            await self._database.commit(batch)
        except MercatoError:
            await self.load()  # an earlier try of this request may have been committed after all
            raise
