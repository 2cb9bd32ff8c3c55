"""The commands that trade with the suite and prove that it adds up."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop
from rich.console import Console

from fleet import commands, control, lifecycle, screen
from fleet import plan as fleet_plans
from fleet.errors import FleetError
from fleet.plan import FRONT

if TYPE_CHECKING:  # the heavy imports wait until a command needs them
    from loadtest.bench import Figures
    from loadtest.plan import Plan
    from loadtest.reconcile import Report

REAL_TRADE = Path(__file__).parent / "data" / "online_retail_2010-12-01_2010-12-10.csv.gz"
DEMO_DAY = datetime(2010, 12, 1)
_CONCURRENCY = 32
_UP_TIMEOUT_S, _DOWN_TIMEOUT_S = 30.0, 60.0

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def app() -> typer.Typer:
    """These commands, to be added to the whole command line."""
    trading = typer.Typer()
    for command in (replay, check, bench, bench_mesh, bench_telemetry, demo):
        trading.command(command.__name__.replace("_", "-"))(command)
    return trading


def replay(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Invoice lines, plain or gzipped. Without: the ten real days that come along.",
            show_default=False,
        ),
    ] = REAL_TRADE,
    day: Annotated[
        datetime | None, typer.Option(metavar="YYYY-MM-DD", formats=["%Y-%m-%d"], help="Only this day's lines.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.001, help="N times as fast as it was. Without: as fast as can be."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Orders under way at once.")
    ] = _CONCURRENCY,
    short: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=100, help="Stock too little of this percentage of products.")
    ] = 0,
    decline: Annotated[
        float, typer.Option(metavar="PERCENT", min=0, max=100, help="Decline the cards of this percentage of orders.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Replay a real shop's trade through the gateway, and reconcile it with what the services hold.

    Every line ends in one category; lines, pieces and pence of each must be the same in the file and in the services,
    else the command fails. Stopped half-way and started again, it goes on without doing anything twice.

    - `mercato replay --day 2010-12-01`
    - `mercato replay --short 5 --decline 3`
    - `mercato replay trade.csv --speed 3600`
    """
    from fleet.client import GaveUpError
    from loadtest import report
    from loadtest.lines import TradeFileError, read
    from loadtest.plan import Options, plan

    try:
        trade = read(file, day.date() if day else None)
        made = plan(trade, Options(day.date() if day else None, short, decline))
        if not trade.lines and not trade.rejected:
            raise FleetError(f"{file} has no lines of {day:%Y-%m-%d}")
        reconciled = uvloop.run(_replay(made, concurrency, speed))
    except TradeFileError as error:
        raise FleetError(str(error)) from error
    except GaveUpError as error:
        raise FleetError(f"{error}; the same command goes on from here") from error
    if as_json:
        _print_json(report.as_json(reconciled, made.rejected))
    else:
        report.show(reconciled, made.rejected, screen.console())
    if not reconciled.is_clean:
        raise typer.Exit(1)


def check(as_json: Json = False) -> None:
    """Prove that everything adds up: stock, money, orders, mails, events. Fails with each violation named."""
    import asyncpg

    from fleet import check
    from fleet.client import GaveUpError

    try:
        invariants = uvloop.run(check.check(_fleet_plan()))
    except GaveUpError as error:
        raise FleetError(str(error)) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise FleetError(f"a database does not answer ({str(error) or 'not in time'}); see `mercato ps`") from error
    if as_json:
        _print_json([dataclasses.asdict(invariant) for invariant in invariants])
    else:
        check.show(invariants, screen.console())
    if any(invariant.violations for invariant in invariants):
        raise typer.Exit(1)


def bench(as_json: Json = False) -> None:
    """Measure throughput, latency, CPU by process, and what the chassis costs beside a bare gRPC server.

    Uses the suite that runs; else starts one of each layout, a process for each service and all together, for as long
    as it takes. It trades: `mercato check` stays clean after it.
    """
    from loadtest import bench, overhead

    layouts = list(_measure_layouts())
    costs = uvloop.run(overhead.measure())
    if as_json:
        _print_json({"layouts": [dataclasses.asdict(figures) for figures in layouts], **dataclasses.asdict(costs)})
    else:
        bench.show(layouts, costs, screen.console())


def bench_mesh(
    as_json: Json = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw what overload does, over time, to this file.")
    ] = None,
) -> None:
    """Measure how calls spread over a mesh, what it costs, and what twice the load a service can bear does to it.

    It starts what it needs and ends it; the suite that runs is left alone. It takes about 80 seconds.
    """
    from loadtest import bench_mesh, mesh, metastable

    spread = uvloop.run(mesh.measure())
    runs = uvloop.run(metastable.measure())
    if svg:
        svg.write_text(metastable.draw(runs))
    if as_json:
        _print_json(bench_mesh.as_json(spread, runs))
    else:
        bench_mesh.show(spread, runs, screen.console())


def bench_telemetry(as_json: Json = False) -> None:
    """Measure what telemetry costs a call: off, unsampled, a tenth sampled, and with who listens away or hanging.

    It starts what it needs and ends it; the suite that runs is left alone. It takes about two minutes.
    """
    from loadtest import bench_telemetry, telemetry

    costs = uvloop.run(telemetry.measure())
    if as_json:
        _print_json(bench_telemetry.as_json(costs))
    else:
        bench_telemetry.show(costs, screen.console())


def _measure_layouts() -> Iterator[Figures]:
    from loadtest import bench

    root, home = fleet_plans.locate(os.environ, Path.cwd())
    for together in (False, True):
        make_plan = partial(fleet_plans.make, root, home, os.environ, together=together)
        started = uvloop.run(lifecycle.up(home, make_plan, _UP_TIMEOUT_S))
        try:
            yield uvloop.run(bench.measure(_fleet_plan(), REAL_TRADE))
        finally:
            if started:
                lifecycle.down(home, _DOWN_TIMEOUT_S)
        if not started:
            return


def demo() -> None:
    """Start the suite, replay a real day of trade, prove that it adds up, and leave it running to be explored."""
    os.environ.setdefault("MERCATO_TRACES_PER_SECOND", "100")  # so that any order of that day can be looked into
    commands.up()
    replay(day=DEMO_DAY)
    check()
    screen.console().print(screen.addresses(_fleet_plan()), soft_wrap=True)


async def _replay(made: Plan, concurrency: int, speed: float | None) -> Report:
    from fleet.client import connect
    from loadtest import progress
    from loadtest.books import read_books
    from loadtest.reconcile import reconcile
    from loadtest.replay import Replay

    async with connect(_fleet_plan().slot(f"{FRONT}/1").address) as shop:
        run = Replay(made, shop, concurrency=concurrency, speed=speed)
        async with progress.shown(run.tally, Console(stderr=True)):
            result = await run.run()
            run.tally.phase = "reading back"
            books = await read_books(shop, made)
            run.tally.phase = "done"
        return reconcile(made, result, books)


def _fleet_plan() -> fleet_plans.Plan:
    """The plan of the fleet, which runs; FleetError where it does not."""
    plan = fleet_plans.Plan.load(fleet_plans.locate(os.environ, Path.cwd())[1])
    control.call(plan.home, "status")
    return plan


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
