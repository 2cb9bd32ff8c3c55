"""Which calls the code of each service makes to others, read from its syntax tree."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from chassis.testing.schema import Schema

Call = tuple[str, str, str]
"""Consumer, provider, and the method's path."""

_STUB = re.compile(r"(\w+)Stub")


def calls(services: Path, schema: Schema) -> set[Call]:
    """Return every call that could be made: a method's name, in a service that has a stub with such a method."""
    return {call for folder in sorted(services.iterdir()) if folder.is_dir() for call in _of_service(folder, schema)}


def _of_service(folder: Path, schema: Schema) -> Iterator[Call]:
    nodes = [node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    stubs = {match[1] for node in nodes for name in _names(node) if (match := _STUB.fullmatch(name))}
    called = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for path, method in schema.methods.items():
        if method.containing_service.name in stubs and method.name in called:
            yield folder.name, method.containing_service.file.package.split(".")[1], path


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Attribute():
            return [node.attr]
        case ast.Name():
            return [node.id]
        case ast.ImportFrom():
            return [each.name for each in node.names]
    return []
