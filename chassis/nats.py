"""The bus on NATS JetStream: one stream for all events, subject = event type, one durable consumer a group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, PubAck, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from chassis.bus import Delivery, Event, Progress
from chassis.errors import Unavailable

STREAM = "mercato"
FETCH = 200
FETCH_WAIT_S = 5.0
ACK_WAIT_S = 10.0
RETRY_S = 0.5
FOLLOWED = 10_000
"""Events that wait for a follower; those beyond are lost to it."""
KEEP_S = 7 * 24 * 3600
KEEP_BYTES = 2 * 1024**3
PUBLISH_TIMEOUT_S = 5.0
ASK_TIMEOUT_S = 2.0

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
        with suppress(NatsError):
            await self.message.ack()

    async def retry(self, delay_s: float) -> None:
        """Ask for it again; where that is lost, it comes again by itself after ACK_WAIT_S."""
        with suppress(NatsError):
            await self.message.nak(delay=delay_s)


class NatsBus:
    """A connection to NATS."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._client = Client()
        self._stream: JetStreamContext = self._client.jetstream(timeout=ASK_TIMEOUT_S)
        self._incarnation = 0
        self._has_stream = False

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
        except BaseException as error:
            await self._client.close()
            if isinstance(error, (NatsError, OSError, TimeoutError)):
                raise BusUnavailable from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._client.close()

    @property
    def connected(self) -> bool:
        """See Bus.connected."""
        return self._client.is_connected

    @property
    def incarnation(self) -> int:
        """See Bus.incarnation."""
        return self._incarnation

    async def publish(self, events: Sequence[Event]) -> None:
        """See Bus.publish."""
        if not self._client.is_connected:  # it would be buffered, and sent when nobody knows any more
            raise BusUnavailable
        acks: list[asyncio.Future[PubAck]] = []
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                if not self._has_stream:
                    await self._ensure_stream()
                for event in events:
                    acks.append(await self._stream.publish_async(event.type, event.payload, headers=_headers(event)))
                await asyncio.gather(*acks)
        except (NatsError, TimeoutError) as error:
            self._has_stream = False
            raise BusUnavailable from error
        finally:
            for ack in acks:
                ack.cancel()  # the client counts those that stay open, and stops at some number

    async def consume(self, group: str, types: Sequence[str]) -> AsyncGenerator[list[Delivery], None]:
        """See Bus.consume."""
        while True:
            try:
                async with self._subscription(group) as subscription:
                    while True:
                        await self._ensure_consumer(group, types)  # also when the broker has forgotten all
                        while deliveries := await self._fetch(subscription):
                            yield deliveries
            except NatsError as error:
                _log.warning("the bus is away", extra={"error": repr(error)})
                await asyncio.sleep(RETRY_S)

    async def progress(self, group: str) -> Progress:
        """See Bus.progress."""
        try:
            info = await self._stream.consumer_info(STREAM, group)
        except NotFoundError:  # it is made when the group begins to listen
            return Progress()
        except (NatsError, TimeoutError) as error:
            raise BusUnavailable from error
        handled = info.ack_floor.stream_seq if info.ack_floor else 0
        return Progress((info.num_pending or 0) + (info.num_ack_pending or 0), handled)

    @asynccontextmanager
    async def follow(self, types: Sequence[str]) -> AsyncIterator[AsyncIterator[Event]]:
        """See Bus.follow."""
        queue: asyncio.Queue[Msg] = asyncio.Queue(maxsize=FOLLOWED)

        async def take(message: Msg) -> None:
            queue.put_nowait(message)

        async def events() -> AsyncIterator[Event]:
            while True:
                event = _event(await queue.get())
                if event:
                    yield event

        async with AsyncExitStack() as stack:
            try:
                for type_ in types:
                    subscription = await self._client.subscribe(type_, cb=take)
                    stack.push_async_callback(self._unsubscribe, subscription)
                for _ in range(2):  # from here on: a first ping overtakes what is still to be sent, a second does not
                    await self._client.flush()
            except (NatsError, TimeoutError) as error:
                raise BusUnavailable from error
            yield events()

    @asynccontextmanager
    async def _subscription(self, group: str) -> AsyncIterator[JetStreamContext.PullSubscription]:
        subscription = await self._stream.pull_subscribe_bind(durable=group, stream=STREAM)
        try:
            yield subscription
        finally:
            await self._unsubscribe(subscription)

    async def _unsubscribe(self, subscription: Subscription | JetStreamContext.PullSubscription) -> None:
        with suppress(NatsError):  # the connection is closed, and with it all of them
            await subscription.unsubscribe()

    async def _fetch(self, subscription: JetStreamContext.PullSubscription) -> list[Delivery]:
        """Return what comes within FETCH_WAIT_S; it is empty when nothing does."""
        try:
            messages = await subscription.fetch(FETCH, timeout=FETCH_WAIT_S)
        except TimeoutError:
            return []
        deliveries: list[Delivery] = []
        for message in messages:
            event = _event(message)
            if event:
                deliveries.append(NatsDelivery(event, message.metadata.num_delivered, message))
            else:
                await message.term()
        return deliveries

    async def _ensure_consumer(self, group: str, types: Sequence[str]) -> None:
        await self._ensure_stream()
        config = ConsumerConfig(
            durable_name=group,
            filter_subjects=sorted(types),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=10_000,
        )
        await self._stream.add_consumer(STREAM, config)

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
        self._has_stream = True

    async def _reconnected(self) -> None:
        self._incarnation += 1
        self._has_stream = False

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


def _event(message: Msg) -> Event | None:
    """Return the event of a message; None, with an error in the log, when it is none of ours."""
    headers = message.headers or {}
    try:
        return Event(
            id=headers["ce-id"],
            source=headers["ce-source"],
            type=headers["ce-type"],
            key=headers["ce-partitionkey"],
            time=datetime.fromisoformat(headers["ce-time"]),
            trace=headers["traceparent"],
            payload=message.data,
        )
    except (KeyError, ValueError) as error:
        _log.error("not an event", extra={"subject": message.subject, "error": repr(error)})
        return None
