"""What a method's contract says about calling it, read from its descriptor and stated nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from mercato.policy.v1 import policy_pb2

UNARY_TIMEOUT_S = 2.0
LONGEST_STREAM_S = 3600.0

MOST_ATTEMPTS = 4
FIRST_BACKOFF_S, BACKOFF_FACTOR, LONGEST_BACKOFF_S = 0.05, 2, 0.5
"""A call that was UNAVAILABLE is tried again where that is safe; pauses grow by the factor."""


@dataclass(frozen=True)
class Policy:
    """How one method may be called."""

    path: str
    """`/package.Service/Method`."""
    timeout_s: float
    """The longest a call may take."""
    retriable: bool
    """Whether calling twice does the same as calling once."""
    request_id: bool
    """Whether its request carries an idempotency key."""

    @classmethod
    def of(cls, method: MethodDescriptor) -> Policy:
        """Read the policy of a method."""
        options: MethodOptions = method.GetOptions()
        declared = options.Extensions[policy_pb2.method].timeout.ToTimedelta().total_seconds()
        level = options.idempotency_level
        id_field = method.input_type.fields_by_name.get("request_id")
        return cls(
            path=f"/{method.containing_service.full_name}/{method.name}",
            timeout_s=declared or (LONGEST_STREAM_S if method.server_streaming else UNARY_TIMEOUT_S),
            retriable=level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT),
            request_id=level == MethodOptions.IDEMPOTENT
            and not method.client_streaming
            and id_field is not None
            and id_field.type == _STRING,
        )


def retriable(services: Iterable[ServiceDescriptor]) -> frozenset[str]:
    """Return the methods, as `/package.Service/Method`, whose calls may be tried again."""
    return frozenset(
        policy.path
        for service in services
        for method in service.methods
        if (policy := Policy.of(method)).retriable and not method.client_streaming
    )


def service_config(services: Iterable[ServiceDescriptor]) -> str:
    """Return the gRPC service config of a client: round robin over healthy instances, retries where they are safe."""
    methods = [path[1:].split("/") for path in sorted(retriable(services))]
    names = [{"service": service, "method": method} for service, method in methods]
    retry = {
        "maxAttempts": MOST_ATTEMPTS,
        "initialBackoff": f"{FIRST_BACKOFF_S}s",
        "maxBackoff": f"{LONGEST_BACKOFF_S}s",
        "backoffMultiplier": BACKOFF_FACTOR,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": ""},
            "methodConfig": [{"name": names, "retryPolicy": retry}] if names else [],
            "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
        }
    )


_STRING = FieldDescriptor.TYPE_STRING
