"""The services that the protos state, read from the descriptors that `make generate` commits with the code."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib import resources

from google.api.annotations_pb2 import http
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from chassis.policy import Policy, is_everywhere

_OURS = re.compile(r"mercato\.(\w+)\.v\d+")


def methods_by_service() -> dict[str, tuple[Policy, ...]]:
    """Return how the methods of each service may be called: `orders` has those of all services in mercato.orders.v1.

    A package that nothing of is open to the world is no service of its own, nor is one that every instance serves.
    """
    image = resources.files("mercato").joinpath("descriptors.binpb").read_bytes()
    pool, methods, open_to_the_world = DescriptorPool(), defaultdict(list), set()
    for file in FileDescriptorSet.FromString(image).file:
        pool.Add(file)
        if ours := _OURS.fullmatch(file.package):
            for service in file.service:
                described = pool.FindServiceByName(f"{file.package}.{service.name}")
                for method in described.methods:
                    methods[ours[1]].append(Policy.of(method))
                    if method.GetOptions().HasExtension(http) and not is_everywhere(described):
                        open_to_the_world.add(ours[1])
    return {name: tuple(methods[name]) for name in sorted(open_to_the_world)}
