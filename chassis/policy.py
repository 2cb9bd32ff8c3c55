"""What a method's contract says about calling it, read from its descriptor and stated nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions, ServiceOptions
from mercato.policy.v1 import policy_pb2

UNARY_TIMEOUT_S = 2.0
LONGEST_STREAM_S = 3600.0


@dataclass(frozen=True)
class Objective:
    """How well one method is to answer, over 30 days: its service level objective."""

    availability: float = 0.999
    """The part of all calls that is to be free of faults of the server."""
    latency_s: float | None = 0.5
    """A call is fast that takes no longer; None for streams, which last as long as they last."""
    latency_share: float = 0.99
    """The part of all calls that is to be fast."""

    @classmethod
    def of(cls, method: MethodDescriptor) -> Objective:
        """Read the objective of a method."""
        declared = method.GetOptions().Extensions[policy_pb2.method].objective
        streams = method.client_streaming or method.server_streaming
        return cls(
            availability=_share(declared.availability_percent) or cls.availability,
            latency_s=None if streams else declared.latency.ToTimedelta().total_seconds() or cls.latency_s,
            latency_share=_share(declared.latency_percent) or cls.latency_share,
        )


@dataclass(frozen=True)
class Policy:
    """How one method may be called."""

    path: str
    """`/package.Service/Method`."""
    timeout_s: float
    """The longest a call may take."""
    retriable: bool
    """Whether calling twice does the same as calling once."""
    safe: bool
    """Whether it changes nothing, so that it may even be called twice at once."""
    request_id: bool
    """Whether its request carries an idempotency key."""
    objective: Objective = Objective()
    """How well it is to answer."""

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
            safe=level == MethodOptions.NO_SIDE_EFFECTS,
            request_id=level == MethodOptions.IDEMPOTENT
            and not method.client_streaming
            and id_field is not None
            and id_field.type == _STRING,
            objective=Objective.of(method),
        )


def is_everywhere(service: ServiceDescriptor) -> bool:
    """Whether every instance of every service serves it, so that its requests say in `service` who is asked."""
    options: ServiceOptions = service.GetOptions()
    return options.Extensions[policy_pb2.service].everywhere


def _share(percent: float) -> float:
    return round(percent / 100, 9)  # 99.9 / 100 is a hair more than 0.999


_STRING = FieldDescriptor.TYPE_STRING
