"""How calls spread over a mesh, and what finding instances by it costs: measured with a real one, and real instances.

The calls are those of a stock gRPC client; nothing is tried again.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.mesh.v1 import mesh_pb2
from mercato.mesh.v1.mesh_pb2_grpc import MeshServiceStub

from chassis.channels import open_channel
from chassis.settings import Settings
from chassis.xds import follow_control_plane
from fleet import ports
from fleet.embedded import postgres
from fleet.errors import FleetError
from loadtest.member import SERVICE

INSTANCES = tuple(f"{SERVICE}/{number}" for number in (1, 2, 3))
FIRST, *_ = INSTANCES
VERSIONS = ("v1", "v1", "v2")
SHARE_CALLS, SPLIT_CALLS, NEW_SHARE = 3000, 5000, 10
_IN_FLIGHT = 16
_COST_ROUNDS, _COST_CALLS = 15, 800
_TIMEOUT_S = 20.0
_START_TIMEOUT_S = 30.0
_REQUEST = GetProductRequest(name="products/85123A")


@dataclass(frozen=True, slots=True)
class Spread:
    """What was measured. Shares are parts of all calls."""

    plain_us: float
    """CPU of the client for one call on a channel to fixed addresses, and below by the mesh: medians of rounds."""
    mesh_us: float
    cost_ratio: float
    shares: dict[str, float]
    """By instance, when all are well."""
    ejected_s: float
    """Until an instance that answers UNAVAILABLE gets no more calls."""
    returned_s: float
    """Until it gets some again, once it is well."""
    slow_share: float
    """Of one that takes ten times as long as the two others."""
    split_share: float
    """Of the version that is to have a tenth."""


async def measure() -> Spread:
    """Start a mesh with three instances, measure, and end it all; it takes about 40 s."""
    async with _mesh() as mesh:
        plain_us, mesh_us, ratio = await mesh.costs()
        shares = await mesh.shares(SHARE_CALLS)
        ejected_s, returned_s = await mesh.ejection()
        split_share = await mesh.split()
        slow_share = await mesh.slow_share()
    return Spread(plain_us, mesh_us, ratio, shares, ejected_s, returned_s, slow_share, split_share)


class _Mesh:
    """A mesh with its instances, and a client that follows it."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], tell: Callable[[str, str], None]) -> None:
        """Take a channel to the mesh, one to fixed addresses, one by the mesh, and what tells instances how to be."""
        mesh, plain, by_mesh = channels
        self._by_mesh: Any = CatalogServiceStub(by_mesh)
        self._plain: Any = CatalogServiceStub(plain)
        self._mesh: Any = MeshServiceStub(mesh)
        self._tell = tell

    async def ready(self) -> None:
        """Wait until every instance gets calls."""
        await _until(lambda answers: set(answers) == set(INSTANCES), self._round)

    async def costs(self) -> tuple[float, float, float]:
        """Return the CPU of a call in microseconds, plain and by the mesh, and their ratio."""
        turns = (self._plain, self._by_mesh)
        for stub in turns:
            await _calls(stub, _COST_CALLS)  # warms it up
        rounds = [[await _cost_us(stub) for stub in turns] for _ in range(_COST_ROUNDS)]
        plain_us, mesh_us = (median(each[turn] for each in rounds) for turn in (0, 1))
        return plain_us, mesh_us, median(by_mesh / plain for plain, by_mesh in rounds)

    async def shares(self, count: int) -> dict[str, float]:
        """Return who answered which part of so many calls."""
        answers = await _calls(self._by_mesh, count)
        return {name: answers[name] / count for name in sorted(answers)}

    async def ejection(self) -> tuple[float, float]:
        """Return how long it takes until one that fails is left alone, and until it is called again once it is well."""
        self._tell(FIRST, "failing")
        ejected_s = await _until(lambda answers: FIRST not in answers and "UNAVAILABLE" not in answers, self._round)
        self._tell(FIRST, "well")
        return ejected_s, await _until(lambda answers: FIRST in answers, self._round)

    async def slow_share(self) -> float:
        """Return the share of an instance that has become slow by ten times, once it stays about the same."""
        self._tell(FIRST, "slow")
        share = before = 1.0
        async with asyncio.timeout(_TIMEOUT_S):
            while share > 0.3 or abs(share - before) > 0.03:
                before, share = share, (await self.shares(600)).get(FIRST, 0.0)
        self._tell(FIRST, "well")
        return share

    async def split(self) -> float:
        """Return the share of a version that is to have a tenth."""
        weights = (("v1", 100 - NEW_SHARE), ("v2", NEW_SHARE))
        split = [mesh_pb2.VersionWeight(version=version, weight=weight) for version, weight in weights]
        await self._mesh.UpdatePolicy(
            mesh_pb2.UpdatePolicyRequest(
                request_id=str(uuid4()),
                policy=mesh_pb2.Policy(name=f"policies/{SERVICE}", split=split),
                update_mask=FieldMask(paths=["split"]),
            )
        )
        new = INSTANCES[VERSIONS.index("v2")]
        await _until(lambda answers: answers[new] / answers.total() < 0.2, self._round)
        share = (await self.shares(SPLIT_CALLS)).get(new, 0.0)
        await self._mesh.ResetPolicies(mesh_pb2.ResetPoliciesRequest(request_id=str(uuid4())))
        await _until(lambda answers: answers[new] / answers.total() > 0.25, self._round)
        return share

    async def _round(self) -> Counter[str]:
        return await _calls(self._by_mesh, 60)


