"""Frees what is held for longer than was agreed."""

from __future__ import annotations

import logging

from mercato.inventory.v1.inventory_pb2 import Reservation

from chassis.clock import Clock
from chassis.database import Database
from chassis.errors import Unavailable
from chassis.repository import Repository
from services.inventory import domain

SWEEP_S = 1.0
AT_ONCE = 100

_log = logging.getLogger(__name__)


class Sweeper:
    """Looks for reservations whose time has run out. Several instances may; each is freed once."""

    def __init__(self, database: Database, reservations: Repository[Reservation], clock: Clock) -> None:
        self._database = database
        self._reservations = reservations
        self._clock = clock

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                _log.warning("sweeping waits", extra={"error": str(error)})
            await self._clock.sleep(SWEEP_S)

    async def sweep(self) -> int:
        """Free what is due; return how many reservations that were."""
        now = self._clock.now()
        rows = await self._database.rows(
            "SELECT name FROM reservations WHERE status = $1 AND expire_time <= $2 ORDER BY expire_time LIMIT $3",
            Reservation.STATE_HELD, now, AT_ONCE,
        )  # fmt: skip
        for row in rows:
            await self._reservations.change(
                row["name"], lambda reservation: domain.expire(reservation, now), lambda reservation: reservation
            )
        return len(rows)
