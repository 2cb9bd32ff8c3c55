"""Pact files: the one form they are written in, what is read from them, and what must never be in one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from chassis.testing.schema import Schema

CALLS, EVENTS = "Synchronous/HTTP", "Asynchronous/Messages"
SUFFIX, EVENTS_SUFFIX = ".json", ".events.json"


class NotAPact(ValueError):
    """A file that cannot be judged; says why."""


@dataclass(frozen=True)
class Interaction:
    """One call or event that a consumer needs."""

    description: str
    kind: str
    pending: bool
    states: tuple[str, ...]
    subject: str
    """The path of the method, or the full name of the event."""


@dataclass(frozen=True)
class Pact:
    """What one consumer needs of one provider: its calls, or its events."""

    consumer: str
    provider: str
    interactions: tuple[Interaction, ...]
    schema: Schema
    identity: str
    """The hash of the interactions and the descriptors: the same for two files that ask for the same."""

    @property
    def events(self) -> bool:
        """Whether it is about events."""
        return any(each.kind == EVENTS for each in self.interactions)


def write(
    folder: Path, consumer: str, provider: str, interactions: Iterable[Mapping[str, Any]], files: FileDescriptorSet
) -> Path:
    """Write a pact in the one form that the same contract always has; return its file."""
    ordered = sorted(interactions, key=lambda each: str(each["description"]))
    events = any(each["type"] == EVENTS for each in ordered)
    file = file_of(folder, consumer, provider, events)
    content = {
        "consumer": {"name": consumer},
        "provider": {"name": provider},
        "interactions": ordered,
        "metadata": {"grpc": {"descriptors": MessageToDict(files)}, "pactSpecification": {"version": "4.0"}},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    return file


def file_of(folder: Path, consumer: str, provider: str, events: bool) -> Path:
    """Return where a pact lies."""
    return folder / consumer / f"{provider}{EVENTS_SUFFIX if events else SUFFIX}"


def find(folder: Path) -> list[Path]:
    """Return all pacts in `<folder>/<consumer>/`."""
    return sorted(file for file in folder.glob(f"*/*{SUFFIX}") if file.parent.name not in ("released", "deployed"))


def read(file: Path) -> Pact:
    """Read a pact; NotAPact says what is wrong with it, and that it is not empty, pending or in the wrong place."""
    return parse(file.read_bytes(), file.parent.name, file.name)


def parse(data: bytes, folder: str, name: str) -> Pact:
    """Read a pact from `<folder>/<name>`; see `read`."""
    try:
        content = json.loads(data)
        consumer, provider = content["consumer"]["name"], content["provider"]["name"]
        version = content["metadata"]["pactSpecification"]["version"]
        interactions = tuple(_interactions(content["interactions"]))
        identity = {"interactions": content["interactions"], "grpc": content["metadata"].get("grpc")}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAPact(f"is not a Pact V4 file: {error!r}") from error
    _require(version == "4.0", f"is of Pact specification {version}, expected 4.0")
    _require(consumer == folder, f"is of consumer {consumer}, but lies in the folder of {folder}")
    expected = name.removesuffix(SUFFIX).removesuffix(".events")
    _require(provider == expected, f"is for provider {provider}, but its name says {expected}")
    _require(bool(interactions), "has no interactions")
    _check_interactions(interactions, name.endswith(EVENTS_SUFFIX))
    schema = _schema(content["metadata"].get("grpc"))
    for each in interactions:
        known = _has_message(schema, each.subject) if each.kind == EVENTS else each.subject in schema.methods
        _require(known, f"carries no descriptor of {each.subject} ({each.description})")
    digest = sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return Pact(consumer, provider, interactions, schema, digest)


def _interactions(found: Sequence[Mapping[str, Any]]) -> Iterator[Interaction]:
    for each in found:
        subject = each["metadata"]["type"] if each["type"] == EVENTS else each["request"]["path"]
        states = tuple(state["name"] for state in each.get("providerStates", ()))
        yield Interaction(each["description"], each["type"], bool(each.get("pending")), states, subject)


def _check_interactions(interactions: Sequence[Interaction], events: bool) -> None:
    for each in interactions:
        _require(not each.pending, f"has a pending interaction: {each.description}")
        _require(each.kind == (EVENTS if events else CALLS), f"has a {each.kind} interaction: {each.description}")
    descriptions = {each.description for each in interactions}
    _require(len(descriptions) == len(interactions), "has two interactions of one description")


def _schema(grpc: Any) -> Schema:
    try:
        files = ParseDict(grpc["descriptors"], FileDescriptorSet(), ignore_unknown_fields=True)
        return Schema(files)
    except (KeyError, TypeError, ParseError) as error:
        raise NotAPact(f"carries no readable descriptors in metadata.grpc.descriptors: {error!r}") from error


def _has_message(schema: Schema, full_name: str) -> bool:
    try:
        schema.message(full_name)
    except KeyError:
        return False
    return True


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise NotAPact(problem)
