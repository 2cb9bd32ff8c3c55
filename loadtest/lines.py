"""Reading a shop's trade: a file of invoice lines, every one of them either understood or rejected with a reason."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import BinaryIO, cast

from loadtest.regions import REGION_CODES

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
LONGEST_LINE_BYTES = 64 * 1024
MOST_PIECES = 1_000_000
"""In one line: what the services accept."""
HIGHEST_PRICE_MINOR = 1_000_000_000

_INVOICE = re.compile(r"[AC]?[0-9]{1,12}")
_CODE = re.compile(r"[A-Za-z0-9_ -]{1,40}")
_CUSTOMER = re.compile(r"([0-9]{1,12})?")
_QUANTITY = re.compile(r"-?[0-9]{1,9}")
_PRICE = re.compile(r"(-?)([0-9]{1,9})(?:\.([0-9]{1,12}))?")
_TIME = re.compile(r"[0-9]{2}/[0-9]{2}/[0-9]{4} [0-9]{2}:[0-9]{2}")


class TradeFileError(Exception):
    """The file is not one of invoice lines; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an invoice, as the shop wrote it."""

    number: int
    """In the file; the header is 1."""
    invoice: str
    code: str
    description: str
    quantity: int
    """Pieces; negative when taken back."""
    time: datetime
    price_minor: int
    """Of one piece, in pence."""
    customer: str
    """Empty for a guest."""
    region_code: str

    @property
    def amount_minor(self) -> int:
        """What the line comes to, in pence."""
        return self.quantity * self.price_minor

    @property
    def is_cancellation(self) -> bool:
        """Whether it stands on an invoice that cancels."""
        return self.invoice.startswith("C")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that can't be traded, and why."""

    number: int
    reason: str
    text: str
    """The start of the line."""


@dataclass(frozen=True, slots=True)
class TradeFile:
    """All lines of a file."""

    digest: str
    """SHA-256 of the content: the file's identity, whatever its name."""
    lines: tuple[Line, ...]
    rejected: tuple[Rejected, ...]
    other_days_count: int
    """Lines left out because they are of another day than the one asked for."""

    @property
    def line_count(self) -> int:
        """Lines of the file below its header."""
        return len(self.lines) + len(self.rejected) + self.other_days_count


def read(path: Path, day: date | None = None) -> TradeFile:
    """Read a file, plain or gzipped; with a day, only its lines. Lines whose date can't be read are of every day.

    Raises TradeFileError when it can't be read or has another header.
    """
    digest = hashlib.sha256()
    lines: list[Line] = []
    rejected: list[Rejected] = []
    other_days_count = 0
    try:
        with _open(path) as stream:
            for number, raw in enumerate(_physical_lines(stream, digest.update), start=1):
                if number == 1:
                    _check_header(raw)
                    continue
                try:
                    line = parse(number, raw)
                except ValueError as error:
                    rejected.append(Rejected(number, str(error), raw[:200].decode(errors="replace").rstrip()))
                    continue
                if day is None or line.time.date() == day:
                    lines.append(line)
                else:
                    other_days_count += 1
    except (OSError, EOFError, zlib.error) as error:
        raise TradeFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not (lines or rejected or other_days_count):
        raise TradeFileError(f"{path}: no invoice lines in it")
    return TradeFile(digest.hexdigest(), tuple(lines), tuple(rejected), other_days_count)


def parse(number: int, raw: bytes) -> Line:
    """Understand one line. Raises ValueError with the reason why it can't be."""
    invoice, code, description, quantity, time, price, customer, country = _fields(raw)
    return Line(
        number,
        _matching(_INVOICE, invoice, "InvoiceNo"),
        _matching(_CODE, code, "StockCode"),
        " ".join(description.split()),
        _quantity(quantity),
        _time(time),
        _price_minor(price),
        _matching(_CUSTOMER, customer, "CustomerID"),
        _region_code(country),
    )


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        gzipped = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if gzipped else path.open("rb")


def _physical_lines(stream: BinaryIO, seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """Each line up to its line feed: a stray quote can then spoil its own line only. Too long a one is cut off."""
    while raw := stream.readline(LONGEST_LINE_BYTES + 1):
        seen(raw)
        rest = raw
        while len(rest) > LONGEST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = stream.readline(LONGEST_LINE_BYTES + 1)
            seen(rest)
        yield raw


def _check_header(raw: bytes) -> None:
    names = raw.decode("utf-8-sig", errors="replace").strip().replace('"', "").split(",")
    if tuple(names) != COLUMNS:
        raise TradeFileError(f"the first line must be {','.join(COLUMNS)!r}, not {','.join(names)[:200]!r}")


def _fields(raw: bytes) -> list[str]:
    if len(raw) > LONGEST_LINE_BYTES:
        raise ValueError(f"longer than {LONGEST_LINE_BYTES} bytes")
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}") from None
    if "\0" in text:
        raise ValueError("has a NUL character")
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"not CSV: {error}") from None
    if len(fields) != len(COLUMNS):
        raise ValueError(f"{len(fields)} fields where {len(COLUMNS)} are expected")
    return [field.strip() for field in fields]


def _matching(pattern: re.Pattern[str], text: str, column: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{column} {text[:40]!r} is missing or malformed")
    return text


def _quantity(text: str) -> int:
    quantity = int(_matching(_QUANTITY, text, "Quantity"))
    if not 0 < abs(quantity) <= MOST_PIECES:
        raise ValueError(f"Quantity {quantity} is not between 1 and {MOST_PIECES}, or its negative")
    return quantity


def _price_minor(text: str) -> int:
    matched = _PRICE.fullmatch(text)
    if not matched:
        raise ValueError(f"UnitPrice {text[:40]!r} is missing or malformed")
    sign, pounds, fraction = matched[1], matched[2], matched[3] or ""
    if fraction[2:].strip("0"):
        raise ValueError(f"UnitPrice {text} is finer than a penny")
    price_minor = int(pounds) * 100 + int(fraction[:2].ljust(2, "0"))
    if price_minor > HIGHEST_PRICE_MINOR:
        raise ValueError(f"UnitPrice {text} is more than {HIGHEST_PRICE_MINOR // 100}")
    return -price_minor if sign else price_minor


def _time(text: str) -> datetime:
    _matching(_TIME, text, "InvoiceDate")
    try:
        return datetime.strptime(text, "%d/%m/%Y %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"InvoiceDate {text!r} is no date") from None


def _region_code(country: str) -> str:
    if country not in REGION_CODES:
        raise ValueError(f"Country {country[:40]!r} is missing or not known")
    return REGION_CODES[country]
