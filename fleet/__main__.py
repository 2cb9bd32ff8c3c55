"""The `mercato` command: runs the whole suite on one machine, trades with it and proves that it adds up."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.text import Text

from fleet import commands, contracts, mesh_commands, see_commands
from fleet.errors import FleetError
from loadtest import commands as trading


def build() -> typer.Typer:
    """The whole command line: one line for each room that brings commands."""
    app = typer.Typer(
        name="mercato", help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode="markdown"
    )
    app.add_typer(commands.app())
    app.add_typer(see_commands.app())
    app.add_typer(mesh_commands.app())
    app.add_typer(contracts.app())
    app.add_typer(trading.app())
    return app


def main() -> None:
    """Run the command; what a person can act on is told without a traceback."""
    try:
        build()(prog_name="mercato")
    except FleetError as error:
        Console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
