"""Mails handed to a real mail server on loopback: at most once, whatever breaks."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.notifications.v1.notifications_pb2_grpc import NotificationServiceStub

from chassis.app import App
from chassis.clock import SystemClock
from chassis.database import Database
from chassis.settings import InvalidSetting
from services.notifications.mailbox import Mailbox
from services.notifications.smtp import Smtp
from tests.notifications.support import MailServer, confirmed, eventually, mail_about, mail_server, publish, stub_of
from tests.stage import Stage, stage


class Hurried(SystemClock):
    """The real time and so much more, and only short waits."""

    shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(min(delay_s, 0.02))


@pytest.fixture
def clock() -> Hurried:
    return Hurried()


@pytest.fixture(name="stage")
async def stage_of_test(postgres_url: str, tmp_path: Path, clock: Hurried) -> AsyncIterator[Stage]:
    async with stage(postgres_url, tmp_path / "nats", clock) as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server() as opened:
        yield opened


async def start(stage: Stage, port: int) -> tuple[App, NotificationServiceStub]:
    app = await stage.start("notifications", options={"smtp_url": f"smtp://127.0.0.1:{port}"})
    return app, stub_of(stage)


async def test_a_mail_is_sent(stage: Stage, server: MailServer) -> None:
    app, notifications = await start(stage, server.port)
    event = confirmed(reference="Über 12 €")
    await publish(app, event)
    mail = await mail_about(notifications, event.name, Mail.STATE_SENT)
    [message] = server.messages
    assert message["To"] == "ann@shop.example"
    assert message["From"] == "orders@mercato.example"
    assert message["Subject"] == f"Your order is confirmed: {event.name}"
    assert message["Message-ID"].strip() == f"<{mail.name.replace('/', '.')}@mercato.example>"
    assert message["Date"].datetime == mail.create_time.ToDatetime(message["Date"].datetime.tzinfo).replace(
        microsecond=0
    )
    assert message.get_content().replace("\r\n", "\n") == mail.body
    assert "Über 12 €" in mail.body


async def test_a_refused_mail_is_not_tried_again(stage: Stage, server: MailServer, clock: Hurried) -> None:
    app, notifications = await start(stage, server.port)
    events = {verb: confirmed() for verb in ("MAIL", "RCPT", "DATA", ".")}
    for verb, event in events.items():
        server.answers = {verb: "550 not to be had"}
        await publish(app, event)
        await mail_about(notifications, event.name, Mail.STATE_REFUSED)
    server.answers = {}
    conversations = server.conversations
    clock.shift = timedelta(days=1)
    good = confirmed()
    await publish(app, good)
    await mail_about(notifications, good.name, Mail.STATE_SENT)
    assert server.conversations == conversations + 1
    for event in events.values():
        assert await mail_about(notifications, event.name, Mail.STATE_REFUSED)


@pytest.mark.parametrize(
    ("verb", "answer", "code", "status"),
    [
        ("CONNECT", "554 5.7.1 not ann@shop.example", 554, None),
        ("MAIL", "550 ann@shop.example sends too much", 550, ""),
        ("RCPT", "550 5.1.1 <ann@shop.example>: Recipient address rejected", 550, "5.1.1"),
        ("RCPT", "450-4.2.1 later\r\n450 4.2.1 ann@shop.example is busy", 450, "4.2.1"),
        ("RCPT", "550 10.0.0.1 refuses ann@shop.example", 550, ""),
        ("DATA", "554 5.5.1 ann@shop.example", 554, "5.5.1"),
        (".", "552 5.3.4 too much for ann@shop.example", 552, "5.3.4"),
    ],
)
async def test_what_is_logged_of_a_refusal_are_its_codes_and_no_address(
    server: MailServer, caplog: pytest.LogCaptureFixture, verb: str, answer: str, code: int, status: str | None
) -> None:
    server.answers[verb] = answer
    mail = Mail(name="mails/1", recipient="ann@shop.example", subject="Your order", body="It is refused.")
    await asyncio.to_thread(Smtp("127.0.0.1", server.port).deliver, mail)
    [record] = [record for record in caplog.records if record.name == "services.notifications.smtp"]
    told = vars(record)
    assert (told["mail"], told["code"], told.get("status")) == ("mails/1", code, status)
    assert "ann@shop.example" not in str(told)


async def test_it_is_logged_why_a_server_cannot_be_had(caplog: pytest.LogCaptureFixture) -> None:
    async with mail_server() as gone:
        port = gone.port
    await asyncio.to_thread(Smtp("127.0.0.1", port).deliver, Mail(name="mails/1", recipient="ann@shop.example"))
    [record] = [record for record in caplog.records if record.name == "services.notifications.smtp"]
    assert (vars(record)["error"], vars(record)["code"]) == ("ConnectionRefusedError", errno.ECONNREFUSED)


async def test_what_the_server_cannot_take_now_is_sent_later(stage: Stage, server: MailServer, clock: Hurried) -> None:
    app, notifications = await start(stage, server.port)
    for answers in (
        {"CONNECT": "421 later"},
        {"CONNECT": "drop"},
        {"EHLO": "502 what", "HELO": "451 later"},
        {"MAIL": "drop"},
        {"RCPT": "451 later"},
        {"DATA": "451 later"},
        {".": "451 later"},
    ):
        server.answers, conversations = answers, server.conversations
        event = confirmed()
        await publish(app, event)
        await eventually(lambda: server.conversations > conversations)  # noqa: B023
        await mail_about(notifications, event.name, Mail.STATE_QUEUED)
        server.answers, messages = {}, len(server.messages)
        clock.shift += timedelta(minutes=1)
        await mail_about(notifications, event.name, Mail.STATE_SENT)
        assert len(server.messages) == messages + 1


async def test_mails_wait_for_a_server_that_is_away(stage: Stage, clock: Hurried) -> None:
    async with mail_server() as server:
        port = server.port
    app, notifications = await start(stage, port)
    event = confirmed()
    await publish(app, event)
    mail = await mail_about(notifications, event.name)
    assert mail.state in (Mail.STATE_QUEUED, Mail.STATE_SENDING)
    async with mail_server(port=port) as server:
        clock.shift = timedelta(minutes=1)
        await mail_about(notifications, event.name, Mail.STATE_SENT)
        assert len(server.messages) == 1


async def test_a_mail_that_may_have_arrived_is_not_sent_again(stage: Stage, server: MailServer, clock: Hurried) -> None:
    server.answers["."] = "drop"
    app, notifications = await start(stage, server.port)
    doubtful, good = confirmed(), confirmed()
    await publish(app, doubtful)
    await eventually(lambda: len(server.messages) == 1)
    server.answers.clear()
    clock.shift = timedelta(days=1)
    await publish(app, good)
    await mail_about(notifications, good.name, Mail.STATE_SENT)
    assert await mail_about(notifications, doubtful.name, Mail.STATE_SENDING)
    assert len(server.messages) == 2


async def test_instances_that_share_a_mailbox_send_each_mail_once(stage: Stage, server: MailServer) -> None:
    app, notifications = await start(stage, server.port)
    await stage.start("notifications", database_url=app.settings.database_url, options=dict(app.settings.options))
    events = [confirmed() for _ in range(30)]
    await publish(app, *events)
    for event in events:
        await mail_about(notifications, event.name, Mail.STATE_SENT)
    assert len(server.messages) == 30


async def test_a_mail_on_its_way_is_settled_before_the_service_ends(
    postgres_url: str, tmp_path: Path, server: MailServer
) -> None:
    server.let_go.clear()
    async with AsyncExitStack() as stack:
        on_stage = await stack.enter_async_context(stage(postgres_url, tmp_path / "nats", Hurried()))
        app, _ = await start(on_stage, server.port)
        event = confirmed()
        await publish(app, event)
        await eventually(lambda: len(server.messages) == 1)
        ending = asyncio.create_task(stack.aclose())
        await asyncio.wait([ending], timeout=0.2)
        assert not ending.done()
        server.let_go.set()
        await ending
    async with Database(app.settings.database_url) as database:
        page = await Mailbox(database).page(10, "", event.name)
        assert [mail.state for mail in page.items] == [Mail.STATE_SENT]


@pytest.mark.parametrize("url", ["localhost:25", "smtp://localhost", "http://localhost:25", "smtp://me:secret@host:25"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(InvalidSetting, match=r"MERCATO_NOTIFICATIONS_SMTP_URL .* expected smtp://host:port"):
        Smtp.at(url)
