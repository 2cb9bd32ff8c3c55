"""The W3C trace context of a call: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


class Trace(NamedTuple):
    """Which trace a call belongs to, which span it is, and whether spans are recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def start(cls, *, sampled: bool = False) -> Trace:
        """Begin a trace."""
        ids = random.randbytes(24).hex()
        return cls(ids[:32], ids[32:], sampled)

    @classmethod
    def parse(cls, traceparent: str) -> Trace | None:
        """Read a `traceparent` header; None when it is not one."""
        match = _TRACEPARENT.fullmatch(traceparent)
        return cls(match[1], match[2], bool(int(match[3], 16) & 1)) if match else None

    def child(self) -> Trace:
        """Return a further span of the same trace."""
        return Trace(self.trace_id, f"{random.getrandbits(64):016x}", self.sampled)

    @property
    def traceparent(self) -> str:
        """The header for those called."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"
