"""gRPC through the gateway's one port: every kind of call, as if there were no gateway."""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_status import rpc_status
from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from mercato.operations.v1 import operations_pb2
from mercato.operations.v1.operations_pb2_grpc import InstanceServiceStub
from mercato.orders.v1 import orders_pb2, orders_pb2_grpc
from prometheus_client import REGISTRY

from services.gateway.contract import Contract
from services.gateway.reflection import SERVICES
from tests.gateway.conftest import Running
from tests.stage import eventually

Orders = orders_pb2_grpc.OrderServiceStub
Catalog = catalog_pb2_grpc.CatalogServiceStub


@pytest.fixture
def orders(gateway: Running) -> Orders:
    return orders_pb2_grpc.OrderServiceStub(gateway.grpc)


@pytest.fixture
def catalog(gateway: Running) -> Catalog:
    return catalog_pb2_grpc.CatalogServiceStub(gateway.grpc)


async def products(*names: str) -> AsyncIterator[catalog_pb2.ImportProductsRequest]:
    for name in names:
        yield catalog_pb2.ImportProductsRequest(product=catalog_pb2.Product(name=f"products/{name}", title="T"))


class TestCalls:
    async def test_unary_with_metadata_both_ways(self, gateway: Running, orders: Orders) -> None:
        metadata = (("x-tag", "a"), ("x-raw-bin", b"\x00\xff"), ("mercato-caller", "replay"))
        call = orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/1"), metadata=metadata, timeout=5)
        assert (await call).order.name == "orders/1"
        assert dict(await call.initial_metadata())["x-served-by"] == "orders/1"
        assert dict(await call.trailing_metadata())["x-cost"] == "7"
        seen = gateway.seen.metadata
        assert {key: seen[key] for key, _ in metadata} == dict(metadata)
        assert gateway.seen.left_s is not None
        assert 3 < gateway.seen.left_s < 5.2

    async def test_caller_and_trace_are_made_where_missing(self, gateway: Running, orders: Orders) -> None:
        await orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/1"))
        assert gateway.seen.metadata["mercato-caller"] == "anonymous"
        assert len(gateway.seen.metadata["traceparent"]) == 55
        assert gateway.seen.left_s is not None

    async def test_server_stream(self, orders: Orders) -> None:
        states = [
            message.order.state async for message in orders.WatchOrder(orders_pb2.WatchOrderRequest(name="orders/1"))
        ]
        assert states == [orders_pb2.Order.STATE_PLACED, orders_pb2.Order.STATE_CONFIRMED]

    async def test_client_stream(self, catalog: Catalog) -> None:
        answer = await catalog.ImportProducts(products(*(str(number) for number in range(500))))
        assert answer.created_count == 500

    async def test_both_streams_at_once(self, gateway: Running) -> None:
        talk: Any = gateway.grpc.stream_stream("/mercato.lab.v1.LabService/Talk")()
        for word in (b"\x0a\x01a", b"\x0a\x01b"):
            await talk.write(word)
            assert await asyncio.wait_for(talk.read(), 5) == word
        await talk.done_writing()
        assert await talk.read() is grpc.aio.EOF

    async def test_methods_that_are_not_open(self, gateway: Running) -> None:
        for path in ("/mercato.mesh.v1.RegistryService/Register", "/no.Such/Thing"):
            call: Any = gateway.grpc.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_the_gateway_itself_is_an_instance_too(self, gateway: Running) -> None:
        stub: Any = InstanceServiceStub(gateway.grpc)
        instance = (await stub.GetInstance(operations_pb2.GetInstanceRequest())).instance
        assert (instance.name, instance.ready) == ("gateway/1", True)


class TestErrors:
    async def test_status_comes_with_its_details(self, orders: Orders) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/short"))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == "products/1 is out of stock."
        status, info = rpc_status.from_call(caught.value), ErrorInfo()  # type: ignore[arg-type]
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.reason == "OUT_OF_STOCK"

    async def test_when_to_come_again_comes_through(self, orders: Orders) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/full"))
        assert ("grpc-retry-pushback-ms", "12400") in tuple(caught.value.trailing_metadata() or ())

    async def test_stream_that_breaks(self, orders: Orders) -> None:
        call = orders.WatchOrder(orders_pb2.WatchOrderRequest(name="orders/breaks"))
        assert [await call.read(), await call.read()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.details() == "products/1 is out of stock."

    async def test_answer_before_the_client_stream_ends(self, catalog: Catalog) -> None:
        call = catalog.ImportProducts()
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async for product in products("stop", *["more"] * 2000):
                await call.write(product)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.details() == "products/stop is out of stock."

    async def test_deadline(self, gateway: Running, orders: Orders) -> None:
        started = asyncio.get_running_loop().time()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/slow"), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert asyncio.get_running_loop().time() - started < 0.6
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 5)


