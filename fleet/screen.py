"""How a fleet looks on a terminal; without one the same text has no colours."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fleet.health import SERVING
from fleet.lifecycle import Member
from fleet.logs import Line
from fleet.plan import FRONT, FRONT_GRPC_PORT, FRONT_HTTP_PORT, Plan

_MIB = 2**20
_FILE_WIDTH = 200
_METHOD = re.compile(r"(?:\w+\.)+(\w+/\w+)")
"""The full name of a gRPC method; what of it is told without its package."""
_STYLES = {SERVING: "green", "running": "green", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "FATAL": "red"}


def console() -> Console:
    """Standard output: as wide as the terminal, else as its lines are."""
    return Console(width=None if sys.stdout.isatty() else _FILE_WIDTH)


def say(text: str) -> None:
    """Print a line as it is."""
    console().print(text, highlight=False, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line that is no result: on standard error."""
    Console(stderr=True).print(text, style="yellow", highlight=False, markup=False, soft_wrap=True)


def short_method(name: str) -> str:
    """Shorten `mercato.orders.v1.OrderService/PlaceOrder` to `OrderService/PlaceOrder`; else a name stays as it is."""
    match = _METHOD.fullmatch(name)
    return match[1] if match else name


def grid() -> Table:
    """A table without lines, close enough for a terminal of 80 columns."""
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))


def table(members: Sequence[Member]) -> Table:
    """One row a process, and one for each instance that shares it; where it is narrow, its health takes more lines."""
    rows = grid()
    for title in ("process", "address", "version"):
        rows.add_column(title, no_wrap=True)
    rows.add_column("health")
    for title in ("pid", "restarts", "uptime", "MiB"):
        rows.add_column(title, justify="right", no_wrap=True)
    for member in members:
        state = member.health if member.health and member.state == "running" else member.state
        health = _health(state, member.note)
        if member.within:
            rows.add_row(f"  {member.name}", member.address, member.version, health)
            continue
        rows.add_row(
            member.name,
            member.address,
            member.version,
            health,
            str(member.pid or ""),
            str(member.restarts),
            _duration(member.uptime_s),
            f"{member.pss_bytes / _MIB:.1f}",
        )
    return rows


def _health(state: str, note: str) -> Text:
    """What a process says of itself: why it takes no calls, or what it goes on without."""
    if state == SERVING:
        return Text.assemble((state, _STYLES[state]), (f" {note}" if note else "", "yellow"))
    return Text(f"{state}: {note}" if note else state, _STYLES.get(state, "red"))


def summary(members: Sequence[Member]) -> str:
    """How many processes there are and what they need together."""
    pss_mib = sum(member.pss_bytes for member in members) / _MIB
    count = sum(not member.within for member in members)
    return f"{count} processes, {pss_mib:.0f} MiB of memory together (PSS)"


def addresses(plan: Plan) -> Text:
    """Where to explore it from; says so when the gateway is not at its usual ports."""
    if FRONT not in plan.slots:
        return Text("There is no gateway; call the services at their addresses above.")
    first = plan.slots[FRONT][0]
    usual = {FRONT_HTTP_PORT: first.http_port, FRONT_GRPC_PORT: first.port}
    lines = [f"The gateway listens on {now}, not on the usual {port}." for port, now in usual.items() if now != port]
    lines += [
        f"Console  http://localhost:{first.http_port}/console",
        f"HTTP     http://localhost:{first.http_port}/v1/products",
        f"API      http://localhost:{first.http_port}/openapi.json",
        f"gRPC     grpcurl -plaintext localhost:{first.port} list",
        "Logs     mercato logs -f          End it   mercato down",
    ]
    return Text("\n".join(lines))


def log_line(line: Line) -> Text:
    """Time of day (UTC), level, service and message; the rest dimmed."""
    rest = " ".join(f"{name}={value}" for name, value in line.fields.items() if name != "instance")
    return Text.assemble(
        (line.time.strftime("%H:%M:%S.%f")[:-3] + " ", "dim"),
        (f"{line.level:7} ", _STYLES.get(line.level, "")),
        (f"{line.fields.get('instance', line.service):15} ", "cyan"),
        f"{line.message} ",
        (rest, "dim"),
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
