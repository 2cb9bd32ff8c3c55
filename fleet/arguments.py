"""What people write on the command line of the mesh, read; typer.BadParameter names what was expected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import grpc
import typer

from fleet import metrics

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")
_UNITS_S = {"ms": 0.001, "s": 1.0}
_VERSION = re.compile(r"[a-z][a-z0-9._-]{0,49}")
_LONGEST_DELAY = timedelta(seconds=60)
_MOST_WEIGHT = 1_000_000


def delay(text: str) -> timedelta:
    """Read `300ms` or `1.5s`: up to a minute."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise typer.BadParameter(f"{text!r}: expected a duration such as 300ms or 1.5s")
    read = timedelta(seconds=float(match[1]) * _UNITS_S[match[2]])
    if not timedelta() < read <= _LONGEST_DELAY:
        raise typer.BadParameter(f"{text!r}: expected more than 0 and at most 60s")
    return read


def version(text: str) -> str:
    """Read `v2`: not a number, as `orders/2` is an instance and `orders/v2` are those of a version."""
    if not _VERSION.fullmatch(text):
        raise typer.BadParameter(f"{text!r}: expected a version: a letter, then letters, digits, dots or dashes, as v2")
    return text


def shares(texts: Sequence[str]) -> dict[str, int]:
    """Read `v1=90 v2=10`: whole weights of which at least one is not 0."""
    read: dict[str, int] = {}
    for text in texts:
        name, _, weight = text.partition("=")
        if not (weight.isascii() and weight.isdigit() and int(weight) <= _MOST_WEIGHT):
            raise typer.BadParameter(f"{text!r}: expected VERSION=WEIGHT, such as v2=10")
        if name in read:
            raise typer.BadParameter(f"{text!r}: {name} is named twice")
        read[version(name)] = int(weight)
    if read and not any(read.values()):
        raise typer.BadParameter("expected at least one weight above 0")
    return read


def code(text: str) -> int:
    """Read the name of a gRPC status code that is an error: `UNAVAILABLE` is 14."""
    codes: dict[str, int] = {each.name: each.value[0] for each in grpc.StatusCode if each is not grpc.StatusCode.OK}
    if text.upper() not in codes:
        raise typer.BadParameter(f"{text!r}: expected a gRPC status code, one of {', '.join(codes)}")
    return codes[text.upper()]


def method(service: str, text: str) -> str:
    """Find a method of a service by its name: `GetStock` is `/mercato.inventory.v1.InventoryService/GetStock`."""
    try:
        methods = metrics.unary_by_method(service)
    except ModuleNotFoundError:
        raise typer.BadParameter(f"{service!r}: expected a service with a contract") from None
    found = [path for path in methods if text in (path, path.rpartition("/")[2])]
    if len(found) != 1:
        known = ", ".join(path.rpartition("/")[2] for path in methods)
        raise typer.BadParameter(f"{text!r}: expected a method of {service}, one of {known}")
    return found[0]
