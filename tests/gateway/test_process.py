"""The gateway as the process that is deployed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.gateway.conftest import Running

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_serves_until_it_is_asked_to_end(gateway: Running) -> None:
    port, http_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "generated"))),
        "MERCATO_PORT": str(port),
        "MERCATO_HTTP_PORT": str(http_port),
        "MERCATO_DRAIN_S": "0",
        "MERCATO_TARGETS": ";".join(f"{name}={target}" for name, target in gateway.targets.items()),
        "MERCATO_GATEWAY_CORS_ORIGINS": "*",
    }
    command = [sys.executable, "-m", "services.gateway"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=PIPE)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        headers = {"Origin": "https://anywhere.example", "X-Request-Id": "r-9"}
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{http_port}") as http,
            http.get("/v1/orders/1", headers=headers) as found,
        ):
            assert (await found.json())["order"]["name"] == "orders/1"
            assert found.headers["Access-Control-Allow-Origin"] == "https://anywhere.example"
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert b'"request_id":"r-9"' in output
    assert b'"message":"stopped"' in output
