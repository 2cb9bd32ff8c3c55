"""Two releases side by side: the last one's clients with today's servers, and today's clients with its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from pact import Verifier

from chassis.testing.bridge import MESSAGES, STATES, Bridge, Provider
from chassis.testing.pacts import EVENTS, find, read
from chassis.testing.schema import Schema
from tests.contracts.protos import IMAGE, RELEASED
from tests.contracts.regeneration import CONTRACTS

FILES = pytest.mark.parametrize("file", find(CONTRACTS), ids=lambda file: f"{file.parent.name}-{file.stem}")


def schema(image: Path) -> Schema:
    """Return the whole protos of an image, as a client built from them has them."""
    return Schema(FileDescriptorSet.FromString(image.read_bytes()))


@FILES
async def test_clients_of_the_last_release_understand_todays_servers(
    file: Path, running: Mapping[str, Provider]
) -> None:
    pact = replace(read(file), schema=schema(RELEASED))
    async with Bridge(pact, running[pact.provider]) as bridge:
        verifier = Verifier(pact.provider, host="127.0.0.1").add_transport(url=bridge.url).add_source(file)
        verifier.add_transport(protocol="message", port=bridge.port, path=MESSAGES)
        verifier.state_handler(bridge.url + STATES, teardown=False, body=True)
        await asyncio.to_thread(verifier.verify)
        assert len(bridge.log.done) == len(pact.interactions)
        assert bridge.log.faults == []


@FILES
def test_todays_clients_understand_the_last_releases_answers(file: Path) -> None:
    old, new = schema(RELEASED), schema(IMAGE)
    said = list(answers(json.loads(file.read_text())))
    assert said
    for subject, event, answer in said:
        written, understood = (it.message(subject) if event else it.methods[subject].output_type for it in (old, new))
        assert new.to_json(understood, old.from_json(written, answer)) == answer


def answers(pact: Any) -> Iterator[tuple[str, bool, Any]]:
    """Return each message that a provider sends: its method's path or its type, and whether it is an event."""
    for each in pact["interactions"]:
        if each["type"] == EVENTS:
            yield each["metadata"]["type"], True, each["contents"]["content"]
        elif each["response"]["status"] == 200:
            content = each["response"]["body"]["content"]
            for message in content if isinstance(content, list) else [content]:
                yield each["request"]["path"], False, message
        else:
            yield each["request"]["path"], False, {}
