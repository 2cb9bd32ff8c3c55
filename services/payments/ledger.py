"""The double-entry ledger: every entry moves an amount from one account to another, so that all balances sum to zero.

It is written with the events it books, in their transaction; entries are never changed.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from google.type.money_pb2 import Money
from mercato.payments.v1.payments_pb2 import (
    AccountBalance,
    Credit,
    Fee,
    LedgerEntry,
    Payment,
    PaymentCaptured,
    PaymentRefunded,
)

from chassis.clock import Clock, timestamp
from chassis.database import Batch, Database
from chassis.money import minor, money
from chassis.pages import Page, page_limit, position_of

CARD_CLEARING, BANK = "card_clearing", "bank"
SALES, REFUNDS, CREDITS, FEES = "sales", "refunds", "credits", "fees"


class Ledger:
    """The books of payments."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def book_payment(self, batch: Batch, payment: Payment, event: Message) -> None:
        """Book what was taken or given back."""
        match event:
            case PaymentCaptured():
                self._book(batch, CARD_CLEARING, SALES, event.amount, payment.name)
            case PaymentRefunded():
                self._book(batch, REFUNDS, CARD_CLEARING, event.amount, payment.name)

    def book_credit(self, batch: Batch, credit: Credit, _: Message) -> None:
        """Book what was given."""
        self._book(batch, CREDITS, CARD_CLEARING, credit.amount, credit.name)

    def book_fee(self, batch: Batch, fee: Fee, _: Message) -> None:
        """Book what we were charged, or given back."""
        if minor(fee.amount) > 0:
            self._book(batch, FEES, BANK, fee.amount, fee.name)
        else:
            self._book(batch, BANK, FEES, money(-minor(fee.amount), fee.amount.currency_code), fee.name)

    async def balances(self) -> list[AccountBalance]:
        """Return what each account holds, by currency."""
        rows = await self._database.rows(
            "SELECT account, currency, sum(amount_minor)::bigint AS balance_minor FROM ("
            "SELECT debit_account AS account, currency, amount_minor FROM ledger_entries UNION ALL"
            " SELECT credit_account, currency, -amount_minor FROM ledger_entries) AS postings"
            " GROUP BY account, currency ORDER BY account, currency"
        )
        return [
            AccountBalance(account=row["account"], balance=money(row["balance_minor"], row["currency"])) for row in rows
        ]

    async def page(self, page_size: int, page_token: str, subject: str) -> Page[LedgerEntry]:
        """Return one page of entries, oldest first; of one subject, or of all where it is empty."""
        rows = await self._database.rows(
            "SELECT * FROM ledger_entries WHERE position > $1 AND ($2 = '' OR subject = $2) ORDER BY position LIMIT $3",
            position_of(page_token), subject, page_limit(page_size) + 1,
        )  # fmt: skip
        entries = [
            LedgerEntry(
                name=f"ledger/entries/{row['position']}",
                debit_account=row["debit_account"],
                credit_account=row["credit_account"],
                amount=money(row["amount_minor"], row["currency"]),
                subject=row["subject"],
                create_time=timestamp(row["create_time"]),
            )
            for row in rows
        ]
        name: Callable[[LedgerEntry], str] = lambda entry: entry.name  # noqa: E731
        return Page.of(entries, page_size, name)

    def _book(self, batch: Batch, debit: str, credit: str, amount: Money, subject: str) -> None:
        batch.add(
            "INSERT INTO ledger_entries (debit_account, credit_account, amount_minor, currency, subject, create_time)"
            " VALUES ($1, $2, $3, $4, $5, $6)",
            debit, credit, minor(amount), amount.currency_code, subject, self._clock.now(),
        )  # fmt: skip
