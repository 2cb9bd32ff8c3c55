"""Every line of a file is either understood or rejected with its number and a reason."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.lines import COLUMNS, LONGEST_LINE_BYTES, Line, TradeFile, TradeFileError, parse, read

GOOD = "536365,85123A,WHITE HANGING HEART,6,01/12/2010 08:26,2.55,17850,United Kingdom"
Write = Callable[..., Path]


def test_real_file_is_read_whole(real: TradeFile) -> None:
    assert (real.line_count, len(real.lines), real.rejected) == (25_281, 25_281, ())
    assert sum(line.quantity for line in real.lines) == 186_945
    assert sum(line.amount_minor for line in real.lines) == 43_489_336


def test_fields_are_understood() -> None:
    assert parse(7, GOOD.encode() + b"\r\n") == Line(
        7, "536365", "85123A", "WHITE HANGING HEART", 6, datetime(2010, 12, 1, 8, 26, tzinfo=UTC), 255, "17850", "GB"
    )


@pytest.mark.parametrize(
    ("text", "price_minor"),
    [("2", 200), ("2.5", 250), ("2.55", 255), ("2.5500", 255), ("0", 0), ("0.01", 1), ("-11062.06", -1_106_206)],
)
def test_price_is_exact(text: str, price_minor: int) -> None:
    assert parse(2, GOOD.replace("2.55", text).encode()).price_minor == price_minor


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("536365", "", "InvoiceNo"),
        ("536365", "X36365", "InvoiceNo"),
        ("85123A", "", "StockCode"),
        ("85123A", "85;123", "StockCode"),
        (",6,", ",six,", "Quantity"),
        (",6,", ",6.0,", "Quantity"),
        (",6,", ",٦,", "Quantity"),
        (",6,", ",0,", "Quantity"),
        (",6,", ",1000001,", "Quantity"),
        ("01/12/2010", "31/11/2010", "InvoiceDate"),
        ("01/12/2010", "1/12/2010", "InvoiceDate"),
        ("01/12/2010 08:26", "2010-12-01T08:26", "InvoiceDate"),
        ("2.55", "2.555", "finer than a penny"),
        ("2.55", "0.001", "finer than a penny"),
        ("2.55", "1e3", "UnitPrice"),
        ("2.55", "NaN", "UnitPrice"),
        ("2.55", "99999999999", "UnitPrice"),
        ("17850", "17850.0", "CustomerID"),
        ("United Kingdom", "Atlantis", "Country"),
        (",United Kingdom", "", "7 fields where 8"),
        ("United Kingdom", "United Kingdom,more", "9 fields where 8"),
        ("WHITE", '"WHITE', "not CSV"),
        ("WHITE", "WH\0TE", "NUL"),
        ("WHITE", "W" * LONGEST_LINE_BYTES, "longer than"),
    ],
)
def test_malformed_line_is_rejected_with_its_reason(write: Write, old: str, new: str, reason: str) -> None:
    file = read(write(GOOD, GOOD.replace(old, new), GOOD))
    assert [line.number for line in file.lines] == [2, 4]
    assert [line.number for line in file.rejected] == [3]
    assert reason in file.rejected[0].reason


def test_line_that_is_not_utf8_is_rejected_alone(write: Write) -> None:
    file = read(write(GOOD, GOOD.encode().replace(b"WHITE", b"WH\xcfTE"), GOOD))
    assert (len(file.lines), [line.reason for line in file.rejected]) == (2, ["not UTF-8 at byte 17"])


def test_day_leaves_other_days_out_but_no_malformed_line(write: Write) -> None:
    file = read(write(GOOD, GOOD.replace("01/12", "02/12"), "broken"), date(2010, 12, 2))
    assert [line.number for line in file.lines] == [3]
    assert (file.other_days_count, [line.number for line in file.rejected], file.line_count) == (1, [4], 3)


def test_identity_is_the_content_not_the_packing(write: Write, tmp_path: Path) -> None:
    plain = write(GOOD)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(plain).digest == read(packed).digest != read(write(GOOD, GOOD)).digest


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no invoice lines"),
        (",".join(COLUMNS).encode(), "no invoice lines"),
        (b"a,b,c\n1,2,3\n", "the first line must be"),
        (gzip.compress(GOOD.encode() * 99)[:-20], "end-of-stream"),
        (b"\x1f\x8bnonsense", "trade.csv"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "trade.csv"
    path.write_bytes(content)
    with pytest.raises(TradeFileError, match=message):
        read(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TradeFileError, match="No such file"):
        read(tmp_path / "none.csv")


_broken_text = st.one_of(
    st.binary(max_size=60).filter(lambda raw: b"\n" not in raw),
    st.tuples(st.integers(0, 7), st.text(st.characters(exclude_characters="\n"), max_size=12)).map(
        lambda change: ",".join(
            change[1] if index == change[0] else value for index, value in enumerate(GOOD.split(","))
        ).encode("utf-8", "surrogatepass")
    ),
)


@given(st.lists(st.one_of(st.just(GOOD.encode()), _broken_text), min_size=1, max_size=20))
def test_no_line_is_ever_lost(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("trade") / "trade.csv"
    path.write_bytes(b"\n".join([",".join(COLUMNS).encode(), *lines, b""]))
    file = read(path)
    numbers = [line.number for line in file.lines] + [line.number for line in file.rejected]
    assert sorted(numbers) == list(range(2, len(lines) + 2))
    assert {number + 2 for number, line in enumerate(lines) if line == GOOD.encode()} <= {x.number for x in file.lines}
