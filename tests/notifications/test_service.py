"""Events in over real NATS, mails out over real gRPC."""

from __future__ import annotations

import logging
from typing import Any

import nats
import pytest
from mercato.notifications.v1.notifications_pb2 import GetMailRequest, ListMailsRequest, Mail
from mercato.notifications.v1.notifications_pb2_grpc import NotificationServiceStub
from mercato.operations.v1 import operations_pb2 as operations
from mercato.operations.v1.operations_pb2_grpc import OperationsServiceStub
from mercato.orders.v1.orders_pb2 import OrderCancelled, OrderRefused, Refusal, ReturnCompleted

from chassis.app import App
from chassis.call import current_call
from chassis.errors import NotFound
from chassis.money import money
from tests.notifications.support import as_event, confirmed, eventually, mail_about, mails_about, publish, stub_of
from tests.stage import Stage


@pytest.fixture(scope="module")
async def app(stage: Stage) -> App:
    return await stage.start("notifications")


@pytest.fixture(scope="module")
async def notifications(app: App, stage: Stage) -> NotificationServiceStub:
    return stub_of(stage)


@pytest.fixture(scope="module")
async def operator(notifications: NotificationServiceStub, stage: Stage) -> OperationsServiceStub:
    service = operations.DESCRIPTOR.services_by_name["OperationsService"]
    stage.targets["operations"] = stage.targets["notifications"]
    return stage.stub(service, OperationsServiceStub)


async def dead_letter(operator: OperationsServiceStub, event_id: str, attempts: int = 1) -> operations.DeadLetter:
    async def find() -> operations.DeadLetter | None:
        letters = (await operator.ListDeadLetters(operations.ListDeadLettersRequest())).dead_letters
        return next((each for each in letters if each.id == event_id and each.attempts >= attempts), None)

    return await eventually(find)


async def replay(operator: OperationsServiceStub, event_id: str) -> tuple[int, int]:
    replayed = await operator.ReplayDeadLetters(operations.ReplayDeadLettersRequest(ids=[event_id]))
    return replayed.handled_count, replayed.failed_count


async def test_a_mail_is_logged_in_the_trace_of_its_event_without_an_address(
    app: App, notifications: NotificationServiceStub, caplog: pytest.LogCaptureFixture
) -> None:
    traced = logging.getLogger("services.notifications.writer")
    caplog.set_level(logging.INFO, traced.name)

    def with_its_call(record: logging.LogRecord) -> bool:
        record.call = current_call()
        return True

    caplog.handler.addFilter(with_its_call)
    message = confirmed()
    event = as_event(message)
    await app.bus.publish([event])
    mail = await mail_about(notifications, message.name)
    [told] = [vars(record) for record in caplog.records if record.name == traced.name]
    assert (told["message"], told["mail"], told["event"]) == ("mail", mail.name, event.id)
    assert told["call"].trace.trace_id == event.trace.split("-")[1]
    assert message.email not in str(told)


async def test_each_event_becomes_a_mail_that_is_kept(app: App, notifications: NotificationServiceStub) -> None:
    events: list[Any] = [
        confirmed(reference="536365"),
        OrderRefused(name="orders/r", email="ann@shop.example", refusal=Refusal(message="The card was declined.")),
        OrderCancelled(name="orders/c", email="ann@shop.example", total=money(255, "GBP")),
        ReturnCompleted(name="returns/1", email="ann@shop.example", amount=money(255, "GBP")),
    ]
    await publish(app, *events)
    for event in events:
        mail = await mail_about(notifications, event.name, Mail.STATE_KEPT)
        assert mail.name == f"mails/{event.name.replace('/', '-')}-2"
        assert mail.event_type == event.DESCRIPTOR.full_name
        assert mail.recipient == "ann@shop.example"
        assert (await notifications.GetMail(GetMailRequest(name=mail.name))).mail == mail
    with pytest.raises(NotFound) as missing:
        await notifications.GetMail(GetMailRequest(name="mails/none"))
    assert missing.value.data == {"name": "mails/none"}


async def test_an_event_delivered_many_times_is_one_mail(
    app: App, stage: Stage, notifications: NotificationServiceStub
) -> None:
    event = as_event(confirmed())
    client = await nats.connect(stage.nats_url)  # without the id that NATS itself would drop duplicates by
    headers = {
        "ce-id": event.id,
        "ce-source": event.source,
        "ce-partitionkey": event.key,
        "ce-type": event.type,
        "ce-time": event.time.isoformat(),
        "traceparent": event.trace,
    }
    for _ in range(5):
        await client.jetstream().publish(event.type, event.payload, headers=headers)
    await mail_about(notifications, event.key)
    await client.jetstream().publish(event.type, event.payload, headers=headers)
    await client.close()
    last = confirmed()
    await publish(app, last)
    await mail_about(notifications, last.name)  # all before it are handled
    assert len(await mails_about(notifications, event.key)) == 1


async def test_an_event_that_names_nobody_is_kept_aside(
    app: App,
    notifications: NotificationServiceStub,
    operator: OperationsServiceStub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chassis.consumer.RETRY_S", (0.01,))
    nobody, good = confirmed(email=""), confirmed()
    await publish(app, nobody, good)
    await mail_about(notifications, good.name)
    letter = await dead_letter(operator, f"{nobody.name}/2")
    assert letter.type == "mercato.orders.v1.OrderConfirmed"
    assert f"{nobody.name} has no mail address" in letter.error
    assert await replay(operator, letter.id) == (0, 1)
    again = await dead_letter(operator, letter.id, attempts=letter.attempts + 1)
    assert again.error == letter.error
    assert not await mails_about(notifications, nobody.name)


async def test_an_event_that_failed_through_a_defect_is_replayed(
    app: App,
    notifications: NotificationServiceStub,
    operator: OperationsServiceStub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chassis.consumer.RETRY_S", (0.01,))
    event = confirmed()
    await app.database.value("ALTER TABLE mails RENAME TO mislaid")
    try:
        await publish(app, event)
        letter = await dead_letter(operator, f"{event.name}/2")
        assert "mails" in letter.error
    finally:
        await app.database.value("ALTER TABLE mislaid RENAME TO mails")
    assert await replay(operator, letter.id) == (1, 0)
    assert await mail_about(notifications, event.name, Mail.STATE_KEPT)
    assert letter.id not in {
        each.id for each in (await operator.ListDeadLetters(operations.ListDeadLettersRequest())).dead_letters
    }


async def test_pages_lead_through_all(app: App, notifications: NotificationServiceStub) -> None:
    events = [confirmed() for _ in range(5)]
    await publish(app, *events)
    for event in events:
        await mail_about(notifications, event.name)
    names: list[str] = []
    token = ""
    while True:
        page = await notifications.ListMails(ListMailsRequest(page_size=2, page_token=token))
        assert len(page.mails) <= 2
        names += [mail.name for mail in page.mails]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(set(names))
    assert {f"mails/{event.name.replace('/', '-')}-2" for event in events} <= set(names)
