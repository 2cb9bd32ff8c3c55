"""Sends what is queued: each mail is marked before it is handed over, so that no crash makes it two."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import timedelta
from typing import TypeVar

from mercato.notifications.v1.notifications_pb2 import Mail
from opentelemetry.trace import SpanKind

from chassis.call import Call, serving
from chassis.clock import Clock
from chassis.errors import Unavailable
from chassis.telemetry.spans import SUBJECT, note, span
from services.notifications.mailbox import Mailbox
from services.notifications.smtp import Smtp

POLL_S = 0.5
RETRY = timedelta(seconds=10)

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Sender:
    """Hands mails to a mail server, one after the other."""

    def __init__(self, mailbox: Mailbox, smtp: Smtp, clock: Clock) -> None:
        self._mailbox = mailbox
        self._smtp = smtp
        self._clock = clock

    async def run(self) -> None:
        """Send until cancelled; a mail that is on its way then is still settled."""
        while True:
            try:
                sent = await _to_its_end(self._send_next())
            except Unavailable as error:
                _log.warning("sender waits", extra={"error": str(error)})
                sent = False
            if not sent:
                await self._clock.sleep(POLL_S)

    async def _send_next(self) -> bool:
        """Send one mail; false when there was none or the server takes none now."""
        taken = await self._mailbox.take(self._clock.now())
        if taken is None:
            return False
        mail, trace = taken
        with serving(Call("/mail", "notifications", None, trace)):
            with span("deliver mail", SpanKind.CLIENT, {SUBJECT: mail.regarding, "mercato.mail": mail.name}):
                state = await asyncio.to_thread(self._smtp.deliver, mail)
                note("mercato.mail.state", Mail.State.Name(state))
            await self._mailbox.settle(mail, state, self._clock.now() + RETRY)
        return state != Mail.STATE_QUEUED


async def _to_its_end(work: Coroutine[object, object, Result]) -> Result:
    """Await work that is not cancelled when the caller is: it ends, then the caller does."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
