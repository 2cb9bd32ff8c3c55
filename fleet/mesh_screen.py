"""How the mesh looks on a terminal; without one the same text has no colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import grpc
from mercato.mesh.v1.mesh_pb2 import CircuitBreaker, ClientConfig, Fault, Instance, Mesh, Policy, Vitals
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet.screen import grid

_BAR_WIDTH = 10
_BAR_FROM = 100
"""From this width on there is room for bars."""
_STATES = {
    Instance.STATE_SERVING: ("SERVING", "green"),
    Instance.STATE_DRAINING: ("DRAINING", "yellow"),
    Instance.STATE_UNHEALTHY: ("UNHEALTHY", "red"),
}
_BREAKERS = {CircuitBreaker.STATE_OPEN: ("open", "red"), CircuitBreaker.STATE_HALF_OPEN: ("half-open", "yellow")}
_ANSWERS = {
    ClientConfig.STATE_NACKED: ("NACK", "red"),
    ClientConfig.STATE_SENT: ("sent", "yellow"),
    ClientConfig.STATE_ACKED: ("ACK", "green"),
}
_TYPES = ("Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment")
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


def view(mesh: Mesh, width: int, note: str = "") -> Group:
    """All of it on so many columns: instances, circuit breakers, policies, clients; below them a note."""
    parts: list[RenderableType] = [_instances(mesh, width)]
    if breakers := list(_breakers(mesh)):
        parts += [Text("\nCircuit breakers that are not closed", style="bold"), *breakers]
    policies = [(service.service, words(service.policy)) for service in mesh.services if words(service.policy)]
    if policies:
        parts += [Text("\nPolicies", style="bold")]
        parts += [Text.assemble((f"{service:14} ", "cyan"), said) for service, said in policies]
    if mesh.clients:
        parts += [Text("\nClients, and what each was last sent", style="bold"), _clients(mesh), *_refusals(mesh)]
    return Group(*parts, *([Text(f"\n{note}", style="yellow")] if note else []))


def words(policy: Policy) -> str:
    """A policy as a person says it; empty where nothing is set."""
    return "; ".join(_words(policy))


def _words(policy: Policy) -> Iterator[str]:
    total = sum(share.weight for share in policy.split)
    if policy.split:
        shares = (f"{share.version} {100 * share.weight / total if total else 0:.4g} %" for share in policy.split)
        yield f"calls go to {', '.join(shares)}"
    if policy.HasField("fault"):
        yield _fault(policy.fault)
    if policy.max_requests:
        yield f"at most {policy.max_requests} calls of each client under way"
    if policy.drained_instances:
        yield f"no new calls to {', '.join(policy.drained_instances)}"


def _fault(fault: Fault) -> str:
    method = f" of {fault.method.rpartition('/')[2]}" if fault.method else ""
    delay_s = fault.delay.ToTimedelta().total_seconds()
    waits = f"wait {delay_s * 1000:.4g} ms" if delay_s else ""
    refused = f"are refused with {_CODES.get(fault.abort_code, fault.abort_code)}" if fault.abort_code else ""
    return f"{fault.percent:.4g} % of calls{method} {' and '.join(filter(None, (waits, refused)))}"


def _instances(mesh: Mesh, width: int) -> Table:
    """One row an instance; where it is narrow, its state and its retries are told in lines."""
    zones = {instance.zone for service in mesh.services for instance in service.instances}
    named = ("instance", "version", *(("zone",) if len(zones) > 1 else ()))
    rows = grid()
    for title in named:
        rows.add_column(title, no_wrap=True)
    rows.add_column("state")
    for title in ("calls/s", "share", "in flight", "failed", "shed", "retries"):
        rows.add_column(title, justify="right", no_wrap=title != "retries")
    for service in mesh.services:
        if not service.instances:
            rows.add_row(Text(service.service), Text("none", style="dim"))
        for instance in service.instances:
            rows.add_row(
                *map(Text, (instance.name, instance.version, instance.zone)[: len(named)]),
                _state(instance),
                f"{instance.calls_per_second:.1f}",
                _share(instance.traffic_share, width),
                *_load(instance.vitals),
            )
    return rows


def _state(instance: Instance) -> Text:
    name, style = _STATES.get(instance.state, ("unknown", "red"))
    return Text.assemble((name, style), (f" {instance.reason}" if instance.reason else "", "dim"))


def _share(share: float, width: int) -> Text:
    full = round(min(max(share, 0.0), 1.0) * _BAR_WIDTH)
    bar = (("█" * full, "cyan"), ("░" * (_BAR_WIDTH - full), "dim"), " ") if width >= _BAR_FROM else ()
    return Text.assemble(*bar, f"{share:4.0%}")


def _load(vitals: Vitals) -> tuple[str, ...]:
    in_flight = f"{vitals.calls_in_flight}" + (f" of {vitals.concurrency_limit}" if vitals.concurrency_limit else "")
    retries = f"{vitals.retries}" + (f" (+{vitals.retries_withheld} withheld)" if vitals.retries_withheld else "")
    return in_flight, str(vitals.failed_calls), str(vitals.shed_calls), retries


def _breakers(mesh: Mesh) -> Iterator[Text]:
    for service in mesh.services:
        for instance in service.instances:
            for breaker in instance.vitals.breakers:
                method = breaker.method.rpartition("/")[2]
                state, style = _BREAKERS.get(breaker.state, ("unknown", "red"))
                yield Text.assemble((f"{instance.name:15} ", "cyan"), f"{breaker.callee} {method} ", (state, style))


def _clients(mesh: Mesh) -> Table:
    """One row a client: it has a stream for each service that it calls."""
    rows = grid()
    rows.add_column("client", no_wrap=True)
    for title in _TYPES:
        rows.add_column(title, overflow="fold")
    configs = defaultdict(list)
    for client in mesh.clients:
        for config in client.configs:
            configs[client.name, config.type].append(config)
    for name in dict.fromkeys(client.name for client in mesh.clients):
        rows.add_row(Text(name), *(_answer(configs[name, kind]) for kind in _TYPES))
    return rows


def _answer(configs: Sequence[ClientConfig]) -> Text:
    """What a client made of all resources of a type that it asked for; the worst of it first."""
    text = Text()
    for state, (name, style) in _ANSWERS.items():
        names = sorted({each for config in configs if config.state == state for each in config.names})
        if names:
            text.append(f"{name} ", style).append(f"{', '.join(names)}  ", "dim")
    return text


def _refusals(mesh: Mesh) -> Iterator[Text]:
    for client in mesh.clients:
        for config in client.configs:
            if config.state == ClientConfig.STATE_NACKED:
                yield Text(f"{client.name} refuses {config.type} {config.version}: {config.error}", style="red")
