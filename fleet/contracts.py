"""The commands about contracts: whether a service may be deployed, and who depends on whom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from rich.table import Table

from fleet import matrix as matrices
from fleet import plan, screen
from fleet.broker import HEAD, Broker


def app() -> typer.Typer:
    """These commands, to be added to the whole command line."""
    contracts = typer.Typer(name="contracts", help="Tell whether services fit together.", no_args_is_help=True)
    contracts.command("can-i-deploy")(can_i_deploy)
    contracts.command("deployed")(deployed)
    contracts.command("matrix")(matrix)
    whole = typer.Typer()
    whole.add_typer(contracts)
    return whole


def can_i_deploy(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="A service, such as orders.")],
    to: Annotated[str, typer.Option("--to", metavar="ENVIRONMENT", help="Where to, as in contracts/deployed/.")],
    commit: Annotated[str, typer.Option("--commit", metavar="REVISION", help="As of which commit.")] = HEAD,
) -> None:
    """Say whether a service may go to an environment, and if not, why. Exit code 1 means no.

    Yes means: every provider that runs there was verified with what this service needs of it, and this service with
    what every consumer that runs there needs of it. What nobody verified, or not since it changed, means no.

    - `mercato contracts can-i-deploy orders --to production`
    """
    broker = Broker(_root())
    if commit == HEAD:
        broker.require_clean()
    objections = list(broker.objections(service, to, commit))
    answer = f"{service} at {broker.commit(commit)[:12]} may {'not ' if objections else ''}go to {to}."
    _answer(answer, objections)


def deployed(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="Where, such as production.")],
    services: Annotated[list[str], typer.Argument(metavar="SERVICE=REVISION...", help="What runs there from now on.")],
) -> None:
    """Record what runs in an environment, in contracts/deployed/. Exit code 1 means that it may not: nothing changes.

    For CD to call and to commit what it wrote. Services named together are judged as running together.

    - `mercato contracts deployed production orders=3f2c1ab`
    """
    revisions = dict(each.split("=", 1) for each in services if "=" in each)
    if len(revisions) != len(services):
        raise typer.BadParameter("expected each service once, as SERVICE=REVISION")
    objections = Broker(_root()).deploy(environment, revisions)
    _answer(f"{environment} {'may not run' if objections else 'runs'} {', '.join(revisions)}.", objections)


def _answer(answer: str, objections: Sequence[str]) -> None:
    """Print yes or no, and why; no is exit code 1."""
    console = screen.console()
    for line in (f"{'No' if objections else 'Yes'}: {answer}", *(f"- {objection}" for objection in objections)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if objections:
        raise typer.Exit(1)


def matrix(
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw it into a file instead.")] = None,
    unused: Annotated[bool, typer.Option("--unused", help="List the fields that no contract names instead.")] = False,
) -> None:
    """Show who depends on whom, by which methods, events and fields.

    - `mercato contracts matrix`
    - `mercato contracts matrix --unused`
    - `mercato contracts matrix --svg docs/contracts.svg`
    """
    console, pacts = screen.console(), matrices.pacts(_root() / "contracts")
    if unused:
        image = FileDescriptorSet.FromString(resources.files("mercato").joinpath("descriptors.binpb").read_bytes())
        for message, fields in matrices.unused(pacts, image).items():
            console.print(f"{message}: {', '.join(fields)}", highlight=False, markup=False, soft_wrap=True)
        return
    found = matrices.dependencies(pacts)
    if svg:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(matrices.svg(found))
        return
    table = Table("consumer", "provider", "method or event", "sends", "reads")
    for each in found:
        table.add_row(each.consumer, each.provider, each.name, "\n".join(each.sends), "\n".join(each.reads))
    console.print(table)


def _root() -> Path:
    return plan.locate(os.environ, Path.cwd())[0]
