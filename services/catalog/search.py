"""Search by the start of a title or of a word in it; case and the width of white space do not matter."""

from __future__ import annotations

import re

from mercato.catalog.v1.catalog_pb2 import Product

from chassis.database import Database
from chassis.errors import invalid_field
from chassis.pages import Page, page_limit


def terms(product: Product) -> str:
    """Return what a search for a product may start with, one a line: its title, and the words in it."""
    title = _folded(product.title).strip()
    return "\n".join({title, *title.split(), *re.findall(r"\w+", title)})


_PAGE = """
WITH found AS MATERIALIZED (SELECT name FROM products WHERE search @@ $1::text::tsquery)
SELECT state FROM products WHERE name IN (SELECT name FROM found WHERE name > $2 ORDER BY name LIMIT $3) ORDER BY name
"""
# Materialized, or else the planner may walk all products by name for a prefix that few have.


class Search:
    """Finds products by what the index of the table `products` holds of their terms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, prefix: str, page_size: int, page_token: str) -> Page[Product]:
        """Return one page, by name, of the products one of whose terms starts with a prefix."""
        rows = await self._database.rows(_PAGE, _query(prefix), page_token, page_limit(page_size) + 1)
        return Page.of([Product.FromString(row["state"]) for row in rows], page_size, lambda product: product.name)


def _query(prefix: str) -> str:
    folded = _folded(prefix).lstrip()
    if not folded:
        raise invalid_field("prefix", "expected more than white space")
    return "'" + folded.replace("\\", "\\\\").replace("'", "''") + "':*"


def _folded(text: str) -> str:
    return re.sub(r"\s+", " ", text.casefold())
