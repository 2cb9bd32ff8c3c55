"""A crash while a mail is handed over makes no second mail."""

from __future__ import annotations

from pathlib import Path

import grpc
from mercato.notifications.v1.notifications_pb2 import ListMailsRequest, Mail
from mercato.notifications.v1.notifications_pb2_grpc import NotificationServiceStub

from chassis.nats import NatsBus
from tests.notifications.support import as_event, confirmed, eventually, mail_about, mail_server
from tests.stage import Stage
from tests.system.alone import alone

ROOT = Path(__file__).parents[2]


async def test_a_mail_whose_sending_was_killed_is_not_sent_again(stage: Stage) -> None:
    doubtful, good = confirmed(), confirmed()
    async with mail_server() as server, NatsBus(stage.nats_url, "test") as bus:
        environment = {
            "MERCATO_DATABASE_URL": await stage.new_database("notifications"),
            "MERCATO_NATS_URL": stage.nats_url,
            "MERCATO_NOTIFICATIONS_SMTP_URL": f"smtp://127.0.0.1:{server.port}",
        }
        server.let_go.clear()
        async with alone(ROOT, "notifications", **environment) as first:
            await bus.publish([as_event(doubtful)])
            await eventually(lambda: len(server.messages) == 1)
            first.process.kill()
            await first.process.wait()
        server.let_go.set()
        async with (
            alone(ROOT, "notifications", **environment) as second,
            grpc.aio.insecure_channel(second.target) as channel,
        ):
            notifications = NotificationServiceStub(channel)
            await bus.publish([as_event(good)])
            await mail_about(notifications, good.name, Mail.STATE_SENT)
            page = await notifications.ListMails(ListMailsRequest(regarding=doubtful.name))
        assert [mail.state for mail in page.mails] == [Mail.STATE_SENDING]
        assert [message["Subject"].rpartition(" ")[2] for message in server.messages] == [doubtful.name, good.name]
