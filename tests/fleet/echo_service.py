"""The smallest service: notes its start in its database, says that it serves, ends when asked."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
from datetime import UTC, datetime

import asyncpg
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis.settings import Settings

SERVICE = __name__.split(".")[1]


async def serve(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.database_url)
    await connection.execute("CREATE TABLE IF NOT EXISTS starts (instance text)")
    await connection.execute("INSERT INTO starts VALUES ($1)", settings.instance)
    await connection.close()
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"{settings.host}:{settings.port}")
    await server.start()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    say("serving", environment=dict(os.environ))
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()
    await server.stop(settings.grace_s)
    say("drained")


def say(message: str, **fields: object) -> None:
    line = {"time": datetime.now(UTC).isoformat(), "level": "INFO", "service": SERVICE, "message": message, **fields}
    print(json.dumps(line), flush=True)  # noqa: T201


def main() -> None:
    atexit.register(say, "gone")
    asyncio.run(serve(Settings.from_environment(SERVICE)))
