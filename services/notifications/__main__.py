"""Composition root of notifications."""

from __future__ import annotations

from pathlib import Path
from string import Template

from mercato.notifications.v1 import notifications_pb2
from mercato.notifications.v1.notifications_pb2 import Mail

from chassis.app import App, run
from services.notifications.domain import EVENTS
from services.notifications.mailbox import Mailbox
from services.notifications.sender import Sender
from services.notifications.service import NotificationService
from services.notifications.smtp import Smtp
from services.notifications.writer import Writer

HERE = Path(__file__).parent


async def compose(app: App) -> None:
    database = await app.open_database(HERE / "migrations")
    await app.open_bus()
    mailbox = Mailbox(database)
    templates = {path.stem: Template(path.read_text()) for path in (HERE / "templates").glob("*.txt")}
    state = Mail.STATE_KEPT
    if url := app.settings.options.get("smtp_url"):
        state = Mail.STATE_QUEUED
        app.background(Sender(mailbox, Smtp.at(url), app.clock).run)
    writer = Writer(mailbox, templates, state, app.clock)
    app.consume(dict.fromkeys(EVENTS, writer.handle))
    app.serve(notifications_pb2.DESCRIPTOR.services_by_name["NotificationService"], NotificationService(mailbox))


def main() -> None:
    run("notifications", compose)


if __name__ == "__main__":
    main()
