"""The mesh as text: nothing that matters is missing, and policies are said in words."""

from __future__ import annotations

import io

from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1.mesh_pb2 import (
    CircuitBreaker,
    Client,
    ClientConfig,
    Fault,
    Instance,
    Mesh,
    Policy,
    ServiceState,
    VersionWeight,
    Vitals,
)
from rich.console import Console

from fleet import mesh_screen


def printed(mesh: Mesh, note: str = "", width: int = 220) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(mesh_screen.view(mesh, width, note))
    return output.getvalue()


def test_policies_in_words() -> None:
    assert mesh_screen.words(Policy(name="policies/orders")) == ""
    policy = Policy(
        split=[VersionWeight(version="v1", weight=9), VersionWeight(version="v2", weight=1)],
        fault=Fault(
            percent=50,
            delay=Duration(nanos=300_000_000),
            abort_code=14,
            method="/mercato.payments.v1.PaymentService/CapturePayment",
        ),
        max_requests=100,
        drained_instances=["orders/1"],
    )
    assert mesh_screen.words(policy).split("; ") == [
        "calls go to v1 90 %, v2 10 %",
        "50 % of calls of CapturePayment wait 300 ms and are refused with UNAVAILABLE",
        "at most 100 calls of each client under way",
        "no new calls to orders/1",
    ]
    assert mesh_screen.words(Policy(fault=Fault(percent=0.01, abort_code=8))) == (
        "0.01 % of calls are refused with RESOURCE_EXHAUSTED"
    )


def test_instances_with_their_load_and_clients_with_what_they_made_of_it() -> None:
    orders = Instance(
        name="orders/1",
        service="orders",
        version="v2",
        zone="east",
        state=Instance.STATE_SERVING,
        calls_per_second=12.34,
        traffic_share=0.5,
        vitals=Vitals(
            calls_in_flight=3,
            concurrency_limit=40,
            failed_calls=5,
            shed_calls=6,
            retries=7,
            retries_withheld=8,
            breakers=[
                CircuitBreaker(callee="payments", method="/x.Y/CapturePayment", state=CircuitBreaker.STATE_HALF_OPEN),
                CircuitBreaker(callee="shipping", method="/x.Y/BookShipment", state=CircuitBreaker.STATE_OPEN),
            ],
        ),
    )
    ended = Instance(name="orders/2", service="orders", state=Instance.STATE_UNHEALTHY, reason="not heard of for 3 s")
    clients = [
        Client(
            name="gateway/1",
            configs=[
                ClientConfig(type="Cluster", names=[name], version="7", state=state, error="no such policy")
                for name, state in (("orders", ClientConfig.STATE_NACKED), ("payments", ClientConfig.STATE_ACKED))
            ],
        )
    ]
    services = [ServiceState(service="orders", instances=[orders, ended]), ServiceState(service="parcels")]
    text = printed(Mesh(services=services, clients=clients), "the mesh does not answer")
    first, second, third = (line.split() for line in text.splitlines()[1:4])
    assert first == [
        "orders/1", "v2", "east", "SERVING", "12.3", "█████░░░░░", "50%", "3", "of", "40", "5", "6", "7", "(+8",
        "withheld)",
    ]  # fmt: skip
    assert " ".join(second).startswith("orders/2 UNHEALTHY not heard of for 3 s 0.0")
    assert third == ["parcels", "none"]
    assert "orders/1        payments CapturePayment half-open" in text
    assert "orders/1        shipping BookShipment open" in text
    assert "NACK orders  ACK payments" in text
    assert "gateway/1 refuses Cluster 7: no such policy" in text
    assert text.rstrip().endswith("the mesh does not answer")


def test_on_a_narrow_terminal_names_and_figures_are_whole() -> None:
    vitals = Vitals(calls_in_flight=3, concurrency_limit=140, failed_calls=125, shed_calls=16, retries=70)
    well = Instance(
        name="notifications/1", version="v1", zone="local", state=Instance.STATE_SERVING, calls_per_second=1234.56,
        traffic_share=1, vitals=vitals,
    )  # fmt: skip
    ended = Instance(
        name="customers/2", version="v1", zone="local", state=Instance.STATE_UNHEALTHY, reason="not heard of for 3 s"
    )
    services = [ServiceState(service="notifications", instances=[well, ended])]
    clients = [Client(name="notifications/1", configs=[ClientConfig(type="Cluster", state=ClientConfig.STATE_ACKED)])]
    head, *lines = printed(Mesh(services=services, clients=clients), width=80).splitlines()
    assert head.split() == [
        "instance", "version", "state", "calls/s", "share", "in", "flight", "failed", "shed", "retries",
    ]  # fmt: skip
    assert lines[0].split() == [
        "notifications/1", "v1", "SERVING", "1234.6", "100%", "3", "of", "140", "125", "16", "70",
    ]  # fmt: skip
    assert lines[1].split() == ["customers/2", "v1", "UNHEALTHY", "0.0", "0%", "0", "0", "0", "0"]
    assert lines[-1].startswith("notifications/1 ")


def test_a_hostile_name_is_shown_as_it_is() -> None:
    instance = Instance(name="[red]orders/1", service="orders", state=Instance.STATE_SERVING)
    assert "[red]orders/1" in printed(Mesh(services=[ServiceState(service="orders", instances=[instance])]))
