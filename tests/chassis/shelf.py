"""A small service of products on the real chassis: an aggregate to change, and a contract to change it by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from chassis.app import App
from chassis.errors import FailedPrecondition
from chassis.repository import Repository
from tests.chassis.probe import CATALOG, Probe
from tests.stage import Stage

SCHEMA = """
CREATE TABLE products (name text PRIMARY KEY, version integer NOT NULL, state bytea NOT NULL, title text NOT NULL);
CREATE TABLE notes (text text PRIMARY KEY CHECK (text <> 'forbidden'));
"""


class Untitled(FailedPrecondition):
    """{name} would lose its title."""


def evolve(state: pb.Product, event: Message) -> None:
    match event:
        case pb.ProductCreated():
            state.CopyFrom(event.product)
        case pb.ProductUpdated():
            state.title = event.title


def new_name() -> str:
    return f"products/{uuid4().hex}"


def new_request_id() -> str:
    return str(uuid4())


def created(name: str, title: str = "Mug") -> list[pb.ProductCreated]:
    return [pb.ProductCreated(product=pb.Product(name=name, title=title))]


def longer(product: pb.Product) -> Iterable[pb.ProductUpdated]:
    """Decide that the title gets one more character: no change may be lost without showing."""
    return [pb.ProductUpdated(name=product.name, title=product.title + "+")]


class Shelf:
    """Keeps products; counts how often it decided."""

    def __init__(self) -> None:
        self.app: App
        self.products: Repository[pb.Product]
        self.decided = 0

    async def compose(self, app: App) -> None:
        self.app = app
        await app.open_database(self.migrations)
        await app.open_bus()
        self.products = Repository(
            app.database, app.outbox, app.clock,
            table="products", state=pb.Product, evolve=evolve, columns={"title": lambda product: product.title},
        )  # fmt: skip
        probe = Probe(CATALOG)
        probe.on("CreateProduct", self.create)
        probe.on("UpdateProduct", self.update)
        app.serve(CATALOG, probe)

    @classmethod
    async def open(cls, stage: Stage, folder: Path, **settings: Any) -> Shelf:
        """Start the service."""
        shelf = cls()
        shelf.migrations = folder
        (folder / "001_products.sql").write_text(SCHEMA)
        await stage.start("catalog", shelf.compose, **settings)
        return shelf

    migrations: Path

    async def create(self, request: pb.CreateProductRequest, context: Any) -> pb.CreateProductResponse:
        self.decided += 1
        return await self.products.create(
            request.product.name,
            created(request.product.name, request.product.title),
            lambda product: pb.CreateProductResponse(product=product),
        )

    async def update(self, request: pb.UpdateProductRequest, context: Any) -> pb.UpdateProductResponse:
        def decide(product: pb.Product) -> list[pb.ProductUpdated]:
            self.decided += 1
            if request.product.title == product.title:
                return []
            if request.product.title == "none":
                raise Untitled(name=product.name)
            return [pb.ProductUpdated(name=product.name, title=request.product.title)]

        return await self.products.change(
            request.product.name,
            decide,
            lambda product: pb.UpdateProductResponse(product=product),
            etag=request.product.etag,
        )

    async def events(self, name: str) -> list[int]:
        """Return the versions of a product's events, in their order."""
        rows = await self.app.database.rows("SELECT version FROM events WHERE subject = $1 ORDER BY position", name)
        return [row["version"] for row in rows]


def stub(stage: Stage, caller: str = "tests") -> CatalogServiceStub:
    """Return a stub of the service."""
    return stage.stub(CATALOG, CatalogServiceStub, caller)
