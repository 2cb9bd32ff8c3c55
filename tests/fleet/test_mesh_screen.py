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


def printed(mesh: Mesh, note: str = "") -> str:
    output = io.StringIO()
    Console(file=output, width=220).print(mesh_screen.view(mesh, note))
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
                CircuitBreaker(callee="payments", method="/x.Y/CapturePayment", state=CircuitBreaker.STATE_HALF_OPEN)
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
        "orders", "orders/1", "v2", "east", "SERVING", "12.3", "█████░░░░░", "50%", "3", "40", "5", "6", "7",
        "(+8", "withheld)", "payments", "CapturePayment", "(half-open)",
    ]  # fmt: skip
    assert " ".join(second).startswith("orders/2 UNHEALTHY not heard of for 3 s 0.0")
    assert third == ["parcels", "none"]
    assert "NACK orders  ACK payments" in text
    assert "gateway/1 refuses Cluster 7: no such policy" in text
    assert text.rstrip().endswith("the mesh does not answer")


def test_a_hostile_name_is_shown_as_it_is() -> None:
    instance = Instance(name="[red]orders/1", service="orders", state=Instance.STATE_SERVING)
    assert "[red]orders/1" in printed(Mesh(services=[ServiceState(service="orders", instances=[instance])]))
