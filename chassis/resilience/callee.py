"""What one instance knows of those that it calls, and how it protects itself from each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from chassis.resilience.breaker import CircuitBreaker, State
from chassis.resilience.bulkhead import Bulkhead
from chassis.resilience.hedging import Hedging
from chassis.resilience.retries import Retries
from chassis.resilience.retry_budget import RetryBudget


class Callee:
    """One service that is called: a bulkhead and a retry budget for all its methods, a circuit breaker for each."""

    def __init__(self, name: str, most_in_flight: int, retry_share: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.clock = clock
        self.bulkhead = Bulkhead(name, most_in_flight)
        self.budget = RetryBudget(retry_share, clock=clock)
        self.retries = Retries(self.budget)
        self.breakers: dict[str, CircuitBreaker] = {}
        """By method, of those that were called."""
        self.hedgings: list[Hedging[Any]] = []
        """One for each method that is hedged."""

    def breaker(self, method: str) -> CircuitBreaker:
        """Return the circuit breaker of a method."""
        if method not in self.breakers:
            self.breakers[method] = CircuitBreaker(self.name, method, clock=self.clock)
        return self.breakers[method]

    def hedging(self, definite: Callable[[BaseException], bool]) -> Hedging[Any]:
        """Return what hedges one method; takes which errors are answers."""
        hedging = Hedging[Any](self.budget.withdraw, definite, clock=self.clock)
        self.hedgings.append(hedging)
        return hedging


class Resilience:
    """All callees of an instance."""

    def __init__(
        self, retry_share: float = 0.1, max_concurrent_calls: int = 1000, clock: Callable[[], float] = monotonic
    ) -> None:
        """Take how many retries there may be for each call, and how many calls the instance serves at once.

        One callee may have half as many under way, so that one which hangs leaves the other half to the others.
        """
        self._retry_share = retry_share
        self._most_in_flight = max(max_concurrent_calls // 2, 1)
        self._clock = clock
        self._callees: dict[str, Callee] = {}

    def callee(self, name: str) -> Callee:
        """Return a service that is to be called, always the same for a name."""
        if name not in self._callees:
            self._callees[name] = Callee(name, self._most_in_flight, self._retry_share, self._clock)
        return self._callees[name]

    @property
    def callees(self) -> Iterable[Callee]:
        """Those asked for so far."""
        return self._callees.values()

    @property
    def retries(self) -> int:
        """Attempts made besides the first, hedges included."""
        return sum(callee.budget.withdrawn for callee in self.callees)

    @property
    def retries_withheld(self) -> int:
        """Attempts not made as the budget was spent."""
        return sum(callee.budget.withheld for callee in self.callees)

    @property
    def tripped(self) -> list[CircuitBreaker]:
        """The circuit breakers that are not closed."""
        breakers = [breaker for callee in self.callees for breaker in callee.breakers.values()]
        return [breaker for breaker in breakers if breaker.state is not State.CLOSED]
