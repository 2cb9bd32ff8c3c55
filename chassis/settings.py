"""The settings of one service instance, read from the environment once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from chassis.errors import InvalidArgument

_TARGET = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}|(?:dns|ipv4|ipv6|unix|xds):\S+")
"""What gRPC finds somebody by (https://github.com/grpc/grpc/blob/master/doc/naming.md), never without a port."""


class InvalidSetting(InvalidArgument):
    """The environment variable {variable} is {value!r}; expected {expected}."""


@dataclass(frozen=True)
class Settings:
    """Everything an instance is told from outside. Times are seconds, sizes are bytes."""

    service: str
    instance: str
    version: str = "v1"
    host: str = "127.0.0.1"
    port: int = 9090
    http_port: int = 8080
    metrics_port: int = 0
    database_url: str = ""
    nats_url: str = "nats://127.0.0.1:4222"
    mesh: str = ""
    zone: str = "local"
    weight: int = 1
    targets: Mapping[str, str] = field(default_factory=dict)
    max_concurrent_calls: int = 1000
    retry_budget: float = 0.1
    drain_s: float = 0.5
    grace_s: float = 10.0
    telemetry: str = ""
    otlp_endpoint: str = ""
    otlp_headers: Mapping[str, str] = field(default_factory=dict)
    trace_ratio: float = 1.0
    traces_per_second: float = 10.0
    log_level: str = "INFO"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, service: str, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings of one instance of `service`; InvalidSetting names what cannot be read."""
        read = _Reader(environment)
        return cls(
            service=service,
            instance=read.text("MERCATO_INSTANCE", f"{service}/1"),
            version=read.text("MERCATO_VERSION", "v1"),
            host=read.text("MERCATO_HOST", "127.0.0.1"),
            port=read.port("MERCATO_PORT", 9090),
            http_port=read.port("MERCATO_HTTP_PORT", 8080),
            metrics_port=read.port("MERCATO_METRICS_PORT", 0),
            database_url=read.text("MERCATO_DATABASE_URL", ""),
            nats_url=read.text("MERCATO_NATS_URL", "nats://127.0.0.1:4222"),
            mesh=read.text("MERCATO_MESH", ""),
            zone=read.text("MERCATO_ZONE", "local"),
            weight=read.whole("MERCATO_WEIGHT", 1),
            targets=read.pairs("MERCATO_TARGETS"),
            max_concurrent_calls=read.whole("MERCATO_MAX_CONCURRENT_CALLS", 1000),
            retry_budget=read.number("MERCATO_RETRY_BUDGET", 0.1),
            drain_s=read.number("MERCATO_DRAIN_S", 0.5),
            grace_s=read.number("MERCATO_GRACE_S", 10.0),
            telemetry=read.target("MERCATO_TELEMETRY"),
            otlp_endpoint=read.url("OTEL_EXPORTER_OTLP_ENDPOINT"),
            otlp_headers=read.headers("OTEL_EXPORTER_OTLP_HEADERS"),
            trace_ratio=read.share("MERCATO_TRACE_RATIO", 1.0),
            traces_per_second=read.number("MERCATO_TRACES_PER_SECOND", 10.0),
            log_level=read.choice("MERCATO_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")),
            options=read.prefixed(f"MERCATO_{service.upper()}_"),
        )

    def target(self, service: str) -> str:
        """The gRPC target of another service: as told, else its name in the mesh, or in DNS where there is none."""
        return self.targets.get(service, f"xds:///{service}" if self.mesh else f"dns:///{service}:9090")


class _Reader:
    """Reads typed values out of the environment and says which one is wrong."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, variable: str, default: str) -> str:
        return self._environment.get(variable) or default

    def whole(self, variable: str, default: int) -> int:
        value = self.text(variable, str(default))
        if not value.isascii() or not value.isdigit():
            raise InvalidSetting(variable=variable, value=value, expected="a whole number, zero or more")
        return int(value)

    def port(self, variable: str, default: int) -> int:
        value = self.whole(variable, default)
        if value > 65_535:
            raise InvalidSetting(variable=variable, value=str(value), expected="a port, 0 to 65535")
        return value

    def number(self, variable: str, default: float) -> float:
        value = self.text(variable, str(default))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise InvalidSetting(variable=variable, value=value, expected="a number, zero or more")
        return number

    def share(self, variable: str, default: float) -> float:
        value = self.number(variable, default)
        if value > 1:
            raise InvalidSetting(variable=variable, value=self.text(variable, ""), expected="a number from 0 to 1")
        return value

    def choice(self, variable: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(variable, default)
        if value.upper() not in choices:
            raise InvalidSetting(variable=variable, value=value, expected="one of " + ", ".join(choices))
        return value.upper()

    def pairs(self, variable: str) -> dict[str, str]:
        """`name=target;name=target`."""
        value = self.text(variable, "")
        pairs = [entry.partition("=") for entry in value.split(";") if entry]
        if any(not (name and target) for name, _, target in pairs):
            raise InvalidSetting(variable=variable, value=value, expected="name=target;name=target")
        return {name: target for name, _, target in pairs}

    def target(self, variable: str) -> str:
        """`host:port`, any other target of gRPC with its scheme, or `none`."""
        value = self.text(variable, "none")
        if value == "none":
            return ""
        if not _TARGET.fullmatch(value):
            raise InvalidSetting(variable=variable, value=value, expected="host:port or none")
        return value

    def url(self, variable: str) -> str:
        """`http://host:port`, or `https://host:port`."""
        value = self.text(variable, "")
        if value and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            raise InvalidSetting(variable=variable, value=value, expected="http://host:port or https://host:port")
        return value

    def headers(self, variable: str) -> dict[str, str]:
        """`name=value,name=value`, with values encoded as in URLs: what gRPC sends as metadata."""
        value = self.text(variable, "")
        pairs = [entry.partition("=") for entry in value.split(",") if entry.strip()]
        headers = {name.strip().lower(): unquote(text.strip()) for name, _, text in pairs}
        if any(not equals for _, equals, _ in pairs) or not all(map(_is_header, headers, headers.values())):
            raise InvalidSetting(variable=variable, value=value, expected="name=value,name=value in ASCII")
        return headers

    def prefixed(self, prefix: str) -> dict[str, str]:
        """A service's own options: MERCATO_PAYMENTS_DELAY_S becomes `delay_s`."""
        return {
            variable.removeprefix(prefix).lower(): value
            for variable, value in self._environment.items()
            if variable.startswith(prefix)
        }


def _is_header(name: str, text: str) -> bool:
    return bool(re.fullmatch("[0-9a-z_.-]+", name) and text.isascii() and text.isprintable())
