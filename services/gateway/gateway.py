"""Both faces of the gateway, from the contracts to the open ports."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

from aiohttp.web import ServerRunner, TCPSite
from grpc_health.v1 import health

from chassis.clock import Clock
from chassis.instance import INSTANCE, Instance
from chassis.readiness import Readiness
from chassis.registration import Registration
from chassis.resilience.callee import Resilience
from chassis.resilience.metrics import shown
from chassis.server import Server
from chassis.settings import Settings
from chassis.tasks import cancel, endless
from chassis.telemetry.instance import Telemetry
from services.gateway.codec import Codec
from services.gateway.contract import Contract
from services.gateway.cors import Cors
from services.gateway.openapi import document
from services.gateway.operations import operations
from services.gateway.pages import pages
from services.gateway.passthrough import PassThrough
from services.gateway.reflection import SERVICES, reflection_handlers
from services.gateway.routes import RouteTable
from services.gateway.upstream import Upstream
from services.gateway.web import Connections, Front


class Gateway:
    """Serves HTTP and gRPC until it is closed; then it refuses new calls and lets those in flight finish."""

    def __init__(
        self, settings: Settings, clock: Clock, contract: Contract, telemetry: Telemetry | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._contract = contract
        self._telemetry = (telemetry or Telemetry(settings)).tell()
        self._stack = AsyncExitStack()
        self.resilience = shown(Resilience(settings.retry_budget, settings.max_concurrent_calls))
        self.http_port = 0
        self.grpc_port = 0

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self, stack: AsyncExitStack) -> None:
        settings, contract = self._settings, self._contract
        registration = await stack.enter_async_context(Registration(settings, self._clock, self.resilience))
        upstream = await stack.enter_async_context(Upstream(contract, settings.target, self.resilience))
        server, readiness = Server(settings, self._clock, sampler=self._telemetry.sampler), Readiness(self._clock)
        await server.add(INSTANCE, Instance(settings, readiness))

        compiled = list(operations(contract, Codec(contract.image)))
        routes = RouteTable((one.verb, one.template, one) for one in compiled)
        static = pages(contract, document(contract, compiled), settings.port)
        cors = Cors(settings.options.get("cors_origins", ""))
        front = Front(routes, upstream.stubs, static, cors, server, self._telemetry)
        runner = ServerRunner(Connections(front), shutdown_timeout=settings.grace_s)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(front.close)

        site = TCPSite(runner, settings.host, settings.http_port)
        await site.start()
        self.http_port = runner.addresses[0][1]

        forward = PassThrough(contract.methods, upstream.stubs, server, self._telemetry)
        server.grpc.add_generic_rpc_handlers(
            (forward, *reflection_handlers(contract, (health.SERVICE_NAME, INSTANCE.full_name, SERVICES[-1])))
        )
        await stack.enter_async_context(server)
        self.grpc_port = server.port
        registration.begin(server)
        if settings.mesh:
            readiness.add("mesh", registration.look, optional=True)
        looking = asyncio.create_task(endless(partial(readiness.run, server.tell, registration.tell)))
        stack.push_async_callback(cancel, [looking])
        stack.callback(registration.drain)
