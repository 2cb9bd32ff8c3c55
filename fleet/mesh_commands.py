"""The commands that show and steer the mesh."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from mercato.mesh.v1.mesh_pb2 import Fault, Mesh, Policy
from rich.live import Live

from fleet import arguments, mesh, mesh_screen, rollout, screen
from fleet import plan as plans
from fleet.errors import FleetError
from fleet.mesh import Operator
from fleet.plan import Plan

_AGAIN_S = 0.5
_FRAME_S = 1.0

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="Whose calls: orders.", show_default=False)]
Result = TypeVar("Result")


def app() -> typer.Typer:
    """These commands, to be added to the whole command line."""
    group = typer.Typer(
        name="mesh", help=show.__doc__, rich_markup_mode="markdown", invoke_without_command=True, callback=show
    )
    for command in (split, fault, limit, drain, reset):
        group.command(command.__name__)(command)
    return group


def show(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as without a terminal.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it once as JSON, for scripts.")] = False,
) -> None:
    """Show the mesh live: instances, load and shares, policies, and what each client was last sent. And steer it.

    Policies hold until `mercato mesh reset`, also when the mesh is started again. No service has a line of code for
    them: clients are told where to send their calls.

    - `mercato mesh`
    - `mercato mesh --json | jq '.services[].instances[].name'`
    - `mercato mesh split orders v1=90 v2=10`
    - `mercato mesh fault payments --delay 300ms --percent 50`
    """
    if context.invoked_subcommand:
        return
    if as_json:
        seen = _operate(Operator.read)
        fields = MessageToDict(seen, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
        sys.stdout.write(json.dumps(fields, indent=2) + "\n")
    elif once or not sys.stdout.isatty():
        console = screen.console()
        console.print(mesh_screen.view(_operate(Operator.read), console.width))
    else:
        with suppress(KeyboardInterrupt):
            _operate(_follow)


def split(
    service: Service,
    shares: Annotated[
        list[str] | None, typer.Argument(metavar="VERSION=WEIGHT...", help="Without any: even over all instances.")
    ] = None,
) -> None:
    """Give each version of a service its share of the calls.

    - `mercato mesh split orders v1=90 v2=10`
    - `mercato mesh split orders`
    """
    read = arguments.shares(shares or ())

    async def change(operator: Operator) -> Policy:
        serving = {instance.version for instance in mesh.serving(await operator.service(service))}
        for version in read.keys() - serving:
            screen.warn(f"no instance of {service} that serves is {version}: the others take its share until one does")
        return await operator.update(rollout.split(service, read), "split")

    _tell(service, _operate(change))


def fault(
    service: Service,
    delay: Annotated[str, typer.Option(metavar="TIME", help="Let calls wait: 300ms, 1.5s.")] = "",
    abort: Annotated[str, typer.Option(metavar="CODE", help="Refuse calls with a gRPC code: UNAVAILABLE.")] = "",
    percent: Annotated[float, typer.Option(metavar="N", min=0.01, max=100, help="Of so many calls in 100.")] = 100,
    method: Annotated[str, typer.Option(metavar="NAME", help="Only calls of this method: CapturePayment.")] = "",
    off: Annotated[bool, typer.Option("--off", help="Nothing goes wrong on purpose any more.")] = False,
) -> None:
    """Let calls to a service go wrong on purpose, at the callers' side, before they leave.

    - `mercato mesh fault payments --delay 300ms --percent 50`
    - `mercato mesh fault payments --abort UNAVAILABLE --percent 10 --method CapturePayment`
    - `mercato mesh fault payments --off`
    """
    if off == bool(delay or abort):
        raise typer.BadParameter("expected --delay, --abort or both; or --off alone")
    policy = Policy(name=mesh.policy_name(service))
    if not off:
        wait = Duration()
        if delay:
            wait.FromTimedelta(arguments.delay(delay))
        policy.fault.CopyFrom(
            Fault(
                percent=percent,
                delay=wait if delay else None,
                abort_code=arguments.code(abort) if abort else 0,
                method=arguments.method(service, method) if method else "",
            )
        )
    _update(service, policy, "fault")


def limit(
    service: Service,
    calls: Annotated[int, typer.Argument(metavar="N", min=0, max=1_000_000, help="0: as many as they like.")],
) -> None:
    """Bound how many calls each client may have under way; more are refused at the client with UNAVAILABLE.

    - `mercato mesh limit payments 100`
    - `mercato mesh limit payments 0`
    """
    _update(service, Policy(name=mesh.policy_name(service), max_requests=calls), "max_requests")


def drain(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="As orders/1.", show_default=False)],
    undo: Annotated[bool, typer.Option("--undo", help="Send it calls again.")] = False,
) -> None:
    """Send an instance no new calls though it is well; those under way finish.

    - `mercato mesh drain orders/1`
    - `mercato mesh drain orders/1 --undo`
    """
    service = instance.partition("/")[0]

    async def change(operator: Operator) -> Policy:
        seen = await operator.service(service)
        names = [each.name for each in seen.instances]
        drained = set(seen.policy.drained_instances)
        if instance not in {*names, *drained}:
            raise FleetError(f"unknown instance {instance!r}; expected one of {', '.join(names) or 'none: none runs'}")
        others = {each.name for each in mesh.serving(seen)} - drained - {instance}
        if not (undo or others):
            raise FleetError(f"no other takes calls of {service}; start one first: mercato scale {service}=2")
        drained = drained - {instance} if undo else drained | {instance}
        policy = Policy(name=mesh.policy_name(service), drained_instances=sorted(drained))
        return await operator.update(policy, "drained_instances")

    _tell(service, _operate(change))


def reset(
    service: Annotated[str, typer.Argument(metavar="[SERVICE]", help="Without: of all.", show_default=False)] = "",
) -> None:
    """Forget the policy of a service, or of all: calls go evenly to all instances, and nothing goes wrong on purpose.

    - `mercato mesh reset`
    - `mercato mesh reset orders`
    """

    async def change(operator: Operator) -> list[str]:
        if service:
            await operator.service(service)
        return await operator.reset(service)

    names = [name.partition("/")[2] for name in _operate(change)]
    screen.say(f"Forgotten: {', '.join(names) or 'nothing was set'}")


async def _follow(operator: Operator) -> None:
    """Show it until interrupted; what was seen last stays on the screen while the mesh is away."""
    seen = Mesh()
    with Live(console=screen.console(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                async for seen in operator.watch(_FRAME_S):
                    live.update(mesh_screen.view(seen, live.console.width), refresh=True)
            except mesh.MeshAwayError as away:
                note = f"{away}; this is what it said last"
                live.update(mesh_screen.view(seen, live.console.width, note), refresh=True)
            await asyncio.sleep(_AGAIN_S)


def _update(service: str, policy: Policy, field: str) -> None:
    async def change(operator: Operator) -> Policy:
        await operator.service(service)
        return await operator.update(policy, field)

    _tell(service, _operate(change))


def _operate(work: Callable[[Operator], Awaitable[Result]]) -> Result:
    async def operate() -> Result:
        async with mesh.operate(_plan()) as operator:
            return await work(operator)

    return asyncio.run(operate())


def _plan() -> Plan:
    return Plan.load(plans.locate(os.environ, Path.cwd())[1])


def _tell(service: str, policy: Policy) -> None:
    screen.say(f"{service}: {mesh_screen.words(policy) or 'calls go evenly to all instances'}")
