"""Whatever a client sends: never a 5xx, and a google.rpc.Status for everything that is refused."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from services.gateway.codec import Codec
from services.gateway.contract import Contract
from services.gateway.operations import operations
from tests.gateway.conftest import Running
from tests.gateway.test_http import PLACE

BOUNDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ABSENT = ("payments", "notifications", "mesh", "telemetry")
"""Nobody serves them here."""
CONTRACT = Contract.load()
OPERATIONS = [
    (one.verb, one.template)
    for one in operations(CONTRACT, Codec(CONTRACT.image))
    if not one.path.startswith(tuple(f"/mercato.{name}." for name in ABSENT))
]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.text(max_size=8) | st.sampled_from(list(PLACE))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
HEADERS = [
    "X-Timeout-Ms", "Grpc-Timeout", "X-Mercato-Caller", "X-Request-Id", "Traceparent", "Tracestate", "Origin",
    "Content-Encoding", "Expect", "Accept",
]  # fmt: skip
HEADER_TEXTS = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]) | st.just("\t"), max_size=40)
NAMES = ["pageSize", "page_token", "names", "state", "requestId"]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@st.composite
def urls(draw: st.DrawFn) -> tuple[str, str]:
    """A method and a path: one that exists with any ids in it, or any at all."""
    verb, template = draw(st.sampled_from(OPERATIONS))
    segments = [quote(draw(TEXTS), safe="") if segment.startswith("*") else segment for segment in template.segments]
    path = "/" + "/".join(segments) + (f":{template.verb}" if template.verb else "")
    path = draw(st.sampled_from([path, path, path, path[: len(path) // 2], path + "/%ff"]))
    query = draw(st.dictionaries(TEXTS | st.sampled_from(NAMES), TEXTS, max_size=3))
    verb = draw(st.sampled_from([verb, verb, verb, "GET", "POST", "DELETE", "HEAD", "BREW"]))
    return verb, f"{path}?{urlencode(query)}" if query else path


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An order with something changed in it, any JSON, or any bytes."""
    if draw(st.booleans()):
        key = draw(st.sampled_from([*PLACE, "charges", "reference", "x"]))
        return json.dumps({**PLACE, key: draw(VALUES)}).encode()
    if draw(st.booleans()):
        return json.dumps(draw(VALUES)).encode()
    return draw(st.binary(max_size=200))


async def send(gateway: Running, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    async with gateway.http.request(method, URL(path, encoded=True), data=body or None, headers=headers) as answer:
        text = await answer.read()
        assert answer.status < 500, (method, path, body, text)
        if answer.status >= 400 and method != "HEAD":
            status: dict[str, Any] = json.loads(text)
            assert status["code"] > 0
            assert status["message"]


@BOUNDED
@given(
    url=urls(), body=bodies(), kind=st.sampled_from(["application/json"] * 5 + ["application/x-ndjson", "text/html"])
)
async def test_any_request(running: Running, url: tuple[str, str], body: bytes, kind: str) -> None:
    await send(running, *url, body, {"Content-Type": kind})


@BOUNDED
@given(body=bodies())
async def test_any_order(running: Running, body: bytes) -> None:
    await send(running, "POST", "/v1/orders", body, {"Content-Type": "application/json"})


@BOUNDED
@given(lines=st.lists(bodies(), max_size=5))
async def test_any_lines(running: Running, lines: list[bytes]) -> None:
    await send(running, "POST", "/v1/products:import", b"\n".join(lines), {"Content-Type": "application/x-ndjson"})


@BOUNDED
@given(headers=st.dictionaries(st.sampled_from(HEADERS), HEADER_TEXTS))
async def test_any_headers(running: Running, headers: dict[str, str]) -> None:
    await send(running, "GET", "/v1/orders/1", b"", headers)
