"""What the resilience of all instances in this process looks like, read when somebody asks, so that no call pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from weakref import WeakSet

from chassis.resilience.breaker import State
from chassis.resilience.callee import Callee, Resilience
from chassis.telemetry.metrics import Measured, measure

BREAKER_STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}

_Values = Iterator[tuple[Sequence[str], float]]

_instances: WeakSet[Resilience] = WeakSet()


def shown(resilience: Resilience) -> Resilience:
    """Show the resilience of an instance for as long as it lives; returns it."""
    _instances.add(resilience)
    return resilience


def _callees() -> dict[str, list[Callee]]:
    """Return the callees of all instances by name: what several have is summed up."""
    found: dict[str, list[Callee]] = {}
    for instance in list(_instances):
        for callee in list(instance.callees):
            found.setdefault(callee.name, []).append(callee)
    return dict(sorted(found.items()))


def _sums(value: Callable[[Callee], float]) -> Callable[[], _Values]:
    return lambda: (((name,), sum(map(value, callees))) for name, callees in _callees().items())


def _hedges() -> _Values:
    for name, callees in _callees().items():
        hedgings = [hedging for callee in callees for hedging in callee.hedgings]
        yield (name, "won"), sum(hedging.won for hedging in hedgings)
        yield (name, "lost"), sum(hedging.lost for hedging in hedgings)


def _breakers() -> _Values:
    """Yield the state of each circuit breaker; of one that several have, the worst."""
    for name, callees in _callees().items():
        for method in sorted({method for callee in callees for method in callee.breakers}):
            found = [callee.breakers[method] for callee in callees if method in callee.breakers]
            yield (name, method.removeprefix("/")), max(BREAKER_STATES[breaker.state] for breaker in found)


measure(
    Measured(
        "mercato.client.retries", "Attempts besides the first, hedges included.", ["mercato.callee"],
        _sums(lambda callee: callee.budget.withdrawn), grows=True,
    ),
    Measured(
        "mercato.client.retries_withheld", "Attempts not made as the retry budget was spent.", ["mercato.callee"],
        _sums(lambda callee: callee.budget.withheld), grows=True,
    ),
    Measured(
        "mercato.client.hedges", "Second attempts of slow reads, by their outcome.",
        ["mercato.callee", "mercato.outcome"], _hedges, grows=True,
    ),
    Measured(
        "mercato.client.bulkhead.in_flight", "Calls under way.", ["mercato.callee"],
        _sums(lambda callee: callee.bulkhead.in_flight),
    ),
    Measured(
        "mercato.client.breaker.state", "0: closed, 1: half-open, 2: open.", ["mercato.callee", "rpc.method"],
        _breakers,
    ),
)  # fmt: skip
