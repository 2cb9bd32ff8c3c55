"""What the benchmark of telemetry measures and how it shows that; `make bench-telemetry` measures for longer."""

from __future__ import annotations

import json

from rich.console import Console

from loadtest import bench_telemetry, telemetry
from loadtest.telemetry import AWAY, OFF, SAMPLED, UNSAMPLED, WAYS, Cost

COSTS = {
    OFF: Cost(200.0, 1.0, 2000.0, 1.0, 0.5),
    UNSAMPLED: Cost(208.0, 1.04, 1950.0, 0.98, 0.5),
    SAMPLED: Cost(260.0, 1.3, 1700.0, 0.85, 4.0),
    AWAY[0]: Cost(230.0, 1.15, 1900.0, 0.95, 6.0),
    AWAY[1]: Cost(230.0, 1.15, 1500.0, 0.75, 6.0),
}


async def test_all_ways_are_measured_in_one_run() -> None:
    costs = await telemetry.measure(rounds=1, calls=160)
    assert costs.keys() == WAYS.keys()
    assert all(cost.cpu_us > 0 and cost.calls_per_s > 0 for cost in costs.values())
    assert costs[OFF].cpu_ratio == costs[OFF].rate_ratio == 1


def test_the_table_says_what_was_reached_and_what_was_not() -> None:
    console = Console(record=True, width=160)
    bench_telemetry.show(COSTS, console)
    text = console.export_text()
    assert "208 µs" in text
    assert (text.count("reached"), text.count("missed")) == (2, 2)


def test_the_same_as_json() -> None:
    told = json.loads(json.dumps(bench_telemetry.as_json(COSTS)))
    assert told[UNSAMPLED]["reached"]
    assert not told[SAMPLED]["reached"]