async def _calls(stub: Any, count: int) -> Counter[str]:
    """Make so many calls; return who answered how many, or how many ended with which status."""
    answers, left = Counter[str](), iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            try:
                answers[(await stub.GetProduct(_REQUEST, timeout=5)).product.name] += 1
            except grpc.aio.AioRpcError as error:
                answers[error.code().name] += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(_IN_FLIGHT)))
    return answers


async def _cost_us(stub: Any) -> float:
    before_s = time.process_time()
    await _calls(stub, _COST_CALLS)
    return (time.process_time() - before_s) / _COST_CALLS * 1e6


async def _until(holds: Callable[[Counter[str]], bool], make_round: Callable[[], Awaitable[Counter[str]]]) -> float:
    """Make rounds of calls until what became of one is as wanted; return how long that took."""
    started, answers = time.monotonic(), Counter[str]()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            while not holds(answers := await make_round()):
                pass
    except TimeoutError:
        raise FleetError(f"the mesh did not spread calls as it should; the last round: {dict(answers)}") from None
    return time.monotonic() - started


@asynccontextmanager
async def _mesh() -> AsyncIterator[_Mesh]:
    """Run a mesh on a database of its own, and instances; all end with the block."""
    mesh_port, *member_ports = ports.free_block(1 + len(INSTANCES))
    mesh = f"{ports.LOOPBACK}:{mesh_port}"
    plain = "ipv4:" + ",".join(f"{ports.LOOPBACK}:{port}" for port in member_ports)
    follow_control_plane(Settings("bench", "bench/1", mesh=mesh))
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = await stack.enter_async_context(postgres(folder))
        await _start(stack, "services.mesh", mesh_port, MERCATO_DATABASE_URL=url, MERCATO_MESH=mesh)
        members = {
            name: await _start(
                stack, "loadtest.member", port, MERCATO_INSTANCE=name, MERCATO_VERSION=version, MERCATO_MESH=mesh
            )
            for name, port, version in zip(INSTANCES, member_ports, VERSIONS, strict=True)
        }

        def tell(name: str, mood: str) -> None:
            told = members[name].stdin
            assert told
            told.write(mood.encode() + b"\n")

        channels = [open_channel(target) for target in (f"ipv4:{mesh}", plain, f"xds:///{SERVICE}")]
        for channel in channels:
            stack.push_async_callback(channel.close)
        async with asyncio.timeout(_START_TIMEOUT_S):
            await channels[0].channel_ready()
        running = _Mesh(channels, tell)
        await running.ready()
        yield running


async def _start(stack: AsyncExitStack, module: str, port: int, **environment: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MERCATO_PORT": str(port), **environment},
    )  # fmt: skip
    stack.push_async_callback(process.wait)
    stack.callback(process.kill)
    return process
