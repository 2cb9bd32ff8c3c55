"""The errors a service may answer with: one class for each canonical code.

    MercatoError
    ├── InvalidArgument      the request is wrong whatever the state; names its fields
    ├── NotFound             a named resource does not exist
    ├── AlreadyExists        a resource of that name exists
    ├── FailedPrecondition   the state does not allow it; do not retry as it is
    ├── Aborted              lost a race; read again and retry
    ├── ResourceExhausted    a limit is reached; retry later
    ├── PermissionDenied     the caller may not
    ├── Unauthenticated      the caller is not known
    ├── Unimplemented        there is no such method
    ├── DeadlineExceeded     the time ran out; the outcome is not known
    ├── Unavailable          could not be reached; the outcome is not known
    └── Internal             a defect of ours

A domain error is a subclass; its docstring is its message, with its data as fields in braces. The class name
in UPPER_SNAKE_CASE travels as `google.rpc.ErrorInfo.reason`, the data as its metadata, so that a client
can act on it without reading the text. Codes and their meanings: google/rpc/code.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar


class MercatoError(Exception):
    """{detail}"""

    code: ClassVar[int] = 2  # google.rpc.Code.UNKNOWN
    definite: ClassVar[bool] = True
    """Whether the callee surely did nothing. Where false, only a retry with the same request_id tells."""

    def __init__(
        self,
        detail: str = "",
        *,
        fields: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        **data: object,
    ) -> None:
        self.retry_after_s = retry_after_s  # None: the callee does not say when to come again
        self.data = {key: str(value) for key, value in data.items()}
        self.fields = dict(fields or {})
        self.reason = _reason(type(self).__name__)
        text = detail or " ".join((type(self).__doc__ or "").split())
        super().__init__(text.format(**data) if data else text)

    @property
    def message(self) -> str:
        """The text a person reads."""
        return str(self)


class InvalidArgument(MercatoError):
    """The request is not valid."""

    code = 3


class DeadlineExceeded(MercatoError):
    """The time allowed for the call ran out before it was done."""

    code = 4
    definite = False


class NotFound(MercatoError):
    """{name} does not exist."""

    code = 5


class AlreadyExists(MercatoError):
    """{name} exists already."""

    code = 6


class PermissionDenied(MercatoError):
    """The caller may not do this."""

    code = 7


class ResourceExhausted(MercatoError):
    """A limit is reached; try again later."""

    code = 8
    definite = False  # not begun, but to be tried again: never a reason to unwind


class FailedPrecondition(MercatoError):
    """The state of the resource does not allow this."""

    code = 9


class Aborted(MercatoError):
    """Another change came first; read again and retry."""

    code = 10
    definite = False


class Unimplemented(MercatoError):
    """There is no such method."""

    code = 12


class Internal(MercatoError):
    """Internal error."""

    code = 13
    definite = False


class Unavailable(MercatoError):
    """The service could not be reached."""

    code = 14
    definite = False


class Unauthenticated(MercatoError):
    """The caller is not known."""

    code = 16


class Unknown(MercatoError):
    """An error without a known code."""

    definite = False


class Cancelled(MercatoError):
    """The call was cancelled."""

    code = 1
    definite = False


CANONICAL: dict[int, type[MercatoError]] = {
    cls.code: cls
    for cls in (
        Cancelled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied,
        ResourceExhausted, FailedPrecondition, Aborted, Unimplemented, Internal, Unavailable, Unauthenticated,
    )
}  # fmt: skip
"""The class of each google.rpc.Code."""


def invalid_field(field: str, expected: str) -> InvalidArgument:
    """An InvalidArgument that names one field by its path and says what was expected."""
    return InvalidArgument(f"{field}: {expected}", fields={field: expected})


def _reason(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()
