"""What an HTTP request carries beside its message: who asks, until when, in which trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from chassis.errors import invalid_field
from chassis.telemetry.trace import Trace

ANONYMOUS = "anonymous"
LONGEST_TIMEOUT_S = 3600.0

_STATE = re.compile(r"[\x20-\x7e]{1,512}")
_PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MILLISECONDS = re.compile(r"[0-9]{1,8}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, apart from what they say."""

    request_id: str
    """What logs and the client call it by; not the idempotency key of the message."""
    trace: Trace
    tracestate: str

    @classmethod
    def of(cls, headers: Mapping[str, str], parent: Trace | None, trace: Trace) -> Exchange:
        """Take over the client's ids where it sends them and they are usable; make them where not."""
        given, state = headers.get("X-Request-Id", ""), headers.get("Tracestate", "")
        return cls(
            request_id=given if _PRINTABLE.fullmatch(given) else uuid4().hex,
            trace=trace,
            tracestate=state if parent and _STATE.fullmatch(state) else "",
        )

    @property
    def headers(self) -> dict[str, str]:
        """What every answer returns."""
        return {"X-Request-Id": self.request_id, "Traceparent": self.trace.traceparent}

    def metadata(self, caller: str, trace: Trace) -> tuple[tuple[str, str], ...]:
        """What goes on to the service, with the trace of the call to it."""
        ids = (
            ("mercato-caller", caller),
            ("traceparent", trace.traceparent),
            ("x-request-id", self.request_id),
        )
        return (*ids, ("tracestate", self.tracestate)) if self.tracestate else ids


def caller_of(headers: Mapping[str, str]) -> str:
    """Return who asks, as the client says; InvalidArgument when that cannot be passed on."""
    caller = headers.get("X-Mercato-Caller", ANONYMOUS)
    if not _PRINTABLE.fullmatch(caller):
        raise invalid_field("X-Mercato-Caller", "expected 1 to 128 printable ASCII characters without spaces")
    return caller


def timeout_of(headers: Mapping[str, str], default_s: float) -> float:
    """Return the seconds the client gives its call: X-Timeout-Ms, Grpc-Timeout or the default."""
    timeout_s = default_s
    name = "X-Timeout-Ms" if "X-Timeout-Ms" in headers else "Grpc-Timeout"
    if text := headers.get(name):
        timeout_s = _milliseconds(text) if name == "X-Timeout-Ms" else _grpc_timeout(text)
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        form = "milliseconds such as 300" if name == "X-Timeout-Ms" else "digits and a unit such as 300m"
        raise invalid_field(name, f"expected {form}, more than zero and at most an hour")
    return timeout_s


def _milliseconds(text: str) -> float:
    return int(text) / 1000 if _MILLISECONDS.fullmatch(text) else 0.0


def _grpc_timeout(text: str) -> float:
    match = _GRPC_TIMEOUT.fullmatch(text)
    return int(match[1]) * _UNITS_S[match[2]] if match else 0.0
