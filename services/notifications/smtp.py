"""Hands a mail to a mail server by SMTP (RFC 5321)."""

from __future__ import annotations

import logging
import re
import smtplib
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from mercato.notifications.v1.notifications_pb2 import Mail

from chassis.settings import InvalidSetting

TIMEOUT_S = 10.0
DOMAIN = "mercato.example"
SENDER = f"orders@{DOMAIN}"
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])")
"""The enhanced status that an answer may begin with (RFC 3463)."""

_log = logging.getLogger(__name__)


class Smtp:
    """A mail server."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    @classmethod
    def at(cls, url: str) -> Smtp:
        """Return the mail server at `smtp://host:port`."""
        match = re.fullmatch(r"smtp://([A-Za-z0-9.-]+):([0-9]{1,5})", url)
        if match is None:
            raise InvalidSetting(variable="MERCATO_NOTIFICATIONS_SMTP_URL", value=url, expected="smtp://host:port")
        return cls(match[1], int(match[2]))

    def deliver(self, mail: Mail) -> Mail.State.ValueType:
        """Hand a mail over and return where it stands then; blocks for seconds at worst.

        QUEUED: the server surely has not got it and may take it later. SENDING: it may have got it.
        """
        state = Mail.STATE_QUEUED
        try:
            with smtplib.SMTP(self._host, self._port, DOMAIN, TIMEOUT_S) as server:
                server.ehlo_or_helo_if_needed()
                code, answer = server.mail(SENDER)
                if _is_positive(code):
                    code, answer = server.rcpt(mail.recipient)
                if _is_positive(code):
                    state = Mail.STATE_SENDING  # should the connection break from here on, nobody knows
                    code, answer = server.data(_message(mail).as_bytes())
                state = _state_after(mail, code, answer)
        except smtplib.SMTPDataError as refusal:
            state = _state_after(mail, refusal.smtp_code, refusal.smtp_error)
        except OSError as error:  # SMTPException is one, and may hold the server's words
            said = {"error": type(error).__name__, "code": getattr(error, "smtp_code", error.errno)}
            _log.warning("mail server", extra={"mail": mail.name, **said})
        return state


def _state_after(mail: Mail, code: int, answer: bytes | str) -> Mail.State.ValueType:
    """Return where a mail stands after an answer; of a refusal its codes are logged, as its words tell addresses."""
    if _is_positive(code):
        return Mail.STATE_SENT
    words = answer if isinstance(answer, str) else answer.decode(errors="replace")
    status = _ENHANCED.match(words)
    _log.warning("mail refused", extra={"mail": mail.name, "code": code, "status": status[0] if status else ""})
    return Mail.STATE_REFUSED if code >= 500 else Mail.STATE_QUEUED


def _is_positive(code: int) -> bool:
    return 200 <= code < 300


def _message(mail: Mail) -> EmailMessage:
    message = EmailMessage(SMTP)
    message["From"] = SENDER
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.create_time.ToDatetime())
    message["Message-ID"] = f"<{mail.name.replace('/', '.')}@{DOMAIN}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.body, cte="quoted-printable")
    return message
