"""Writes a mail for each event, in the transaction that notes the event as handled."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from string import Template

from google.protobuf.message import Message
from mercato.notifications.v1.notifications_pb2 import Mail

from chassis.bus import Event
from chassis.call import current_call
from chassis.clock import Clock
from chassis.database import Batch
from chassis.telemetry.trace import Trace
from services.notifications.domain import write
from services.notifications.mailbox import Mailbox

_log = logging.getLogger(__name__)


class Writer:
    """Handles the events that customers are told of."""

    def __init__(
        self, mailbox: Mailbox, templates: Mapping[str, Template], state: Mail.State.ValueType, clock: Clock
    ) -> None:
        self._mailbox = mailbox
        self._templates = templates
        self._state = state
        self._clock = clock

    def handle(self, batch: Batch, message: Message, event: Event) -> None:
        """Add the mail that tells of an event."""
        mail = write(message, event.id, self._templates[message.DESCRIPTOR.name], self._clock.now())
        mail.state = self._state
        call = current_call()
        _log.info("mail", extra={"mail": mail.name, "event": event.id})
        self._mailbox.put(batch, mail, call.trace if call else Trace.start())
