"""Settings from the environment: every variable, every default, every wrong value by its name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chassis.settings import InvalidSetting, Settings

VARIABLES: dict[str, tuple[str, str, Any]] = {
    "MERCATO_INSTANCE": ("instance", "orders/7", "orders/7"),
    "MERCATO_VERSION": ("version", "v2", "v2"),
    "MERCATO_HOST": ("host", "0.0.0.0", "0.0.0.0"),
    "MERCATO_PORT": ("port", "7001", 7001),
    "MERCATO_HTTP_PORT": ("http_port", "7002", 7002),
    "MERCATO_METRICS_PORT": ("metrics_port", "7003", 7003),
    "MERCATO_DATABASE_URL": ("database_url", "postgresql://x", "postgresql://x"),
    "MERCATO_NATS_URL": ("nats_url", "nats://x", "nats://x"),
    "MERCATO_MESH": ("mesh", "127.0.0.1:7004", "127.0.0.1:7004"),
    "MERCATO_ZONE": ("zone", "west", "west"),
    "MERCATO_WEIGHT": ("weight", "3", 3),
    "MERCATO_TARGETS": ("targets", "a=ipv4:1.2.3.4:5;b=x=y", {"a": "ipv4:1.2.3.4:5", "b": "x=y"}),
    "MERCATO_MAX_CONCURRENT_CALLS": ("max_concurrent_calls", "8", 8),
    "MERCATO_RETRY_BUDGET": ("retry_budget", "0.2", 0.2),
    "MERCATO_DRAIN_S": ("drain_s", "0.25", 0.25),
    "MERCATO_GRACE_S": ("grace_s", "3", 3.0),
    "MERCATO_TELEMETRY": ("telemetry", "127.0.0.1:7005", "127.0.0.1:7005"),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("otlp_endpoint", "https://collector:4317", "https://collector:4317"),
    "OTEL_EXPORTER_OTLP_HEADERS": ("otlp_headers", "Api-Key=a%20b,x=1", {"api-key": "a b", "x": "1"}),
    "MERCATO_TRACE_RATIO": ("trace_ratio", "0.5", 0.5),
    "MERCATO_TRACES_PER_SECOND": ("traces_per_second", "50", 50.0),
    "MERCATO_LOG_LEVEL": ("log_level", "warning", "WARNING"),
    "MERCATO_ORDERS_DELAY_S": ("options", "3", {"delay_s": "3"}),
}


def read(**environment: str) -> Settings:
    return Settings.from_environment("orders", environment)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read() == Settings("orders", "orders/1")
    assert read(MERCATO_PORT="", MERCATO_TARGETS="") == Settings("orders", "orders/1")


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_variable_sets_one_field(variable: str) -> None:
    field, value, expected = VARIABLES[variable]
    assert read(**{variable: value}) == dataclasses.replace(Settings("orders", "orders/1"), **{field: expected})


def test_every_field_has_its_variable() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)} - {"service"}
    assert {field for field, _, _ in VARIABLES.values()} == fields


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MERCATO_PORT", "abc"),
        ("MERCATO_PORT", "-1"),
        ("MERCATO_PORT", "²"),
        ("MERCATO_PORT", "70000"),
        ("MERCATO_MAX_CONCURRENT_CALLS", "1.5"),
        ("MERCATO_DRAIN_S", "soon"),
        ("MERCATO_DRAIN_S", "nan"),
        ("MERCATO_GRACE_S", "inf"),
        ("MERCATO_GRACE_S", "-1"),
        ("MERCATO_TRACE_RATIO", "1.01"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api key=secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=%C3%BC"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%0Ab"),
        ("MERCATO_TELEMETRY", "bad"),
        ("MERCATO_TELEMETRY", "http://collector:4317"),
        ("MERCATO_TELEMETRY", "collector:"),
        ("MERCATO_LOG_LEVEL", "loud"),
        ("MERCATO_TARGETS", "catalog"),
        ("MERCATO_TARGETS", "=ipv4:1.2.3.4"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(variable: str, value: str) -> None:
    with pytest.raises(InvalidSetting) as error:
        read(**{variable: value})
    assert variable in error.value.message
    assert repr(value) in error.value.message
    assert error.value.data["expected"]


def test_a_target_that_is_not_told_is_its_name() -> None:
    settings: Any = read(MERCATO_TARGETS="catalog=ipv4:127.0.0.1:1")
    assert settings.target("catalog") == "ipv4:127.0.0.1:1"
    assert settings.target("payments") == "dns:///payments:9090"


def test_with_a_mesh_a_target_that_is_not_told_is_its_name_there() -> None:
    settings = read(MERCATO_TARGETS="catalog=ipv4:127.0.0.1:1", MERCATO_MESH="127.0.0.1:7004")
    assert settings.target("catalog") == "ipv4:127.0.0.1:1"
    assert settings.target("payments") == "xds:///payments"
