"""Reflection over all services: what grpcurl and buf curl list, describe with its comments, and build calls from."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from services.gateway.contract import Contract

_METHOD = "ServerReflectionInfo"
SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
"""The same messages by two names: newer tools ask for the first, older ones for the second."""


def reflection_handlers(contract: Contract, further: Iterable[str] = ()) -> list[grpc.GenericRpcHandler]:
    """Return the handlers that describe the services of a contract, and further ones of this process."""
    names = [service.full_name for service in contract.services]
    servicer = reflection.aio.ReflectionServicer([*names, *further], pool=_Files(contract))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    return [grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in SERVICES]


class _Files:
    """A descriptor pool as the servicer asks one; its files keep their comments, which real pools drop."""

    def __init__(self, contract: Contract) -> None:
        self._commented = {file.name: file for file in FileDescriptorSet.FromString(contract.image).file}
        self._pool = contract.pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileByName(self, name: str) -> _File:  # noqa: N802
        """Return a file; KeyError when there is none of that name."""
        return _File(_first(self._pool.FindFileByName, descriptor_pool.Default().FindFileByName, name), self._commented)

    def FindFileContainingSymbol(self, symbol: str) -> _File:  # noqa: N802
        """Return the file that declares something, be it a method; KeyError when none does."""
        default = descriptor_pool.Default()
        return _File(_first(partial(_declaring, self._pool), partial(_declaring, default), symbol), self._commented)


class _File:
    """A file descriptor as the servicer reads one."""

    def __init__(self, file: FileDescriptor, commented: dict[str, FileDescriptorProto]) -> None:
        self._file = file
        self._commented = commented
        self.name = file.name

    @property
    def dependencies(self) -> list[_File]:
        """The files it imports."""
        return [_File(file, self._commented) for file in self._file.dependencies]

    def CopyToProto(self, proto: FileDescriptorProto) -> None:  # noqa: N802
        """Write its descriptor into `proto`."""
        if self.name in self._commented:
            proto.CopyFrom(self._commented[self.name])
        else:
            self._file.CopyToProto(proto)


def _declaring(pool: Any, symbol: str) -> FileDescriptor:
    """Return the file that declares something; pools find everything in one but methods."""
    try:
        file: FileDescriptor = pool.FindFileContainingSymbol(symbol)
    except KeyError:
        file = pool.FindMethodByName(symbol).containing_service.file
    return file


def _first(find: Any, otherwise: Any, name: str) -> FileDescriptor:
    """Return what the contract has under a name; else what this process has, such as the health service."""
    try:
        file: FileDescriptor = find(name)
    except KeyError:
        file = otherwise(name)
    return file
