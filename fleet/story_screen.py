"""How a story looks on a terminal: the waterfall of its traces to scale, and what happened in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from mercato.inventory.v1.inventory_pb2 import Reservation
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.operations.v1.operations_pb2 import Saga, SagaStep
from mercato.orders.v1.orders_pb2 import Order, Return
from mercato.payments.v1.payments_pb2 import LedgerEntry, Payment
from mercato.shipping.v1.shipping_pb2 import Shipment
from mercato.telemetry.v1.telemetry_pb2 import Span, Trace
from rich.console import Group
from rich.text import Text

from chassis.money import plain
from fleet.screen import short_method
from fleet.story import Head, Resource, Story, ToldEvent

NARROWEST_NAME, WIDEST_NAME = 20, 60
NARROWEST_BAR, WIDEST_BAR = 10, 40
REMARK = 26
"""Room beside a bar for which attempt it was and how it failed."""
_COLORS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green")
"""Of services, in the order in which they come in."""
_KINDS = {Span.KIND_CLIENT: "→ ", Span.KIND_PRODUCER: "⇢ ", Span.KIND_CONSUMER: "⇠ "}
_STEPS = {
    SagaStep.STATE_TO_DO: ("·", "to do", "dim"),
    SagaStep.STATE_CURRENT: ("▸", "under way", "yellow"),
    SagaStep.STATE_DONE: ("✓", "done", "green"),
    SagaStep.STATE_REFUSED: ("✗", "refused", "red"),
    SagaStep.STATE_TO_UNDO: ("↶", "to be undone", "yellow"),
    SagaStep.STATE_UNDONE: ("↶", "undone", "magenta"),
    SagaStep.STATE_SKIPPED: ("·", "never begun", "dim"),
}
_UNRECORDED = (
    "Not every request is recorded, and what was recorded is kept for a while. To record all from now on:\n"
    "mercato down; MERCATO_TRACE_RATIO=1 MERCATO_TRACES_PER_SECOND=1000 mercato up"
)


def view(story: Story, width: int) -> Group:
    """All of it on so many columns; what there is nothing of is left out."""
    parts = [_head(story)]
    for trace in story.traces:
        parts += [_title(_summary(trace)), *waterfall(trace, width)]
    if story.further:
        parts.append(Text(f"\nFurther traces, each for `mercato trace`: {', '.join(story.further)}", style="dim"))
    if not story.traces and "telemetry" not in story.missing:
        named = f" ({', '.join(story.unrecorded)})" if story.unrecorded else ""
        parts.append(Text(f"\nNo trace of it was recorded{named}.\n{_UNRECORDED}", style="yellow"))
    for title, lines in (
        ("Sagas", [line for saga in story.sagas for line in _saga(saga)]),
        ("Events", [_event(each) for each in story.events]),
        ("Ledger", [_entry(each) for each in story.ledger]),
        ("Goods and money", [_resource(each) for each in story.resources]),
        ("Mails", [_mail(each) for each in story.mails]),
        ("Not told", [Text(f"{service} does not answer: {why}", "red") for service, why in story.missing.items()]),
    ):
        if lines:
            parts += [_title(title), *lines]
    return Group(*parts)


def waterfall(trace: Trace, width: int) -> Iterator[Text]:
    """Yield a line for each span, under the one it is part of, with a bar where it lies in the whole."""
    colors: defaultdict[str, str] = defaultdict(lambda: _COLORS[len(colors) % len(_COLORS)])
    bar_width = min(max((width - 30) // 3, NARROWEST_BAR), WIDEST_BAR)
    service_width = max((len(span.service) for span in trace.spans), default=0)
    name_width = min(max(width - service_width - bar_width - 15 - REMARK, NARROWEST_NAME), WIDEST_NAME)
    for depth, span in tree(trace.spans):
        name = Text("  " * depth + _KINDS.get(span.kind, "") + short_method(span.name), "red" if span.failed else "")
        name.truncate(name_width, overflow="ellipsis", pad=True)
        yield Text.assemble(
            name,
            (f"  {span.service:{service_width}}  ", colors[span.service]),
            (f"{bar(trace, span, bar_width):{bar_width}}", "red" if span.failed else colors[span.service]),
            f"{span.duration.ToMicroseconds() / 1000:8.1f} ms",
            _remark(trace, span),
            no_wrap=True,
            overflow="ellipsis",
        )


def tree(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Yield the spans, each after the one it is part of, with how deep it lies; those without stand at the top."""
    known, inner = {span.id for span in spans}, defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_time.ToNanoseconds()):
        inner[span.parent_id if span.parent_id in known else ""].append(span)
    left = [(0, span) for span in reversed(inner[""])]
    while left:
        depth, span = left.pop()
        yield depth, span
        left += [(depth + 1, each) for each in reversed(inner[span.id])]


def bar(trace: Trace, span: Span, width: int) -> str:
    """Draw where a span lies in its trace, to scale; one too short to see is a thin stroke."""
    whole = max(trace.duration.ToNanoseconds(), 1)
    begin = (span.start_time.ToNanoseconds() - trace.start_time.ToNanoseconds()) / whole * width
    length = span.duration.ToNanoseconds() / whole * width
    first = min(max(int(begin), 0), width - 1)
    return " " * first + ("▏" if length < 0.5 else "█" * min(max(round(length), 1), width - first))


