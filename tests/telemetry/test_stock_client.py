"""An independent client: what the stock SDK's stock exporters send from another process arrives and shows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb

from tests.stage import Stage
from tests.telemetry.support import SERVICE, Telemetry, name_of

CLIENT = Path(__file__).with_name("stock_client.py")


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_what_it_sends_shows(stage: Stage, telemetry: Telemetry, protocol: str) -> None:
    targets = {
        "grpc": stage.targets[SERVICE.file.package.split(".")[1]].removeprefix("ipv4:"),
        "http": f"127.0.0.1:{telemetry.app.settings.http_port}",
    }
    service = f"billing_{protocol}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), protocol, f"http://{targets[protocol]}", service,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    trace = await telemetry.trace(bytes.fromhex(output.decode().strip()), 2)
    outer, inner = trace.spans
    assert (trace.root, trace.service, trace.span_count) == ("outer", service, 2)
    assert (outer.instance, outer.kind, outer.events[0].name) == (f"{service}/7", pb.Span.KIND_SERVER, "exception")
    assert (inner.parent_id, dict(inner.attributes)) == (outer.id, {"db.system.name": "postgresql"})

    [log] = await telemetry.logged(trace.name)
    assert (log.message, log.severity, log.service, log.span_id) == ("within", pb.SEVERITY_WARNING, service, inner.id)
    assert (dict(log.attributes), log.trace) == ({"attempt": "2"}, name_of(bytes.fromhex(output.decode().strip())))

    traffic = await telemetry.queries.GetTraffic(pb.GetTrafficRequest())
    [method] = [method for method in traffic.methods if method.service == service]
    assert method.rates.calls_per_second > 0
    assert 0 < method.rates.p99_s <= 5, "of the SDK's bounds the first is 5"
    assert f"{service}/7" in {instance.instance for instance in traffic.instances}
