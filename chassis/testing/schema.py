"""The descriptors inside a pact: only what a consumer uses of a provider, down to single fields and enum values.

They encode and decode when the provider is verified, so that a changed number or type of a field shows. And since
nothing else is in them, they are also the list of what the consumer depends on, and change with nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MessageOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

WELL_KNOWN = "google.protobuf"
"""Messages of this package have a JSON form of their own, and are kept whole."""


class Usage:
    """Collects what is used, then prunes everything else away."""

    def __init__(self) -> None:
        self._files: dict[str, FileDescriptor] = {}
        self._imports: defaultdict[str, set[str]] = defaultdict(set)
        self._fields: defaultdict[str, set[int]] = defaultdict(set)
        self._values: defaultdict[str, set[int]] = defaultdict(set)
        self._methods: set[str] = set()

    def add_method(self, method: MethodDescriptor) -> None:
        """Use a method."""
        file = method.containing_service.file
        self._files[file.name] = file
        self._methods.add(method.full_name)
        for message in (method.input_type, method.output_type):
            self._touch(message, file)

    def add_message(self, message: Message, needed_by: FileDescriptor | None = None) -> None:
        """Use every field that is set in a message, and the messages in it."""
        descriptor: Any = message.DESCRIPTOR
        self._touch(descriptor, needed_by)
        for field, value in message.ListFields():
            self._add_field(field)
            for inner in _values(field, value):
                if isinstance(inner, Message):
                    self.add_message(inner, descriptor.file)
                elif enum := _enum(field):
                    self._values[enum.full_name].add(int(inner))

    def files(self) -> FileDescriptorSet:
        """Return what is used as proto files, imports first."""
        result, done = FileDescriptorSet(), set[str]()

        def append(name: str) -> None:
            if name not in done:
                done.add(name)
                for imported in sorted(self._imports[name]):
                    append(imported)
                result.file.append(self._pruned(name))

        for name in sorted(self._files):
            append(name)
        return result

    def _touch(self, message: Descriptor, needed_by: FileDescriptor | None) -> None:
        self._need(message.file, needed_by)
        known = message.full_name in self._fields
        self._fields[message.full_name] |= set()
        if message.file.package == WELL_KNOWN and not known:
            for field in message.fields:
                self._add_field(field)

    def _add_field(self, field: FieldDescriptor) -> None:
        owner: Any = field.containing_type
        self._fields[owner.full_name].add(field.number)
        if field.enum_type:
            self._need(field.enum_type.file, owner.file)
            self._values[field.enum_type.full_name].add(field.enum_type.values[0].number)
        if field.message_type:
            self._touch(field.message_type, owner.file)
            if field.message_type.GetOptions().map_entry:
                for part in field.message_type.fields:
                    self._add_field(part)

    def _need(self, file: FileDescriptor, by: FileDescriptor | None) -> None:
        self._files[file.name] = file
        if by is not None and by.name != file.name:
            self._imports[by.name].add(file.name)

    def _pruned(self, name: str) -> FileDescriptorProto:
        whole = FileDescriptorProto()
        self._files[name].CopyToProto(whole)
        scope = f"{whole.package}." if whole.package else ""
        pruned = FileDescriptorProto(
            name=whole.name, package=whole.package, syntax=whole.syntax, dependency=sorted(self._imports[name])
        )
        pruned.message_type.extend(self._messages(whole.message_type, scope))
        pruned.enum_type.extend(self._enums(whole.enum_type, scope))
        for service in whole.service:
            methods = [it for it in service.method if f"{scope}{service.name}.{it.name}" in self._methods]
            if methods:
                kept = pruned.service.add(name=service.name)
                for method in methods:
                    method.ClearField("options")
                    kept.method.append(method)
        return pruned

    def _messages(self, messages: Iterable[DescriptorProto], scope: str) -> Iterator[DescriptorProto]:
        for whole in messages:
            name = f"{scope}{whole.name}"
            pruned = DescriptorProto(name=whole.name)
            pruned.nested_type.extend(self._messages(whole.nested_type, f"{name}."))
            pruned.enum_type.extend(self._enums(whole.enum_type, f"{name}."))
            if name not in self._fields and not pruned.nested_type and not pruned.enum_type:
                continue
            if whole.options.map_entry:
                pruned.options.CopyFrom(MessageOptions(map_entry=True))
            oneofs: dict[int, int] = {}
            for field in whole.field:
                if field.number in self._fields.get(name, ()):
                    field.ClearField("options")
                    field.ClearField("json_name")  # follows from the name
                    if field.HasField("oneof_index"):
                        field.oneof_index = oneofs.setdefault(field.oneof_index, len(oneofs))
                    pruned.field.append(field)
            for number in oneofs:
                pruned.oneof_decl.add(name=whole.oneof_decl[number].name)
            yield pruned

    def _enums(self, enums: Iterable[EnumDescriptorProto], scope: str) -> Iterator[EnumDescriptorProto]:
        for whole in enums:
            numbers = self._values.get(f"{scope}{whole.name}")
            if numbers is not None:
                pruned = EnumDescriptorProto(name=whole.name)
                pruned.value.extend(value for value in whole.value if value.number in numbers)
                for value in pruned.value:
                    value.ClearField("options")
                yield pruned


class Schema:
    """What a consumer knows of a provider; reads and writes messages as the consumer does."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.files = files
        self._pool = DescriptorPool()
        for file in files.file:
            self._pool.Add(file)

    @cached_property
    def methods(self) -> dict[str, MethodDescriptor]:
        """Every method by its path, `/package.Service/Method`."""
        services = (
            self._pool.FindServiceByName(f"{file.package}.{service.name}".lstrip("."))
            for file in self.files.file
            for service in file.service
        )
        return {path_of(method): method for service in services for method in service.methods}

    def message(self, full_name: str) -> Descriptor:
        """Return a message by its full name; KeyError."""
        return self._pool.FindMessageTypeByName(full_name)

    def to_json(self, message: Descriptor, data: bytes) -> Any:
        """Return a serialized message in its JSON form, without what is at its default; DecodeError."""
        return MessageToDict(GetMessageClass(message).FromString(data), descriptor_pool=self._pool)

    def from_json(self, message: Descriptor, value: Any) -> bytes:
        """Serialize a message given in its JSON form; ParseError."""
        return ParseDict(value, GetMessageClass(message)(), descriptor_pool=self._pool).SerializeToString()


def path_of(method: MethodDescriptor) -> str:
    """Return a method's path in gRPC: `/package.Service/Method`."""
    return f"/{method.containing_service.full_name}/{method.name}"


def kind_of(method: MethodDescriptor) -> str:
    """Return what gRPC calls a method of this kind: `unary_stream` for one that answers with a stream."""
    return "_".join("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))


def _values(field: FieldDescriptor, value: Any) -> Iterable[Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return list(value.values())
    return value if field.is_repeated else [value]


def _enum(field: FieldDescriptor) -> EnumDescriptor | None:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return field.message_type.fields_by_name["value"].enum_type
    return field.enum_type
