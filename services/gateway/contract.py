"""The contracts of all services, read from the descriptors that `make generate` commits with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from google.api.annotations_pb2 import http
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from chassis.policy import is_everywhere

_OURS = re.compile(r"mercato\.(\w+)\.v\d+")


@dataclass(frozen=True)
class Contract:
    """Every proto file of the suite with its comments, and the services among them that are open to the world."""

    image: bytes
    """A serialized FileDescriptorSet, imports first."""
    pool: DescriptorPool
    services: tuple[ServiceDescriptor, ...]
    """Those with a method that says how it looks in HTTP, by name."""

    @classmethod
    def load(cls, image: bytes | None = None) -> Contract:
        """Read an image; by default the one generated from our protos."""
        data = image or resources.files("mercato").joinpath("descriptors.binpb").read_bytes()
        pool, services = DescriptorPool(), []
        for file in FileDescriptorSet.FromString(data).file:
            pool.Add(file)
            if _OURS.fullmatch(file.package):
                services += [pool.FindServiceByName(f"{file.package}.{service.name}") for service in file.service]
        exposed = (service for service in services if any(bindings(method) for method in service.methods))
        return cls(data, pool, tuple(sorted(exposed, key=lambda service: service.full_name)))

    @property
    def backends(self) -> list[str]:
        """The names of all that serve something of their own, in order."""
        return sorted({backend_of(service) for service in self.services if not is_everywhere(service)})

    @property
    def methods(self) -> Iterator[MethodDescriptor]:
        """Every method that is open to the world."""
        return (method for service in self.services for method in service.methods)


def bindings(method: MethodDescriptor) -> list[HttpRule]:
    """Return how a method looks in HTTP: its rule and the additional ones; empty when it does not say."""
    options = method.GetOptions()
    if not options.HasExtension(http):
        return []
    rule = options.Extensions[http]
    return [rule, *rule.additional_bindings]


def backend_of(service: ServiceDescriptor) -> str:
    """Return the name of what serves it: `orders` for any service of mercato.orders.v1 that is not everywhere."""
    match = _OURS.fullmatch(service.file.package)
    assert match is not None
    return match[1]


def path_of(method: MethodDescriptor) -> str:
    """Return the method's path in gRPC: `/package.Service/Method`."""
    return f"/{method.containing_service.full_name}/{method.name}"


def kind_of(method: MethodDescriptor) -> str:
    """Return what gRPC calls a method of this kind: `unary_stream` for one that answers with a stream."""
    return "_".join("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))
