"""Who listens to telemetry and keeps nothing: it takes all, or hangs on every call.

Started as a process by the benchmark, with `taking` or `hanging` and the port.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import uvloop


class Sink(grpc.GenericRpcHandler):
    """Serves all that takes OTLP."""

    def __init__(self, hangs: bool) -> None:
        self._hangs = hangs

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return what takes a call."""
        if not handler_call_details.method.startswith("/opentelemetry."):
            return None
        return grpc.unary_unary_rpc_method_handler(self._take)

    async def _take(self, request: bytes, context: Any) -> bytes:
        if self._hangs:
            await asyncio.Event().wait()
        return b""


async def _serve(kind: str, port: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Sink(kind == "hanging"),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Serve until ended."""
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
