"""The gRPC face of catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1 import catalog_pb2_grpc

from chassis.clock import Clock
from chassis.masks import masked
from chassis.repository import Repository
from services.catalog import domain
from services.catalog.importer import Importer
from services.catalog.search import Search


class CatalogService(catalog_pb2_grpc.CatalogServiceServicer):
    """Serves mercato.catalog.v1.CatalogService."""

    def __init__(self, products: Repository[pb.Product], search: Search, importer: Importer, clock: Clock) -> None:
        self._products = products
        self._search = search
        self._importer = importer
        self._clock = clock

    async def GetProduct(self, request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        return pb.GetProductResponse(product=await self._products.get(request.name))

    async def BatchGetProducts(self, request: pb.BatchGetProductsRequest, context: Any) -> pb.BatchGetProductsResponse:
        return pb.BatchGetProductsResponse(products=await self._products.batch_get(request.names))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> pb.ListProductsResponse:
        page = await self._products.page(request.page_size, request.page_token)
        return pb.ListProductsResponse(products=page.items, next_page_token=page.next_page_token)

    async def SearchProducts(self, request: pb.SearchProductsRequest, context: Any) -> pb.SearchProductsResponse:
        page = await self._search.page(request.prefix, request.page_size, request.page_token)
        return pb.SearchProductsResponse(products=page.items, next_page_token=page.next_page_token)

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Any) -> pb.CreateProductResponse:
        now = self._clock.now()
        return await self._products.create(
            request.product.name,
            domain.create(domain.checked(request.product, now), now),
            lambda product: pb.CreateProductResponse(product=product),
        )

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Any) -> pb.UpdateProductResponse:
        masked(request.update_mask, domain.CHANGEABLE)
        return await self._products.change(
            request.product.name,
            lambda product: domain.retitle(product, request.product.title),
            lambda product: pb.UpdateProductResponse(product=product),
            etag=request.product.etag,
        )

    async def OfferPrice(self, request: pb.OfferPriceRequest, context: Any) -> pb.OfferPriceResponse:
        return await self._products.change(
            request.name,
            lambda product: domain.offer(product, request.amount, self._clock.now()),
            lambda product: pb.OfferPriceResponse(product=product),
        )

    async def WithdrawPrice(self, request: pb.WithdrawPriceRequest, context: Any) -> pb.WithdrawPriceResponse:
        return await self._products.change(
            request.name,
            lambda product: domain.withdraw(product, request.amount, self._clock.now()),
            lambda product: pb.WithdrawPriceResponse(product=product),
        )

    async def ImportProducts(
        self, request: AsyncIterator[pb.ImportProductsRequest], context: Any
    ) -> pb.ImportProductsResponse:
        return await self._importer.run(request)
