"""What instances say of themselves, each asked on its own port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1.operations_pb2_grpc import InstanceServiceStub

from fleet.errors import FleetError
from fleet.plan import Plan
from fleet.readiness import children

_TIMEOUT_S = 1.0
_PREFIX = "LOG_LEVEL_"


@dataclass(frozen=True)
class Change:
    """An instance's level of logs, before and now; where it was not changed, the `problem`."""

    instance: str
    process: str
    before: str = ""
    now: str = ""
    problem: str = ""


async def note(address: str) -> str:
    """Return what an instance lacks, and `without` before what it can do without; empty where nothing listens."""
    async with _asked(address) as stub:
        try:
            instance = (await stub.GetInstance(pb.GetInstanceRequest(), timeout=_TIMEOUT_S)).instance
        except grpc.aio.AioRpcError as error:
            hangs = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return f"no answer within {_TIMEOUT_S:g} s" if hangs else ""
    return lacking(instance)


def lacking(instance: pb.Instance) -> str:
    """Return what an instance lacks in words: `database: connection refused`, `without mesh: not registered`."""
    away = sorted((each for each in instance.dependencies if not each.available), key=lambda each: each.optional)
    return "; ".join(f"{'without ' if each.optional else ''}{each.name}: {each.problem}" for each in away)


async def set_log_level(plan: Plan, name: str, level: str) -> list[Change]:
    """Tell a service, one instance, or `all`, from which level on to write logs; FleetError where none of it runs."""
    running = [
        (instance, child["name"])
        for child in children(plan)
        if child["pid"]
        for instance in plan.hosted(child["name"])
        if name in ("all", instance, instance.partition("/")[0], child["name"])
    ]
    if not running:
        known = ", ".join((*plan.services, "all"))
        raise FleetError(f"nothing of the name {name!r} runs; expected one of {known}, or an instance as orders/1")
    return await asyncio.gather(*(_set_log_level(plan, instance, process, level) for instance, process in running))


async def _set_log_level(plan: Plan, instance: str, process: str, level: str) -> Change:
    request = pb.SetLogLevelRequest(level=pb.LogLevel.Value(_PREFIX + level))
    async with _asked(plan.slot(instance).address) as stub:
        try:
            answer = await stub.SetLogLevel(request, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return Change(instance, process, problem=f"{error.code().name}: {error.details()}")
    return Change(instance, process, pb.LogLevel.Name(answer.previous_level).removeprefix(_PREFIX), level)


@asynccontextmanager
async def _asked(address: str) -> AsyncIterator[InstanceServiceStub]:
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield InstanceServiceStub(channel)
