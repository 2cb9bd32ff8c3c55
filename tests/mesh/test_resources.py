"""What becomes of instances and policies in xDS."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import core_pb2 as core
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import Route, RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1.mesh_pb2 import Fault, Instance, Policy, VersionWeight

from services.mesh.contract import methods_by_service
from services.mesh.resources import CLUSTER, ENDPOINTS, FAULT, LISTENER, NO_LIMIT, ROUTES, build

SERVING, DRAINING, UNHEALTHY = Instance.STATE_SERVING, Instance.STATE_DRAINING, Instance.STATE_UNHEALTHY
METHODS = methods_by_service()
WATCH, PLACE = "/mercato.orders.v1.OrderService/WatchOrder", "/mercato.orders.v1.OrderService/PlaceOrder"


def instance(number: int, **fields: Any) -> Instance:
    return Instance(
        **{
            "name": f"orders/{number}",
            "service": "orders",
            "address": f"127.0.0.1:{number}",
            "version": "v1",
            "weight": 1,
            "state": SERVING,
            **fields,
        }
    )


def read(kind: Any, type_url: str, name: str, instances: list[Instance], **policy: Any) -> Any:
    resources = build(METHODS, instances, {"orders": Policy(**policy)} if policy else {})
    return kind.FromString(resources[type_url][name].value)


def endpoints(instances: list[Instance], cluster: str = "orders", **policy: Any) -> dict[str, dict[int, str]]:
    """Return `zone/weight of an instance = weight of the place` with the health of its instances by port."""
    assignment = read(ClusterLoadAssignment, ENDPOINTS, cluster, instances, **policy)
    return {
        f"{place.locality.zone}/{place.locality.sub_zone}={place.load_balancing_weight.value}": {
            each.endpoint.address.socket_address.port_value: core.HealthStatus.Name(each.health_status)
            for each in place.lb_endpoints
        }
        for place in assignment.endpoints
    }


def routes(instances: list[Instance], **policy: Any) -> dict[str, Route]:
    [host] = read(RouteConfiguration, ROUTES, "orders", instances, **policy).virtual_hosts
    assert host.domains == ["*"]
    return {route.match.path or route.match.prefix: route for route in host.routes}


def split(instances: list[Instance], **weights: int) -> dict[str, int]:
    shares = [VersionWeight(version=version, weight=weight) for version, weight in weights.items()]
    clusters = routes(instances, split=shares)[""].route.weighted_clusters.clusters
    return {cluster.name: cluster.weight.value for cluster in clusters}


def test_every_service_has_all_four_whether_it_has_instances_or_not() -> None:
    resources = build(METHODS, [], {})
    assert set(resources[LISTENER]) == set(METHODS)
    for type_url in (ROUTES, CLUSTER, ENDPOINTS):
        assert set(resources[type_url]) == set(METHODS)
    assert "orders" in METHODS
    assert "operations" not in METHODS
    assert endpoints([]) == {}


def test_a_service_that_no_proto_states_is_there_when_it_has_an_instance() -> None:
    resources = build(METHODS, [instance(1, service="gateway", name="gateway/1")], {})
    assert "gateway" in resources[LISTENER]


def test_the_same_in_the_same_out_in_whatever_order() -> None:
    instances = [instance(1), instance(2, zone="b"), instance(3, weight=2)]
    assert build(METHODS, instances, {}) == build(METHODS, instances[::-1], {})


def test_instances_of_one_zone_and_weight_share_a_place_that_weighs_as_much_as_they_do_together() -> None:
    instances = [
        instance(1, zone="a"), instance(2, zone="a"), instance(3, zone="a", weight=5), instance(4, zone="b"),
    ]  # fmt: skip
    assert endpoints(instances) == {
        "a/1=2": {1: "HEALTHY", 2: "HEALTHY"},
        "a/5=5": {3: "HEALTHY"},
        "b/1=1": {4: "HEALTHY"},
    }


def test_who_takes_no_calls_adds_no_weight() -> None:
    instances = [instance(1), instance(2, state=DRAINING), instance(3, state=UNHEALTHY), instance(4)]
    assert endpoints(instances, drained_instances=["orders/4"]) == {
        "/1=1": {1: "HEALTHY", 2: "DRAINING", 3: "UNHEALTHY", 4: "DRAINING"}
    }


def test_where_nobody_takes_calls_the_unhealthy_do_and_the_draining_do_not() -> None:
    instances = [instance(1, state=UNHEALTHY), instance(2, state=DRAINING)]
    assert endpoints(instances) == {"/1=1": {1: "HEALTHY", 2: "DRAINING"}}


def test_an_address_may_be_of_ip_version_6() -> None:
    assignment = read(ClusterLoadAssignment, ENDPOINTS, "orders", [instance(1, address="[::1]:9090")])
    address = assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("::1", 9090)


def test_a_split_has_a_cluster_for_each_version() -> None:
    instances = [instance(1, version="v1"), instance(2, version="v2")]
    shares = [VersionWeight(version="v1", weight=9), VersionWeight(version="v2", weight=1)]
    assert split(instances, v1=9, v2=1) == {"orders/v1": 9, "orders/v2": 1}
    assert endpoints(instances, "orders/v2", split=shares) == {"/1=1": {2: "HEALTHY"}}
    assert endpoints(instances, "orders", split=shares) == {"/1=2": {1: "HEALTHY", 2: "HEALTHY"}}


@pytest.mark.parametrize(
    ("states", "effective"),
    [
        ({"v1": SERVING, "v2": SERVING}, {"orders/v1": 9, "orders/v2": 1}),
        ({"v1": DRAINING, "v2": SERVING}, {"orders/v2": 1}),
        ({"v1": SERVING, "v2": UNHEALTHY}, {"orders/v1": 9}),
        ({"v1": SERVING}, {"orders/v1": 9}),
        ({"v1": UNHEALTHY, "v2": UNHEALTHY}, {"orders/v1": 9, "orders/v2": 1}),
    ],
)
def test_a_version_that_takes_no_calls_leaves_its_share_to_the_others(
    states: dict[str, Instance.State.ValueType], effective: dict[str, int]
) -> None:
    instances = [instance(n, version=version, state=state) for n, (version, state) in enumerate(states.items())]
    assert split(instances, v1=9, v2=1, v3=0) == effective


def test_who_states_no_deadline_has_the_time_that_the_protos_give() -> None:
    limits = {match: route.route.max_stream_duration for match, route in routes([]).items()}
    unstated = {match: limit.max_stream_duration.seconds for match, limit in limits.items()}
    assert unstated == {WATCH: 3600, "/mercato.orders.v1.OrderService/": 2, "": 0}
    assert all(limit.HasField("grpc_timeout_header_max") for limit in limits.values())
    assert not any(limit.grpc_timeout_header_max.seconds for limit in limits.values()), "one that is stated holds"
    assert list(limits)[-1] == "", "the first rule that matches counts"
    assert all(route.route.HasField("timeout") and not route.route.timeout.seconds for route in routes([]).values())


def test_a_fault_of_all_calls_is_in_every_rule() -> None:
    fault = Fault(percent=12.5, delay=Duration(seconds=1), abort_code=14)
    for route in routes([], fault=fault).values():
        injected = HTTPFault.FromString(route.typed_per_filter_config[FAULT].value)
        assert injected.delay.fixed_delay.seconds == 1
        assert injected.abort.grpc_status == 14
        assert injected.abort.percentage.numerator == injected.delay.percentage.numerator == 125_000


def test_a_fault_of_one_method_is_in_a_rule_of_its_own() -> None:
    rules = routes([], fault=Fault(percent=100, abort_code=14, method=PLACE))
    assert [match for match, route in rules.items() if FAULT in route.typed_per_filter_config] == [PLACE]
    assert rules[PLACE].route.max_stream_duration.max_stream_duration.seconds == 2
    assert not HTTPFault.FromString(rules[PLACE].typed_per_filter_config[FAULT].value).HasField("delay")


@pytest.mark.parametrize(("stated", "told"), [(7, 7), (0, NO_LIMIT)])
def test_a_client_may_have_so_many_calls_under_way(stated: int, told: int) -> None:
    cluster = read(Cluster, CLUSTER, "orders", [], max_requests=stated)
    assert cluster.circuit_breakers.thresholds[0].max_requests.value == told
