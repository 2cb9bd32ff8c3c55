"""The table of all routes, compiled once from the contracts: which method a verb and a path mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.gateway.errors import InvalidPath, MethodNotAllowed, PathNotFound
from services.gateway.templates import Template

Target = TypeVar("Target")


@dataclass(slots=True)
class _Node(Generic[Target]):
    """What may follow one prefix of a path."""

    next: dict[str, _Node[Target]] = field(default_factory=dict)
    """By literal segment, `*` or `**`."""
    ends: dict[str | None, dict[str, tuple[Template, Target]]] = field(default_factory=dict)
    """What ends here: by custom verb, None without one, then by HTTP method."""


class RouteTable(Generic[Target]):
    """Finds the target of a request in as many steps as its path has segments."""

    def __init__(self, routes: Iterable[tuple[str, Template, Target]]) -> None:
        """Compile (HTTP method, template, target); ValueError when two of them mean the same requests."""
        self._root: _Node[Target] = _Node()
        for method, template, target in routes:
            node = self._root
            for segment in template.segments:
                node = node.next.setdefault(segment, _Node())
            taken = node.ends.setdefault(template.verb or None, {})
            if method in taken:
                raise ValueError(f"{method} {template.text} means the same requests as {taken[method][0].text}")
            taken[method] = (template, target)

    def find(self, method: str, path: str) -> tuple[Target, dict[str, str]]:
        """Return the target of a raw path, and its variables by field path.

        Raises PathNotFound, MethodNotAllowed with the methods that are, or InvalidPath when it is not UTF-8.
        """
        segments, by_method = self._ends(path)
        if method not in by_method:
            raise MethodNotAllowed(method=method, path=path, allowed=", ".join(sorted(by_method)))
        template, target = by_method[method]
        try:
            return target, {variable.field: variable.value(segments) for variable in template.variables}
        except UnicodeDecodeError as error:
            raise InvalidPath from error

    def allowed(self, path: str) -> list[str]:
        """Return the HTTP methods of a path; PathNotFound when there are none."""
        return sorted(self._ends(path)[1])

    def _ends(self, path: str) -> tuple[list[str], dict[str, tuple[Template, Target]]]:
        """Follow a path; a colon in its last segment begins the verb, one that belongs to an id is sent as %3A."""
        segments = path[1:].split("/")
        last, colon, verb = segments[-1].rpartition(":")
        if colon:
            segments[-1] = last
        for node in _walk(self._root, segments, 0):
            if verb_ends := node.ends.get(verb if colon else None):
                return segments, verb_ends
        raise PathNotFound(path=path[:200])


def _walk(node: _Node[Target], segments: list[str], depth: int) -> Iterator[_Node[Target]]:
    """Yield the nodes the segments lead to, the most literal first."""
    if depth == len(segments):
        yield node
        return
    segment = segments[depth]
    if literal := node.next.get(segment):
        yield from _walk(literal, segments, depth + 1)
    if segment and (wildcard := node.next.get("*")):
        yield from _walk(wildcard, segments, depth + 1)
    if segment and (rest := node.next.get("**")):
        yield rest
