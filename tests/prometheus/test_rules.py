"""The rules under Prometheus' own unit tests: what fires when, and, as important, what does not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.prometheus.debian import HERE, check

RULES = sorted((HERE / "prometheus" / "rules").glob("*.yml"))
PLACE_ORDER = "mercato.orders.v1.OrderService/PlaceOrder"
CAPTURE = "mercato.payments.v1.PaymentService/CapturePayment"
MINUTES = 60
ALL = [("page", "1h"), ("page", "6h"), ("ticket", "1d"), ("ticket", "3d")]
"""The alerts about an objective, from the fastest burn to the slowest."""

Series = dict[str, str]
Labels = dict[str, str]


def expect(folder: Path, series: Series, alerts: dict[str, list[Labels]]) -> None:
    """Hold what fires, given how metrics went minute by minute, against the only alerts that may, by the time."""
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": at, "exp_samples": [_sample(each) for each in firing]}
            for at, firing in alerts.items()
        ],
    }
    path = folder / "test.json"  # which is YAML too
    path.write_text(json.dumps({"rule_files": [str(rule) for rule in RULES], "tests": [test]}))
    check("promtool", "test", "rules", path)


def _sample(alert: Labels) -> dict[str, Any]:
    return {"labels": _series("ALERTS", alert | {"alertstate": "firing"}), "value": 1}


def _series(name: str, labels: Labels) -> str:
    return f"{name}{{{', '.join(f'{label}={json.dumps(value)}' for label, value in labels.items())}}}"


def calls(method: str, *, ok: str, code: str = "", failed: str = "", caller: str = "gateway") -> Series:
    """How many calls of a method ended how, as their caller saw it."""
    counted = {"OK": ok} | ({code: failed} if code else {})
    of = {"mercato_caller": caller, "rpc_method": method}
    return {
        _series("rpc_client_call_duration_seconds_count", of | {"rpc_response_status_code": each}): n
        for each, n in counted.items()
    }


def within(method: str, count: str, **bounds: str) -> Series:
    """How many calls of a method, all of them OK, took how long."""
    ended = {"rpc_method": method, "rpc_response_status_code": "OK"}
    buckets = {
        _series(
            "rpc_client_call_duration_seconds_bucket", ended | {"le": bound.removeprefix("s_").replace("_", ".")}
        ): n
        for bound, n in bounds.items()
    }
    return calls(method, ok=count) | buckets


def burns(kind: str, method: str, alerts: list[tuple[str, str]]) -> list[Labels]:
    service = method.split(".")[1]
    return [
        {
            "alertname": "ErrorBudgetBurn", "objective": kind, "severity": severity, "window": window,
            "service": service, "rpc_method": method,
        }
        for severity, window in alerts
    ]  # fmt: skip


def test_prometheus_and_alertmanager_take_the_committed_files() -> None:
    check("promtool", "check", "config", HERE / "prometheus" / "prometheus.yml")
    check("promtool", "check", "rules", *RULES)
    check("amtool", "check-config", HERE / "alertmanager" / "alertmanager.yml")


@pytest.mark.parametrize(
    ("failed", "alerts"),
    [(15, ALL), (10, ALL[1:]), (4, ALL[2:]), (2, ALL[3:]), (1, []), (0, [])],
    ids=lambda value: f"{value / 10}%" if isinstance(value, int) else "",
)
def test_the_faster_a_budget_of_faults_is_spent_the_more_is_said(
    tmp_path: Path, failed: int, alerts: list[tuple[str, str]]
) -> None:
    """PlaceOrder may fail in 0.1 % of its calls: 14.4 times that is told by the hour, just that by no one."""
    counts = calls(PLACE_ORDER, ok=f"0+{1000 - failed}x{MINUTES}", code="UNAVAILABLE", failed=f"0+{failed}x{MINUTES}")
    expect(tmp_path, counts, {f"{MINUTES}m": burns("availability", PLACE_ORDER, alerts)})


@pytest.mark.parametrize(
    ("slow", "alerts"),
    [(150, ALL), (100, ALL[1:]), (40, ALL[2:]), (15, ALL[3:]), (9, [])],
    ids=lambda value: f"{value / 10}%" if isinstance(value, int) else "",
)
def test_the_faster_a_budget_of_slow_calls_is_spent_the_more_is_said(
    tmp_path: Path, slow: int, alerts: list[tuple[str, str]]
) -> None:
    counts = within(PLACE_ORDER, f"0+1000x{MINUTES}", s_0_5=f"0+{1000 - slow}x{MINUTES}", s_1_0=f"0+1000x{MINUTES}")
    expect(tmp_path, counts, {f"{MINUTES}m": burns("latency", PLACE_ORDER, alerts)})


def test_what_is_slow_is_as_each_method_promises(tmp_path: Path) -> None:
    """Orders are to be placed within half a second; a card may take a whole one."""
    bounds = {"s_0_5": "0x60", "s_1_0": "0+100x60"}
    counts = within(PLACE_ORDER, "0+100x60", **bounds) | within(CAPTURE, "0+100x60", **bounds)
    expect(tmp_path, counts, {"1h": burns("latency", PLACE_ORDER, ALL)})


def test_who_only_looks_on_spends_nothing(tmp_path: Path) -> None:
    expect(tmp_path, calls(PLACE_ORDER, ok="0x60", code="UNAVAILABLE", failed="0+10x60", caller="console"), {"1h": []})


@pytest.mark.parametrize("code", ["FAILED_PRECONDITION", "NOT_FOUND", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_refusals_spend_nothing(tmp_path: Path, code: str) -> None:
    expect(tmp_path, calls(PLACE_ORDER, ok="0+1x60", code=code, failed="0+100x60"), {"1h": []})


@pytest.mark.parametrize(
    "code", ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]
)
def test_faults_spend_the_budget_whatever_their_code(tmp_path: Path, code: str) -> None:
    counts = calls(PLACE_ORDER, ok="0+1x60", code=code, failed="0+100x60")
    expect(tmp_path, counts, {"1h": burns("availability", PLACE_ORDER, ALL)})


def test_nobody_is_called_any_more_soon_after_a_fault_is_over_though_a_ticket_stays(tmp_path: Path) -> None:
    counts = calls(PLACE_ORDER, ok="0x60 0+100x120", code="UNAVAILABLE", failed="0+100x60 6000x120")
    firing = {"1h": ALL, "1h6m": ALL[1:], "1h31m": ALL[2:]}
    expect(tmp_path, counts, {at: burns("availability", PLACE_ORDER, alerts) for at, alerts in firing.items()})


def test_a_moment_of_faults_calls_nobody(tmp_path: Path) -> None:
    """A minute with 5 % of faults is over before a hundredth of the budget is."""
    counts = calls(PLACE_ORDER, ok="0+1000x360 360950+1000x60", code="UNAVAILABLE", failed="0x360 50x60")
    expect(tmp_path, counts, {"6h2m": []})


def test_faults_of_a_quiet_hour_weigh_no_more_than_there_were(tmp_path: Path) -> None:
    counts = calls(PLACE_ORDER, ok="0x60 0+4000x60", code="UNAVAILABLE", failed="0+1x60 60x60")
    expect(tmp_path, counts, {"1h": burns("availability", PLACE_ORDER, ALL), "2h1m": []})


def test_no_calls_are_no_bad_calls(tmp_path: Path) -> None:
    counts = calls(PLACE_ORDER, ok="1000x60", code="UNAVAILABLE", failed="1000x60")
    expect(tmp_path, counts, {"1h": []})


class Case(NamedTuple):
    """An alert, what makes it fire, until when it does not, and from when on it does."""

    series: Series
    quiet_at: str
    at: str
    labels: Labels


OF_ORDERS = {"service": "orders", "instance": "orders/1"}
SHED = _series("mercato_server_calls_shed_total", OF_ORDERS)
STUCK = {"mercato_saga_kind": "Checkout", "mercato_saga_status": "stuck"}
BREAKER = {"mercato_callee": "payments", "rpc_method": CAPTURE}
DROPPED = {"mercato_signal": "spans", "mercato_reason": "full"}
USED, IDLE = {"db_client_connection_state": "used"}, {"db_client_connection_state": "idle"}


def up(instance: str) -> str:
    return _series("up", {"job": "mercato", "service": "orders", "instance": instance})


CASES = {
    "ServiceDown": Case(
        {up("orders/1"): "1x4 0x20", up("orders/2"): "0x24"}, "5m", "6m", {"severity": "page", "service": "orders"}
    ),
    "InstanceDown": Case(
        {up("orders/1"): "1x30", up("orders/2"): "1x4 0x26", up("orders/3"): "0x30"}, "6m", "7m",
        {"severity": "ticket", "service": "orders", "instance": "orders/2", "job": "mercato"},
    ),
    "OutboxLag": Case(
        {_series("mercato_outbox_lag_seconds", OF_ORDERS): "0 29 31 60 90 120"}, "2m", "3m",
        {"severity": "page", "service": "orders"},
    ),
    "ConsumerLag": Case(
        {_series("mercato_consumer_lag_seconds", OF_ORDERS | {"messaging_consumer_group_name": "orders"}): "0 61x5"},
        "2m", "3m", {"severity": "ticket", "service": "orders", "messaging_consumer_group_name": "orders"},
    ),
    "DeadLetters": Case(
        {_series("mercato_dead_letters", OF_ORDERS): "0 0 1 1"}, "1m", "2m", {"severity": "ticket", "service": "orders"}
    ),
    "SagasStuck": Case(
        {_series("mercato_saga_live", OF_ORDERS | STUCK): "0 2x5"}, "1m", "2m",
        {"severity": "page", "service": "orders", "mercato_saga_kind": "Checkout"},
    ),
    "BreakerOpen": Case(
        {_series("mercato_client_breaker_state", OF_ORDERS | BREAKER): "0 2 1 2 2"}, "1m", "2m",
        {"severity": "ticket", "service": "orders", **BREAKER},
    ),
    "CallsShed": Case({SHED: "0x3 0+10x20"}, "8m", "10m", {"severity": "ticket", "service": "orders"}),
    "RetriesWithheld": Case(
        {_series("mercato_client_retries_withheld_total", OF_ORDERS | {"mercato_callee": "payments"}): "0x3 0+10x20"},
        "8m", "10m", {"severity": "ticket", "service": "orders", "mercato_callee": "payments"},
    ),
    "ConnectionsUsedUp": Case(
        {
            _series("db_client_connection_count", OF_ORDERS | USED): "1 9x10",
            _series("db_client_connection_count", OF_ORDERS | IDLE): "9 1x10",
            _series("db_client_connection_max", OF_ORDERS): "10x11",
        },
        "5m", "6m", {"severity": "ticket", **OF_ORDERS},
    ),
    "LoopDelay": Case(
        {_series("mercato_loop_delay_seconds", OF_ORDERS): "0 0.3x10"}, "5m", "6m", {"severity": "ticket", **OF_ORDERS}
    ),
    "TelemetryDropped": Case(
        {_series("mercato_telemetry_dropped_total", OF_ORDERS | DROPPED): "0 0 0 5 5 5"}, "2m", "3m",
        {"severity": "ticket", "service": "orders", **DROPPED},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operators_are_told_when_it_lasts_and_not_before(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    expect(tmp_path, case.series, {case.quiet_at: [], case.at: [{"alertname": name} | case.labels]})


def test_an_instance_that_was_scaled_in_is_forgotten(tmp_path: Path) -> None:
    expect(tmp_path, {up("orders/1"): "1x30", up("orders/2"): "1x4 0x26"}, {"20m": []})


def test_every_alert_has_its_test() -> None:
    named = {name for rule in RULES for name in re.findall(r"alert: (\w+)", rule.read_text())}
    assert named == {*CASES, "ErrorBudgetBurn"}
