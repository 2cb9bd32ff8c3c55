"""Keeps the instances in the mesh's own database, for the mesh that is started after this one."""

from __future__ import annotations

from mercato.mesh.v1.mesh_pb2 import Instance

from chassis.database import Batch, Database
from services.mesh.changes import Changes
from services.mesh.registry import Registry


async def load(database: Database) -> list[Instance]:
    """Return the instances as they were last stored."""
    return [Instance.FromString(row["state"]) for row in await database.rows("SELECT state FROM instances")]


class Store:
    """Stores the instances of a registry that changed. Calls do not wait for it: what is lost registers again."""

    def __init__(self, database: Database, registry: Registry, changes: Changes) -> None:
        self._database = database
        self._registry = registry
        self._changes = changes

    async def run(self) -> None:
        """Store each change until cancelled."""
        with self._changes.follow() as changed:
            while True:
                changed.clear()
                await self.save()
                await changed.wait()

    async def save(self) -> None:
        """Store what is not yet; where that fails, it stays to be stored."""
        unsaved, self._registry.unsaved = self._registry.unsaved, set()
        batch = Batch()
        for name in unsaved:
            instance = self._registry.get(name)
            if instance is None:
                batch.add("DELETE FROM instances WHERE name = $1", name)
            else:
                state = Instance()
                state.CopyFrom(instance)
                state.ClearField("vitals")
                batch.add(
                    "INSERT INTO instances VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET state = EXCLUDED.state",
                    name, state.SerializeToString(),
                )  # fmt: skip
        try:
            await self._database.commit(batch)
        except BaseException:
            self._registry.unsaved |= unsaved
            raise
