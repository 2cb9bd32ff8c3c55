"""What a consumer's tests agree on with its providers, and how it becomes pacts.

    async with pacts.calls("orders", "inventory").expecting(mock, Exchange(...)):
        await client.reserve(order)  # the real client code, with a stub whose channel goes to mock.target

When the block ends, everything in the exchanges must have been asked, and nothing else, even where the consumer
swallowed the error. Only then it becomes a part of the pact.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from pact import Pact, match

from chassis.testing.mock import Mock
from chassis.testing.pacts import CALLS, EVENTS, write
from chassis.testing.schema import Usage, path_of
from chassis.testing.wire import JSON, Answer

Event = TypeVar("Event", bound=Message)

NOT_EMPTY = r".+"
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"


class ContractBroken(AssertionError):
    """The consumer did not keep to what its test says."""


class State:
    """Something that has to be so at the provider before the call, with its parameters."""

    def __init__(self, name: str, /, **parameters: str | int | bool) -> None:
        self.name = name
        self.parameters = parameters


@dataclass(frozen=True)
class Exchange:
    """A call that a consumer makes, and what it needs of the answer.

    In the answer only what the consumer reads belongs: what is not set, the provider may change.
    """

    description: str
    method: MethodDescriptor
    request: Message | Sequence[Message]
    answer: Message | Sequence[Message] | Status
    """A Status is an error; as the last of a stream it says how that breaks."""
    given: Sequence[State] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    varies: Sequence[str] = ()
    """Fields of the answer whose values the consumer cannot know, as paths in JSON: `payment.createTime`."""
    trailers: Mapping[str, str] = field(default_factory=dict)


class Pacts:
    """All pacts that a run of the tests makes."""

    def __init__(self) -> None:
        os.environ.setdefault("PACT_DO_NOT_TRACK", "true")
        self._contracts: dict[tuple[str, str, str], Contract] = {}

    def calls(self, consumer: str, provider: str) -> Contract:
        """Return the contract about the calls of a consumer to a provider."""
        return self._contracts.setdefault((consumer, provider, CALLS), Contract(consumer, provider))

    def events(self, consumer: str, provider: str) -> Contract:
        """Return the contract about the events of a provider that a consumer handles."""
        return self._contracts.setdefault((consumer, provider, EVENTS), Contract(consumer, provider))

    def write(self, folder: Path) -> list[Path]:
        """Write what was agreed on."""
        return [contract.write(folder) for contract in self._contracts.values() if contract.interactions]


class Contract:
    """What one consumer needs of one provider."""

    def __init__(self, consumer: str, provider: str) -> None:
        self.consumer = consumer
        self.provider = provider
        self.interactions: dict[str, Any] = {}
        self._usage = Usage()

    @asynccontextmanager
    async def expecting(self, mock: Mock, *exchanges: Exchange) -> AsyncIterator[None]:
        """Let the consumer call within the block; ContractBroken unless it made these calls and no others."""
        agreed = Pact(self.consumer, self.provider).with_specification("V4")
        for exchange in exchanges:
            _build(agreed, exchange)
        with agreed.serve("127.0.0.1", raises=False, verbose=False) as server:
            async with mock.expecting(str(server.url), [each.method for each in exchanges]) as expected:
                yield
            wrong = expected.wrong + [str(mismatch) for mismatch in server.mismatches]
            if wrong or not server.matched:
                raise ContractBroken("\n".join(wrong or ["not everything was asked"]))
        for exchange in exchanges:
            self._use(exchange)
        self._keep(agreed)

    @contextmanager
    def delivering(
        self, description: str, event: Event, *, key: str = "", given: Sequence[State] = (), varies: Sequence[str] = ()
    ) -> Iterator[Event]:
        """Give an event, as it comes from the contract, to the consumer's real handler within the block.

        In the event only what the consumer reads belongs; its key, too, only where the consumer goes by it.
        """
        agreed = Pact(self.consumer, self.provider).with_specification("V4")
        building = _given(agreed.upon_receiving(description, "Async"), given)
        building.with_body(_matching(MessageToDict(event), varies), JSON)
        building.with_metadata({"type": event.DESCRIPTOR.full_name, **({"key": key} if key else {})})
        bodies: list[str | bytes | None] = []
        agreed.verify(lambda body, _: bodies.append(body), "Async")
        [body] = bodies
        yield ParseDict(json.loads(body or "{}"), type(event)())
        self._usage.add_message(event)
        self._keep(agreed)

    def write(self, folder: Path) -> Path:
        """Write the pact."""
        return write(folder, self.consumer, self.provider, self.interactions.values(), self._usage.files())

    def _use(self, exchange: Exchange) -> None:
        self._usage.add_method(exchange.method)
        file = exchange.method.containing_service.file
        for message in (*_listed(exchange.request), *_listed(exchange.answer)):
            if not isinstance(message, Status):
                self._usage.add_message(message, file)

    def _keep(self, agreed: Pact) -> None:
        with tempfile.TemporaryDirectory() as folder:
            agreed.write_file(folder)
            [file] = Path(folder).iterdir()
            interactions = json.loads(file.read_text())["interactions"]
        for interaction in interactions:
            description = interaction["description"]
            if self.interactions.setdefault(description, interaction) != interaction:
                raise ContractBroken(f"two interactions are described as: {description}")


def _build(agreed: Pact, exchange: Exchange) -> None:
    method = exchange.method
    requests = [MessageToDict(message) for message in _listed(exchange.request)]
    building = _given(agreed.upon_receiving(exchange.description), exchange.given)
    building.with_request("POST", path_of(method)).with_headers(dict(exchange.metadata))
    building.with_body(requests if method.client_streaming else requests[0], JSON)
    answers = list(_listed(exchange.answer))
    error = answers.pop() if answers and isinstance(answers[-1], Status) else None
    answer = Answer([MessageToDict(message) for message in answers], error, trailers=exchange.trailers)
    status, headers, body = answer.to_http(method.server_streaming)
    if error is not None:
        failure = body[-1]["error"] if method.server_streaming else body
        failure["message"] = match.regex(failure["message"], regex=NOT_EMPTY)  # its text is for people
    body = _matching(body, exchange.varies)
    building.will_respond_with(status).with_headers(headers).with_body(body, JSON)


def _given(building: Any, states: Sequence[State]) -> Any:
    for state in states:
        building = building.given(state.name, state.parameters) if state.parameters else building.given(state.name)
    return building


def _matching(body: Any, varies: Sequence[str]) -> Any:
    """Say of the fields that vary what they look like; everything else has to be as it is."""
    for path in varies:
        *way, last = (int(step) if step.isdigit() else step for step in re.findall(r"\w+", path))
        inside = body
        for step in way:
            inside = inside[step]
        value = inside[last]
        if not isinstance(value, str):
            inside[last] = match.type(value)
        else:
            inside[last] = match.regex(value, regex=TIME if re.match(TIME, value) else NOT_EMPTY)
    return body


def _listed(messages: Message | Sequence[Message]) -> Sequence[Message]:
    return [messages] if isinstance(messages, Message) else messages
