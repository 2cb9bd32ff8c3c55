"""The file against the services: lines, pieces and pence of every category, from each side by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mercato.inventory.v1 import inventory_pb2 as inventory
from mercato.orders.v1 import orders_pb2 as orders
from mercato.payments.v1 import payments_pb2 as payments

from chassis.money import minor
from loadtest import requests
from loadtest.books import Books
from loadtest.categories import (
    CANCELLATION,
    CORRECTION,
    CREDITED,
    NOT_BOOKED,
    OTHER_DAYS,
    REFUNDED,
    REJECTED,
    TAKEN,
    WRITE_OFF,
    Sum,
    credit_category,
    fee_category,
    return_category,
    sale_category,
)
from loadtest.origins import Sale, Settlement, Takeback, settle
from loadtest.plan import Booking, Plan
from loadtest.replay import Outcome, Result
from loadtest.trade import Item, Role


@dataclass(frozen=True, slots=True)
class Row:
    """One category from both sides."""

    category: str
    in_file: Sum
    in_services: Sum

    @property
    def difference(self) -> Sum:
        """What the services hold more than the file says."""
        return self.in_services - self.in_file


@dataclass(slots=True)
class Report:
    """Whether it adds up."""

    lines: list[Row]
    """Each line of the file is in exactly one of these."""
    money: list[Row]
    """What was moved for them."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, each in a sentence."""

    @property
    def is_clean(self) -> bool:
        """Whether there is no difference and no problem."""
        return not self.problems and all(row.difference == Sum() for row in (*self.lines, *self.money))


Sums = defaultdict[str, Sum]


def reconcile(plan: Plan, result: Result, books: Books) -> Report:
    """Compare what the file says with what the services hold."""
    in_file, in_services = _file_side(plan, result), _services_side(books)
    in_services[REJECTED], in_services[OTHER_DAYS] = in_file[REJECTED], in_file[OTHER_DAYS]  # they never came so far
    report = Report(_rows(in_file, in_services), _money_rows(plan, result, books))
    report.problems.extend((*_unaccounted(plan, report), *_problems(plan, result, books)))
    return report


def _rows(in_file: Sums, in_services: Sums) -> list[Row]:
    categories = dict.fromkeys((*in_file, *in_services))
    rows = [Row(category, in_file[category], in_services[category]) for category in categories]
    return sorted(
        (row for row in rows if row.in_file != Sum() or row.in_services != Sum()),
        key=lambda row: (row.category in (REJECTED, OTHER_DAYS), -row.in_file.lines, row.category),
    )


def _file_side(plan: Plan, result: Result) -> Sums:
    sums: Sums = defaultdict(Sum)
    took_place = _took_place(result)
    for step in (*plan.early, *plan.steps):
        match step:
            case Sale():
                counted = _of_sale(step, result.outcomes[step.invoice.number])
            case Takeback():
                counted = _of_takeback(step, settle(step, took_place))
            case Booking():
                counted = _of_booking(step)
        for number, category, counts in counted:
            sums[NOT_BOOKED if number in result.failures else category] += counts
    sums[REJECTED] = Sum(len(plan.rejected))
    sums[OTHER_DAYS] = Sum(plan.file.other_days_count)
    return sums


Counted = Iterator[tuple[int, str, Sum]]
"""The number of a line, its category, and what it counts there."""


def _of_sale(sale: Sale, outcome: Outcome) -> Counted:
    for item in sale.items:
        charge = item.article if item.role is Role.CHARGE else ""
        category = sale_category(outcome.state, outcome.reason, charge, item.line.price_minor)
        yield item.line.number, category, _pieces(item)


def _of_takeback(takeback: Takeback, settlement: Settlement) -> Counted:
    if settlement.cancels:
        for item in takeback.items:
            yield item.line.number, CANCELLATION, _pieces(item)
    for sale, items in settlement.returns.items():
        for item in items:
            charge = item.article if item.role is Role.CHARGE_BACK else ""
            yield item.line.number, return_category(sale is not None, charge), _pieces(item)
    for item in settlement.credited:
        yield item.line.number, credit_category(requests.credit_reason(item)), _amount(item)


def _of_booking(booking: Booking) -> Counted:
    item = booking.item
    if item.role is Role.FEE:
        yield item.line.number, fee_category(payments.Fee.Kind.Value(item.article)), _amount(item)
    else:
        yield item.line.number, WRITE_OFF if item.line.quantity < 0 else CORRECTION, _pieces(item)


def _pieces(item: Item) -> Sum:
    return Sum(1, item.line.quantity, item.line.amount_minor)


def _amount(item: Item) -> Sum:
    """Count what is booked as a mere amount."""
    return Sum(1, 0, item.line.amount_minor)


