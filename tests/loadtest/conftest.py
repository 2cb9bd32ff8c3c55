"""The trade that the tests of the replay share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import loadtest
from loadtest.lines import COLUMNS, TradeFile, read

REAL = Path(loadtest.__file__).parent / "data" / "online_retail_2010-12-01_2010-12-10.csv.gz"


@pytest.fixture(scope="session")
def real() -> TradeFile:
    return read(REAL)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of these lines, given as text or bytes."""

    def write(*lines: str | bytes) -> Path:
        path = tmp_path / "trade.csv"
        body = [line if isinstance(line, bytes) else line.encode() for line in lines]
        path.write_bytes(b"\n".join([",".join(COLUMNS).encode(), *body]) + b"\n")
        return path

    return write
