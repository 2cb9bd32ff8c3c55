"""The conditions of a query, as many as are asked for."""

from __future__ import annotations

LATEST_NS = 2**63 - 1


class Filters:
    """Conditions that all hold, and their arguments: of the first condition $1, $2 ..."""

    def __init__(self, condition: str, *arguments: object) -> None:
        self._conditions = [condition]
        self.arguments = list(arguments)

    def add(self, condition: str, argument: object) -> None:
        """Add a condition where its argument, which is {} in it, is given."""
        if argument:
            self.arguments.append(argument)
            self._conditions.append(condition.format(f"${len(self.arguments)}"))

    def __str__(self) -> str:
        return " AND ".join(self._conditions)