def _head(story: Story) -> Text:
    head = story.head
    if head is None:
        return Text(story.name, style="bold")
    amount = head.total if isinstance(head, Order) else head.amount
    text = Text.assemble((head.name, "bold"), f"  {_state(head)}", f"  {head.customer}  {_amount(amount)}", _when(head))
    if isinstance(head, Order) and head.refusal.reason:
        text.append(f"\n{head.refusal.step}: {head.refusal.reason}: {head.refusal.message}", "red")
    if isinstance(head, Return) and head.order:
        text.append(f"\nof {head.order}", "dim")
    return text


def _when(head: Head) -> str:
    begun, ended = (
        (head.place_time, head.final_time) if isinstance(head, Order) else (head.create_time, head.complete_time)
    )
    took_s = (ended.ToNanoseconds() - begun.ToNanoseconds()) / 1e9
    return f"  {_utc(begun):%Y-%m-%d %H:%M:%S} UTC" + (f", final after {took_s:.2f} s" if took_s > 0 else "")


def _summary(trace: Trace) -> str:
    kept = Trace.Keep.Name(trace.keep).removeprefix("KEEP_").lower()
    errors = f", {trace.error_count} failed" if trace.error_count else ""
    took_ms = trace.duration.ToMicroseconds() / 1000
    return f"{short_method(trace.root)}  {took_ms:.1f} ms, {len(trace.spans)} spans{errors}  {trace.name} ({kept})"


def _remark(trace: Trace, span: Span) -> Text:
    """What is worth a word beside a bar: which attempt it was, which other trace it comes from, how it failed."""
    attempt = span.attributes.get("mercato.saga.attempt", "1")
    said = [f"attempt {attempt}"] if attempt not in ("", "0", "1") else []
    said += [f"from {link.trace}" for link in span.links if link.trace != trace.name]
    code = span.attributes.get("error.type") or span.attributes.get("rpc.response.status_code", "")
    failure = " ".join([code, *span.status_message.split()]).strip() if span.failed else ""
    return Text.assemble((f"  {', '.join(said)}" if said else "", "dim"), (f"  {failure}" if failure else "", "red"))


def _saga(saga: Saga) -> Iterator[Text]:
    yield Text.assemble((saga.kind, "bold"), f"  {saga.status}", (_refusal(saga), "red"))
    for step in saga.steps:
        mark, words, style = _STEPS.get(step.state, ("?", "unknown", ""))
        line = Text.assemble(f"  {mark} ", f"{step.name:20} ", words, style=style)
        if step.name == saga.step and saga.attempts:
            line.append(f", {saga.attempts} tries failed: {saga.error}", "red")
        yield line


def _refusal(saga: Saga) -> str:
    if not saga.HasField("refusal"):
        return ""
    return f"  {saga.refusal.step or 'asked from outside'}: {saga.refusal.reason}: {saga.refusal.message}"


def _event(told: ToldEvent) -> Text:
    event, happened = told.event, _utc(told.event.create_time)
    line = Text.assemble(
        (f"{happened:%H:%M:%S.%f} "[:12] + " ", "dim"),
        (f"{told.service:10} ", "cyan"),
        f"{event.type.rpartition('.')[2]:22} ",
        (f"{event.id}  ", "dim"),
    )
    if not event.HasField("publish_time"):
        return line.append("waits in the outbox", "yellow")
    by = (f"{service} +{(time - happened).total_seconds():.2f} s" for service, time in sorted(told.handled.items()))
    return line.append(" ".join(["handled by", ", ".join(by)]) if told.handled else "", "green")


def _entry(entry: LedgerEntry) -> Text:
    return Text.assemble(
        (f"{_utc(entry.create_time):%H:%M:%S.%f}"[:12] + " ", "dim"),
        f"{entry.debit_account} ← {entry.credit_account}  {plain(entry.amount)}",
        (f"  {entry.subject}", "dim"),
    )


def _resource(resource: Resource) -> Text:
    """An undo that came before what it undoes left a mark, which has a name and a state and nothing else."""
    match resource:
        case Reservation():
            pieces = sum(line.quantity for line in resource.lines)
            said = [f"{pieces} pieces of {len(resource.lines)} products" if pieces else ""]
        case Payment():
            refunded = _amount(resource.refunded) if resource.refunded.units or resource.refunded.nanos else ""
            said = [_amount(resource.amount), f"refunded {refunded}" if refunded else ""]
        case Shipment():
            said = [f"{resource.pieces} pieces" if resource.pieces else "", resource.tracking_number]
    return Text.assemble(f"{resource.name}  {_state(resource)}  ", (", ".join(filter(None, said)), "dim"))


def _amount(amount: Money) -> str:
    """An amount; empty where none is set."""
    return plain(amount) if amount.currency_code else ""


def _mail(mail: Mail) -> Text:
    return Text.assemble(
        f"{mail.subject}  {_state(mail)}  ", (f"{mail.name}, of {mail.event_type.rpartition('.')[2]}", "dim")
    )


def _state(resource: Any) -> str:
    name: str = type(resource).State.Name(resource.state)
    return name.removeprefix("STATE_")


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _utc(time: Timestamp) -> datetime:
    return time.ToDatetime(UTC)
