"""A reconciliation as a person or a script reads it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.categories import Sum
from loadtest.lines import Rejected
from loadtest.reconcile import Report, Row

MOST_SHOWN = 50
"""Rejected lines and problems printed; `--json` has all."""


def show(report: Report, rejected: Iterable[Rejected], console: Console) -> None:
    """Print it as tables."""
    console.print(_table("What the lines became", report.lines))
    console.print(_table("The money that moved for them", report.money, only_money=True))
    _list(console, "rejected", [f"line {line.number}: {line.reason}: {line.text}" for line in rejected])
    _list(console, "wrong", report.problems)
    if report.is_clean:
        console.print("Every line is accounted for, to the penny.", style="green")
    else:
        differing = [row.category for row in (*report.lines, *report.money) if row.difference != Sum()]
        console.print(
            f"It does not add up: {len(differing)} categories differ, {len(report.problems)} problems.",
            style="bold red",
        )


def as_json(report: Report, rejected: Iterable[Rejected]) -> dict[str, Any]:
    """Return it as plain data; money in pence."""
    return {
        "clean": report.is_clean,
        "categories": [_row(row) for row in report.lines],
        "money": [_row(row) for row in report.money],
        "problems": report.problems,
        "rejected": [asdict(line) for line in rejected],
    }


def _row(row: Row) -> dict[str, Any]:
    sides = {"file": row.in_file, "services": row.in_services, "difference": row.difference}
    return {"category": row.category, **{side: asdict(counts) for side, counts in sides.items()}}


def _table(title: str, rows: list[Row], *, only_money: bool = False) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_footer=not only_money)
    total_file = sum((row.in_file for row in rows), Sum())
    total_services = sum((row.in_services for row in rows), Sum())
    table.add_column("", "total")
    for side, total in (("file", total_file), ("services", total_services)):
        if not only_money:
            table.add_column(f"lines\n{side}", f"{total.lines:,}", justify="right")
            table.add_column(f"pieces\n{side}", f"{total.pieces:,}", justify="right")
        table.add_column(f"£\n{side}", _pounds(total.pence), justify="right")
    table.add_column("", "")
    for row in rows:
        cells = [row.category]
        for counts in (row.in_file, row.in_services):
            cells += [] if only_money else [f"{counts.lines:,}", f"{counts.pieces:,}"]
            cells.append(_pounds(counts.pence))
        table.add_row(*cells, _verdict(row.difference))
    return table


def _verdict(difference: Sum) -> Text:
    if difference == Sum():
        return Text("=", style="green")
    return Text(
        f"{difference.lines:+,} lines, {difference.pieces:+,} pieces, £ {_pounds(difference.pence)}", style="bold red"
    )


def _pounds(pence: int) -> str:
    return f"{'-' if pence < 0 else ''}{abs(pence) // 100:,}.{abs(pence) % 100:02}"


def _list(console: Console, title: str, texts: list[str]) -> None:
    if texts:
        console.print(f"{len(texts)} {title}:", style="bold")
        for text in texts[:MOST_SHOWN]:
            console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)
        if len(texts) > MOST_SHOWN:
            console.print(f"  … and {len(texts) - MOST_SHOWN} more")
