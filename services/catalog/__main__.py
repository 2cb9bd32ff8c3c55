"""Composition root of catalog."""

from __future__ import annotations

from pathlib import Path

from mercato.catalog.v1 import catalog_pb2

from chassis.app import App, run
from chassis.repository import Repository
from services.catalog.domain import evolve
from services.catalog.importer import Importer
from services.catalog.search import Search, terms
from services.catalog.service import CatalogService


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    await app.open_bus()
    products = Repository(
        database, app.outbox, app.clock,
        table="products", state=catalog_pb2.Product, evolve=evolve, columns={"terms": terms},
    )  # fmt: skip
    importer = Importer(database, app.outbox, products, app.clock)
    servicer = CatalogService(products, Search(database), importer, app.clock)
    app.serve(catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"], servicer)


def main() -> None:
    run("catalog", compose)


if __name__ == "__main__":
    main()
