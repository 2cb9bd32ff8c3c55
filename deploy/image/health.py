"""Whether the instance in this container serves, by the standard gRPC health service: exit code 0 means yes."""

from __future__ import annotations

import sys
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.settings import Settings

SERVING = "SERVING"
TIMEOUT_S = 2.0


def state() -> str:
    """Return what the instance says of itself, or the gRPC code of the failure to tell."""
    port = Settings.from_environment("health").port
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = HealthStub(channel)
        try:
            answer = stub.Check(HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code.name
    name: str = HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


if __name__ == "__main__":
    told = state()
    sys.exit(0 if told == SERVING else told)
