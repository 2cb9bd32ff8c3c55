"""The methods that have objectives, read from the descriptors that `make generate` commits with the code."""

from __future__ import annotations

import re
from importlib import resources

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from mercato.policy.v1 import policy_pb2

from chassis.policy import Objective, Policy

_OURS = re.compile(r"mercato\.(\w+)\.v\d+")


def objectives_by_method() -> dict[str, Objective]:
    """Return the objectives of all methods that are answered once, by `package.Service/Method`."""
    image = resources.files("mercato").joinpath("descriptors.binpb").read_bytes()
    pool, found = DescriptorPool(), {}
    for file in FileDescriptorSet.FromString(image).file:
        pool.Add(file)
        for stated in file.service if _OURS.fullmatch(file.package) else ():
            service = pool.FindServiceByName(f"{file.package}.{stated.name}")
            if service.GetOptions().Extensions[policy_pb2.service].everywhere:
                continue
            for method in service.methods:
                if not (method.client_streaming or method.server_streaming):
                    policy = Policy.of(method)
                    found[policy.path.removeprefix("/")] = policy.objective
    return found
