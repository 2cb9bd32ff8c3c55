"""Which pages of other origins may read answers: https://fetch.spec.whatwg.org/#http-cors-protocol."""

from __future__ import annotations

from aiohttp.web import BaseRequest

MAX_AGE_S = 600
_REQUEST_HEADERS = "Content-Type, Grpc-Timeout, Traceparent, Tracestate, X-Mercato-Caller, X-Request-Id, X-Timeout-Ms"
_RESPONSE_HEADERS = "Retry-After, Traceparent, X-Request-Id"


class Cors:
    """The origins that are let in; none unless told."""

    def __init__(self, origins: str) -> None:
        """Take origins separated by commas, or `*` for all."""
        self._origins = frozenset(origin.strip() for origin in origins.split(",") if origin.strip())

    def headers(self, request: BaseRequest) -> dict[str, str]:
        """Return what lets the request's origin read the answer; nothing when it may not."""
        if not self._origins:
            return {}
        origin = request.headers.get("Origin", "")
        if not origin or not ("*" in self._origins or origin in self._origins):
            return {"Vary": "Origin"}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _RESPONSE_HEADERS,
            "Vary": "Origin",
        }

    def preflight(self, methods: str) -> dict[str, str]:
        """Return what answers a preflight beside that."""
        return {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _REQUEST_HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_S),
        }
