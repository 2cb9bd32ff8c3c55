"""What telemetry costs a call, each figure beside its aim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.telemetry import AIMS, AWAY, OFF, SAMPLED, Cost

_SLOWED = 0.95
"""A rate of calls counts as the same down to this part: rounds of one way differ as much from each other."""


def as_json(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return everything for scripts."""
    return {name: {**asdict(cost), "reached": _reached(name, costs)} for name, cost in costs.items()}


def show(costs: Mapping[str, Cost], console: Console) -> None:
    """Print it as a table."""
    table = Table(title="A service that asks another, 16 calls under way", title_justify="left", title_style="bold")
    table.add_column("telemetry")
    for title in ("CPU of a call", "times off", "calls/s", "times off", "memory grew by", "aim", ""):
        table.add_column(title, justify="right")
    for name, cost in costs.items():
        table.add_row(
            name,
            f"{cost.cpu_us:.0f} µs",
            f"{cost.cpu_ratio:.2f}",
            f"{cost.calls_per_s:.0f}",
            f"{cost.rate_ratio:.2f}",
            f"{cost.grown_mib:.1f} MiB",
            _aim(name),
            "" if name == OFF else "[green]reached[/]" if _reached(name, costs) else "[red]missed[/]",
        )
    console.print(table)


def _aim(name: str) -> str:
    if name in AIMS:
        return f"CPU at most {AIMS[name]:.2f} times"
    return f"as many calls/s as {SAMPLED}" if name in AWAY else ""


def _reached(name: str, costs: Mapping[str, Cost]) -> bool:
    if name in AIMS:
        return costs[name].cpu_ratio <= AIMS[name]
    return name not in AWAY or costs[name].calls_per_s >= _SLOWED * costs[SAMPLED].calls_per_s
