"""A clock that gives ids as told, so that a contract can name what it is about."""

from __future__ import annotations

from chassis.clock import SystemClock


class NamingClock(SystemClock):
    """The real time; the next id can be told."""

    def __init__(self) -> None:
        self.next_id = ""

    def new_id(self) -> str:
        """Return the id that was told, once; else a new one."""
        told, self.next_id = self.next_id, ""
        return told or super().new_id()
