"""How calls to each service are to be spread, as users set it: what may be set, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime

from mercato.mesh.v1.mesh_pb2 import Fault, Policy, ResetPoliciesResponse, UpdatePolicyResponse

from chassis.clock import Clock, timestamp
from chassis.database import Batch, Database
from chassis.errors import MercatoError, invalid_field
from chassis.idempotency import Requests
from services.mesh.changes import Changes

CHANGEABLE = ("split", "fault", "max_requests", "drained_instances")


def changed(
    policy: Policy,
    update: Policy,
    paths: Collection[str],
    methods: Collection[str],
    instances: Collection[str],
    now: datetime,
) -> Policy:
    """Return a policy with the fields at `paths` taken from an update; InvalidArgument names what cannot be.

    `methods` and `instances` are those of the service; none means that they are not known.
    """
    result = Policy()
    result.CopyFrom(policy)
    result.name = update.name
    for path in paths:
        result.ClearField(path)  # type: ignore[arg-type]
    result.MergeFrom(_only(update, paths))
    if "split" in paths and result.split:
        _check_split(result)
    if "fault" in paths and result.HasField("fault"):
        _check_fault(result.fault, methods)
    if "drained_instances" in paths:
        _check_drained(result.drained_instances, {*instances, *policy.drained_instances})
    result.update_time.CopyFrom(timestamp(now))
    return result


def _only(update: Policy, paths: Collection[str]) -> Policy:
    result = Policy()
    result.CopyFrom(update)
    for path in set(Policy.DESCRIPTOR.fields_by_name) - set(paths):
        result.ClearField(path)  # type: ignore[arg-type]
    return result


def _check_split(policy: Policy) -> None:
    versions = [share.version for share in policy.split]
    if len(set(versions)) < len(versions):
        raise invalid_field("policy.split", "expected each version once")
    if not any(share.weight for share in policy.split):
        raise invalid_field("policy.split", "expected a weight above 0 for at least one version")


def _check_fault(fault: Fault, methods: Collection[str]) -> None:
    if not (fault.delay.ToTimedelta() or fault.abort_code):
        raise invalid_field("policy.fault", "expected a delay, an abort_code or both")
    if fault.method and methods and fault.method not in methods:
        raise invalid_field("policy.fault.method", f"expected a method of the service, as {min(methods)}")
    if fault.method and not (fault.method.startswith("/") and fault.method.count("/") == 2):
        raise invalid_field("policy.fault.method", "expected a method, as /package.Service/Method")


def _check_drained(drained: Sequence[str], known: Collection[str]) -> None:
    for index, name in enumerate(drained):
        if name not in known:
            expected = f"expected an instance of the service: {', '.join(sorted(known)[:10]) or 'it has none'}"
            raise invalid_field(f"policy.drained_instances[{index}]", expected)


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


def service_of(name: str) -> str:
    """Return the service that a policy is for: `orders` of `policies/orders`."""
    return name.partition("/")[2]
