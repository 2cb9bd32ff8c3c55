"""Bad input and bad luck: a clear status, google.rpc.Status as the body, never a 5xx for what a client did wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import aiohttp
import grpc
import pytest
from mercato.orders.v1.orders_pb2 import WatchOrderRequest
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub
from yarl import URL

from chassis.clock import SystemClock
from services.gateway.contract import Contract
from services.gateway.gateway import Gateway
from tests.gateway.conftest import Running, settings
from tests.gateway.test_http import PLACE, REQUEST_ID

JSON = {"Content-Type": "application/json"}


async def refused(gateway: Running, status: int, method: str, path: str | URL, **options: Any) -> dict[str, Any]:
    """Send what must be refused; return the Status."""
    async with gateway.http.request(method, path, **options) as answer:
        text = await answer.text()
        assert answer.status == status, text
        assert answer.content_type == "application/json"
        found: dict[str, Any] = json.loads(text)
        assert found["message"]
        return found


def fields(status: dict[str, Any]) -> dict[str, str]:
    return {
        violation["field"]: violation["description"]
        for detail in status["details"]
        if detail["@type"].endswith("google.rpc.BadRequest")
        for violation in detail["fieldViolations"]
    }


class TestBodies:
    @pytest.mark.parametrize(
        ("change", "field", "expected"),
        [
            ({"customr": "x"}, "customr", "did you mean customer?"),
            ({"requestId": 7}, "requestId", "text"),
            ({"carriageAgreed": "yes"}, "carriageAgreed", "true or false"),
            ({"lines": {}}, "lines", "a list"),
            ({"lines": [{"quantity": 1}, {"quantity": "many"}]}, "lines[1].quantity", "a whole number of 64 bits"),
            ({"lines": [{"quantity": 1.5}]}, "lines[0].quantity", "a whole number"),
            ({"lines": [{"quantity": 1 << 64}]}, "lines[0].quantity", "a whole number"),
            ({"lines": [None]}, "lines[0]", "an object"),
            ({"lines": [{"unitPrice": {"units": "1", "pence": 5}}]}, "lines[0].unitPrice.pence", "known are"),
            ({"charges": [{"kind": "KIND_GIFT"}]}, "charges[0].kind", "KIND_VOUCHER"),
            ({"shippingAddress": "London"}, "shippingAddress", "an object"),
            ({"shippingAddress": {"addressLines": ["a", 7]}}, "shippingAddress.addressLines", "a list, each text"),
        ],
    )
    async def test_wrong_field_is_named(self, gateway: Running, change: Any, field: str, expected: str) -> None:
        status = await refused(gateway, 400, "POST", "/v1/orders", json={**PLACE, **change})
        assert status["code"] == 3
        assert expected in fields(status)[field]
        assert field in status["message"]

    async def test_rule_of_the_contract_is_told_by_the_service(self, gateway: Running) -> None:
        status = await refused(gateway, 400, "POST", "/v1/orders", json={**PLACE, "requestId": "1"})
        assert "request_id" in fields(status)

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"requestId": ', "line 1 column"),
            (b"\xff\xfe", "not JSON"),
            (b'{"requestId": "\xc3\x28"}', "UTF-8"),
            (b'{"requestId": "\\ud800"}', "surrogate"),
            (b"[" * 100_000, "not JSON"),
            (b'{"lines": ' + b"[" * 900 + b"]" * 900 + b"}", "lines[0]"),
            (b"[]", "an object"),
            (b"null", "an object"),
            (b"NaN", "not JSON"),
        ],
    )
    async def test_broken_json(self, gateway: Running, body: bytes, expected: str) -> None:
        status = await refused(gateway, 400, "POST", "/v1/orders", data=body, headers=JSON)
        assert expected in status["message"]

    async def test_nested_too_deep(self, gateway: Running) -> None:
        body = b'{"inner": ' * 500 + b"{}" + b"}" * 500
        status = await refused(gateway, 400, "PUT", "/lab/x", data=body, headers=JSON)
        assert "at most 100 levels" in status["message"]

    async def test_body_says_otherwise_than_the_path(self, gateway: Running) -> None:
        body = {"requestId": REQUEST_ID, "name": "orders/2"}
        assert "name" in fields(await refused(gateway, 400, "POST", "/v1/orders/1:cancel", json=body))

    async def test_body_where_none_is_expected(self, gateway: Running) -> None:
        assert "body" in fields(await refused(gateway, 400, "GET", "/v1/orders/1", data=b"{}"))

    async def test_too_large(self, gateway: Running) -> None:
        body = json.dumps({**PLACE, "reference": "x" * (1 << 20)}).encode()
        await refused(gateway, 413, "POST", "/v1/orders", data=BytesIO(body), headers=JSON)

        async def chunks() -> Any:
            for start in range(0, len(body), 50_000):
                yield body[start : start + 50_000]

        await refused(gateway, 413, "POST", "/v1/orders", data=chunks(), headers=JSON)

    async def test_compressed_bomb(self, gateway: Running) -> None:
        headers = {**JSON, "Content-Encoding": "gzip"}
        bomb = gzip.compress(b" " * (50 << 20))
        await refused(gateway, 413, "POST", "/v1/orders", data=bomb, headers=headers)
        await refused(gateway, 400, "POST", "/v1/orders", data=b"not gzip", headers=headers)

    async def test_body_as_large_as_allowed(self, gateway: Running) -> None:
        body = json.dumps({**PLACE}).encode()
        async with gateway.http.post("/v1/orders", data=body + b" " * ((1 << 20) - len(body)), headers=JSON) as answer:
            assert answer.status == 200

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"])
    async def test_wrong_content_type(self, gateway: Running, kind: str) -> None:
        headers = {"Content-Type": kind}
        status = await refused(gateway, 415, "POST", "/v1/orders", data=b"{}", headers=headers)
        assert "application/json" in status["message"]

    async def test_line_too_large(self, gateway: Running) -> None:
        headers = {"Content-Type": "application/x-ndjson"}
        body = json.dumps({"product": {"name": "products/1", "title": "x" * (1 << 20)}}).encode()
        await refused(gateway, 413, "POST", "/v1/products:import", data=BytesIO(body), headers=headers)

    async def test_stream_too_large(self, gateway: Running) -> None:
        async def body() -> Any:
            for _ in range(65):
                yield b" " * ((1 << 20) - 1) + b"\n"

        headers = {"Content-Type": "application/x-ndjson"}
        status = await refused(gateway, 413, "POST", "/v1/products:import", data=body(), headers=headers)
        assert str(64 << 20) in status["message"]

    async def test_slow_body(self, gateway: Running) -> None:
        async def body() -> Any:
            yield b"{"
            await asyncio.sleep(30)

        for path, kind in (("/v1/orders", "application/json"), ("/v1/products:import", "application/x-ndjson")):
            headers = {"Content-Type": kind, "X-Timeout-Ms": "200"}
            status = await refused(gateway, 408, "POST", path, data=body(), headers=headers)
            assert status["code"] == 4


class TestUrls:
    async def test_unknown_path(self, gateway: Running) -> None:
        for path in ("/v1/nothing", "/v1/orders/1/2", "/v1/orders/", "/v1/orders/1:explode", "/v1/orders/%2e%2e/x"):
            status = await refused(gateway, 404, "GET", URL(path, encoded=True))
            assert status["code"] == 5

    async def test_wrong_method_names_the_right_ones(self, gateway: Running) -> None:
        async with gateway.http.delete("/v1/products/1") as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET, PATCH"
        await refused(gateway, 405, "POST", "/docs")

    async def test_what_belongs_to_one_instance_is_not_open(self, gateway: Running) -> None:
        await refused(gateway, 404, "POST", "/mercato.operations.v1.InstanceService/GetInstance")

    async def test_too_long(self, gateway: Running) -> None:
        await refused(gateway, 414, "GET", "/v1/orders?page_token=" + "x" * (64 << 10))

    @pytest.mark.parametrize(
        ("query", "field", "expected"),
        [
            ("pagesize=1", "pagesize", "did you mean page_size?"),
            ("page_size=x", "pageSize", "a whole number"),
            ("page_size=1&page_size=2", "page_size", "once"),
            ("state=BEST", "state", "STATE_PLACED"),
            ("customer=customers/1&customer.name=x", "customer.name", "unknown"),
        ],
    )
    async def test_wrong_parameter_is_named(self, gateway: Running, query: str, field: str, expected: str) -> None:
        assert expected in fields(await refused(gateway, 400, "GET", f"/v1/orders?{query}"))[field]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("hold=3", "hold"),
            ("startTime=yesterday", "startTime"),
            ("fragile=1", "fragile"),
            ("part=x", "part"),
            ("raw=***", "raw"),
        ],
    )
    async def test_wrong_form_is_named(self, gateway: Running, query: str, field: str) -> None:
        assert field in (await refused(gateway, 400, "GET", f"/lab/x?{query}"))["message"]

    async def test_query_for_a_method_that_takes_a_body(self, gateway: Running) -> None:
        assert "customer" in fields(await refused(gateway, 400, "POST", "/v1/orders?customer=x", json=PLACE))

    async def test_what_is_not_utf8(self, gateway: Running) -> None:
        await refused(gateway, 400, "GET", URL("/v1/orders/%ff", encoded=True))
        await refused(gateway, 400, "GET", URL("/v1/orders?page_token=%ff", encoded=True))

    async def test_too_many_parameters(self, gateway: Running) -> None:
        await refused(gateway, 400, "GET", "/v1/orders?" + "&".join(["a=b"] * 5001))


class TestHeaders:
    @pytest.mark.parametrize(
        "header",
        [
            {"X-Timeout-Ms": "soon"},
            {"X-Timeout-Ms": "0"},
            {"X-Timeout-Ms": "99999999"},
            {"Grpc-Timeout": "5"},
            {"Grpc-Timeout": "99999999H"},
            {"X-Mercato-Caller": "has space"},
            {"X-Mercato-Caller": "é"},
        ],
    )
    async def test_unusable_header_is_named(self, gateway: Running, header: dict[str, str]) -> None:
        status = await refused(gateway, 400, "GET", "/v1/orders/1", headers=header)
        assert set(fields(status)) == set(header)

    @pytest.mark.parametrize(
        "request_",
        [
            b"GET /v1/orders HTTP/1.1\r\nHost: x\r\nBroken\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 20_000 + b"\r\n\r\n",
            b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )
    async def test_what_is_not_http(self, gateway: Running, request_: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] == b"400", head
        assert json.loads(body)["code"] == 3


class TestServices:
    async def test_details_come_typed(self, gateway: Running) -> None:
        status = await refused(gateway, 404, "GET", "/v1/orders/missing")
        assert status == {
            "code": 5,
            "message": "orders/missing does not exist.",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "NOT_FOUND",
                    "domain": "mercato.example",
                    "metadata": {"name": "orders/missing"},
                }
            ],
        }

    async def test_when_to_come_again_comes_through(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/full") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "13")

    async def test_defect_tells_nothing(self, gateway: Running) -> None:
        assert "secret" not in str(await refused(gateway, 500, "GET", "/v1/orders/defect"))

    async def test_method_that_is_not_there(self, gateway: Running) -> None:
        await refused(gateway, 501, "GET", "/v1/payments")

    async def test_service_that_is_down(self, contract: Contract) -> None:
        """Port 1 answers nobody. The gateway comes up all the same, and says so quickly."""
        targets = dict.fromkeys(contract.backends, "ipv4:127.0.0.1:1")
        async with (
            Gateway(settings(targets=targets), SystemClock(), contract) as gateway,
            aiohttp.ClientSession(f"http://127.0.0.1:{gateway.http_port}") as http,
        ):
            started = asyncio.get_running_loop().time()
            async with http.get("/v1/orders/1") as answer:
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "1"
                status = await answer.json()
            assert asyncio.get_running_loop().time() - started < 1
        assert status["code"] == 14
        assert "127.0.0.1" not in status["message"]

    async def test_more_calls_than_allowed(self, gateway: Running) -> None:
        told = settings(targets=gateway.targets, max_concurrent_calls=1)
        async with (
            Gateway(told, SystemClock(), gateway.contract) as narrow,
            aiohttp.ClientSession(f"http://127.0.0.1:{narrow.http_port}") as http,
        ):
            slow = asyncio.create_task(http.get("/v1/orders/slow"))
            await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
            async with http.get("/v1/orders/1") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
                assert (await answer.json())["code"] == 8
            async with http.get("/v1/orders/1:watch") as answer:
                assert answer.status == 200
            slow.cancel()
            await asyncio.wait_for(gateway.seen.cancelled.wait(), 5)
            async with http.get("/v1/orders/1") as answer:
                assert answer.status == 200

    async def test_closing_ends_streams_and_lets_calls_finish(self, gateway: Running) -> None:
        told = settings(targets=gateway.targets, grace_s=20.0)
        async with AsyncExitStack() as stack:
            closing = await stack.enter_async_context(Gateway(told, SystemClock(), gateway.contract))
            http = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{closing.http_port}"))
            stream = await http.get("/v1/orders/endless:watch")
            await stream.content.readline()
            call = asyncio.create_task(http.get("/v1/orders/slow", headers={"X-Timeout-Ms": "500"}))
            await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
            await asyncio.wait_for(closing.__aexit__(None, None, None), 5)
            assert b'event: error\ndata: {"code":14' in await stream.read()
            assert (await call).status == 504

    async def test_closing_ends_streams_of_grpc_too(self, gateway: Running) -> None:
        told = settings(targets=gateway.targets, grace_s=20.0)
        closing = await Gateway(told, SystemClock(), gateway.contract).__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{closing.grpc_port}") as channel:
            orders: Any = OrderServiceStub(channel)
            call = orders.WatchOrder(WatchOrderRequest(name="orders/endless"))
            await call.read()
            await call.read()
            await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
            await asyncio.wait_for(closing.__aexit__(None, None, None), 5)
            assert await asyncio.wait_for(call.code(), 5) == grpc.StatusCode.UNAVAILABLE
