"""A version that is as good passes nearly always, one that is worse is caught nearly always; by seeded chance."""

from __future__ import annotations

import random
from collections import Counter
from math import inf, isclose

import pytest

from fleet import canary, metrics
from fleet.canary import Arms, Look, Tally
from fleet.conductor import CALLS_OF_A_LOOK, PERCENTAGES

CALLS = 100
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, inf)
METHOD = "/mercato.orders.v1.OrderService/GetOrder"


def served(chance: random.Random, calls: int, failing: float, slow: float = 1.0) -> Tally:
    """What a version serves that fails so often and takes so many times as long."""
    taken = [chance.lognormvariate(-5, 0.6) * slow for _ in range(calls)]
    seconds = Counter(next(bound for bound in BOUNDS if seconds <= bound) for seconds in taken)
    failed = sum(chance.random() < failing for _ in range(calls))
    return Tally(calls, failed, {METHOD: {bound: seconds[bound] for bound in BOUNDS}})


def verdict(chance: random.Random, *, new: float, beside: float, slow: float = 1.0, held_up: float = 0.0) -> str:
    """How a whole canary ends, in which each version is held up, and slow, in this part of the looks."""
    looks: list[Look] = []
    for percent in PERCENTAGES:
        before, ours = list(looks), Tally()
        for _ in range(CALLS // CALLS_OF_A_LOOK):
            pace = [10.0 if chance.random() < held_up else 1.0 for _ in range(2)]
            new_one = served(chance, CALLS_OF_A_LOOK, new, slow * pace[0])
            others = served(chance, CALLS_OF_A_LOOK * (100 - percent) // percent, beside, pace[1])
            ours += new_one
            if percent < 100:
                looks.append(Look(new_one, others))
            else:
                looks[len(before) :] = [canary.alone(ours, before)]
            if why := canary.worse(looks):
                return why
    return ""


def share_caught(seed: int, runs: int, **versions: float) -> float:
    chance = random.Random(seed)
    return sum(bool(verdict(chance, **versions)) for _ in range(runs)) / runs


@pytest.mark.parametrize("failing", [0.0, 0.002, 0.02, 0.3])
def test_one_that_is_as_good_passes_nearly_always(failing: float) -> None:
    assert share_caught(1, 100, new=failing, beside=failing) <= 0.01


@pytest.mark.parametrize(("failing", "beside"), [(0.05, 0.0), (0.05, 0.001), (1.0, 0.0), (0.2, 0.05)])
def test_one_that_fails_more_is_caught_nearly_always(failing: float, beside: float) -> None:
    assert share_caught(2, 100, new=failing, beside=beside) >= 0.98


def test_one_that_is_slow_is_caught_and_one_a_little_slower_passes() -> None:
    assert share_caught(3, 50, new=0, beside=0, slow=8) >= 0.98
    assert share_caught(4, 50, new=0, beside=0, slow=1.1) <= 0.02
    assert verdict(random.Random(5), new=0, beside=0, slow=8).startswith("is slow in ")


def test_one_that_is_held_up_for_moments_is_not_called_slow() -> None:
    assert share_caught(6, 100, new=0, beside=0, held_up=0.2) <= 0.02


def test_what_hits_both_in_one_step_tells_nothing_against_the_new_one() -> None:
    well = Look(Tally(100, 0), Tally(1900, 0))
    outage = Look(Tally(100, 60), Tally(100, 60))
    assert canary.worse([well, outage]) == ""


def test_a_larger_share_within_the_margin_is_no_reason() -> None:
    assert canary.worse([Look(Tally(1_000_000, 9_000), Tally(1_000_000, 1_000))]) == ""
    assert canary.worse([Look(Tally(1_000_000, 12_000), Tally(1_000_000, 1_000))]) == (
        "fails 1.2% of its calls, beside 0.1%"
    )


def test_chance_is_fishers() -> None:
    assert isclose(canary.chance([Arms(8, 7, 8, 2)]), 0.02028, rel_tol=1e-3)  # as tables of Fisher's test have it
    assert isclose(canary.chance([Arms(50, 0, 50, 3)]), 1.0)
    assert isclose(canary.chance([Arms(0, 0, 50, 3), Arms(50, 0, 0, 0)]), 1.0)


def test_quantiles_of_buckets() -> None:
    assert canary.quantile({0.1: 50, 0.2: 50, inf: 0}, 0.75) == pytest.approx(0.15)
    assert canary.quantile({0.1: 0, 0.2: 0, inf: 10}, 0.5) == 0.2
    assert canary.quantile({}, 0.5) == 0.0


def test_tallies_are_read_from_what_a_server_serves() -> None:
    name, method = "rpc_server_call_duration_seconds", METHOD.removeprefix("/")
    watch = method.replace("Get", "Watch")

    def sample(suffix: str, code: str, method: str, value: object, more: str = "") -> str:
        return f'{name}_{suffix}{{rpc_response_status_code="{code}",{more}rpc_method="{method}"}} {value}'

    text = "\n".join(
        [
            f"# TYPE {name} histogram",
            *(
                sample("bucket", code, of, count, f'le="{bound}",')
                for of, code, counts in (
                    (method, "OK", (3, 8, 9)),
                    (method, "UNAVAILABLE", (2, 2, 2)),
                    (method, "NOT_FOUND", (1, 1, 1)),
                    (watch, "CANCELLED", (0, 0, 4)),
                    ("mercato.mesh.v1.MeshService/GetMesh", "UNAVAILABLE", (5, 5, 5)),
                )
                for bound, count in zip(("0.1", "0.2", "+Inf"), counts, strict=True)
            ),
            sample("count", "OK", method, 9.0),
            sample("count", "UNAVAILABLE", method, 2.0),
            sample("count", "CANCELLED", watch, 4.0),
            "",
        ]
    )
    read = metrics.tally(text, metrics.unary_by_method("orders"))
    assert (read.calls, read.failed) == (15, 2)
    assert read.seconds == {METHOD: {0.1: 6, 0.2: 5, inf: 1}}
    assert (read + read - read) == read
