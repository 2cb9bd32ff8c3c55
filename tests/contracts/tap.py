"""A stage on which every call passes a tap that notes who called what, and every subscription is noted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor

from chassis.app import App, Compose
from chassis.bus import Delivery, Event
from chassis.handlers import CALLER
from chassis.nats import NatsBus
from chassis.testing.schema import Schema, kind_of
from tests.stage import Stage


@dataclass
class TappedStage(Stage):
    """Services that find each other through taps."""

    schema: Schema | None = None
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    """Caller, callee, and the method's path."""

    async def start(self, name: str, compose: Compose | None = None, **settings: Any) -> App:
        """Start a service, and put a tap before it."""
        app = await super().start(name, compose, **settings)
        channel = await self.stack.enter_async_context(grpc.aio.insecure_channel(self.targets[name]))
        server = grpc.aio.server(handlers=[_Tap(name, channel, self)])
        self.targets[name] = f"ipv4:127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self.stack.push_async_callback(server.stop, 0)
        return app


class _Tap(grpc.GenericRpcHandler):
    """Passes calls on as they are."""

    def __init__(self, callee: str, channel: grpc.aio.Channel, stage: TappedStage) -> None:
        self._callee = callee
        self._channel = channel
        self._stage = stage

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Note a call and return what passes it on."""
        assert self._stage.schema is not None
        path = handler_call_details.method
        method = self._stage.schema.methods.get(path)
        if method is None:
            return None
        caller = str(dict(handler_call_details.invocation_metadata).get(CALLER, ""))
        self._stage.seen.add((caller, self._callee, path))
        return self._passing(path, method)

    def _passing(self, path: str, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        make: Any = getattr(self._channel, kind_of(method))
        stub = make(path)

        async def once(request: Any, context: Any) -> bytes:
            call = stub(request, metadata=_metadata(context), timeout=context.time_remaining())
            try:
                response: bytes = await call
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            return response

        async def stream(request: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in stub(request, metadata=_metadata(context), timeout=context.time_remaining()):
                yield response

        handler: Any = getattr(grpc, f"{kind_of(method)}_rpc_method_handler")
        passing: grpc.RpcMethodHandler[Any, Any] = handler(stream if method.server_streaming else once)
        return passing


def _metadata(context: Any) -> list[tuple[str, str]]:
    return [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]


@contextmanager
def subscriptions() -> Iterator[set[tuple[str, str]]]:
    """Note who subscribes to which type of event: the service and the type."""
    seen: set[tuple[str, str]] = set()
    with pytest.MonkeyPatch.context() as patch:
        consume, follow = NatsBus.consume, NatsBus.follow

        def consuming(bus: NatsBus, group: str, types: Sequence[str]) -> AsyncIterator[list[Delivery]]:
            seen.update((group, each) for each in types)
            return consume(bus, group, types)

        def following(bus: NatsBus, types: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
            seen.update((bus._name.partition("/")[0], each) for each in types)
            return follow(bus, types)

        patch.setattr(NatsBus, "consume", consuming)
        patch.setattr(NatsBus, "follow", following)
        yield seen