def counted(code: str) -> float:
    """The calls of the gateway to watch orders that ended so."""
    labels = {
        "mercato_caller": "gateway", "rpc_method": "mercato.orders.v1.OrderService/WatchOrder",
        "rpc_response_status_code": code,
    }  # fmt: skip
    return REGISTRY.get_sample_value("rpc_client_call_duration_seconds_count", labels) or 0.0


class TestCancellation:
    async def test_unary(self, gateway: Running, orders: Orders) -> None:
        call = orders.GetOrder(orders_pb2.GetOrderRequest(name="orders/slow"), timeout=20)
        await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
        call.cancel()
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)

    async def test_server_stream(self, gateway: Running, orders: Orders) -> None:
        call = orders.WatchOrder(orders_pb2.WatchOrderRequest(name="orders/endless"))
        await call.read()
        await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
        call.cancel()
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)

    async def test_server_stream_that_nobody_reads(self, gateway: Running, orders: Orders) -> None:
        amiss: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: amiss.append(context))
        call = orders.WatchOrder(orders_pb2.WatchOrderRequest(name="orders/large"))
        await call.read()

        async def waits_for_its_reader() -> bool:
            before = gateway.seen.written
            await asyncio.sleep(0.05)
            return gateway.seen.written == before > 0

        before = counted("CANCELLED")
        await eventually(waits_for_its_reader)
        call.cancel()

        async def ended() -> bool:
            return counted("CANCELLED") > before

        await eventually(ended)
        gc.collect()
        await asyncio.sleep(0)
        asyncio.get_running_loop().set_exception_handler(None)
        assert amiss == []

    async def test_client_stream(self, gateway: Running, catalog: Catalog) -> None:
        call = catalog.ImportProducts()
        await call.write(
            catalog_pb2.ImportProductsRequest(product=catalog_pb2.Product(name="products/wait", title="T"))
        )
        await asyncio.wait_for(gateway.seen.waiting.wait(), 5)
        call.cancel()
        await asyncio.wait_for(gateway.seen.cancelled.wait(), 1)


class TestReflection:
    async def test_every_service_is_listed_and_described(self, gateway: Running, contract: Contract) -> None:
        def describe() -> None:
            with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
                database = ProtoReflectionDescriptorDatabase(channel)
                listed = set(database.get_services())
                assert {service.full_name for service in contract.services} < listed
                assert "grpc.health.v1.Health" in listed
                assert "mercato.operations.v1.InstanceService" in listed  # of the gateway itself
                assert "mercato.mesh.v1.RegistryService" not in listed
                pool = DescriptorPool(database)
                for name in listed:
                    for method in pool.FindServiceByName(name).methods:
                        assert method.input_type.full_name

        await asyncio.to_thread(describe)

    async def test_comments_are_kept(self, gateway: Running) -> None:
        def file() -> str:
            with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
                database = ProtoReflectionDescriptorDatabase(channel)
                return str(database.FindFileContainingSymbol("mercato.orders.v1.Order").source_code_info)

        assert "Place an order." in await asyncio.to_thread(file)

    @pytest.mark.parametrize("name", SERVICES)
    @pytest.mark.parametrize(
        "symbol",
        [
            "mercato.orders.v1.OrderService",
            "mercato.orders.v1.OrderService.PlaceOrder",
            "mercato.orders.v1.Order.State",
            "mercato.orders.v1.Order.state",
            "grpc.health.v1.Health.Check",
        ],
    )
    async def test_whatever_has_a_name_is_described(self, gateway: Running, name: str, symbol: str) -> None:
        """As `grpcurl describe` asks, which falls back from the newer name of reflection to the older."""
        asked = ServerReflectionRequest(file_containing_symbol=symbol).SerializeToString()
        reflect: Any = gateway.grpc.stream_stream(f"/{name}/ServerReflectionInfo")
        answer = ServerReflectionResponse.FromString(await reflect(iter([asked])).read())
        assert answer.file_descriptor_response.file_descriptor_proto, answer.error_response

    async def test_tools_that_speak_v1_call_by_reflection(self, gateway: Running) -> None:
        buf = str(Path(sys.executable).with_name("buf"))
        url = f"http://127.0.0.1:{gateway.grpc_port}/mercato.orders.v1.OrderService/GetOrder"
        command = [buf, "curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect-protocol", "grpc-v1"]
        process = await asyncio.create_subprocess_exec(
            *command, "-d", '{"name": "orders/9"}', url, stdout=PIPE, stderr=PIPE
        )
        output, problems = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, problems
        assert b'"orders/9"' in output


class TestHealth:
    async def test_gateway_is_healthy(self, gateway: Running) -> None:
        stub: Any = health_pb2_grpc.HealthStub(gateway.grpc)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
