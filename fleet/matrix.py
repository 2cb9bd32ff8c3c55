"""Who depends on whom: by which methods and events, and by which fields. All of it is read from the committed pacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from chassis.testing.pacts import EVENTS, NotAPact, Pact, find, read
from fleet.errors import FleetError

CELL_WIDTH, LINE_HEIGHT, MARGIN, HEAD = 190, 17, 12, 34


@dataclass(frozen=True)
class Dependency:
    """One method or event that a consumer depends on."""

    consumer: str
    provider: str
    name: str
    """The method's or the event's, without its package."""
    event: bool
    sends: Sequence[str]
    """The fields the consumer sends, as paths."""
    reads: Sequence[str]
    """The fields it reads."""

    def told(self) -> str:
        """Return its fields in a line."""
        return f"sends {', '.join(self.sends) or 'nothing'}; reads {', '.join(self.reads) or 'nothing'}"


def pacts(folder: Path) -> list[Pact]:
    """Return all pacts of a folder; FleetError."""
    try:
        found = [read(file) for file in find(folder)]
    except NotAPact as problem:
        raise FleetError(f"a pact in {folder} {problem}") from problem
    if not found:
        raise FleetError(f"there are no pacts in {folder}")
    return found


def dependencies(found: Iterable[Pact]) -> list[Dependency]:
    """Return what pacts depend on, by consumer, provider and name."""
    return sorted((each for pact in found for each in _of(pact)), key=lambda it: (it.consumer, it.provider, it.name))


def unused(found: Iterable[Pact], image: FileDescriptorSet) -> dict[str, list[str]]:
    """Return the fields that no contract names, by the provider's messages: without a reader elsewhere, they can go."""
    used = {name for pact in found for name in _fields_of_files(pact.schema.files)}
    result: defaultdict[str, list[str]] = defaultdict(list)
    providers = {pact.provider for pact in found}
    for file in image.file:
        if any(file.package.startswith(f"mercato.{provider}.") for provider in providers):
            for message, field in _fields(file.message_type, f"{file.package}."):
                if f"{message}.{field}" not in used:
                    result[message].append(field)
    return dict(result)


def svg(found: Sequence[Dependency]) -> str:
    """Draw consumers as rows, providers as columns, and what the one needs of the other where they meet."""
    consumers, providers = sorted({it.consumer for it in found}), sorted({it.provider for it in found})
    cells = defaultdict(list)
    for each in found:
        cells[each.consumer, each.provider].append(each)
    rows = {it: max(len(cells[it, provider]) for provider in providers) * LINE_HEIGHT + 2 * MARGIN for it in consumers}
    width, height = CELL_WIDTH * (len(providers) + 1), HEAD + sum(rows.values())
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        "<title>Who depends on whom</title>",
        "<style>text{font:12px ui-monospace,monospace;fill:#1f2937}.n{font-weight:700}.e{fill:#b45309}"
        "rect{fill:#fff;stroke:#d1d5db}.h{fill:#f3f4f6}</style>",
        *_drawn(consumers, providers, cells, rows),
        "</svg>\n",
    ])  # fmt: skip


def _drawn(
    consumers: Sequence[str], providers: Sequence[str], cells: Mapping[tuple[str, str], Sequence[Dependency]],
    rows: Mapping[str, int],
) -> Iterator[str]:  # fmt: skip
    yield _box(0, 0, HEAD, "h", [("consumer / provider", "n", "")])
    for column, provider in enumerate(providers, start=1):
        yield _box(column * CELL_WIDTH, 0, HEAD, "h", [(provider, "n", "")])
    top = HEAD
    for consumer in consumers:
        yield _box(0, top, rows[consumer], "h", [(consumer, "n", "")])
        for column, provider in enumerate(providers, start=1):
            lines = [(each.name, "e" if each.event else "", each.told()) for each in cells[consumer, provider]]
            yield _box(column * CELL_WIDTH, top, rows[consumer], "", lines)
        top += rows[consumer]


def _box(left: int, top: int, height: int, kind: str, lines: Sequence[tuple[str, str, str]]) -> str:
    """Draw a cell with lines of text, each with its style and what is shown when one points at it."""
    drawn = [f'<rect x="{left}" y="{top}" width="{CELL_WIDTH}" height="{height}" class="{kind}"/>']
    for number, (text, style, told) in enumerate(lines):
        place = f'x="{left + MARGIN}" y="{top + MARGIN + 10 + number * LINE_HEIGHT}" class="{style}"'
        drawn.append(f"<text {place}>{escape(text)}<title>{escape(told)}</title></text>")
    return "".join(drawn)


def _of(pact: Pact) -> Iterator[Dependency]:
    subjects = {(each.subject, each.kind == EVENTS) for each in pact.interactions}
    for subject, event in subjects:
        if event:
            sends, reads = [], list(_paths(pact.schema.message(subject)))
        else:
            method = pact.schema.methods[subject]
            sends, reads = list(_paths(method.input_type)), list(_paths(method.output_type))
        name = subject.rpartition("." if event else "/")[2]
        yield Dependency(pact.consumer, pact.provider, name, event, sends, reads)


def _paths(message: Descriptor, within: tuple[str, ...] = ()) -> Iterator[str]:
    """Return the fields of a message and of those in it, as paths; a message in itself is not followed."""
    for field in message.fields:
        inner = field.message_type
        if inner is None or inner.full_name in within or inner.file.package == "google.protobuf":
            yield field.name
        elif inner.fields:
            yield from (f"{field.name}.{path}" for path in _paths(inner, (*within, inner.full_name)))
        else:
            yield field.name


def _fields_of_files(files: FileDescriptorSet) -> Iterator[str]:
    for file in files.file:
        yield from (f"{message}.{field}" for message, field in _fields(file.message_type, f"{file.package}."))


def _fields(messages: Iterable[DescriptorProto], scope: str) -> Iterator[tuple[str, str]]:
    for message in messages:
        if not message.options.map_entry:
            for field in message.field:
                yield f"{scope}{message.name}", field.name
            yield from _fields(message.nested_type, f"{scope}{message.name}.")
