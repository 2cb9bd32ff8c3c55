"""What instances may say of themselves, and what users may set: decided here, without I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from mercato.mesh.v1.mesh_pb2 import Fault, Instance, Policy

from chassis.clock import timestamp
from chassis.errors import invalid_field

OWN = "mesh"
"""The name that the mesh itself goes by."""
CHANGEABLE = ("split", "fault", "max_requests", "drained_instances")


def check_instance(told: Instance) -> None:
    """Hold what an instance says of itself against what can be told to others; InvalidArgument names the field."""
    if told.state == Instance.STATE_UNSPECIFIED or told.state not in Instance.State.values():
        raise invalid_field("instance.state", "expected STATE_SERVING, STATE_DRAINING or STATE_UNHEALTHY")
    if told.state == Instance.STATE_UNHEALTHY and not told.reason:
        raise invalid_field("instance.reason", "expected why it takes no calls")
    host, _, port = told.address.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        in_range = 0 < int(port) < 65_536
    except ValueError:
        in_range = False
    if not in_range:
        raise invalid_field("instance.address", "expected an IP address and a port, as 127.0.0.1:9090")


def steered(instances: Iterable[Instance], policy: Policy) -> list[Instance]:
    """Return the instances of a service in the order of their names; those that its policy lets rest are draining."""
    resting = set(policy.drained_instances)
    result = []
    for instance in sorted(instances, key=lambda instance: instance.name):
        if instance.name in resting and instance.state == Instance.STATE_SERVING:
            told, instance = instance, Instance()
            instance.CopyFrom(told)
            instance.state, instance.reason = Instance.STATE_DRAINING, "drained by its policy"
        result.append(instance)
    return result


def changed(
    policy: Policy,
    update: Policy,
    paths: Collection[str],
    methods: Collection[str],
    instances: Collection[str],
    now: datetime,
) -> Policy:
    """Return a policy with the fields at `paths` taken from an update; InvalidArgument names what cannot be.

    `methods` and `instances` are those of the service; none means that they are not known.
    """
    if service_of(update.name) == OWN:  # who calls it as any other service could not take the policy back
        raise invalid_field("policy.name", "expected another service than the mesh itself")
    result = Policy()
    result.CopyFrom(policy)
    result.name = update.name
    for path in paths:
        result.ClearField(path)  # type: ignore[arg-type]
    result.MergeFrom(_only(update, paths))
    if "split" in paths and result.split:
        _check_split(result)
    if "fault" in paths and result.HasField("fault"):
        _check_fault(result.fault, methods)
    if "drained_instances" in paths:
        _check_drained(result.drained_instances, {*instances, *policy.drained_instances})
    result.update_time.CopyFrom(timestamp(now))
    return result


def _only(update: Policy, paths: Collection[str]) -> Policy:
    result = Policy()
    result.CopyFrom(update)
    for path in set(Policy.DESCRIPTOR.fields_by_name) - set(paths):
        result.ClearField(path)  # type: ignore[arg-type]
    return result


def _check_split(policy: Policy) -> None:
    versions = [share.version for share in policy.split]
    if len(set(versions)) < len(versions):
        raise invalid_field("policy.split", "expected each version once")
    if not any(share.weight for share in policy.split):
        raise invalid_field("policy.split", "expected a weight above 0 for at least one version")


def _check_fault(fault: Fault, methods: Collection[str]) -> None:
    if not (fault.delay.ToTimedelta() or fault.abort_code):
        raise invalid_field("policy.fault", "expected a delay, an abort_code or both")
    if fault.method and methods and fault.method not in methods:
        raise invalid_field("policy.fault.method", f"expected a method of the service, as {min(methods)}")
    if fault.method and not (fault.method.startswith("/") and fault.method.count("/") == 2):
        raise invalid_field("policy.fault.method", "expected a method, as /package.Service/Method")


def _check_drained(drained: Sequence[str], known: Collection[str]) -> None:
    for index, name in enumerate(drained):
        if name not in known:
            expected = f"expected an instance of the service: {', '.join(sorted(known)[:10]) or 'it has none'}"
            raise invalid_field(f"policy.drained_instances[{index}]", expected)


def service_of(name: str) -> str:
    """Return the service that a policy is for: `orders` of `policies/orders`."""
    return name.partition("/")[2]
