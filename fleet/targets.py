"""Where Prometheus finds the metrics of a fleet: every process there could be, so that scaling changes nothing.

The form is that of https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config.
"""

from __future__ import annotations

from typing import TypedDict

from fleet import ports
from fleet.plan import Plan


class TargetGroup(TypedDict):
    """Some targets of the same labels."""

    targets: list[str]
    labels: dict[str, str]


def of(plan: Plan) -> list[TargetGroup]:
    """Return a target for each possible process, named by the labels `service` and `instance`.

    A process of several services serves the metrics of all of them together, where its first service would.
    """
    return [
        TargetGroup(
            targets=[f"{ports.LOOPBACK}:{plan.slots[services[0]][number].metrics_port}"],
            labels={"service": program, "instance": f"{program}/{number + 1}"},
        )
        for program, services in plan.programs.items()
        for number in range(plan.most(program))
    ]