def _services_side(books: Books) -> Sums:
    sums: Sums = defaultdict(Sum)
    for order in books.orders:
        _add_order(sums, order)
    for back in books.returns:
        _add_return(sums, back)
    returns = {back.name for back in books.returns}
    for credit in books.credits:
        if credit.reference not in returns:
            sums[credit_category(credit.reason)] += Sum(1, 0, -minor(credit.amount))
    for fee in books.fees:
        sums[fee_category(fee.kind)] += Sum(1, 0, -minor(fee.amount))
    for movement in books.movements:
        category = {inventory.REASON_WRITE_OFF: WRITE_OFF, inventory.REASON_CORRECTION: CORRECTION}[movement.reason]
        sums[category] += Sum(1, movement.quantity, 0)
    return sums


def _add_order(sums: Sums, order: orders.Order) -> None:
    for charge, held in _lines_of(order):
        category = sale_category(order.state, order.refusal.reason, charge, held.pence // held.pieces)
        sums[category] += held
        if order.state == orders.Order.STATE_CANCELLED:
            sums[CANCELLATION] += held.negated()


def _add_return(sums: Sums, back: orders.Return) -> None:
    for charge, held in _lines_of(back):
        category = return_category(back.order != "", charge)
        if back.state != orders.Return.STATE_COMPLETED:
            category = f"{category}, not complete"
        sums[category] += held.negated()


def _lines_of(document: orders.Order | orders.Return) -> Iterator[tuple[str, Sum]]:
    """Yield each line, and each charge with the name of its kind; a deduction has pieces below zero, as in the file."""
    for line in document.lines:
        yield "", Sum(1, line.quantity, line.quantity * minor(line.unit_price))
    for charge in document.charges:
        price_minor = minor(charge.unit_price)
        pieces = -charge.quantity if price_minor < 0 else charge.quantity
        yield orders.Charge.Kind.Name(charge.kind), Sum(1, pieces, charge.quantity * price_minor)


def _money_rows(plan: Plan, result: Result, books: Books) -> list[Row]:
    took_place = _took_place(result)
    expected: Counter[str] = Counter()
    for step in plan.steps:
        if isinstance(step, Sale):
            expected[TAKEN] += step.total_minor if took_place[step.invoice.number] else 0
        elif isinstance(step, Takeback):
            settlement = settle(step, took_place)
            if settlement.cancels:
                expected[REFUNDED] += settlement.cancels.total_minor
            for sale, items in settlement.returns.items():
                expected[REFUNDED if sale else CREDITED] -= _booked_minor(items, result)
            expected[CREDITED] -= _booked_minor(settlement.credited, result)
    held = {
        TAKEN: sum(minor(payment.captured) for payment in books.payments if payment.HasField("captured")),
        REFUNDED: sum(minor(payment.refunded) for payment in books.payments if payment.HasField("refunded")),
        CREDITED: sum(minor(credit.amount) for credit in books.credits),
    }
    return [Row(name, Sum(pence=expected[name]), Sum(pence=pence)) for name, pence in held.items()]


def _booked_minor(items: list[Item], result: Result) -> int:
    return sum(item.line.amount_minor for item in items if item.line.number not in result.failures)


def _unaccounted(plan: Plan, report: Report) -> Iterator[str]:
    """Hold the categories against the file as it was read, before anything was made of it."""
    counted = sum((row.in_file for row in report.lines), Sum())
    if counted.lines != plan.file.line_count:
        yield f"the file has {plan.file.line_count} lines, the categories have {counted.lines}"
    rejected = {line.number for line in plan.rejected}
    pence = sum(line.amount_minor for line in plan.file.lines if line.number not in rejected)
    if counted.pence != pence:
        yield f"the lines of the file come to {pence} pence, the categories to {counted.pence}"


def _problems(plan: Plan, result: Result, books: Books) -> Iterator[str]:
    for number, why in sorted(result.failures.items()):
        yield f"line {number} could not be booked: {why}"
    cancelled = {step.cancels.invoice.number for step in plan.steps if isinstance(step, Takeback) and step.cancels}
    for step in plan.steps:
        if isinstance(step, Sale):
            outcome = result.outcomes[step.invoice.number]
            if not _is_expected(step, outcome, is_cancelled=step.invoice.number in cancelled):
                state = orders.Order.State.Name(outcome.state)
                yield f"invoice {step.invoice.number} ended {state} {outcome.reason}".rstrip()
    for order in books.orders:
        if minor(order.total) != sum(held.pence for _, held in _lines_of(order)):
            yield f"{order.name} has another total than its lines and charges together"


def _is_expected(sale: Sale, outcome: Outcome, *, is_cancelled: bool) -> bool:
    declined = sale.is_declined and sale.total_minor > 0
    if outcome.state == orders.Order.STATE_REFUSED:
        return (outcome.reason == "CARD_DECLINED" and declined) or (outcome.reason == "OUT_OF_STOCK" and sale.is_short)
    state = orders.Order.STATE_CANCELLED if is_cancelled else orders.Order.STATE_CONFIRMED
    return outcome.state == state and not declined


def _took_place(result: Result) -> Mapping[str, bool]:
    return {number: outcome.took_place for number, outcome in result.outcomes.items()}
