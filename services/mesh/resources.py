"""What clients are told, in xDS: from services, instances and policies to resources. Pure: the same in, the same out.

For each service `S` there are a Listener and a RouteConfiguration `S`, a Cluster `S` over all its instances, one
Cluster `S/v` for each version of its split, and a ClusterLoadAssignment for each Cluster. Retries are none of it: they
are the clients' own, under a budget, which xDS cannot state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from envoy.config.cluster.v3.cluster_pb2 import CircuitBreakers, Cluster, LoadBalancingPolicy, OutlierDetection
from envoy.config.core.v3 import core_pb2 as core
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.listener.v3.listener_pb2 import ApiListener, Listener
from envoy.config.route.v3.route_pb2 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.client_side_weighted_round_robin_pb2 import (  # noqa: E501
    ClientSideWeightedRoundRobin,
)
from envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2 import RoundRobin
from envoy.extensions.load_balancing_policies.wrr_locality.v3.wrr_locality_pb2 import WrrLocality
from envoy.extensions.upstreams.http.v3.http_pb2 import HttpProtocolOptions
from envoy.type.v3.type_pb2 import FractionalPercent
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, FloatValue, UInt32Value
from mercato.mesh.v1.mesh_pb2 import Fault, Instance, Policy

from chassis.policy import UNARY_TIMEOUT_S
from chassis.policy import Policy as Method
from services.mesh.domain import steered

Resources = Mapping[str, Mapping[str, Any]]
"""By type and name."""

_TYPES = "type.googleapis.com/"
LISTENER, ROUTES, CLUSTER, ENDPOINTS = (
    _TYPES + kind.DESCRIPTOR.full_name for kind in (Listener, RouteConfiguration, Cluster, ClusterLoadAssignment)
)
FAULT, ROUTER = "envoy.filters.http.fault", "envoy.filters.http.router"
NO_LIMIT = 2**32 - 1
"""Unset would mean 1024 requests to clients."""
ADS = core.ConfigSource(ads=core.AggregatedConfigSource(), resource_api_version=core.V3)
HEALTH = {
    Instance.STATE_SERVING: core.HEALTHY,
    Instance.STATE_DRAINING: core.DRAINING,
    Instance.STATE_UNHEALTHY: core.UNHEALTHY,
}


def build(
    methods_by_service: Mapping[str, Sequence[Method]], instances: Iterable[Instance], policies: Mapping[str, Policy]
) -> Resources:
    """Return all resources: for the services whose methods are known, and for those that have instances."""
    by_service: defaultdict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_service[instance.service].append(instance)
    resources: dict[str, dict[str, Any]] = {CLUSTER: {}, ENDPOINTS: {}, LISTENER: {}, ROUTES: {}}
    for name in sorted({*methods_by_service, *by_service}):
        policy = policies.get(name, Policy())
        for resource in _service(name, methods_by_service.get(name, ()), steered(by_service[name], policy), policy):
            packed = _any(resource)
            resources[packed.type_url][_name(resource)] = packed
    return resources


def _service(
    name: str, methods: Sequence[Method], instances: Collection[Instance], policy: Policy
) -> Iterator[Listener | RouteConfiguration | Cluster | ClusterLoadAssignment]:
    versions = {f"{name}/{share.version}": share.version for share in policy.split}
    yield _listener(name)
    yield RouteConfiguration(
        name=name,
        virtual_hosts=[VirtualHost(name=name, domains=["*"], routes=_routes(name, methods, instances, policy))],
    )
    for cluster in (name, *versions):
        yield _cluster(cluster, policy.max_requests)
        yield _endpoints(
            cluster, [instance for instance in instances if versions.get(cluster, instance.version) == instance.version]
        )


def _listener(name: str) -> Listener:
    manager = HttpConnectionManager(
        stat_prefix=name,
        rds=Rds(config_source=ADS, route_config_name=name),
        http_filters=[
            HttpFilter(name=FAULT, typed_config=_any(HTTPFault())),
            HttpFilter(name=ROUTER, typed_config=_any(Router())),
        ],
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=_any(manager)))


def _routes(name: str, methods: Sequence[Method], instances: Collection[Instance], policy: Policy) -> Iterator[Route]:
    """Yield a rule for each method that is special, one for all others of the service, and one for what is not its own.

    Not its own are the services that every instance serves, as reflection, and those that no proto of ours states.
    """
    timeouts_s = {method.path: method.timeout_s for method in methods if method.timeout_s != UNARY_TIMEOUT_S}
    fault = policy.fault if policy.HasField("fault") else None
    if fault and fault.method:
        timeouts_s.setdefault(fault.method, UNARY_TIMEOUT_S if methods else 0.0)
    matches = [(RouteMatch(path=path), timeout_s) for path, timeout_s in sorted(timeouts_s.items())]
    prefixes = sorted({method.path.rpartition("/")[0] + "/" for method in methods})
    matches += [(RouteMatch(prefix=prefix), UNARY_TIMEOUT_S) for prefix in prefixes]
    matches.append((RouteMatch(prefix=""), 0.0))
    for match, timeout_s in matches:
        route = Route(match=match, route=_action(name, instances, policy, timeout_s))
        if fault and fault.method in ("", match.path):
            route.typed_per_filter_config[FAULT].CopyFrom(_any(_fault(fault)))
        yield route


def _action(name: str, instances: Collection[Instance], policy: Policy, timeout_s: float) -> RouteAction:
    """Return where calls go; a method's time is for callers that state no deadline, one that is stated holds."""
    limit = RouteAction.MaxStreamDuration(grpc_timeout_header_max=_seconds(0))
    if timeout_s:
        limit.max_stream_duration.CopyFrom(_seconds(timeout_s))
    action = RouteAction(timeout=_seconds(0), max_stream_duration=limit)  # unset, Envoy would end streams after 15 s
    if policy.split:
        clusters = [
            WeightedCluster.ClusterWeight(name=f"{name}/{version}", weight=UInt32Value(value=weight))
            for version, weight in _weights(instances, policy).items()
        ]
        action.weighted_clusters.CopyFrom(WeightedCluster(clusters=clusters))
    else:
        action.cluster = name
    return action


