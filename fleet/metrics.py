"""What the servers of a fleet counted, read from where each serves its metrics."""

from __future__ import annotations

import asyncio
import importlib
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from math import inf

from google.protobuf.descriptor import FileDescriptor
from prometheus_client.parser import text_string_to_metric_families

from fleet import ports
from fleet.canary import FAILURES, Tally
from fleet.errors import FleetError

_TIMEOUT_S = 2.0
_MOST_BYTES = 4 * 1024**2
_SECONDS = "rpc_server_call_duration_seconds"


async def served(port: int, service: str) -> Tally:
    """What the instance that has its metrics at this port served of a service's contract since it was started."""
    url = f"http://{ports.LOOPBACK}:{port}/metrics"
    try:
        text = await asyncio.to_thread(_fetch, url)
    except OSError as error:
        raise FleetError(f"{url} does not answer: {error}") from error
    return tally(text, unary_by_method(service))


def tally(text: str, unary: Mapping[str, bool]) -> Tally:
    """Read the calls of these methods out of Prometheus' text. How long they took is told of those that are unary."""
    calls = failed = 0
    cumulative: defaultdict[str, defaultdict[float, int]] = defaultdict(lambda: defaultdict(int))
    for family in text_string_to_metric_families(text):
        if family.name != _SECONDS:
            continue
        for sample in family.samples:
            method, count = "/" + sample.labels["rpc_method"], int(sample.value)
            if method not in unary:
                continue
            if sample.name == f"{_SECONDS}_count":
                calls += count
                failed += count if sample.labels["rpc_response_status_code"] in FAILURES else 0
            elif sample.name == f"{_SECONDS}_bucket" and unary[method]:
                cumulative[method][float(sample.labels["le"])] += count
    return Tally(calls, failed, {method: _each(bounds) for method, bounds in cumulative.items() if bounds[inf]})


@cache
def unary_by_method(service: str) -> dict[str, bool]:
    """The methods in the contract of a service, as `/package.Service/Method`, and whether each is answered once."""
    contract: FileDescriptor = importlib.import_module(f"mercato.{service}.v1.{service}_pb2").DESCRIPTOR
    return {
        f"/{each.full_name}/{method.name}": not method.server_streaming
        for each in contract.services_by_name.values()
        for method in each.methods
    }


def _each(cumulative: dict[float, int]) -> dict[float, int]:
    """The count in each bucket, of counts up to each bound."""
    bounds = sorted(cumulative)
    below = [0, *(cumulative[bound] for bound in bounds)]
    return {bound: cumulative[bound] - before for bound, before in zip(bounds, below, strict=False)}


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - a URL of ours
        text: str = response.read(_MOST_BYTES).decode()
    return text
