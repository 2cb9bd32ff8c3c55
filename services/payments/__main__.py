"""Composition root of payments."""

from __future__ import annotations

from pathlib import Path

from mercato.payments.v1 import payments_pb2

from chassis.app import App, run
from chassis.repository import Repository
from services.payments import domain
from services.payments.ledger import Ledger
from services.payments.processor import SimulatedProcessor
from services.payments.service import PaymentService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    ledger = Ledger(database, app.clock)
    payments = Repository(
        database, app.outbox, app.clock,
        table="payments", state=payments_pb2.Payment, evolve=domain.evolve_payment, project=ledger.book_payment,
    )  # fmt: skip
    credit_notes = Repository(
        database, app.outbox, app.clock,
        table="credits", state=payments_pb2.Credit, evolve=domain.evolve_credit, project=ledger.book_credit,
    )  # fmt: skip
    fees = Repository(
        database, app.outbox, app.clock,
        table="fees", state=payments_pb2.Fee, evolve=domain.evolve_fee, project=ledger.book_fee,
    )  # fmt: skip
    processor = SimulatedProcessor(database, app.clock, delay_s=float(app.settings.options.get("delay_s", 0)))
    servicer = PaymentService(payments, credit_notes, fees, ledger, processor, app.requests, app.clock)
    app.serve(payments_pb2.DESCRIPTOR.services_by_name["PaymentService"], servicer)


def main() -> None:
    run("payments", compose)


if __name__ == "__main__":
    main()
