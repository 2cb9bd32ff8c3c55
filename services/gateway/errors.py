"""What is wrong with a request before any service sees it. HTTP tells more kinds of it apart than gRPC does."""

from __future__ import annotations

from typing import ClassVar

from chassis.errors import DeadlineExceeded, InvalidArgument, NotFound, Unimplemented


class HttpError:
    """An error with an HTTP status of its own, where that of its code would say too little."""

    http_status: ClassVar[int]


class PathNotFound(NotFound):
    """There is nothing at {path}; what there is stands in /openapi.json."""


class InvalidPath(InvalidArgument):
    """The path is not UTF-8."""


class InvalidQuery(InvalidArgument):
    """The query is not UTF-8, or has more than {limit} parameters."""


class MalformedRequest(InvalidArgument):
    """The request is not HTTP: {reason}."""


class MethodNotAllowed(HttpError, Unimplemented):
    """{path} does not take {method}, only {allowed}."""

    http_status = 405


class ContentTypeNotSupported(HttpError, InvalidArgument):
    """Content-Type: expected {expected}."""

    http_status = 415


class BodyTooLarge(HttpError, InvalidArgument):
    """The body is larger than {limit} bytes."""

    http_status = 413


class UrlTooLong(HttpError, InvalidArgument):
    """The URL is longer than {limit} bytes."""

    http_status = 414


class RequestTooSlow(HttpError, DeadlineExceeded):
    """The time allowed for the call ran out before its body had arrived."""

    http_status = 408
