"""What people write of the mesh is read, or refused with what was expected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import typer

from fleet import arguments


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("1.5s", 1.5), ("60s", 60), ("0.5ms", 0.0005), ("1s", 1)]
)
def test_delays(text: str, seconds: float) -> None:
    assert arguments.delay(text) == timedelta(seconds=seconds)


def test_shares() -> None:
    assert arguments.shares(["v1=90", "v2=10"]) == {"v1": 90, "v2": 10}
    assert arguments.shares([]) == {}


def test_codes_and_methods() -> None:
    assert arguments.code("unavailable") == 14
    capture = "/mercato.payments.v1.PaymentService/CapturePayment"
    assert arguments.method("payments", "CapturePayment") == arguments.method("payments", capture) == capture


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (arguments.delay, "300", "300ms or 1.5s"),
        (arguments.delay, "-1s", "300ms or 1.5s"),
        (arguments.delay, "0s", "more than 0"),
        (arguments.delay, "61s", "at most 60s"),
        (arguments.version, "2", "a letter, then"),
        (arguments.version, "", "a letter, then"),
        (arguments.code, "OK", "one of CANCELLED"),
        (arguments.code, "BROKEN", "UNAVAILABLE"),
        (lambda text: arguments.shares([text]), "v1", "VERSION=WEIGHT"),
        (lambda text: arguments.shares([text]), "v1=many", "VERSION=WEIGHT"),
        (lambda text: arguments.shares([text]), "v1=-1", "VERSION=WEIGHT"),
        (lambda text: arguments.shares([text]), "v1=1000001", "VERSION=WEIGHT"),
        (lambda text: arguments.shares([text]), "v1=0", "above 0"),
        (lambda text: arguments.shares([text, text]), "v1=1", "named twice"),
        (lambda text: arguments.method("payments", text), "Capture", "one of GetPayment"),
        (lambda text: arguments.method("parcels", text), "Send", "a service with a contract"),
    ],
)
def test_what_cannot_be_read_is_refused(read: Callable[[str], Any], text: str, expected: str) -> None:
    with pytest.raises(typer.BadParameter, match=expected):
        read(text)
