"""A mesh, small real gRPC servers that register with it, and clients that find them by `xds:///`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from mercato.mesh.v1 import mesh_pb2 as pb
from mercato.mesh.v1.mesh_pb2_grpc import MeshServiceStub, RegistryServiceStub
from xds.data.orca.v3.orca_pb2 import OrcaLoadReport

from tests.stage import eventually

SERVICE, METHOD = "mesh.tests.v1.Echo", "Do"
PATH = f"/{SERVICE}/{METHOD}"
HEARTBEAT_S = 0.5
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'generated'}"}


class Member:
    """An instance: a server that answers with its name, and the stream on which it registers."""

    def __init__(self, name: str, **told: Any) -> None:
        self.name = name
        self.instance = pb.Instance(
            name=name,
            service=name.partition("/")[0],
            version=told.pop("version", "v1"),
            zone=told.pop("zone", "a"),
            weight=told.pop("weight", 1),
            state=pb.Instance.STATE_SERVING,
        )
        self.delay_s = 0.0
        self.fails = False
        self.silent = False
        self.under_way = asyncio.Event()
        """Set once a call waits as long as `delay_s`."""
        self.served = 0
        self.failed = 0
        self.busy_s = 0.0
        self.health = health.aio.HealthServicer()
        self._server = grpc.aio.server()
        self._told = asyncio.Event()
        self._registered = asyncio.Event()
        self._heartbeats: asyncio.Task[None] | None = None

    async def serve(self, port: int = 0) -> None:
        handlers: dict[str, Any] = {METHOD: grpc.unary_unary_rpc_method_handler(self._do)}
        reports: dict[str, Any] = {"StreamCoreMetrics": grpc.unary_stream_rpc_method_handler(self._report)}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, handlers),
                grpc.method_handlers_generic_handler("xds.service.orca.v3.OpenRcaService", reports),
            )
        )
        add_HealthServicer_to_server(self.health, self._server)
        self.instance.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        await self._server.start()

    async def register(self, registry: RegistryServiceStub) -> None:
        self._registered.clear()
        self._heartbeats = asyncio.create_task(self._register(registry))
        async with asyncio.timeout(10):
            await self._registered.wait()

    def drain(self) -> None:
        self.instance.state = pb.Instance.STATE_DRAINING
        self._told.set()

    async def leave(self) -> None:
        """End the stream."""
        if self._heartbeats:
            self._heartbeats.cancel()
            await asyncio.wait((self._heartbeats,))

    async def die(self) -> None:
        """End all at once, as a killed process does."""
        await self._server.stop(None)
        await self.leave()

    async def _do(self, request: bytes, context: Any) -> bytes:
        self.served += 1
        if self.fails:
            self.failed += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.name} fails")
        started = time.perf_counter()
        if self.delay_s:
            self.under_way.set()
            await asyncio.sleep(self.delay_s)
        self.busy_s += time.perf_counter() - started + 0.001
        return self.name.encode()

    async def _report(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        served, busy_s, then = self.served, self.busy_s, time.perf_counter()
        while True:
            await asyncio.sleep(0.25)
            now = time.perf_counter()
            report = OrcaLoadReport(
                rps_fractional=(self.served - served) / (now - then),
                application_utilization=max((self.busy_s - busy_s) / (now - then) / 100, 1e-6),
            )
            served, busy_s, then = self.served, self.busy_s, now
            yield report.SerializeToString()

    async def _register(self, registry: RegistryServiceStub) -> None:
        while True:
            with suppress(grpc.aio.AioRpcError):
                async for _ in registry.Register(self._messages()):
                    self._registered.set()
            await asyncio.sleep(0.1)

    async def _messages(self) -> AsyncIterator[pb.RegisterRequest]:
        while True:
            self._told.clear()
            self.instance.vitals.calls = self.served
            if not self.silent:
                yield pb.RegisterRequest(instance=self.instance)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._told.wait()


@dataclass
class Calls:
    """What became of calls."""

    answers: Counter[str] = field(default_factory=Counter)
    """By who answered."""
    errors: Counter[str] = field(default_factory=Counter)
    """By status."""
    slowest_s: float = 0.0

    def share(self, name: str) -> float:
        return self.answers[name] / max(self.answers.total(), 1)


class Caller:
    """A process of clients that follow a mesh."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asked: dict[int, asyncio.Future[Calls]] = {}
        self._numbers = count()

    @classmethod
    async def start(cls, mesh: str, stack: AsyncExitStack) -> Caller:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.mesh.caller", mesh,
            cwd=ROOT, env=ENVIRONMENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        caller = cls(process)
        reader = asyncio.create_task(caller._read())
        stack.push_async_callback(process.wait)
        stack.callback(process.kill)
        stack.callback(reader.cancel)
        return caller

    async def call(self, target: str, **options: Any) -> Calls:
        assert self._process.stdin
        number, answered = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = answered
        self._process.stdin.write(json.dumps({"number": number, "target": target, **options}).encode() + b"\n")
        async with asyncio.timeout(30):
            calls: Calls = await answered
            return calls

    async def _read(self) -> None:
        assert self._process.stdout
        async for line in self._process.stdout:
            told = json.loads(line)
            calls = Calls(Counter(told["answers"]), Counter(told["errors"]), told["slowest_s"])
            self._asked.pop(told["number"]).set_result(calls)


