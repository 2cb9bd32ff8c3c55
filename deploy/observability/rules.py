"""The rules of Prometheus that follow from the objectives: what is recorded, and when somebody is told.

The method is that of Google's Site Reliability Workbook, chapter 5, "Alerting on SLOs": multiwindow, multi-burn-rate
alerts. A burn rate of 1 spends the error budget of 30 days in just 30 days.

What is measured is what callers see (`rpc.client.call.duration`, the gateway being the caller of what comes from
outside): who is dead, cut off or too full to take a call does not count it, so that only its callers know. Left out is
who only looks on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chassis.status import FAULTS
from chassis.telemetry.rpc import CONSOLE
from deploy.observability.objectives import Promise
from deploy.observability.yaml import Value

FAULTY = "|".join(sorted(FAULTS))
"""The codes of calls that failed by a fault of the server, as Prometheus matches them."""

CALLERS = f'mercato_caller!="{CONSOLE}"'

UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}

SHORT, EVERY = ("5m", "30m", "1h", "2h", "6h"), "15s"
LONG, LONG_EVERY = ("1d", "3d", "30d"), "2m"
"""The windows that calls are counted over, and how often that is done."""


@dataclass(frozen=True)
class Burn:
    """Who is told when the budget is spent so many times as fast as allowed, over both windows."""

    severity: str
    factor: float
    long: str
    short: str
    """Over which it ends soon after the fault does."""


BURNS = (
    Burn("page", 14.4, "1h", "5m"),  # 2 % of the budget in an hour
    Burn("page", 6, "6h", "30m"),  # 5 % in six
    Burn("ticket", 3, "1d", "2h"),  # 10 % in a day
    Burn("ticket", 1, "3d", "6h"),  # 10 % in three
)

BAD = {"availability": "faults", "latency": "slow"}
"""What counts against each kind of objective."""


class Scale:
    """Makes every time in the rules shorter by the same factor, so that a test sees in seconds what takes hours."""

    def __init__(self, factor: float = 1.0) -> None:
        self._factor = factor

    def __call__(self, time: str) -> str:
        """Return `5m`, scaled, as Prometheus writes it; never less than a second."""
        time_s = max(int(time[:-1]) * UNITS_S[time[-1]] * self._factor, 1)
        unit = next(unit for unit, unit_s in UNITS_S.items() if time_s % unit_s == 0 or unit == "s")
        return f"{round(time_s / UNITS_S[unit])}{unit}"


def objectives(promises: Iterable[Promise]) -> list[Value]:
    """Return rules that record every method's error budget: the part of its calls that may be bad."""
    rules: list[Value] = []
    for promise in promises:
        labels = {"service": promise.service, "rpc_method": promise.method}
        target = promise.objective
        rules.append(_budget("availability", target.availability, labels))
        if target.latency_s is not None:
            rules.append(_budget("latency", target.latency_share, labels | {"le": str(target.latency_s)}))
    return rules


def _budget(kind: str, target: float, labels: dict[str, str]) -> Value:
    return {"record": f"mercato:objective:{kind}_budget", "labels": labels, "expr": f"vector({round(1 - target, 9)})"}


def rates(window: str, promises: Iterable[Promise], scale: Scale) -> list[Value]:
    """Return rules that record, by method and over a window, how many calls there were a second, and bad ones."""
    over, calls = scale(window), f"rpc_method:calls:rate{window}"
    bounds = sorted({promise.objective.latency_s for promise in promises if promise.objective.latency_s is not None})
    counts = f"rpc_client_call_duration_seconds_count{{{CALLERS}}}"
    faults = f'rpc_client_call_duration_seconds_count{{{CALLERS}, rpc_response_status_code=~"{FAULTY}"}}'
    fast = f'rpc_client_call_duration_seconds_bucket{{{CALLERS}, le=~"{"|".join(map(str, bounds))}"}}'
    return [
        {"record": calls, "expr": f"sum by (rpc_method) (rate({counts}[{over}]))"},
        {
            "record": f"rpc_method:faults:rate{window}",
            "expr": f"sum by (rpc_method) (rate({faults}[{over}]))\nor 0 * {calls}",
        },
        {
            "record": f"rpc_method:slow:rate{window}",
            "expr": f"{calls} - sum by (rpc_method) (\n"
            f"  rate({fast}[{over}])\n"
            "  and on (rpc_method, le) mercato:objective:latency_budget\n"
            ")",
        },
    ]


def averages(window: str, scale: Scale) -> list[Value]:
    """Return rules that record the same over a window of days, from what was recorded over minutes meanwhile.

    To read all that every instance counted in 30 days would take too long.
    """
    return [
        {
            "record": f"rpc_method:{what}:rate{window}",
            "expr": f"avg_over_time(rpc_method:{what}:rate{SHORT[0]}[{scale(window)}])",
        }
        for what in ("calls", *BAD.values())
    ]


def ratios(window: str) -> list[Value]:
    """Return rules that record which part of the calls over a window was bad."""
    return [
        {
            "record": f"rpc_method:{bad}:ratio_rate{window}",
            "expr": f"rpc_method:{bad}:rate{window} / rpc_method:calls:rate{window}",
        }
        for bad in BAD.values()
    ]


def burn_alerts(kind: str, scale: Scale) -> list[Value]:
    """Return the alerts about one kind of objective."""
    return [_burn_alert(kind, burn, scale) for burn in BURNS]


def _burn_alert(kind: str, burn: Burn, scale: Scale) -> Value:
    bad = BAD[kind]
    budget = f"on (rpc_method) group_left (service) ({burn.factor} * mercato:objective:{kind}_budget)"
    return {
        "alert": "ErrorBudgetBurn",
        "expr": f"rpc_method:{bad}:ratio_rate{burn.long} > {budget}\n"
        f"and\nrpc_method:{bad}:ratio_rate{burn.short} > {budget}",
        "labels": {"severity": burn.severity, "objective": kind, "window": burn.long},
        "annotations": {
            "summary": f"{{{{ $labels.rpc_method }}}}: {{{{ $value | humanizePercentage }}}} of calls {_IS[kind]}",
            "description": f"Over {scale(burn.long)} and {scale(burn.short)} its error budget of {kind} was spent at "
            f"least {burn.factor} times as fast as its objective allows. See the dashboard 'Objectives'.",
        },
    }


_IS = {"availability": "fail by a fault of the service", "latency": "are slower than promised"}
