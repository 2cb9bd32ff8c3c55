"""What runs where, and what each instance is told."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from fleet import plan as plans
from fleet import ports
from fleet.errors import FleetError
from fleet.plan import Plan

EXTERNAL = {
    "MERCATO_POSTGRES_URL": "postgresql://root:pw@db.example:5433/postgres?ssl=on",
    "MERCATO_NATS_URL": "nats://n:1",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("orders", "gateway"):
        (tmp_path / "services" / name).mkdir(parents=True)
        (tmp_path / "services" / name / "__main__.py").touch()
    (tmp_path / "services" / "orders" / "deeper").mkdir()
    return tmp_path


def make(root: Path, environment: dict[str, str] | None = None, **asked: Any) -> Plan:
    return plans.make(root, root / ".mercato", environment or {}, **asked)


def test_services_are_found_by_folder_and_no_port_is_given_twice(root: Path) -> None:
    plan = make(root)
    assert plan.services == ("gateway", "orders")
    slots = [slot for of_service in plan.slots.values() for slot in of_service]
    given = [port for slot in slots for port in (slot.port, slot.metrics_port, slot.http_port)]
    assert len({*given, plan.postgres_port, plan.nats_port}) == 2 * plans.SLOTS * 3 + 2


def test_a_fleet_has_the_ports_again_that_it_had_before_while_they_are_free(root: Path) -> None:
    before = make(root)
    before.save()
    assert make(root) == before
    assert make(root, EXTERNAL).slots == before.slots
    with socket.create_server(("127.0.0.1", before.slots["orders"][2].metrics_port)):
        assert make(root).first_port != before.first_port


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"first_port": "one"}'])
def test_a_plan_that_nobody_can_read_any_more_is_no_obstacle(root: Path, written: str) -> None:
    home = make(root).home
    (home / "fleet.json").write_text(written)
    assert make(root).first_port


def test_an_instance_is_told_all_it_needs(root: Path) -> None:
    plan = make(root)
    told = plan.environment("orders/2")
    assert told["MERCATO_INSTANCE"] == "orders/2"
    assert told["MERCATO_PORT"] == str(plan.slots["orders"][1].port)
    assert told["MERCATO_DATABASE_URL"].startswith("postgresql://mercato_orders:")
    assert told["MERCATO_DATABASE_URL"].endswith(f"@127.0.0.1:{plan.postgres_port}/mercato_orders")
    targets = dict(entry.split("=") for entry in told["MERCATO_TARGETS"].split(";"))
    assert targets["orders"] == "ipv4:" + ",".join(f"127.0.0.1:{slot.port}" for slot in plan.slots["orders"])
    assert set(targets) == {"orders", "gateway"}


def test_a_saved_plan_is_the_same_when_loaded_and_hidden_from_others(root: Path) -> None:
    plan = make(root)
    plan.save()
    assert Plan.load(plan.home) == plan
    assert (plan.home / "fleet.json").stat().st_mode & 0o077 == 0
    assert plan.home.stat().st_mode & 0o077 == 0


def test_passwords_last_and_differ_between_services(root: Path) -> None:
    first, second = make(root, EXTERNAL), make(root, EXTERNAL)
    assert first.database_url("orders") == second.database_url("orders")
    assert first.database_url("orders").split(":")[2] != first.database_url("gateway").split(":")[2]


def test_engines_of_others_replace_our_own(root: Path) -> None:
    plan = make(root, EXTERNAL)
    assert (plan.postgres_port, plan.nats_port, plan.nats_url) == (None, None, "nats://n:1")
    assert plan.database_url("orders").endswith("@db.example:5433/mercato_orders?ssl=on")


def test_the_gateway_has_its_usual_ports_or_others_where_they_are_taken(root: Path) -> None:
    free = ports.is_free(plans.FRONT_HTTP_PORT)
    assert (make(root).slots["gateway"][0].http_port == plans.FRONT_HTTP_PORT) == free
    with socket.socket() as other:
        if free:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", plans.FRONT_HTTP_PORT))
            other.listen()
        assert make(root).slots["gateway"][0].http_port != plans.FRONT_HTTP_PORT


def test_the_gateway_has_the_ports_asked_for(root: Path) -> None:
    http_port, grpc_port = ports.free_block(2)
    by_option = make(root, http_port=http_port, grpc_port=grpc_port)
    by_environment = make(root, {"MERCATO_HTTP_PORT": str(http_port), "MERCATO_GRPC_PORT": str(grpc_port)})
    for plan in (by_option, by_environment):
        assert (plan.slots["gateway"][0].http_port, plan.slots["gateway"][0].port) == (http_port, grpc_port)


def test_a_port_asked_for_that_is_taken_is_refused(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(FleetError, match=rf"{taken}.*MERCATO_GRPC_PORT.*taken"):
            make(root, grpc_port=taken)


@pytest.mark.parametrize("value", ["eighty", "0", "65536", "-1", "٣"])
def test_a_port_that_is_none_is_refused(root: Path, value: str) -> None:
    with pytest.raises(FleetError, match=r"MERCATO_HTTP_PORT.*1 to 65535"):
        make(root, {"MERCATO_HTTP_PORT": value})


def test_a_setting_that_no_instance_could_read_is_refused_before_anything_starts(root: Path) -> None:
    with pytest.raises(FleetError, match="MERCATO_GRACE_S"):
        make(root, {"MERCATO_GRACE_S": "soon"})


def test_a_tree_without_services_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="no services"):
        make(tmp_path)


def test_a_service_whose_name_cannot_be_one_is_refused(root: Path) -> None:
    (root / "services" / "Big-Orders").mkdir()
    (root / "services" / "Big-Orders" / "__main__.py").touch()
    with pytest.raises(FleetError, match="Big-Orders"):
        make(root)


def test_the_tree_is_found_from_below_and_its_state_can_be_elsewhere(root: Path) -> None:
    assert plans.locate({}, root / "services" / "orders") == (root, root / ".mercato")
    assert plans.locate({"MERCATO_HOME": "/elsewhere"}, root) == (root, Path("/elsewhere"))


def test_a_process_of_its_own_or_one_for_all_behind_the_front(root: Path) -> None:
    (root / "services" / "payments").mkdir()
    (root / "services" / "payments" / "__main__.py").touch()
    apart, together = make(root), make(root, together=True)
    assert apart.programs == {"gateway": ("gateway",), "orders": ("orders",), "payments": ("payments",)}
    assert (apart.hosted("orders/2"), apart.program("orders/2")) == (("orders/2",), "orders/2")
    assert together.programs == {"gateway": ("gateway",), "together": ("orders", "payments")}
    assert together.hosted("together/2") == ("orders/2", "payments/2")
    assert [together.program(name) for name in ("orders", "orders/2", "together/2", "gateway/1", "nats")] == [
        "together", "together/2", "together/2", "gateway/1", "nats",
    ]  # fmt: skip
    assert apart.hosted("nats") == together.hosted("nats") == ()
    together.save()
    assert Plan.load(together.home) == together


def with_mesh(root: Path) -> Path:
    (root / "services" / "mesh").mkdir()
    (root / "services" / "mesh" / "__main__.py").touch()
    return root


def test_with_a_mesh_instances_are_told_of_it_and_not_of_each_other(root: Path) -> None:
    plan = make(with_mesh(root), {"MERCATO_ZONE": "east", "MERCATO_VERSION": "v7"})
    told = plan.environment("orders/2")
    assert told["MERCATO_MESH"] == plan.environment("mesh/1")["MERCATO_MESH"] == plan.slot("mesh/1").address
    assert told["MERCATO_TARGETS"] == ""
    assert (told["MERCATO_ZONE"], told["MERCATO_VERSION"]) == ("east", "v7")
    assert plan.environment("orders/2", "v8")["MERCATO_VERSION"] == "v8"
    assert (plan.most("mesh"), plan.most("orders")) == (1, plans.SLOTS)
    assert make(root, together=True).programs == {
        "gateway": ("gateway",), "mesh": ("mesh",), "together": ("orders",),
    }  # fmt: skip


def test_without_the_mesh_there_is_no_such_service_and_addresses_are_fixed(root: Path) -> None:
    by_option = make(with_mesh(root), {"MERCATO_DISCOVERY": "mesh"}, discovery=plans.Discovery.STATIC)
    by_environment = make(root, {"MERCATO_DISCOVERY": "static"})
    for plan in (by_option, by_environment):
        assert plan.services == ("gateway", "orders")
        told = plan.environment("orders/1")
        assert told["MERCATO_MESH"] == ""
        assert "orders=ipv4:" in told["MERCATO_TARGETS"]


def test_a_way_of_discovery_that_is_none_is_refused(root: Path) -> None:
    with pytest.raises(FleetError, match=r"MERCATO_DISCOVERY is 'dns'; expected one of mesh, static"):
        make(root, {"MERCATO_DISCOVERY": "dns"})
