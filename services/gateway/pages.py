"""The pages a person opens: where things are, and the OpenAPI document rendered. Nothing comes from other hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

import orjson
from aiohttp import hdrs
from aiohttp.web import Response
from swagger_ui_bundle import swagger_ui_path

from services.gateway.contract import Contract
from services.gateway.errors import MethodNotAllowed

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
_HTML = "text/html; charset=utf-8"
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
_STRICT = "default-src 'self'; frame-ancestors 'none'"
_CONSOLE_TYPES = {
    "html": _HTML,
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

_DOCS = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Mercato API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
# The bundled renderer knows OpenAPI up to 3.0; the document says nothing that 3.0 could not.
_START = """fetch("/openapi.json").then((answer) => answer.json()).then((document_) => {
  const spec = { ...document_, openapi: "3.0.3" };
  SwaggerUIBundle({ spec, dom_id: "#api", validatorUrl: null, docExpansion: "list" });
});
"""
_LANDING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Mercato</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<style>body {{ font: 16px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem }}
code {{ background: #8882; padding: .1em .3em }}</style>
<h1>Mercato</h1>
<p>The one door to {count} services, in JSON and in gRPC.</p>
<ul>
<li><a href="/console">The console</a>: the running system, live</li>
<li><a href="/docs">All operations</a>, to read and to try</li>
<li><a href="/openapi.json">The same as OpenAPI 3.1</a></li>
<li><code>grpcurl -plaintext localhost:{port} list</code>: the same services in gRPC</li>
</ul>
<p>{services}</p>
</html>
"""


@dataclass(frozen=True)
class Page:
    """Something that is always the same."""

    path: str
    content_type: str
    body: bytes
    policy: str = _POLICY
    """What a browser may load for it: https://www.w3.org/TR/CSP3/."""

    @property
    def route(self) -> str:
        """What it belongs to, of which there are few: `/console`."""
        return f"/{self.path.split('/')[1]}"

    def response(self, method: str, headers: Mapping[str, str]) -> Response:
        """Answer a request for it; MethodNotAllowed for anything but reading."""
        if method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            raise MethodNotAllowed(method=method, path=self.path, allowed="GET, HEAD")
        own = {"Content-Type": self.content_type, "Content-Security-Policy": self.policy, "Cache-Control": "no-cache"}
        return Response(body=self.body, headers={**headers, **own})


def pages(contract: Contract, document: Mapping[str, object], grpc_port: int) -> dict[str, Page]:
    """Return all pages by path."""
    names = [service.full_name for service in contract.services]
    listed = "<br>".join(f"<code>{name}</code>" for name in names)
    landing = _LANDING.format(count=len(names), port=grpc_port, services=listed)
    found = [
        Page("/", _HTML, landing.encode()),
        Page("/openapi.json", "application/json", orjson.dumps(document)),
        Page("/docs", _HTML, _DOCS.encode()),
        Page("/docs/start.js", "text/javascript", _START.encode()),
        *(Page(f"/docs/{name}", kind, (swagger_ui_path / name).read_bytes()) for name, kind in _ASSETS.items()),
        *_console(),
    ]
    return {page.path: page for page in found}


def _console() -> Iterator[Page]:
    """Yield the files of the console, its index where a person goes to; its policy allows nothing that is inline."""
    for file in resources.files("services.gateway").joinpath("console").iterdir():
        path = "/console" if file.name == "index.html" else f"/console/{file.name}"
        yield Page(path, _CONSOLE_TYPES[file.name.rpartition(".")[2]], file.read_bytes(), _STRICT)
