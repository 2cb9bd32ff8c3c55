"""Whether the instance in this container serves, by the standard gRPC health service: exit code 0 means yes.

It does not while its database is away, and nobody need start it again for that; with the argument `live` the exit code
is 0 for as long as the process runs, for those who would.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from chassis.settings import Settings

SERVING = "SERVING"
TIMEOUT_S = 2.0


def state(name: str = "") -> str:
    """Return what the instance says of itself under a name, or the gRPC code of the failure to tell."""
    port = Settings.from_environment("health").port
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = HealthStub(channel)
        try:
            answer = stub.Check(HealthCheckRequest(service=name), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code.name
    status: str = HealthCheckResponse.ServingStatus.Name(answer.status)
    return status


if __name__ == "__main__":
    told = state(*sys.argv[1:2])
    sys.exit(0 if told == SERVING else told)