@dataclass(frozen=True)
class Client:
    """A client of one target."""

    caller: Caller
    target: str

    async def calls(self, count: int, *, at_once: int = 20, timeout_s: float = 5.0, path: str = PATH) -> Calls:
        """Make so many calls."""
        return await self.caller.call(self.target, path=path, count=count, at_once=at_once, timeout_s=timeout_s)

    async def until(self, holds: Callable[[Calls], bool], timeout_s: float = 5.0, **options: Any) -> Calls:
        """Make rounds of calls until what becomes of one is as wanted."""
        calls, count = Calls(), options.pop("count", 30)

        async def round_holds() -> bool:
            nonlocal calls
            calls = await self.calls(count, **options)
            return holds(calls)

        try:
            await eventually(round_holds, timeout_s)
        except TimeoutError:
            raise AssertionError(f"the last round: {calls}") from None
        return calls


class World:
    """What tests of one mesh share. Names of services are never used twice: clients keep what they know by name."""

    def __init__(self, address: str, stack: AsyncExitStack, caller: Caller) -> None:
        self.address = address
        self.stack = stack
        self._caller = caller
        channel = grpc.aio.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 100)])
        stack.push_async_callback(channel.close)
        self.mesh: MeshServiceStub = MeshServiceStub(channel)
        self.registry: RegistryServiceStub = RegistryServiceStub(channel)

    @staticmethod
    def new_service() -> str:
        return f"echo{uuid4().hex[:8]}"

    async def member(self, name: str, **told: Any) -> Member:
        member = Member(name, **told)
        await member.serve()
        self.stack.push_async_callback(member.die)
        await member.register(self.registry)
        return member

    async def members(self, service: str, count: int, **told: Any) -> list[Member]:
        return [await self.member(f"{service}/{number}", **told) for number in range(1, count + 1)]

    def client(self, service: str) -> Client:
        return self.plain_client(f"xds:///{service}")

    def plain_client(self, target: str) -> Client:
        return Client(self._caller, target)

    async def policy(self, service: str, **fields: Any) -> pb.Policy:
        request = pb.UpdatePolicyRequest(
            request_id=str(uuid4()),
            policy=pb.Policy(name=f"policies/{service}", **fields),
            update_mask=FieldMask(paths=list(fields)),
        )
        return (await self.mesh.UpdatePolicy(request, timeout=5, wait_for_ready=True)).policy

    async def state(self, service: str) -> pb.ServiceState:
        mesh = (await self.mesh.GetMesh(pb.GetMeshRequest(), timeout=5, wait_for_ready=True)).mesh
        return next((state for state in mesh.services if state.service == service), pb.ServiceState())

    async def reaches(self, name: str, state: pb.Instance.State.ValueType, timeout_s: float = 5.0) -> pb.Instance:
        found = pb.Instance()

        async def holds() -> bool:
            instances = (await self.state(name.partition("/")[0])).instances
            found.CopyFrom(next((each for each in instances if each.name == name), pb.Instance()))
            return found.state == state

        await eventually(holds, timeout_s)
        return found


@asynccontextmanager
async def world(address: str) -> AsyncIterator[World]:
    """What tests of the mesh at this address share."""
    async with AsyncExitStack() as stack:
        yield World(address, stack, await Caller.start(address, stack))
