"""Composition root of the gateway. It has no database and serves no service of its own, so it is no App."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from chassis.clock import SystemClock
from chassis.process import run_process
from chassis.settings import Settings
from chassis.telemetry.export import Exporter
from chassis.telemetry.instance import Telemetry
from services.gateway.contract import Contract
from services.gateway.gateway import Gateway


def main() -> None:
    settings = Settings.from_environment("gateway")

    async def live(ended: asyncio.Event, exporters: Sequence[Exporter]) -> None:
        async with Gateway(settings, SystemClock(), Contract.load(), Telemetry(settings, exporters)):
            await ended.wait()

    run_process(settings, live)


if __name__ == "__main__":
    main()
