"""Path templates and the table of routes."""

from __future__ import annotations

import pytest

from services.gateway.errors import InvalidPath, MethodNotAllowed, PathNotFound
from services.gateway.routes import RouteTable
from services.gateway.templates import Template


def table(*routes: str) -> RouteTable[str]:
    pairs = (route.split(" ") for route in routes)
    return RouteTable((method, Template.parse(text), f"{method} {text}") for method, text in pairs)


ROUTES = table(
    "GET /v1/{name=orders/*}",
    "POST /v1/{name=orders/*}:cancel",
    "GET /v1/orders",
    "POST /v1/orders",
    "GET /v1/orders:batchGet",
    "GET /v1/orders/latest",
    "GET /v1/{parent=shelves/*}/books/{book}",
    "GET /v1/{name=files/**}",
)


@pytest.mark.parametrize(
    ("request_", "target", "variables"),
    [
        ("GET /v1/orders/1", "GET /v1/{name=orders/*}", {"name": "orders/1"}),
        ("POST /v1/orders/1:cancel", "POST /v1/{name=orders/*}:cancel", {"name": "orders/1"}),
        ("GET /v1/orders", "GET /v1/orders", {}),
        ("GET /v1/orders:batchGet", "GET /v1/orders:batchGet", {}),
        ("GET /v1/orders/latest", "GET /v1/orders/latest", {}),
        ("GET /v1/orders/a%3Ab", "GET /v1/{name=orders/*}", {"name": "orders/a:b"}),
        (
            "GET /v1/shelves/1/books/a%2Fb",
            "GET /v1/{parent=shelves/*}/books/{book}",
            {"parent": "shelves/1", "book": "a/b"},
        ),
        ("GET /v1/files/a/b/c", "GET /v1/{name=files/**}", {"name": "files/a/b/c"}),
        ("GET /v1/files/a%2fb%20c", "GET /v1/{name=files/**}", {"name": "files/a%2Fb c"}),
    ],
)
def test_found(request_: str, target: str, variables: dict[str, str]) -> None:
    method, path = request_.split(" ")
    assert ROUTES.find(method, path) == (target, variables)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/orders/", "/v1/orders/1/2", "/v1/orders/1:x", "/v1/orders:", "/v2/orders"]
)
def test_not_found(path: str) -> None:
    with pytest.raises(PathNotFound):
        ROUTES.find("GET", path)


def test_wrong_method() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        ROUTES.find("DELETE", "/v1/orders")
    assert caught.value.data["allowed"] == "GET, POST"
    assert ROUTES.allowed("/v1/orders/1:cancel") == ["POST"]


def test_not_utf8() -> None:
    with pytest.raises(InvalidPath):
        ROUTES.find("GET", "/v1/orders/%ff")


def test_two_routes_for_the_same_requests() -> None:
    with pytest.raises(ValueError, match="means the same requests"):
        table("GET /v1/{name=orders/*}", "GET /v1/orders/{id}")


@pytest.mark.parametrize("text", ["", "v1", "/v1/{name", "/v1/**/x", "/v1//x", "/v1/{a={b}}", "/v1/x:", "/v1/{a=x//y}"])
def test_not_a_template(text: str) -> None:
    with pytest.raises(ValueError, match="not a path template"):
        Template.parse(text)
