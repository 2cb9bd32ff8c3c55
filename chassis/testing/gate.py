"""The gate: a pact is verified by the stock Pact verifier, and the verdict is green only if it surely happened.

The verifier itself is content with an empty folder, a filter that matches nothing, pending interactions or states that
nobody handles. So what it says is held against the pact, and against the calls that really were made in this very run.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from pact import Verifier

from chassis.testing.bridge import MESSAGES, RUN, STATES, Bridge, Log, Provider
from chassis.testing.pacts import EVENTS, EVENTS_SUFFIX, SUFFIX, Interaction, NotAPact, Pact, find, read
from chassis.testing.verdict import Verdict
from chassis.testing.wire import CODES, STATUS

CONNECT_S = 2.0


async def verify_all(folder: Path, providers: Mapping[str, Provider]) -> list[Verdict]:
    """Verify every pact in a folder; what cannot be judged is a red verdict, and so is a folder without pacts."""
    files = find(folder)
    if not files:
        return [Verdict("", "", False, 0, [f"{folder} holds no pacts"])]
    verdicts = []
    for file in files:
        provider = providers.get(file.name.removesuffix(SUFFIX).removesuffix(".events"))
        verdicts.append(await verify(file, provider) if provider else _red(file, "there is no such provider"))
    return verdicts


async def verify(file: Path, provider: Provider, only: str = "") -> Verdict:
    """Verify one pact, or those of its interactions whose description a pattern matches."""
    try:
        pact = read(file)
    except NotAPact as problem:
        return _red(file, str(problem))
    except OSError as problem:
        return _red(file, f"cannot be read: {problem}")
    chosen = [each for each in pact.interactions if re.search(only, each.description)]
    problems = list(_obstacles(pact, provider, chosen, only)) or await _unreachable(provider)
    if not problems:
        results, log = await _run(file, pact, provider, only)
        problems = list(judge(pact, chosen, results, log))
    identity = pact.identity if not problems and chosen == list(pact.interactions) else ""
    return Verdict(pact.consumer, pact.provider, pact.events, len(chosen), problems, identity)


def judge(pact: Pact, chosen: Sequence[Interaction], results: Mapping[str, Any], log: Log) -> Iterator[str]:
    """Hold what the verifier says against what was to be done and what was done."""
    yield from dict.fromkeys(log.faults)
    found = results.get("interactionResults") or []
    for each in found:
        if each["result"] != "OK":
            yield from _breaks(pact, each)
    expected = Counter(each.description for each in chosen)
    verified = Counter(each["description"] for each in found)
    if verified != expected:
        yield f"verified were {sorted(verified)}, expected {sorted(expected)}"
    if {(each["consumer"], each["provider"]) for each in found} != {(pact.consumer, pact.provider)}:
        yield f"the results are not of {pact.consumer} and {pact.provider}"
    if any(each.get("pending") for each in found) or results.get("pendingErrors"):
        yield "some results are pending"
    if Counter(log.done) != Counter(each.subject for each in chosen):
        yield f"{len(log.done)} real calls were made in this run for {len(chosen)} interactions"
    if not results.get("result") and not log.faults and all(each["result"] == "OK" for each in found):
        yield f"the verifier failed: {results.get('errors')}"


def _obstacles(pact: Pact, provider: Provider, chosen: Sequence[Interaction], only: str) -> Iterator[str]:
    if pact.provider != provider.name:
        yield f"is for {pact.provider}, not for {provider.name}"
    if not chosen:
        yield f"no interaction is described as {only!r}"
    for name in sorted({state for each in chosen for state in each.states} - provider.states.keys()):
        yield f"{provider.name} has no state handler for: {name}"
    if pact.events and provider.emitted is None:
        yield f"{provider.name} emits no events"


async def _unreachable(provider: Provider) -> list[str]:
    async with grpc.aio.insecure_channel(provider.target) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), CONNECT_S)
        except TimeoutError:
            return [f"{provider.name} is not running: nothing answers at {provider.target}"]
    return []


async def _run(file: Path, pact: Pact, provider: Provider, only: str) -> tuple[Mapping[str, Any], Log]:
    os.environ.setdefault("PACT_DO_NOT_TRACK", "true")
    run = secrets.token_hex(8)
    async with Bridge(pact, provider, run) as bridge:
        verifier = Verifier(provider.name, host="127.0.0.1").add_transport(url=bridge.url)
        verifier.add_transport(protocol="message", port=bridge.port, path=MESSAGES)
        verifier.state_handler(bridge.url + STATES, teardown=False, body=True)
        verifier.add_custom_header(RUN, run).add_source(file)
        if only:
            verifier.filter(only)
        with suppress(RuntimeError):  # it says so in its results, too
            await asyncio.to_thread(verifier.verify)
        return verifier.results, bridge.log


def _breaks(pact: Pact, result: Mapping[str, Any]) -> Iterator[str]:
    """Say which field breaks the consumer; where the status is wrong, everything else follows from it."""
    [interaction] = [each for each in pact.interactions if each.description == result["description"]]
    subject = interaction.subject.rpartition("/" if interaction.kind != EVENTS else ".")[2]
    mismatch = result.get("mismatch") or {}
    mismatches = mismatch.get("mismatches") or [{"mismatch": str(mismatch.get("message") or result["result"])}]
    wrong_code = [each for each in mismatches if each.get("key") == STATUS]
    told = [each for each in wrong_code or mismatches if each.get("type") != "StatusMismatch"] or mismatches
    for text in dict.fromkeys(_text(each) for each in told):
        yield f"{subject}{text} ({result['description']})"


def _text(mismatch: Mapping[str, Any]) -> str:
    if mismatch.get("key") == STATUS and mismatch.get("actual"):
        return f" answers {_code(mismatch['actual'])} instead of {_code(mismatch['expected'])}"
    if path := mismatch.get("path"):
        missing = re.search(r"missing the following keys?: (.*)", mismatch["mismatch"])
        field = path.removeprefix("$").replace("['", ".").replace("']", "")
        if missing:
            return f"{field}.{missing[1]}: is missing"
        return f"{field}: {mismatch['mismatch'][0].lower()}{mismatch['mismatch'][1:]}"
    return f": {mismatch['mismatch']}"


def _code(number: str) -> str:
    return CODES[int(number)].name


def _red(file: Path, problem: str) -> Verdict:
    events = file.name.endswith(EVENTS_SUFFIX)
    provider = file.name.removesuffix(SUFFIX).removesuffix(".events")
    return Verdict(file.parent.name, provider, events, 0, [problem])
