"""Figures of the mesh and of overload, each beside its aim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtest.mesh import Spread
from loadtest.metastable import AFTER_S, Run

_COST_RATIO, _UNEVEN, _EJECTED_S, _RETURNED_S = 1.10, 0.10, 2.0, 5.0
_SLOW_SHARE, _SPLIT_SHARE, _SPLIT_OFF = 0.15, 0.10, 0.015
_GOODPUT, _RECOVERY_S = 0.70, 5.0

Row = tuple[str, str, str, bool]
"""What, how much, the aim, and whether it is reached."""


def as_json(spread: Spread, runs: Sequence[Run]) -> dict[str, Any]:
    """Return everything for scripts."""
    overload = {run.name: {**asdict(run), **_verdicts(run)} for run in runs}
    return {"mesh": asdict(spread), "overload": overload}


def show(spread: Spread, runs: Sequence[Run], console: Console) -> None:
    """Print them as tables."""
    table = Table(title="Calls by the mesh", title_justify="left", title_style="bold")
    for title in ("", "measured", "aim", ""):
        table.add_column(title, justify="left" if not title else "right")
    for what, measured, aim, reached in _rows(spread):
        table.add_row(what, measured, aim, "[green]reached[/]" if reached else "[red]missed[/]")
    console.print(table)
    overload = Table(title="Twice the peak for five seconds, then 60 % again", title_justify="left", title_style="bold")
    overload.add_column("")
    for run in runs:
        overload.add_column(run.name, justify="right")
    overload.add_column("aim of the protected", justify="right")
    overload.add_row("measured peak", *(f"{run.peak:.0f} calls/s" for run in runs))
    shares = (f"{run.goodput_in_overload:.0%} of the peak" for run in runs)
    overload.add_row("answered in time at twice the peak", *shares, f"at least {_GOODPUT:.0%}")
    overload.add_row("recovered after", *map(_recovery, runs), f"at most {_RECOVERY_S:.0f} s")
    overload.add_row("answered of what is asked at the end", *(f"{min(run.goodput_after, 1):.0%}" for run in runs))
    console.print(overload)


def _rows(spread: Spread) -> list[Row]:
    shares = " / ".join(f"{share:.1%}" for share in spread.shares.values())
    off = max(abs(share * len(spread.shares) - 1) for share in spread.shares.values())
    return [
        (
            "CPU of a call for the client, by fixed addresses and by the mesh",
            f"{spread.plain_us:.0f} and {spread.mesh_us:.0f} µs, {spread.cost_ratio:.2f} times",
            f"at most {_COST_RATIO:.2f} times",
            spread.cost_ratio <= _COST_RATIO,
        ),
        (
            "shares of three instances",
            shares,
            f"within {_UNEVEN:.0%} of even",
            off <= _UNEVEN,
        ),
        (
            "an instance that fails gets no more calls after",
            f"{spread.ejected_s:.1f} s",
            f"at most {_EJECTED_S:.0f} s",
            spread.ejected_s <= _EJECTED_S,
        ),
        (
            "and some again, once it is well, after",
            f"{spread.returned_s:.1f} s",
            f"at most {_RETURNED_S:.0f} s",
            spread.returned_s <= _RETURNED_S,
        ),
        (
            "share of one of three that is slow by ten times",
            f"{spread.slow_share:.1%}",
            f"at most {_SLOW_SHARE:.0%}",
            spread.slow_share <= _SLOW_SHARE,
        ),
        (
            "share of a version that is to have a tenth",
            f"{spread.split_share:.1%}",
            f"{_SPLIT_SHARE:.0%}, within {_SPLIT_OFF:.1%}",
            abs(spread.split_share - _SPLIT_SHARE) <= _SPLIT_OFF,
        ),
    ]


def _verdicts(run: Run) -> dict[str, float | None]:
    return {
        "goodput_in_overload": run.goodput_in_overload,
        "goodput_after": run.goodput_after,
        "recovery_s": run.recovery_s,
    }


def _recovery(run: Run) -> str:
    return f"not within {AFTER_S:.0f} s" if run.recovery_s is None else f"{run.recovery_s:.1f} s"
