"""What a mail says."""

from __future__ import annotations

import re
from datetime import datetime
from string import Template
from typing import Any

from google.protobuf.message import Message
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.orders.v1.orders_pb2 import OrderCancelled, OrderConfirmed, OrderRefused, ReturnCompleted

from chassis.clock import timestamp
from chassis.errors import InvalidArgument
from chassis.money import plain

EVENTS: tuple[type[Message], ...] = (OrderConfirmed, OrderRefused, OrderCancelled, ReturnCompleted)
"""What customers are told of."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")


class NoRecipient(InvalidArgument):
    """{name} has no mail address in its field email; nobody can be told."""


def write(event: Any, event_id: str, template: Template, now: datetime) -> Mail:
    """Write the mail that tells of an event. The first line of its template is the subject.

    InvalidArgument when the event holds no mail address or no amount where one belongs: it is malformed.
    """
    if not _ADDRESS.fullmatch(event.email):
        raise NoRecipient(name=event.name)
    facts = {"name": event.name} | _facts(event)
    text = template.substitute({key: " ".join(value.split()) for key, value in facts.items()})
    subject, _, body = text.partition("\n")
    return Mail(
        name=f"mails/{event_id.replace('/', '-')}",
        recipient=event.email,
        subject=subject,
        body=body.lstrip("\n"),
        regarding=event.name,
        event_type=event.DESCRIPTOR.full_name,
        create_time=timestamp(now),
    )


def _facts(event: Message) -> dict[str, str]:
    match event:
        case OrderConfirmed() | OrderCancelled():
            return {"reference": event.reference or "none", "total": plain(event.total)}
        case OrderRefused():
            return {"reference": event.reference or "none", "reason": event.refusal.message}
        case ReturnCompleted():
            return {"order": event.order or "from before our records begin", "amount": plain(event.amount)}
    raise TypeError(f"no mail tells of a {event.DESCRIPTOR.full_name}")
