"""What the tests of notifications share: publishing events, waiting for mails, and a mail server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TypeVar
from uuid import uuid4

from google.protobuf.message import Message
from mercato.notifications.v1.notifications_pb2 import DESCRIPTOR, ListMailsRequest, Mail
from mercato.notifications.v1.notifications_pb2_grpc import NotificationServiceStub
from mercato.orders.v1.orders_pb2 import OrderConfirmed

from chassis.app import App
from chassis.bus import Event
from chassis.money import money
from chassis.telemetry.trace import Trace
from tests.stage import Stage

Result = TypeVar("Result")


def confirmed(email: str = "ann@shop.example", reference: str = "") -> OrderConfirmed:
    return OrderConfirmed(name=f"orders/{uuid4()}", email=email, total=money(255, "GBP"), reference=reference)


def as_event(message: Message, version: int = 2) -> Event:
    name = str(message.name)  # type: ignore[attr-defined]
    return Event(
        id=f"{name}/{version}",
        source="orders",
        type=message.DESCRIPTOR.full_name,
        key=name,
        time=datetime.now(UTC),
        trace=Trace.start().traceparent,
        payload=message.SerializeToString(),
    )


async def publish(app: App, *messages: Message) -> None:
    await app.bus.publish([as_event(message) for message in messages])


def stub_of(stage: Stage) -> NotificationServiceStub:
    return stage.stub(DESCRIPTOR.services_by_name["NotificationService"], NotificationServiceStub)


async def mails_about(stub: NotificationServiceStub, regarding: str) -> list[Mail]:
    return list((await stub.ListMails(ListMailsRequest(regarding=regarding))).mails)


async def eventually(find: Callable[[], Result | Awaitable[Result | None] | None], timeout_s: float = 20.0) -> Result:
    """Return what `find` finds, once it does."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = find()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


async def mail_about(stub: NotificationServiceStub, regarding: str, state: Mail.State.ValueType | None = None) -> Mail:
    """Return the only mail about an order, once there is one, in this state."""

    async def find() -> Mail | None:
        mails = await mails_about(stub, regarding)
        assert len(mails) <= 1
        return mails[0] if mails and state in (None, mails[0].state) else None

    return await eventually(find)


@dataclass
class MailServer:
    """A mail server that answers as it is told; for the answer `drop` it breaks the connection instead."""

    port: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    messages: list[EmailMessage] = field(default_factory=list)
    conversations: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Until it is set, the server does not say whether it takes a message."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold one conversation."""
        self.conversations += 1
        verb, usual = "CONNECT", "220 hello"
        while (answer := self.answers.get(verb, usual)) != "drop":
            writer.write(f"{answer}\r\n".encode())
            await writer.drain()
            if answer.startswith("354"):
                self.messages.append(await _read_message(reader))
                await self.let_go.wait()
                verb, usual = ".", "250 taken"
                continue
            line = await reader.readline()
            if not line:
                break
            verb = line[:4].decode().upper()
            usual = {"DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 fine")
        writer.close()


@asynccontextmanager
async def mail_server(answers: dict[str, str] | None = None, port: int = 0) -> AsyncIterator[MailServer]:
    """Run a mail server on loopback."""
    told = MailServer(answers=answers or {})
    told.let_go.set()
    server = await asyncio.start_server(told.serve, "127.0.0.1", port)
    told.port = server.sockets[0].getsockname()[1]
    async with server:
        yield told


async def _read_message(reader: asyncio.StreamReader) -> EmailMessage:
    lines: list[bytes] = []
    while (line := await reader.readline()) != b".\r\n":
        assert line, "the connection ended within a message"
        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
    message = message_from_bytes(b"".join(lines), policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message
