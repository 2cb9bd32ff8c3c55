"""The methods that have objectives, read from the descriptors that `make generate` commits with the code."""

from __future__ import annotations

import re
from importlib import resources

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from chassis.policy import Objective
from services.telemetry.domain import service_of

_OURS = re.compile(r"mercato\.(\w+)\.v\d+")


def objectives_by_method() -> dict[str, Objective]:
    """Return the objectives of all methods that are answered once, by `package.Service/Method`."""
    image = resources.files("mercato").joinpath("descriptors.binpb").read_bytes()
    pool, found = DescriptorPool(), {}
    for file in FileDescriptorSet.FromString(image).file:
        pool.Add(file)
        for stated in file.service if _OURS.fullmatch(file.package) else ():
            service = pool.FindServiceByName(f"{file.package}.{stated.name}")
            for method in service.methods:
                name = f"{service.full_name}/{method.name}"
                if service_of(name) and not (method.client_streaming or method.server_streaming):
                    found[name] = Objective.of(method)
    return found