def _weights(instances: Iterable[Instance], policy: Policy) -> dict[str, int]:
    """Return the weights of the versions that take calls; where none does, those that are stated."""
    stated = {share.version: share.weight for share in policy.split if share.weight}
    taking = {instance.version for instance in instances if instance.state == Instance.STATE_SERVING}
    return {version: weight for version, weight in stated.items() if version in taking} or stated


def _fault(fault: Fault) -> HTTPFault:
    percentage = FractionalPercent(numerator=round(fault.percent * 10_000), denominator=FractionalPercent.MILLION)
    result = HTTPFault()
    if fault.delay.ToTimedelta():
        result.delay.CopyFrom(FaultDelay(fixed_delay=fault.delay, percentage=percentage))
    if fault.abort_code:
        result.abort.CopyFrom(FaultAbort(grpc_status=fault.abort_code, percentage=percentage))
    return result


def _cluster(name: str, max_requests: int) -> Cluster:
    http2 = HttpProtocolOptions.ExplicitHttpConfig(http2_protocol_options=core.Http2ProtocolOptions())
    limits = CircuitBreakers.Thresholds(max_requests=UInt32Value(value=max_requests or NO_LIMIT))
    by_load = ClientSideWeightedRoundRobin(
        enable_oob_load_report=BoolValue(value=True),
        oob_reporting_period=_seconds(1),
        blackout_period=_seconds(0),
        weight_expiration_period=_seconds(10),
        weight_update_period=_seconds(0.5),
        error_utilization_penalty=FloatValue(value=1),
    )
    return Cluster(
        name=name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=ADS),
        connect_timeout=_seconds(1),
        load_balancing_policy=_policies(_by_locality(by_load), _by_locality(RoundRobin())),
        lb_policy=Cluster.ROUND_ROBIN,
        outlier_detection=_outliers(),
        circuit_breakers=CircuitBreakers(thresholds=[limits]),
        typed_extension_protocol_options={
            HttpProtocolOptions.DESCRIPTOR.full_name: _any(HttpProtocolOptions(explicit_http_config=http2))
        },
    )


