"""The commands that show what goes on inside: one request's way, the calls of each method; and how much is logged."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from mercato.telemetry.v1.telemetry_pb2 import MethodTraffic
from rich.live import Live
from rich.text import Text

from fleet import instances, screen, seeing, story_screen, traffic_screen
from fleet import plan as plans
from fleet.errors import FleetError
from fleet.plan import Plan

_FRAME_S = 1.0
_AGAIN_S = 0.5

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class Level(StrEnum):
    """From which level on logs are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def app() -> typer.Typer:
    """These commands, to be added to the whole command line."""
    group = typer.Typer()
    for command in (trace, top, log_level):
        group.command(command.__name__.replace("_", "-"))(command)
    return group


def trace(
    name: Annotated[str, typer.Argument(metavar="ID", help="orders/ID, returns/ID or a trace's id.")],
    as_json: Json = False,
) -> None:
    """Tell the whole story of an order: the waterfall of its trace, saga, events and who handled them, money, mails.

    A waterfall shows each piece of work under the one it is part of, its bar where it lies in the whole. Not every
    request is recorded; the story is told all the same, from what the services hold.

    - `mercato trace orders/0193f1a2-7c4e-7000-8000-0123456789ab`
    - `mercato trace returns/0193f1a2-7c4e-7000-8000-0123456789ab`
    - `mercato trace 4bf92f3577b34da6a3ce929d0e0e4736`
    - `mercato trace orders/... --json | jq '.sagas[].status'`
    """
    story = seeing.tell(_plan(), name)
    if as_json:
        sys.stdout.write(json.dumps(story.as_dict(), indent=2) + "\n")
    else:
        console = screen.console()
        console.print(story_screen.view(story, console.width))


def top(
    service: Annotated[str, typer.Option("--service", "-s", metavar="NAME", help="Only methods of this one.")] = "",
    window_s: Annotated[float, typer.Option("--window", metavar="S", min=1, max=120, help="Over so long.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it once as JSON, for scripts.")] = False,
) -> None:
    """Show live which methods are called how often, how well and how fast, those with the most calls first.

    Faults are failures of the server's, as UNAVAILABLE; refusals are answers, as NOT_FOUND. Half of the calls took p50
    at most, 99 of 100 took p99. As the servers see it, all instances of a service together.

    - `mercato top`
    - `mercato top --service orders`
    - `mercato top --json | jq '.[0].method'`
    """
    plan = _plan()
    known = dict.fromkeys((*plan.services, *plan.programs))
    if service and service not in known:
        raise FleetError(f"unknown service {service!r}; expected one of {', '.join(known)}")
    window = timedelta(seconds=window_s)
    if as_json or once or not sys.stdout.isatty():
        methods = asyncio.run(_once(plan, window, service))
        if as_json:
            fields = [
                MessageToDict(each, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
                for each in methods
            ]
            sys.stdout.write(json.dumps(fields, indent=2) + "\n")
        else:
            screen.console().print(traffic_screen.view(methods, window_s))
    else:
        with suppress(KeyboardInterrupt):
            asyncio.run(_follow(plan, window, service))


def log_level(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A service, one instance as orders/2, or all.")],
    level: Annotated[Level, typer.Argument(case_sensitive=False, help="From which level on logs are written.")],
    as_json: Json = False,
) -> None:
    """Have instances that run write more or less into their logs, until they end or are told otherwise.

    Instances in one process, as with `mercato up --together`, write from the same level on.

    - `mercato log-level orders debug`
    - `mercato log-level orders/2 warning`
    - `mercato log-level all info`
    """
    changes = asyncio.run(instances.set_log_level(_plan(), name, level.name))
    if as_json:
        sys.stdout.write(json.dumps([dataclasses.asdict(change) for change in changes], indent=2) + "\n")
    else:
        for change in changes:
            process = "" if change.process == change.instance else f", with all of {change.process}"
            screen.say(f"{change.instance}: {change.problem or f'{change.before} -> {change.now}{process}'}")
    if any(change.problem for change in changes):
        raise typer.Exit(1)


async def _once(plan: Plan, window: timedelta, service: str) -> list[MethodTraffic]:
    async for seen in seeing.traffic(plan, window, _FRAME_S):
        return traffic_screen.chosen(seen, service, plan.program(service))
    return []


async def _follow(plan: Plan, window: timedelta, service: str) -> None:
    """Show it until interrupted; what was seen last stays on the screen while telemetry is away."""
    methods: list[MethodTraffic] = []
    window_s = window.total_seconds()
    with Live(console=screen.console(), screen=True, auto_refresh=False) as live:
        live.update(Text("Asking telemetry …"), refresh=True)
        while True:
            try:
                async for seen in seeing.traffic(plan, window, _FRAME_S):
                    methods = traffic_screen.chosen(seen, service, plan.program(service))
                    live.update(traffic_screen.view(methods, window_s), refresh=True)
            except FleetError as away:
                live.update(traffic_screen.view(methods, window_s, f"{away}; this is what it said last"), refresh=True)
            await asyncio.sleep(_AGAIN_S)


def _plan() -> Plan:
    return Plan.load(plans.locate(os.environ, Path.cwd())[1])
