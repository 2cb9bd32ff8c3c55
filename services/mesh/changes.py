"""Tells those who follow the mesh that something changed in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Numbers the changes. What they are, each follower looks up: who is slow misses none, and nothing queues."""

    def __init__(self) -> None:
        self.number = 0
        self._followers: set[asyncio.Event] = set()

    def note(self) -> None:
        """Tell all followers of one more change."""
        self.number += 1
        for woken in self._followers:
            woken.set()

    @contextmanager
    def follow(self) -> Iterator[asyncio.Event]:
        """Give an event that is set with every change; who waits for it clears it."""
        woken = asyncio.Event()
        self._followers.add(woken)
        try:
            yield woken
        finally:
            self._followers.discard(woken)
