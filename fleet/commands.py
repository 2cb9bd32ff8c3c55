"""The fleet's commands: each reads its arguments, calls what does the work, prints."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated

import typer

from fleet import arguments, conductor, lifecycle, logs, mesh, rollout, screen, seeing, targets
from fleet import plan as plans
from fleet.errors import FleetError
from fleet.plan import Discovery, Plan

_TIMEOUT_S = 60.0
_LOG_LINES = 200
_FOLLOW_EVERY_S = 0.1

Timeout = Annotated[float, typer.Option("--timeout", metavar="S", min=0, help="Give up after so many seconds.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A service, one instance as orders/2, or an engine.")]


def app() -> typer.Typer:
    """These commands, to be added to the whole command line."""
    fleet = typer.Typer()
    for command in (up, down, ps, show_logs, show_targets, scale, restart, kill, canary):
        fleet.command(command.__name__.removeprefix("show_"))(command)
    return fleet


def up(
    http_port: Annotated[int | None, typer.Option(metavar="N", help="The gateway's port for HTTP and JSON.")] = None,
    grpc_port: Annotated[int | None, typer.Option(metavar="N", help="The gateway's port for gRPC.")] = None,
    together: Annotated[
        bool, typer.Option("--together", help="All services but the gateway in one process, without a network between.")
    ] = False,
    discovery: Annotated[
        Discovery | None,
        typer.Option(
            help="How services find each other: by the mesh (the default), or at fixed addresses without one."
        ),
    ] = None,
    version: Annotated[
        list[str] | None,
        typer.Option(metavar="SERVICE=VERSION", help="Beside what runs, one instance of another version. Repeatable."),
    ] = None,
    timeout_s: Timeout = _TIMEOUT_S,
) -> None:
    """Start the suite in the background; return when every instance serves.

    The gateway's ports are those asked for, here or by MERCATO_HTTP_PORT and MERCATO_GRPC_PORT; else 8080 and 9090
    where they are free. MERCATO_POSTGRES_URL (an admin's) and MERCATO_NATS_URL replace the engines brought along.
    MERCATO_DISCOVERY is the same as `--discovery`.

    `--version orders=v2` starts one more instance of orders, also while the suite is up. It says it is v2, runs the
    code as it is in the tree now, and gets no call until `mercato mesh split` or `mercato canary` gives it some.
    Instances that run keep the code they have, and come back with it after a crash; only one that was itself started
    on code changed since the suite came up comes back with the code as it is then. Take v2 away with
    `mercato scale orders/v2=0`.

    - `mercato up`
    - `mercato up --http-port 8000`
    - `mercato up --together`
    - `mercato up --version orders=v2`
    - `mercato up --discovery static`
    - `MERCATO_LOG_LEVEL=DEBUG mercato up`
    """
    root, home = plans.locate(os.environ, Path.cwd())

    def make_plan() -> Plan:
        return plans.make(
            root, home, os.environ, http_port=http_port, grpc_port=grpc_port, together=together, discovery=discovery
        )

    versions = [_pair(text, "SERVICE=VERSION, such as orders=v2") for text in version or ()]
    for _, name in versions:
        arguments.version(name)

    async def bring_up() -> tuple[bool, Plan, list[lifecycle.Member]]:
        started = await lifecycle.up(home, make_plan, timeout_s, screen.warn)
        plan = Plan.load(home)
        if together and not plan.together:
            raise FleetError("the suite is up with a process for each service; end that first with `mercato down`")
        if discovery and (discovery is Discovery.MESH) != bool(plan.mesh_address):
            raise FleetError("the suite is up with another way of discovery; end that first with `mercato down`")
        for service, name in versions:
            await rollout.add_version(plan, service, name, timeout_s, screen.say)
        return started, plan, await lifecycle.members(plan)

    began = time.monotonic()
    started, plan, members = asyncio.run(bring_up())
    ready = f"Ready in {time.monotonic() - began:.1f} s" if started else "Already up"
    console = screen.console()
    console.print(screen.table(members))
    console.print(f"\n{ready}: {screen.summary(members)}", highlight=False)
    console.print(screen.addresses(plan), soft_wrap=True)


def down(timeout_s: Timeout = _TIMEOUT_S) -> None:
    """End the suite, the gateway first and the engines last; leave no process behind."""
    _, home = plans.locate(os.environ, Path.cwd())
    screen.say("\n".join(lifecycle.down(home, timeout_s)) or "Nothing was running.")


def ps(as_json: Json = False) -> None:
    """List the processes: their health as they say it, how often they were started again, their memory (PSS)."""
    members = asyncio.run(lifecycle.members(_plan()))
    if as_json:
        sys.stdout.write(json.dumps([dataclasses.asdict(member) for member in members], indent=2) + "\n")
    else:
        screen.console().print(screen.table(members))


def show_targets() -> None:
    """Print what Prometheus has to scrape, in the form of its file_sd: every process there could be.

    Prometheus reads the file again when it changes. Scaling does not change it, nor does starting the suite again while
    its ports are free. See deploy/observability/.

    - `mercato targets > deploy/observability/prometheus/targets/mercato.json`
    """
    sys.stdout.write(json.dumps(targets.of(_plan()), indent=2) + "\n")


def show_logs(
    service: Annotated[str | None, typer.Argument(help="A service, an engine, or supervisor. Without: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines as they come.")] = False,
    newest: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", min=0, help=f"Begin with so many of the newest: {_LOG_LINES}, or all of a trace."
        ),
    ] = None,
    trace: Annotated[
        str, typer.Option(metavar="ID", help="Only lines of this trace, or of all traces of orders/ID.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show what the processes wrote, in the order of time.

    `--trace` finds the lines that all services wrote about one request, whether its trace was recorded or not.

    - `mercato logs -f orders`
    - `mercato logs --trace orders/0193f1a2-7c4e-7000-8000-0123456789ab`
    - `mercato logs postgres -n 20`
    - `mercato logs --json | jq .message`
    """
    plan = _plan()
    known = [*dict.fromkeys((*plan.services, *plan.programs)), "postgres", "nats", "supervisor"]
    if service not in (None, *known):
        raise FleetError(f"unknown name {service!r}; expected one of {', '.join(known)}")
    console = screen.console()
    traces, missing = seeing.traces(plan, trace) if trace else ([], {})
    if missing:
        screen.warn(f"there may be more: not everybody answers ({seeing.words(missing)})")
    found = False
    for line in _lines(plan, service, newest, follow, traces):
        found = True
        if as_json:
            sys.stdout.write(line.as_json() + "\n")
            sys.stdout.flush()
        else:
            console.print(screen.log_line(line), soft_wrap=True)
    if trace and not found:
        raise FleetError(f"no line was written in {trace}")


def scale(
    counts: Annotated[list[str], typer.Argument(metavar="SERVICE=N...", help="How many instances of which service.")],
    timeout_s: Timeout = _TIMEOUT_S,
) -> None:
    """Run so many instances of a service; return when all of them serve and get calls.

    Those that go are drained first. Where two versions run, say of which.

    - `mercato scale orders=3 catalog=2`
    - `mercato scale orders=1`
    - `mercato scale orders/v2=0`
    """
    names = asyncio.run(lifecycle.scale(_plan(), dict(_count(text) for text in counts), timeout_s, screen.warn))
    screen.say(f"Serving: {', '.join(names) or 'none of these'}")


def restart(
    name: Name,
    rolling: Annotated[
        bool, typer.Option("--rolling", help="Fail no call: where one runs alone, another comes beside it first.")
    ] = False,
    timeout_s: Timeout = _TIMEOUT_S,
) -> None:
    """End gently and start again, one instance after the other, with the service's code as it is now.

    - `mercato restart orders`
    - `mercato restart orders/2`
    - `mercato restart orders --rolling`
    """
    if rolling:
        names = asyncio.run(rollout.roll(_plan(), name, timeout_s, screen.say))
    else:
        names = asyncio.run(lifecycle.restart(_plan(), name, timeout_s, screen.warn))
    screen.say(f"Started again: {', '.join(names)}")


def kill(name: Name, timeout_s: Timeout = _TIMEOUT_S) -> None:
    """Crash something with SIGKILL and see it come back, with the code it had.

    - `mercato kill orders`
    - `mercato kill orders/2`
    - `mercato kill postgres`
    """
    began = time.monotonic()
    names = asyncio.run(lifecycle.kill(_plan(), name, timeout_s, screen.warn))
    screen.say(f"Killed {', '.join(names)}; back after {time.monotonic() - began:.2f} s")


def canary(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="As orders.", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="That runs beside: v2.", show_default=False)],
    calls: Annotated[int, typer.Option(metavar="N", min=1, help="A step lasts until it served so many calls.")] = 100,
    step_s: Annotated[float, typer.Option("--step", metavar="S", min=0, help="And at least so many seconds.")] = 5.0,
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="S", min=1, help="A step without enough calls is given up after this.")
    ] = 60.0,
) -> None:
    """Shift calls to a new version, 5, 25, 50, then 100 %, and back by itself when it is worse than the one beside it.

    It is worse when more of its calls fail for a reason of the server's (as UNAVAILABLE or INTERNAL; by over 1 point),
    or in most looks more (by over 5 points) take over 1.5 times and 10 ms longer than 95 % of the calls beside it, and
    chance does not explain that. Compared is what the instances' own servers counted. It also goes back when a process
    of the new version ends, when too few calls come to tell, and when interrupted. Ends with 0 when the new version has
    all calls, with 1 when it has none.

    - `mercato up --version orders=v2`, then `mercato canary orders v2`
    - `mercato canary orders v2 --calls 500`
    """
    options = conductor.Options(calls, step_s, wait_s)
    try:
        went_back, beside = asyncio.run(_conduct(service, version, options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        went_back, beside = "Interrupted.", ""
    if went_back:
        screen.say(f"Went back: {version} of {service} gets no calls. {went_back}")
        raise typer.Exit(1)
    screen.say(f"{version} has all calls of {service}. End what was before it: mercato scale {service}/{beside}=0")


async def _conduct(service: str, version: str, options: conductor.Options) -> tuple[str, str]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    plan = _plan()
    async with mesh.operate(plan) as operator:
        conducted = conductor.Canary(plan, operator, service, version, options, screen.say)
        return await conducted.run(), conducted.beside


def _plan() -> Plan:
    return Plan.load(plans.locate(os.environ, Path.cwd())[1])


def _pair(text: str, expected: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise typer.BadParameter(f"{text!r}: expected {expected}")
    return name, value


def _count(text: str) -> tuple[str, int]:
    expected = "SERVICE=N, such as orders=3"
    service, count = _pair(text, expected)
    if not (count.isascii() and count.isdigit()):
        raise typer.BadParameter(f"{text!r}: expected {expected}")
    return service, int(count)


def _lines(
    plan: Plan, service: str | None, newest: int | None, follow: bool, traces: Collection[str]
) -> Iterator[logs.Line]:
    program = service and plan.program(service)
    reader = logs.Reader(plan.home / "logs", program, service if service != program else None, traces)
    yield from reader.read(_LOG_LINES if newest is None and not traces else newest)
    while follow:
        yield from reader.read()
        time.sleep(_FOLLOW_EVERY_S)
