"""How the calls of a fleet look on a terminal: rates, errors and times of each method."""

from __future__ import annotations

from collections.abc import Sequence

from mercato.telemetry.v1.telemetry_pb2 import GetTrafficResponse, MethodTraffic
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.screen import grid, short_method

SLOW_S = 0.5


def chosen(traffic: GetTrafficResponse, service: str = "", program: str = "") -> list[MethodTraffic]:
    """Return the methods of one service, or of all, that are called, those with the most calls first.

    What a process counts that hosts several services bears its name, `program`, for all of them.
    """

    def is_wanted(each: MethodTraffic) -> bool:
        hosted = each.service == program and each.method.startswith(f"mercato.{service}.")
        return service in ("", each.service) or hosted

    methods = [each for each in traffic.methods if each.rates.calls_per_second and is_wanted(each)]
    return sorted(methods, key=lambda method: (-method.rates.calls_per_second, method.service, method.method))


def view(methods: Sequence[MethodTraffic], window_s: float, note: str = "") -> Group:
    """One row a method, and all of them together; below it a note."""
    calls = sum(method.rates.calls_per_second for method in methods)
    faults = sum(method.rates.faults_per_second for method in methods)
    services = len({method.service for method in methods})
    title = Text.assemble(
        (f"{calls:.1f} calls/s", "bold"),
        f" served by {services} service{'' if services == 1 else 's'} over {window_s:g} s, ",
        (f"{faults:.2f} faults/s", "red" if faults else ""),
    )
    parts: list[RenderableType] = [title, _table(methods)]
    return Group(*parts, *([Text(f"\n{note}", style="yellow")] if note else []))


def _table(methods: Sequence[MethodTraffic]) -> Table:
    """Where it is narrow, methods are cut short and all else is whole."""
    rows = grid()
    rows.add_column("service", no_wrap=True)
    rows.add_column("method")
    for title in ("calls/s", "faults/s", "refusals/s", "p50 ms", "p99 ms"):
        rows.add_column(title, justify="right", no_wrap=True)
    for method in methods:
        rates = method.rates
        rows.add_row(
            Text(method.service, "cyan"),
            Text(short_method(method.method), no_wrap=True, overflow="ellipsis"),
            f"{rates.calls_per_second:.1f}",
            Text(f"{rates.faults_per_second:.2f}", "red" if rates.faults_per_second else "dim"),
            Text(f"{rates.refusals_per_second:.2f}", "yellow" if rates.refusals_per_second else "dim"),
            f"{rates.p50_s * 1000:.1f}",
            Text(f"{rates.p99_s * 1000:.1f}", "yellow" if rates.p99_s > SLOW_S else ""),
        )
    return rows
