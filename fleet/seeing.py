"""What the commands that show what goes on inside a fleet ask it, without the printing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import grpc.aio
from mercato.telemetry.v1.telemetry_pb2 import GetTrafficRequest, GetTrafficResponse
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub

from chassis.handlers import TRACEPARENT
from chassis.telemetry.trace import Trace
from fleet import control
from fleet.client import unseen
from fleet.errors import FleetError
from fleet.plan import FRONT, TELEMETRY, Plan
from fleet.story import Story, name_of, teller

_TIMEOUT_S = 5.0


def tell(plan: Plan, text: str) -> Story:
    """Return the story of an order, a return or a trace; FleetError where nobody knows of it, or nobody answers."""
    name = name_of(text)

    async def ask() -> Story:
        with unseen():
            async with teller(_front(plan), _behind(plan)) as asked:
                return await asked.tell(name)

    story = asyncio.run(ask())
    if not (story.head or story.traces or story.events):
        if story.missing:
            raise FleetError(f"nobody answers ({words(story.missing)}); see `mercato ps`")
        raise FleetError(f"{name} was not recorded, or is kept no more; `mercato logs --trace` may have lines of it")
    return story


def traces(plan: Plan, text: str) -> tuple[list[str], Mapping[str, str]]:
    """Return the ids of the traces in which something happened to an order or a return, or that of one trace.

    Beside them, who did not answer, so that there may be others, and why. FleetError where none is known.
    """
    name = name_of(text)

    async def ask() -> tuple[list[str], Mapping[str, str]]:
        with unseen():
            async with teller(_front(plan), _behind(plan)) as asked:
                return await asked.traces(name), asked.missing

    names, missing = ([name], {}) if name.startswith("traces/") else asyncio.run(ask())
    if not names:
        why = f"not everybody answers ({words(missing)}); see `mercato ps`" if missing else "nobody wrote one down"
        raise FleetError(f"no trace is known of {text}: {why}")
    return [each.removeprefix("traces/") for each in names], missing


def words(missing: Mapping[str, str]) -> str:
    """Say who does not answer and why, each reason once."""
    services: dict[str, list[str]] = {}
    for service, why in missing.items():
        services.setdefault(why, []).append(service)
    return "; ".join(f"{', '.join(those)}: {why}" for why, those in services.items())


async def traffic(plan: Plan, window: timedelta, every_s: float) -> AsyncIterator[GetTrafficResponse]:
    """Yield what goes on over the last seconds, now and again every so often; FleetError where it cannot be told."""
    if TELEMETRY not in plan.slots:
        raise FleetError(
            f"this suite has no telemetry of its own: it was started with MERCATO_TELEMETRY={plan.telemetry}"
        )
    request = GetTrafficRequest()
    request.window.FromTimedelta(window)
    not_recorded = ((TRACEPARENT, Trace.start().traceparent),)
    async with grpc.aio.insecure_channel(_front(plan), options=[("grpc.enable_http_proxy", 0)]) as channel:
        telemetry = TelemetryServiceStub(channel)
        while True:
            try:
                yield await telemetry.GetTraffic(request, timeout=_TIMEOUT_S, metadata=not_recorded)
            except grpc.aio.AioRpcError as error:
                raise FleetError(f"telemetry does not answer ({error.details()}); see `mercato ps`") from None
            await asyncio.sleep(every_s)


def _front(plan: Plan) -> str:
    """Where the gateway listens; FleetError where there is none, or where the fleet is not running."""
    if FRONT not in plan.slots:
        raise FleetError("this suite has no gateway to ask through")
    control.call(plan.home, "status")
    return plan.slot(f"{FRONT}/1").address


def _behind(plan: Plan) -> list[str]:
    return [service for service in plan.services if service != FRONT]
