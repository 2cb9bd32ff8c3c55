"""The card processor: somebody else's system, with its own books, its own idempotency and its own moods.

This one is simulated. It commits apart from our own transactions, as a real one does, so that all the ways in which
two systems can disagree after a crash are there to be met. What a card does is told by its token:

    tok_decline   is declined
    tok_timeout   is charged, but the first answer never comes
    tok_slow      is charged after two seconds
    any other     is charged
"""

from __future__ import annotations

from typing import Protocol

import asyncpg

from chassis.clock import Clock
from chassis.database import Database
from services.payments.domain import CardDeclined, PaymentNotAuthorizable, RefundTooLarge

DECLINES, HANGS, DAWDLES = "tok_decline", "tok_timeout", "tok_slow"
SLOW_S, FOR_EVER_S = 2.0, 3600.0


class CardProcessor(Protocol):
    """What we ask of a processor. Every call may be repeated and then does nothing more."""

    async def authorize(self, payment: str, card_token: str, amount_minor: int, currency: str) -> str:
        """Hold an amount, return the processor's reference; CardDeclined, or PaymentNotAuthorizable once reversed."""
        ...

    async def capture(self, payment: str) -> bool:
        """Take what is held; False when nothing is."""
        ...

    async def reverse(self, payment: str) -> None:
        """Let go what is held and give back what was taken; what never came will be refused when it comes."""
        ...

    async def refund(self, payment: str, key: str, amount_minor: int) -> None:
        """Give back a part of what was taken, once for each key; RefundTooLarge when less is left."""
        ...

    async def credit(self, key: str, amount_minor: int, currency: str) -> None:
        """Give money without a payment, once for each key."""
        ...


class SimulatedProcessor:
    """A processor whose books are tables of their own."""

    def __init__(self, database: Database, clock: Clock, delay_s: float = 0.0) -> None:
        self._database = database
        self._clock = clock
        self._delay_s = delay_s

    async def authorize(self, payment: str, card_token: str, amount_minor: int, currency: str) -> str:
        """See CardProcessor."""
        await self._clock.sleep(self._delay_s + (SLOW_S if card_token == DAWDLES else 0))
        state = "declined" if card_token == DECLINES else "authorized"
        row = await self._database.row(
            "WITH added AS (INSERT INTO processor_payments (payment, currency, amount_minor, state)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT (payment) DO NOTHING RETURNING state)"
            " SELECT state, true AS added FROM added"
            " UNION ALL SELECT state, false FROM processor_payments WHERE payment = $1",
            payment, currency, amount_minor, state,
        )  # fmt: skip
        if row is None:  # another try came at the same moment; what it found is what holds
            return await self.authorize(payment, card_token, amount_minor, currency)
        if row["added"] and card_token == HANGS:
            await self._clock.sleep(FOR_EVER_S)
        if row["state"] == "declined":
            raise CardDeclined
        if row["state"] == "reversed":
            raise PaymentNotAuthorizable(name=payment)
        return f"sim-{payment.removeprefix('payments/')}"

    async def capture(self, payment: str) -> bool:
        """See CardProcessor."""
        await self._clock.sleep(self._delay_s)
        return bool(
            await self._database.value(
                "UPDATE processor_payments SET state = 'captured', captured_minor = amount_minor"
                " WHERE payment = $1 AND state IN ('authorized', 'captured') RETURNING true",
                payment,
            )
        )

    async def reverse(self, payment: str) -> None:
        """See CardProcessor."""
        await self._clock.sleep(self._delay_s)
        await self._database.value(
            "INSERT INTO processor_payments (payment, currency, amount_minor, state) VALUES ($1, '', 0, 'reversed')"
            " ON CONFLICT (payment) DO UPDATE"
            " SET state = 'reversed', refunded_minor = processor_payments.captured_minor",
            payment,
        )

    async def refund(self, payment: str, key: str, amount_minor: int) -> None:
        """See CardProcessor."""
        await self._clock.sleep(self._delay_s)
        try:
            await self._database.value(
                "WITH added AS (INSERT INTO processor_refunds (key, currency, amount_minor)"
                " SELECT $2, currency, $3 FROM processor_payments WHERE payment = $1"
                " ON CONFLICT (key) DO NOTHING RETURNING amount_minor)"
                " UPDATE processor_payments SET refunded_minor = refunded_minor + added.amount_minor FROM added"
                " WHERE payment = $1",
                payment, key, amount_minor,
            )  # fmt: skip
        except asyncpg.CheckViolationError:
            raise RefundTooLarge(name=payment, amount_minor=amount_minor) from None

    async def credit(self, key: str, amount_minor: int, currency: str) -> None:
        """See CardProcessor."""
        await self._clock.sleep(self._delay_s)
        await self._database.value(
            "INSERT INTO processor_credits (key, currency, amount_minor) VALUES ($1, $2, $3)"
            " ON CONFLICT (key) DO NOTHING",
            key, currency, amount_minor,
        )  # fmt: skip
