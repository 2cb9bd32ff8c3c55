"""What the gate says of one pact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Whether a provider gives one consumer what it needs."""

    consumer: str
    provider: str
    events: bool
    interactions: int
    """How many were verified, or would have been."""
    problems: Sequence[str] = ()
    """Why not, one line each."""
    identity: str = ""
    """The pact's; empty unless every interaction of it was verified."""

    @property
    def green(self) -> bool:
        """Whether the provider may go out."""
        return not self.problems


def all_green(verdicts: Iterable[Verdict]) -> bool:
    """Whether there are verdicts, and none is red."""
    found = list(verdicts)
    return bool(found) and all(each.green for each in found)
