"""How many calls are served at once, as the metrics tell it."""

from __future__ import annotations

from prometheus_client import REGISTRY

from chassis.limits import Limit


def in_flight(kind: str) -> float | None:
    return REGISTRY.get_sample_value("mercato_server_calls_in_flight", {"mercato_kind": kind})


def test_the_metric_counts_the_calls_of_all_instances_in_the_process() -> None:
    first, second, other = Limit(2, "tested"), Limit(2, "tested"), Limit(2, "others")
    with first, first, second, other:
        assert in_flight("tested") == 3
    assert (in_flight("tested"), in_flight("others")) == (0, 0)
