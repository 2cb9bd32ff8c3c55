"""Calls to callees that fail, hang and lag: over real gRPC and within the process alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError
from prometheus_client import REGISTRY

from chassis.channels import Channel
from chassis.errors import Unavailable
from chassis.resilience.breaker import CircuitOpen
from chassis.resilience.bulkhead import BulkheadFull
from chassis.resilience.callee import Resilience
from chassis.resilience.hedging import RENEWED_AFTER
from chassis.resilience.metrics import shown
from chassis.status import PUSHBACK
from tests.chassis.resilience.backend import CATALOG, IMPORT, READ, WATCH, WRITE, Backend, Way, failing
from tests.chassis.resilience.ticks import Ticks
from tests.stage import eventually


@pytest.fixture(params=[False, True], ids=["grpc", "in process"])
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with AsyncExitStack() as stack:
        yield Way(stack, in_process=request.param)


@pytest.fixture
def backend() -> Backend:
    return Backend()


async def ended(call: Any) -> StatusCode:
    """Return how a call ended."""
    try:
        await call
    except AioRpcError as error:
        return error.code()
    return StatusCode.OK


async def open_circuit(call: Any) -> bool:
    try:
        await call
    except CircuitOpen:
        return True
    except AioRpcError:
        pass
    return False


class TestRetries:
    async def test_stay_at_a_tenth_of_the_calls_when_everything_fails(self, way: Way, backend: Backend) -> None:
        resilience = Resilience()
        write = (await way.channel(resilience, "catalog", backend)).unary_unary(WRITE)
        backend.serve = failing(StatusCode.RESOURCE_EXHAUSTED, (PUSHBACK, "1"))  # of which no circuit opens

        async def caller() -> None:
            for _ in range(40):
                assert await ended(write(b"", timeout=20)) is StatusCode.RESOURCE_EXHAUSTED

        await asyncio.gather(*(caller() for _ in range(50)))
        assert 2000 < backend.calls <= 2200
        assert resilience.retries == backend.calls - 2000
        assert resilience.retries_withheld > 0

    @pytest.mark.parametrize("path", [READ, WRITE])
    async def test_save_a_call_that_fails_twice(self, way: Way, backend: Backend, path: str) -> None:
        async def fail_twice(request: bytes, context: Any) -> bytes:
            if backend.calls < 3:
                await context.abort(StatusCode.UNAVAILABLE, "not yet")
            return request

        call = (await way.channel(Resilience(), "catalog", backend)).unary_unary(path)
        backend.serve = fail_twice
        assert await call(b"told", timeout=5) == b"told"
        assert backend.calls == 3

    async def test_never_take_longer_than_the_caller_waits(self, way: Way, backend: Backend) -> None:
        read = (await way.channel(Resilience(), "catalog", backend)).unary_unary(READ)
        await read(b"", timeout=5)
        backend.serve = failing(StatusCode.UNAVAILABLE)
        await ended(read(b"", timeout=0.1))
        assert backend.calls <= 1 + 2  # a third attempt would begin after 0.12 s or more
        backend.serve = failing(StatusCode.UNAVAILABLE, (PUSHBACK, "20000"))
        started = monotonic()
        assert await ended(read(b"", timeout=10)) is StatusCode.UNAVAILABLE
        assert monotonic() - started < 5

    async def test_share_the_deadline_of_the_call(self, way: Way, backend: Backend) -> None:
        left_s: list[float] = []

        async def fail_then_hang(request: bytes, context: Any) -> bytes:
            left_s.append(context.time_remaining())
            if len(left_s) == 1:
                await context.abort(StatusCode.UNAVAILABLE, "not yet")
            await asyncio.sleep(60)
            return b""

        read = (await way.channel(Resilience(), "catalog", backend)).unary_unary(READ)
        backend.serve = fail_then_hang
        assert await ended(read(b"", timeout=0.5)) is StatusCode.DEADLINE_EXCEEDED
        assert left_s[1] < left_s[0] - 0.03

    async def test_come_back_when_the_callee_says(self, way: Way, backend: Backend) -> None:
        times: list[float] = []

        async def shed_once(request: bytes, context: Any) -> bytes:
            times.append(monotonic())
            if len(times) == 1:
                await context.abort(StatusCode.RESOURCE_EXHAUSTED, "too many", ((PUSHBACK, "150"),))
            return request

        write = (await way.channel(Resilience(), "catalog", backend)).unary_unary(WRITE)
        backend.serve = shed_once
        assert await write(b"told", timeout=5) == b"told"
        assert times[1] - times[0] >= 0.15

    @pytest.mark.parametrize(
        ("code", "trailing"),
        [
            (StatusCode.RESOURCE_EXHAUSTED, ()),
            (StatusCode.RESOURCE_EXHAUSTED, ((PUSHBACK, "-1"),)),
            (StatusCode.UNAVAILABLE, ((PUSHBACK, "-1"),)),
            (StatusCode.INTERNAL, ((PUSHBACK, "1"),)),
            (StatusCode.NOT_FOUND, ()),
        ],
    )
    async def test_are_not_made_of_anything_else(
        self, way: Way, backend: Backend, code: StatusCode, trailing: tuple[tuple[str, str], ...]
    ) -> None:
        read = (await way.channel(Resilience(), "catalog", backend)).unary_unary(READ)
        backend.serve = failing(code, *trailing)
        assert await ended(read(b"", timeout=5)) is code
        assert backend.calls == 1

    async def test_are_not_made_of_streams_of_requests(self, way: Way, backend: Backend) -> None:
        async def nothing() -> AsyncIterator[bytes]:
            for _ in ():
                yield b""

        upload = (await way.channel(Resilience(), "catalog", backend)).stream_unary(IMPORT)
        backend.serve = failing(StatusCode.UNAVAILABLE)
        assert await ended(upload(nothing(), timeout=5)) is StatusCode.UNAVAILABLE
        assert backend.calls == 1


class TestStreams:
    async def test_begin_again_as_long_as_nothing_came(self, way: Way, backend: Backend) -> None:
        async def fail_twice(request: bytes, context: Any) -> AsyncIterator[bytes]:
            if backend.calls < 3:
                await context.abort(StatusCode.UNAVAILABLE, "not yet")
            for word in (b"one", b"two"):
                yield word

        watch = (await way.channel(Resilience(), "orders", backend)).unary_stream(WATCH)
        backend.stream = fail_twice
        assert [each async for each in watch(b"", timeout=5)] == [b"one", b"two"]
        assert backend.calls == 3

    async def test_that_break_off_are_for_the_caller_to_begin_again(self, way: Way, backend: Backend) -> None:
        async def fail_midway(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"one"
            await context.abort(StatusCode.UNAVAILABLE, "gone")

        watch = (await way.channel(Resilience(), "orders", backend)).unary_stream(WATCH)
        backend.stream = fail_midway
        responses = watch(b"", timeout=5)
        assert await responses.read() == b"one"
        with pytest.raises(AioRpcError):
            await responses.read()
        assert backend.calls == 1

    async def test_may_hang_without_taking_anybodys_room(self, way: Way, backend: Backend) -> None:
        async def hang(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"one"
            await asyncio.sleep(60)

        channel = await way.channel(Resilience(max_concurrent_calls=2), "orders", backend)
        backend.stream = hang
        streams = [channel.unary_stream(WATCH)(b"", timeout=30) for _ in range(5)]
        assert [await stream.read() for stream in streams] == [b"one"] * 5
        assert await channel.unary_unary(READ)(b"told", timeout=5) == b"told"
        for stream in streams:
            stream.cancel()


class TestCircuitBreakers:
    @pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.UNKNOWN, StatusCode.INTERNAL])
    async def test_open_probe_and_close(self, way: Way, backend: Backend, code: StatusCode) -> None:
        clock = Ticks()
        resilience = shown(Resilience(retry_share=0.0, clock=clock))
        channel = await way.channel(resilience, "catalog", backend)
        read, write = channel.unary_unary(READ), channel.unary_unary(WRITE)
        backend.serve = failing(code)
        for _ in range(20):
            assert await ended(read(b"", timeout=5)) is code
        [breaker] = resilience.tripped
        assert (breaker.callee, breaker.method, breaker.state.value) == ("catalog", READ, "open")
        assert _shown("catalog", READ) == 2
        with pytest.raises(CircuitOpen):
            await read(b"", timeout=5)
        assert backend.calls == 20
        assert await ended(write(b"", timeout=5)) is code  # another method has its own
        clock.advance(1)
        assert await ended(read(b"", timeout=5)) is code  # the first probe
        assert await open_circuit(read(b"", timeout=5))
        backend.serve = backend.echo
        clock.advance(1)
        for _ in range(3):
            assert resilience.tripped[0].state.value == "half-open"
            assert await read(b"told", timeout=5) == b"told"
        assert not resilience.tripped
        assert _shown("catalog", READ) == 0

    async def test_are_not_told_of_for_ever_where_nobody_calls_any_more(self, way: Way, backend: Backend) -> None:
        clock = Ticks()
        resilience = shown(Resilience(retry_share=0.0, clock=clock))
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        backend.serve = failing(StatusCode.UNAVAILABLE)
        for _ in range(20):
            await ended(read(b"", timeout=5))
        clock.advance(1)
        assert [breaker.state.value for breaker in resilience.tripped] == ["half-open"]
        assert _shown("catalog", READ) == 1
        clock.advance(30)
        assert not resilience.tripped
        assert _shown("catalog", READ) == 0

    async def test_spare_the_callee_the_retries_too(self, way: Way, backend: Backend) -> None:
        resilience = Resilience(retry_share=3.0)
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        backend.serve = failing(StatusCode.UNAVAILABLE)
        ends = await asyncio.gather(*(read(b"", timeout=5) for _ in range(100)), return_exceptions=True)
        assert any(isinstance(end, CircuitOpen) for end in ends)
        assert backend.calls <= 100

    async def test_open_when_a_callee_hangs_but_not_for_callers_in_haste(self, way: Way, backend: Backend) -> None:
        async def hang(request: bytes, context: Any) -> bytes:
            await asyncio.sleep(60)
            return b""

        resilience = Resilience()
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        backend.serve = hang
        hasty = [ended(read(b"", timeout=0.05)) for _ in range(40)]
        assert set(await asyncio.gather(*hasty)) == {StatusCode.DEADLINE_EXCEEDED}
        assert not resilience.tripped
        patient = [ended(read(b"", timeout=1.0)) for _ in range(60)]
        assert set(await asyncio.gather(*patient)) == {StatusCode.DEADLINE_EXCEEDED}
        assert resilience.tripped

    async def test_do_not_mind_refusals(self, way: Way, backend: Backend) -> None:
        resilience = Resilience()
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        for code in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT, StatusCode.RESOURCE_EXHAUSTED):
            backend.serve = failing(code)
            for _ in range(20):
                assert await ended(read(b"", timeout=5)) is code
        assert not resilience.tripped

    async def test_are_told_to_callers_as_errors_of_ours(self, way: Way, backend: Backend) -> None:
        resilience = Resilience(retry_share=0.0)
        channel = await way.channel(resilience, "catalog", backend)
        backend.serve = failing(StatusCode.UNAVAILABLE)
        read = Channel(channel, [CATALOG], "tests").unary_unary(READ)
        ends = await asyncio.gather(*(read(b"") for _ in range(20)), return_exceptions=True)
        assert {type(end) for end in ends} == {Unavailable}
        with pytest.raises(CircuitOpen) as error:
            await read(b"")
        assert error.value.data == {"callee": "catalog", "method": READ}


class TestBulkheads:
    async def test_keep_room_for_others_when_one_callee_hangs(self, way: Way, backend: Backend) -> None:
        entered, go = 0, asyncio.Event()

        async def hang(request: bytes, context: Any) -> bytes:
            nonlocal entered
            entered += 1
            await go.wait()
            return request

        async def full() -> bool:
            return entered == 4

        resilience, other = shown(Resilience(max_concurrent_calls=8)), Backend()
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        elsewhere = (await way.channel(resilience, "customers", other)).unary_unary(READ)
        backend.serve = hang
        held = [asyncio.ensure_future(read(b"%d" % number, timeout=30)) for number in range(4)]
        await eventually(full)
        with pytest.raises(BulkheadFull) as error:
            await read(b"", timeout=30)
        assert error.value.data == {"limit": "4", "callee": "catalog"}
        in_flight = {"mercato_callee": "catalog"}
        assert (REGISTRY.get_sample_value("mercato_client_bulkhead_in_flight", in_flight) or 0) >= 4
        assert await asyncio.gather(*(elsewhere(b"told", timeout=5) for _ in range(4))) == [b"told"] * 4
        go.set()
        assert await asyncio.gather(*held) == [b"0", b"1", b"2", b"3"]
        assert await read(b"told", timeout=5) == b"told"

    async def test_are_left_by_who_goes_away(self, way: Way, backend: Backend) -> None:
        began, cancelled = asyncio.Event(), asyncio.Event()

        async def hang(request: bytes, context: Any) -> bytes:
            began.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return b""

        resilience = Resilience(max_concurrent_calls=2)
        read = (await way.channel(resilience, "catalog", backend)).unary_unary(READ)
        backend.serve = hang
        calling = asyncio.ensure_future(read(b"", timeout=30))
        await began.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        async with asyncio.timeout(2):
            await cancelled.wait()
        backend.serve = backend.echo
        assert await read(b"told", timeout=5) == b"told"


class TestHedging:
    async def test_asks_another_instance_when_one_lags_and_cancels_the_loser(self, way: Way, backend: Backend) -> None:
        hung, cancelled = asyncio.Event(), asyncio.Event()

        async def hang_once(request: bytes, context: Any) -> bytes:
            if hung.is_set():
                return request
            hung.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            raise AssertionError

        other = Backend()
        resilience = Resilience()
        instances = [backend] if way.in_process else [backend, other]
        read = (await way.channel(resilience, "catalog", *instances, hedge=True)).unary_unary(READ)
        for _ in range(2 * RENEWED_AFTER):  # until both are connected, and it knows how long answers take
            await read(b"told", timeout=5)
        for each in instances:
            each.serve = hang_once
        started = monotonic()
        assert await read(b"told", timeout=30) == b"told"
        assert monotonic() - started < 5
        async with asyncio.timeout(2):
            await cancelled.wait()
        [hedging] = [each for each in resilience.callee("catalog").hedgings if each.won]
        assert (hedging.won, resilience.retries) == (1, 1 + hedging.lost)

    async def test_is_for_reads_alone_and_counts_against_the_budget(self, way: Way, backend: Backend) -> None:
        go = asyncio.Event()

        async def lag(request: bytes, context: Any) -> bytes:
            await go.wait()
            return request

        async def withheld() -> bool:
            return resilience.retries_withheld == 1  # the read's; the write did not even ask

        resilience = Resilience(retry_share=0.0)
        channel = await way.channel(resilience, "catalog", backend, hedge=True)
        read, write = channel.unary_unary(READ), channel.unary_unary(WRITE)
        for call in (read, write):
            for _ in range(RENEWED_AFTER):
                await call(b"", timeout=5)
        backend.calls, backend.serve = 0, lag
        lagging = [asyncio.ensure_future(call(b"", timeout=30)) for call in (write, read)]
        await eventually(withheld)
        go.set()
        await asyncio.gather(*lagging)
        assert backend.calls == 2


async def test_methods_of_no_contract_go_straight_through(way: Way, backend: Backend) -> None:
    backend.handlers["/tests.Lab/Try"] = grpc.unary_unary_rpc_method_handler(failing(StatusCode.UNAVAILABLE))
    resilience = Resilience()
    attempt = (await way.channel(resilience, "lab", backend)).unary_unary("/tests.Lab/Try")
    for _ in range(30):
        assert await ended(attempt(b"", timeout=5)) is StatusCode.UNAVAILABLE
    assert resilience.retries == 0
    assert not resilience.tripped


async def test_a_caller_without_a_deadline_gets_that_of_the_contract(way: Way, backend: Backend) -> None:
    async def left(request: bytes, context: Any) -> bytes:
        return str(context.time_remaining()).encode()

    read = (await way.channel(Resilience(), "catalog", backend)).unary_unary(READ)
    backend.serve = left
    assert 1.0 < float(await read(b"")) < 2.1, "gRPC rounds up, and reckons between two clocks"


def _shown(callee: str, method: str) -> float | None:
    return REGISTRY.get_sample_value(
        "mercato_client_breaker_state", {"mercato_callee": callee, "rpc_method": method.removeprefix("/")}
    )
