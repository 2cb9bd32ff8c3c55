"""The bus on NATS JetStream: one stream for all events, subject = event type, one durable consumer a group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from chassis.bus import Delivery, Event
from chassis.errors import Unavailable

STREAM = "mercato"
FETCH = 200
FETCH_WAIT_S = 5.0
ACK_WAIT_S = 30.0
KEEP_S = 7 * 24 * 3600
KEEP_BYTES = 2 * 1024**3
PUBLISH_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


class BusUnavailable(Unavailable):
    """The event bus could not be reached."""


@dataclass(slots=True)
class NatsDelivery:
    """An event of a JetStream consumer."""

    event: Event
    attempt: int
    message: Msg

    async def ack(self) -> None:
        """Acknowledge without waiting: a lost acknowledgement means one more delivery, which the inbox absorbs."""
        await self.message.ack()

    async def retry(self, delay_s: float) -> None:
        """Ask for it again."""
        await self.message.nak(delay=delay_s)


class NatsBus:
    """A connection to NATS."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client = Client()
        self._stream: JetStreamContext = self._client.jetstream()
        self._incarnation = 0

    async def __aenter__(self) -> Self:
        try:
            await self._client.connect(
                self._url,
                name=self._name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]
                connect_timeout=2,
                reconnected_cb=self._reconnected,
                error_cb=self._failed,
            )
            await self._ensure_stream()
        except (NatsError, OSError, TimeoutError) as error:
            raise BusUnavailable from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._client.close()

    @property
    def incarnation(self) -> int:
        """See Bus.incarnation."""
        return self._incarnation

    async def publish(self, events: Sequence[Event]) -> None:
        """See Bus.publish."""
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                acks = [
                    await self._stream.publish_async(event.type, event.payload, headers=_headers(event))
                    for event in events
                ]
                await asyncio.gather(*acks)
        except (NatsError, TimeoutError) as error:
            raise BusUnavailable from error

    async def consume(self, group: str, types: Sequence[str]) -> AsyncIterator[list[Delivery]]:
        """See Bus.consume."""
        while True:
            try:
                subscription = await self._subscribe(group, types)
                while True:
                    try:
                        messages = await subscription.fetch(FETCH, timeout=FETCH_WAIT_S)
                    except TimeoutError:
                        continue
                    yield [
                        NatsDelivery(_event(message), message.metadata.num_delivered, message) for message in messages
                    ]
            except NatsError as error:
                _log.warning("the bus is away", extra={"error": repr(error)})
                await asyncio.sleep(0.5)

    @asynccontextmanager
    async def follow(self, types: Sequence[str]) -> AsyncIterator[AsyncIterator[Event]]:
        """See Bus.follow."""
        queue: asyncio.Queue[Msg] = asyncio.Queue(maxsize=10_000)

        async def take(message: Msg) -> None:
            queue.put_nowait(message)

        subscriptions = [await self._client.subscribe(type_, cb=take) for type_ in types]

        async def events() -> AsyncIterator[Event]:
            while True:
                yield _event(await queue.get())

        try:
            yield events()
        finally:
            for subscription in subscriptions:
                if not self._client.is_closed:
                    await subscription.unsubscribe()

    async def _subscribe(self, group: str, types: Sequence[str]) -> JetStreamContext.PullSubscription:
        config = ConsumerConfig(
            durable_name=group,
            filter_subjects=sorted(types),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=10_000,
        )
        await self._stream.add_consumer(STREAM, config)
        return await self._stream.pull_subscribe_bind(durable=group, stream=STREAM)

    async def _ensure_stream(self) -> None:
        config = StreamConfig(
            name=STREAM,
            subjects=["mercato.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            discard=DiscardPolicy.OLD,
            max_age=KEEP_S,
            max_bytes=KEEP_BYTES,
            duplicate_window=120,
        )
        try:
            await self._stream.add_stream(config)
        except BadRequestError:
            await self._stream.update_stream(config)

    async def _reconnected(self) -> None:
        self._incarnation += 1
        await self._ensure_stream()

    async def _failed(self, error: Exception) -> None:
        _log.warning("the bus reports an error", extra={"error": repr(error)})


def _headers(event: Event) -> dict[str, str]:
    return {
        "Nats-Msg-Id": event.id,
        "ce-specversion": "1.0",
        "ce-id": event.id,
        "ce-source": event.source,
        "ce-type": event.type,
        "ce-partitionkey": event.key,
        "ce-time": event.time.isoformat(),
        "traceparent": event.trace,
    }


def _event(message: Msg) -> Event:
    headers = message.headers or {}
    return Event(
        id=headers["ce-id"],
        source=headers["ce-source"],
        type=headers["ce-type"],
        key=headers["ce-partitionkey"],
        time=datetime.fromisoformat(headers["ce-time"]),
        trace=headers["traceparent"],
        payload=message.data,
    )
