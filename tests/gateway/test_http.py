"""JSON over HTTP: what goes in and what comes out, for every kind of rule."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from tests.gateway.conftest import Running

REQUEST_ID = "0193a2b4-0000-7000-8000-000000000001"
PLACE = {
    "requestId": REQUEST_ID,
    "customer": "customers/12345",
    "lines": [{"product": "products/85123A", "quantity": "6"}, {"product": "products/71053", "quantity": 8}],
    "shippingAddress": {"regionCode": "GB"},
    "cardToken": "tok_1",
}


async def get(gateway: Running, path: str | URL, **options: Any) -> Any:
    async with gateway.http.get(path, **options) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "application/json"
        return await answer.json()


class TestUnary:
    async def test_path_variable_of_two_segments(self, gateway: Running) -> None:
        assert await get(gateway, "/v1/orders/42") == {"order": {"name": "orders/42", "state": "STATE_CONFIRMED"}}

    async def test_body_and_verb(self, gateway: Running) -> None:
        body = {"requestId": REQUEST_ID, "reference": "R1"}
        async with gateway.http.post("/v1/orders/42:cancel", json=body) as answer:
            assert await answer.json() == {"order": {"name": "orders/42", "reference": "R1"}}

    async def test_whole_body_with_names_of_either_spelling(self, gateway: Running) -> None:
        async with gateway.http.post("/v1/orders", json=PLACE) as answer:
            order = (await answer.json())["order"]
        assert order["lines"] == [
            {"product": "products/85123A", "quantity": "6"},
            {"product": "products/71053", "quantity": "8"},
        ]
        again = {"request_id": REQUEST_ID} | {key: value for key, value in PLACE.items() if key != "requestId"}
        async with gateway.http.post("/v1/orders", json=again) as answer:
            assert (await answer.json())["order"] == order

    async def test_nested_path_variable_and_field_mask(self, gateway: Running) -> None:
        body = {"requestId": REQUEST_ID, "product": {"title": "A mug"}, "updateMask": "title"}
        async with gateway.http.patch("/v1/products/71053", json=body) as answer:
            assert await answer.json() == {"product": {"name": "products/71053", "etag": "title"}}

    async def test_query(self, gateway: Running) -> None:
        query = {"pageSize": "2", "page_token": "x+y", "customer": "customers/1", "state": "STATE_PLACED"}
        assert await get(gateway, "/v1/orders", params=query) == {
            "orders": [{"customer": "customers/1", "state": "STATE_PLACED"}] * 2,
            "nextPageToken": "x+y",
        }

    async def test_repeated_parameter_of_many_values(self, gateway: Running) -> None:
        names = [f"products/{number}" for number in range(1000)]
        answer = await get(gateway, "/v1/products:batchGet", params=[("names", name) for name in names])
        assert [product["name"] for product in answer["products"]] == names


class TestEveryKindOfRule:
    async def test_parameters_in_their_json_forms(self, gateway: Running) -> None:
        query = [
            ("big", "9007199254740993"), ("ratio", "0.5"), ("fragile", "true"), ("color", "COLOR_RED"),
            ("moreColors", "COLOR_RED"), ("moreColors", "1"), ("hold", "3.5s"), ("startTime", "2010-12-01T08:26:00Z"),
            ("update_mask", "startTime,part.name"), ("raw", "AAH/"), ("part.name", "p"), ("right", "7"),
        ]  # fmt: skip
        assert await get(gateway, "/lab/x", params=query) == {
            "id": "x", "big": "9007199254740993", "ratio": 0.5, "fragile": True, "color": "COLOR_RED",
            "moreColors": ["COLOR_RED", "COLOR_RED"], "hold": "3.500s", "startTime": "2010-12-01T08:26:00Z",
            "updateMask": "startTime,part.name", "raw": "AAH/", "part": {"name": "p"}, "right": 7,
        }  # fmt: skip

    async def test_encoded_characters(self, gateway: Running) -> None:
        one = URL("/lab/" + quote("a/b:c é", safe=""), encoded=True)
        assert (await get(gateway, one))["id"] == "a/b:c é"
        many = URL("/lab/folders/folders/a/b%20c/d%2Fe", encoded=True)
        assert (await get(gateway, many))["name"] == "folders/a/b c/d%2Fe"

    async def test_variable_of_many_segments_with_a_verb(self, gateway: Running) -> None:
        answer = await get(gateway, "/lab/shelves/shelves/1/boxes/2:look")
        assert answer == {"part": {"name": "shelves/1/boxes/2"}}

    async def test_path_variables_that_are_not_text(self, gateway: Running) -> None:
        assert await get(gateway, "/lab/numbers/12/COLOR_RED") == {"big": "12", "color": "COLOR_RED"}

    async def test_body_of_one_field_beside_a_query(self, gateway: Running) -> None:
        part = {"name": "p", "sizes": {"x": 1}, "parts": [{"name": "q"}]}
        async with gateway.http.put("/lab/x", params={"ratio": "0.5"}, json=part) as answer:
            assert await answer.json() == part

    async def test_verb_of_its_own(self, gateway: Running) -> None:
        async with gateway.http.request("PURGE", "/lab/x") as answer:
            assert await answer.json() == {"id": "x"}

    async def test_empty_body_is_an_empty_message(self, gateway: Running) -> None:
        async with gateway.http.put("/lab/x") as answer:
            assert (answer.status, await answer.json()) == (200, None)


class TestContext:
    async def test_ids_are_made_passed_on_and_returned(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/1") as answer:
            request_id, traceparent = answer.headers["X-Request-Id"], answer.headers["Traceparent"]
        assert gateway.seen.metadata["x-request-id"] == request_id
        assert gateway.seen.metadata["traceparent"] == traceparent
        assert gateway.seen.metadata["mercato-caller"] == "anonymous"

    async def test_ids_are_taken(self, gateway: Running) -> None:
        trace = "0af7651916cd43dd8448eb211c80319c"
        headers = {
            "X-Request-Id": "r-1",
            "X-Mercato-Caller": "replay",
            "Traceparent": f"00-{trace}-b7ad6b7169203331-01",
            "Tracestate": "a=b",
        }
        async with gateway.http.get("/v1/orders/1", headers=headers) as answer:
            assert answer.headers["X-Request-Id"] == "r-1"
            assert answer.headers["Traceparent"].startswith(f"00-{trace}-")
        metadata = gateway.seen.metadata
        assert metadata["x-request-id"] == "r-1"
        assert metadata["mercato-caller"] == "replay"
        assert str(metadata["traceparent"]).startswith(f"00-{trace}-")
        assert metadata["tracestate"] == "a=b"

    async def test_unusable_trace_state_is_left_out(self, gateway: Running) -> None:
        headers = {"Traceparent": f"00-{'1' * 32}-{'2' * 16}-00", "Tracestate": "a=\tb"}
        await get(gateway, "/v1/orders/1", headers=headers)
        assert "tracestate" not in gateway.seen.metadata

    async def test_unusable_ids_are_made_anew(self, gateway: Running) -> None:
        headers = {"X-Request-Id": "with space", "Traceparent": "nonsense"}
        async with gateway.http.get("/v1/orders/1", headers=headers) as answer:
            assert answer.headers["X-Request-Id"] not in ("", "with space")
            assert len(answer.headers["Traceparent"]) == 55

    @pytest.mark.parametrize("header", [{"X-Timeout-Ms": "900"}, {"Grpc-Timeout": "900m"}])
    async def test_deadline_reaches_the_service(self, gateway: Running, header: dict[str, str]) -> None:
        await get(gateway, "/v1/orders/1", headers=header)
        assert gateway.seen.left_s is not None
        assert 0.3 < gateway.seen.left_s < 1  # gRPC rounds up

    async def test_deadline_without_a_header(self, gateway: Running) -> None:
        await get(gateway, "/v1/orders/1")
        assert gateway.seen.left_s is not None
        assert 9 < gateway.seen.left_s < 10.2  # gRPC rounds up

    async def test_slow_service_is_not_waited_for(self, gateway: Running) -> None:
        started = asyncio.get_running_loop().time()
        async with gateway.http.get("/v1/orders/slow", headers={"X-Timeout-Ms": "300"}) as answer:
            assert answer.status == 504
            assert (await answer.json())["code"] == 4
        assert asyncio.get_running_loop().time() - started < 0.6
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 5)

    async def test_client_that_goes_cancels_the_call(self, gateway: Running) -> None:
        asking = asyncio.create_task(get(gateway, "/v1/orders/slow"))
        await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)


class TestEvents:
    async def events(self, answer: aiohttp.ClientResponse) -> list[tuple[str, Any]]:
        assert answer.content_type == "text/event-stream"
        found = []
        for block in (await answer.text()).split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if fields:
                found.append((fields.get("event", "message"), json.loads(fields["data"])))
        return found

    async def test_each_message_is_an_event(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/7:watch") as answer:
            assert await self.events(answer) == [
                ("message", {"order": {"name": "orders/7", "state": "STATE_PLACED"}}),
                ("message", {"order": {"name": "orders/7", "state": "STATE_CONFIRMED"}}),
            ]

    async def test_error_after_messages_is_the_last_event(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/breaks:watch") as answer:
            *messages, (event, status) = await self.events(answer)
        assert len(messages) == 2
        assert (event, status["code"], status["details"][0]["reason"]) == ("error", 9, "OUT_OF_STOCK")

    async def test_error_before_messages_is_an_answer_like_any_other(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/missing:watch") as answer:
            assert answer.status == 404
            assert (await answer.json())["message"] == "orders/missing does not exist."

    async def test_client_that_goes_cancels_the_stream(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/endless:watch") as answer:
            assert (await answer.content.readline()).startswith(b"data: ")
            await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
            answer.close()
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)

    async def test_messages_come_as_they_are_sent(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/endless:watch") as answer:
            for _ in range(2):
                assert (await asyncio.wait_for(answer.content.readline(), 5)).startswith(b"data: ")
                assert await answer.content.readline() == b"\n"
            assert not gateway.seen.cancelled.is_set()


class TestLines:
    headers = {"Content-Type": "application/x-ndjson"}  # noqa: RUF012

    async def test_every_line_is_a_message(self, gateway: Running) -> None:
        lines = [json.dumps({"product": {"name": f"products/{number}", "title": "T"}}) for number in range(3000)]
        body = "\n".join(lines) + "\n\n"
        async with gateway.http.post("/v1/products:import", data=body, headers=self.headers) as answer:
            assert await answer.json() == {"createdCount": 3000}

    async def test_lines_are_passed_on_as_they_come(self, gateway: Running) -> None:
        async def body() -> Any:
            yield b'{"product": {"name": "products/wait", "tit'
            yield b'le": "T"}}\n'
            await asyncio.wait_for(gateway.seen.waiting.wait(), 5)  # the service has it before the body ends
            raise ConnectionError("the client goes")

        with pytest.raises(aiohttp.ClientError):
            await gateway.http.post("/v1/products:import", data=body(), headers=self.headers)
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)

    async def test_wrong_line_is_named(self, gateway: Running) -> None:
        body = b'{"product": {"name": "products/1", "title": "T"}}\n{"product": {"nome": "x"}}\n'
        async with gateway.http.post("/v1/products:import", data=body, headers=self.headers) as answer:
            status = await answer.json()
        assert answer.status == 400
        assert "line 2" in status["message"]
        assert "product.nome" in status["message"]
        assert "name" in status["message"]

    async def test_service_may_answer_before_the_end(self, gateway: Running) -> None:
        async def body() -> Any:
            line = json.dumps({"product": {"name": "products/stop", "title": "T"}}).encode() + b"\n"
            for _ in range(2000):
                yield line

        async with gateway.http.post("/v1/products:import", data=body(), headers=self.headers) as answer:
            assert answer.status == 400, await answer.text()
            assert (await answer.json())["details"][0]["reason"] == "OUT_OF_STOCK"


class TestDocuments:
    async def test_landing_page_names_the_doors(self, gateway: Running) -> None:
        async with gateway.http.get("/") as answer:
            text = await answer.text()
        assert answer.content_type == "text/html"
        assert all(word in text for word in ("/docs", "/openapi.json", "grpcurl", "mercato.orders.v1.OrderService"))

    async def test_docs_take_everything_from_here(self, gateway: Running) -> None:
        async with gateway.http.get("/docs") as answer:
            text = await answer.text()
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        for path in ("/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"):
            assert path in text
            async with gateway.http.get(path) as answer:
                assert answer.status == 200
        assert "http" not in text

    async def test_head_has_no_body(self, gateway: Running) -> None:
        async with gateway.http.head("/openapi.json") as answer:
            assert answer.status == 200


class TestOrigins:
    async def test_known_origin_may_read(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/1", headers={"Origin": "https://shop.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]

    async def test_unknown_origin_may_not(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/orders/1", headers={"Origin": "https://evil.example"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert answer.headers["Vary"] == "Origin"

    async def test_errors_can_be_read_too(self, gateway: Running) -> None:
        async with gateway.http.get("/v1/nowhere", headers={"Origin": "https://shop.example"}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"

    async def test_preflight(self, gateway: Running) -> None:
        headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
        async with gateway.http.options("/v1/orders", headers=headers) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, OPTIONS"
            assert "X-Mercato-Caller" in answer.headers["Access-Control-Allow-Headers"]
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
