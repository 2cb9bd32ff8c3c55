"""What the resilience of all instances in this process looks like, read when Prometheus asks, so that no call pays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from weakref import WeakSet

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chassis.resilience.breaker import State

if TYPE_CHECKING:
    from chassis.resilience.callee import Callee, Resilience

BREAKER_STATES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class _Shown(Collector):
    """Sums over all instances; of a circuit breaker that several have, the worst state."""

    def __init__(self) -> None:
        self.instances: WeakSet[Resilience] = WeakSet()

    def collect(self) -> Iterator[Metric]:
        retries = CounterMetricFamily(
            "mercato_client_retries", "Attempts besides the first, hedges included.", labels=["callee"]
        )
        withheld = CounterMetricFamily(
            "mercato_client_retries_withheld", "Attempts not made as the retry budget was spent.", labels=["callee"]
        )
        hedges = CounterMetricFamily(
            "mercato_client_hedges", "Second attempts of slow reads, by their outcome.", labels=["callee", "outcome"]
        )
        in_flight = GaugeMetricFamily("mercato_client_bulkhead_in_flight", "Calls under way.", labels=["callee"])
        states = GaugeMetricFamily(
            "mercato_client_breaker_state", "0: closed, 1: half-open, 2: open.", labels=["callee", "method"]
        )
        for name, callees in sorted(self._callees().items()):
            retries.add_metric([name], sum(callee.budget.withdrawn for callee in callees))
            withheld.add_metric([name], sum(callee.budget.withheld for callee in callees))
            hedgings = [hedging for callee in callees for hedging in callee.hedgings]
            hedges.add_metric([name, "won"], sum(hedging.won for hedging in hedgings))
            hedges.add_metric([name, "lost"], sum(hedging.lost for hedging in hedgings))
            in_flight.add_metric([name], sum(callee.bulkhead.in_flight for callee in callees))
            for method in sorted({method for callee in callees for method in callee.breakers}):
                found = [callee.breakers[method] for callee in callees if method in callee.breakers]
                states.add_metric([name, method], max(BREAKER_STATES[breaker.state] for breaker in found))
        yield from (retries, withheld, hedges, in_flight, states)

    def _callees(self) -> dict[str, list[Callee]]:
        found: dict[str, list[Callee]] = {}
        for instance in list(self.instances):
            for callee in list(instance.callees):
                found.setdefault(callee.name, []).append(callee)
        return found


_shown = _Shown()
REGISTRY.register(_shown)


def show(resilience: Resilience) -> None:
    """Show the resilience of an instance for as long as it lives."""
    _shown.instances.add(resilience)