def _outliers() -> OutlierDetection:
    """Leave an instance alone that fails most calls. To gRPC clients every status but OK is a failure, to Envoy 5xx."""
    return OutlierDetection(
        interval=_seconds(0.5),
        base_ejection_time=_seconds(2),
        max_ejection_time=_seconds(10),
        max_ejection_percent=UInt32Value(value=50),
        failure_percentage_threshold=UInt32Value(value=60),
        enforcing_failure_percentage=UInt32Value(value=100),
        failure_percentage_minimum_hosts=UInt32Value(value=2),
        failure_percentage_request_volume=UInt32Value(value=5),
        enforcing_success_rate=UInt32Value(value=0),
        consecutive_5xx=UInt32Value(value=5),
    )


def _by_locality(pick: Message) -> WrrLocality:
    return WrrLocality(endpoint_picking_policy=_policies(pick))


def _policies(*policies: Message) -> LoadBalancingPolicy:
    return LoadBalancingPolicy(
        policies=[
            LoadBalancingPolicy.Policy(
                typed_extension_config=core.TypedExtensionConfig(
                    name=policy.DESCRIPTOR.full_name, typed_config=_any(policy)
                )
            )
            for policy in policies
        ]
    )


def _endpoints(cluster: str, instances: Sequence[Instance]) -> ClusterLoadAssignment:
    """Return where the instances of a cluster are.

    Where not one takes calls, those that are merely unhealthy count as well: a call that meets nobody fails as
    UNAVAILABLE either way, but health is only what the mesh could see, and it may have looked from a bad place.
    """
    if not any(instance.state == Instance.STATE_SERVING for instance in instances):
        health = HEALTH | {Instance.STATE_UNHEALTHY: core.HEALTHY}
    else:
        health = HEALTH
    localities: defaultdict[tuple[str, int], list[Instance]] = defaultdict(list)
    for instance in instances:
        localities[instance.zone, instance.weight].append(instance)
    return ClusterLoadAssignment(
        cluster_name=cluster,
        endpoints=[
            _locality(zone, weight, [(instance.address, health[instance.state]) for instance in of_locality])
            for (zone, weight), of_locality in sorted(localities.items())
        ],
    )


def _locality(
    zone: str, weight: int, endpoints: Sequence[tuple[str, core.HealthStatus.ValueType]]
) -> LocalityLbEndpoints:
    """Return a place for instances of one weight: round robin ignores that of each, so the place has their sum."""
    result = LocalityLbEndpoints(
        locality=core.Locality(zone=zone, sub_zone=str(weight)),
        lb_endpoints=[
            LbEndpoint(endpoint=Endpoint(address=_address(address)), health_status=health)
            for address, health in endpoints
        ],
    )
    if taking := sum(health == core.HEALTHY for _, health in endpoints):
        result.load_balancing_weight.value = weight * taking
    return result


def _address(address: str) -> core.Address:
    host, _, port = address.rpartition(":")
    return core.Address(socket_address=core.SocketAddress(address=host.strip("[]"), port_value=int(port)))


def _seconds(seconds: float) -> Duration:
    result = Duration()
    result.FromMilliseconds(round(seconds * 1000))
    return result


def _name(resource: Listener | RouteConfiguration | Cluster | ClusterLoadAssignment) -> str:
    return resource.cluster_name if isinstance(resource, ClusterLoadAssignment) else resource.name


def _any(message: Message) -> Any:
    return Any(type_url=_TYPES + message.DESCRIPTOR.full_name, value=message.SerializeToString(deterministic=True))
