"""The way of what an instance tells out of its process: OTLP over gRPC, from queues that have an end.

Nothing waits for it. While who listens is away or slow, spans and logs wait here until there is no room; what comes
then is dropped and counted. Metrics only ever tell where they stand now. What got there though its answer was late is
sent again: spans have ids by which it is known, lines of logs are there twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from operator import methodcaller
from time import time_ns
from typing import Any, Generic, TypeVar
from weakref import WeakSet

import grpc
from opentelemetry.sdk.trace import ReadableSpan

from chassis.status import from_rpc_error
from chassis.tasks import cancel, endless
from chassis.telemetry import otlp
from chassis.telemetry.metrics import Measured, counter, measure
from chassis.telemetry.trace import Trace

MOST_SPANS, MOST_LOGS = 2048, 4096
BATCH = 200
EVERY_S = 1.0
METRICS_EVERY_S = 2.0
TIMEOUT_S = 2.0
TOLD_AFTER = 5
"""So many failures in a row are worth a line: at first who listens may still be starting."""
LAST_WORDS_S = 0.5
"""So long the end of an instance waits for what it still has to tell."""

_AGAIN = frozenset({
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED,
})  # fmt: skip

Item = TypeVar("Item")
_log = logging.getLogger(__name__)
_dropped = counter("mercato.telemetry.dropped", "Spans and logs not sent.", "mercato.signal", "mercato.reason")
_queues: WeakSet[Queue[Any]] = WeakSet()


def _queued() -> Iterator[tuple[Sequence[str], float]]:
    waiting = Counter[str]()
    for queue in list(_queues):
        waiting[queue.signal] += len(queue)
    return (((signal,), count) for signal, count in waiting.items())


measure(Measured("mercato.telemetry.queued", "Spans and logs that wait to be sent.", ("mercato.signal",), _queued))


class Queue(Generic[Item]):
    """What waits to be sent, at most so much of it."""

    def __init__(self, signal: str, most: int) -> None:
        self.signal = signal
        self._most = most
        self._items: deque[Item] = deque()
        self._full = _dropped.labels(signal, "full")
        _queues.add(self)

    def put(self, item: Item) -> None:
        """Take one, or drop and count it where there is no room."""
        if len(self._items) < self._most:
            self._items.append(item)
        else:
            self._full.inc()

    def first(self, most: int) -> list[Item]:
        """Return those that wait longest."""
        return list(islice(self._items, most))

    def remove(self, count: int) -> None:
        """Forget so many of those."""
        for _ in range(count):
            self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class Exporter:
    """Sends what a process tells to one place."""

    def __init__(self, channel: grpc.aio.Channel, resource: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Take the resource that metrics are of; spans and logs come with their own."""
        self.spans: Queue[ReadableSpan] = Queue("spans", MOST_SPANS)
        self.logs: Queue[Mapping[str, Any]] = Queue("logs", MOST_LOGS)
        self._channel = channel
        self._began_ns = time_ns()
        self._resource = resource
        unsampled = Trace.start().traceparent  # else the receiver would record that it receives
        self._metadata = (*headers.items(), ("traceparent", unsampled))
        self._export_spans = _export(channel, "trace.v1.TraceService")
        self._export_logs = _export(channel, "logs.v1.LogsService")
        self._export_metrics = _export(channel, "metrics.v1.MetricsService")
        self._failures = Counter[Callable[..., Any]]()

    async def run(self) -> None:
        """Send now and then, until cancelled. No signal waits for another to be empty, nor fails with it."""
        await asyncio.gather(
            endless(partial(_every, EVERY_S, self._tell_spans)),
            endless(partial(_every, EVERY_S, self._tell_logs)),
            endless(partial(_every, METRICS_EVERY_S, self._tell_metrics)),
        )

    async def close(self) -> None:
        """Send the last of it, within a moment."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                last = (self._tell_spans(), self._tell_logs(), self._tell_metrics())
                for error in await asyncio.gather(*last, return_exceptions=True):
                    if error:
                        _log.error("the last of it is not told", exc_info=error)
        except TimeoutError:
            pass
        finally:
            await self._channel.close()

    async def _tell_spans(self) -> None:
        await self._drain(self.spans, self._export_spans, otlp.spans)

    async def _tell_logs(self) -> None:
        await self._drain(self.logs, self._export_logs, otlp.logs)

    async def _tell_metrics(self) -> None:
        await self._send(self._export_metrics, otlp.metrics(self._resource, self._began_ns))

    async def _drain(
        self, queue: Queue[Item], export: Callable[..., Any], encode: Callable[[Sequence[Item]], Any]
    ) -> None:
        """Send what waits, as long as it is taken; what comes meanwhile waits for the next turn or a full batch."""
        waiting, most = len(queue), BATCH
        while waiting > 0 or len(queue) >= BATCH:
            batch = queue.first(most)
            try:
                request = encode(batch)
            except Exception:
                if len(batch) > 1:  # one of them is bad: this way none of the others goes with it
                    most = len(batch) // 2
                    continue
                _log.exception("cannot be told", extra={"signal": queue.signal})
                _dropped.labels(queue.signal, "invalid").inc()
                most = BATCH
            else:
                error = await self._send(export, request)
                if error and _is_taken_later(error):
                    return  # it waits, for as long as there is room
                if error:
                    _dropped.labels(queue.signal, "refused").inc(len(batch))
            queue.remove(len(batch))
            waiting -= len(batch)

    async def _send(self, export: Callable[..., Any], request: Any) -> grpc.aio.AioRpcError | None:
        """Send a request; return the error where it was not taken."""
        try:
            await export(request, timeout=TIMEOUT_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            self._failures[export] += 1
            if self._failures[export] == TOLD_AFTER:
                _log.warning("telemetry is not taken", extra={"code": error.code().name, "error": error.details()})
            return error
        self._failures[export] = 0
        return None


def _is_taken_later(error: grpc.aio.AioRpcError) -> bool:
    """Whether it helps to send the same again (https://opentelemetry.io/docs/specs/otlp/#failures).

    RESOURCE_EXHAUSTED that does not say when to come again is of a batch that is too large, and ever will be.
    """
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return from_rpc_error(error).retry_after_s is not None
    return error.code() in _AGAIN


def _export(channel: grpc.aio.Channel, service: str) -> Callable[..., Any]:
    path = f"/opentelemetry.proto.collector.{service}/Export"
    return channel.unary_unary(path, request_serializer=methodcaller("SerializeToString"))


async def _every(pause_s: float, tell: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(pause_s)
        await tell()


@asynccontextmanager
async def exporting(exporters: Sequence[Exporter]) -> AsyncIterator[None]:
    """Have them send within the block."""
    tasks = [asyncio.create_task(exporter.run()) for exporter in exporters]
    try:
        yield
    finally:
        await cancel(tasks)
        await asyncio.gather(*(exporter.close() for exporter in exporters))
