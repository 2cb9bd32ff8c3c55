"""The comments of protos, by the full name of what they stand above."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

Path = tuple[int, ...]
Found = Iterator[tuple[str, Path]]


def comments(image: bytes) -> dict[str, str]:
    """Return every comment of an image; an enum value's name stands below its enum's."""
    result: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(image).file:
        texts = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
        for name, path in _elements(file):
            if text := texts.get(path, "").strip():
                result[name] = "\n".join(line.strip() for line in text.splitlines())
    return result


def _elements(file: FileDescriptorProto) -> Found:
    """Yield what can carry a comment, with its place as descriptor.proto numbers it."""
    for index, service in enumerate(file.service):
        yield f"{file.package}.{service.name}", (6, index)
        for number, method in enumerate(service.method):
            yield f"{file.package}.{service.name}.{method.name}", (6, index, 2, number)
    for index, message in enumerate(file.message_type):
        yield from _message(message, file.package, (4, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, file.package, (5, index))


def _message(message: DescriptorProto, scope: str, path: Path) -> Found:
    name = f"{scope}.{message.name}"
    yield name, path
    for index, field in enumerate(message.field):
        yield f"{name}.{field.name}", (*path, 2, index)
    for index, nested in enumerate(message.nested_type):
        yield from _message(nested, name, (*path, 3, index))
    for index, enum in enumerate(message.enum_type):
        yield from _enum(enum, name, (*path, 4, index))


def _enum(enum: EnumDescriptorProto, scope: str, path: Path) -> Found:
    name = f"{scope}.{enum.name}"
    yield name, path
    for index, value in enumerate(enum.value):
        yield f"{name}.{value.name}", (*path, 2, index)
