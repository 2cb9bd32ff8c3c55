"""What every method promises, read from the protos, of the services found by their folders."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from chassis.policy import Objective, is_everywhere

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Promise:
    """How well one method is to answer."""

    service: str
    """Whose contract it is in: `orders`; of what every service serves, `operations`."""
    method: str
    """`mercato.orders.v1.OrderService/PlaceOrder`, as the metrics name it."""
    objective: Objective


def promises() -> list[Promise]:
    """Return what all methods promise that services here serve, in order of their names."""
    found = [
        Promise(name, f"{service.full_name}/{method.name}", Objective.of(method))
        for name, service in _contracts()
        if (ROOT / "services" / name / "__main__.py").exists() or is_everywhere(service)
        for method in service.methods
    ]
    return sorted(found, key=lambda promise: promise.method)


def _contracts() -> Iterator[tuple[str, ServiceDescriptor]]:
    for path in (ROOT / "protos" / "mercato").glob("*/v1/*.proto"):
        name = path.stem
        file: FileDescriptor = importlib.import_module(f"mercato.{name}.v1.{name}_pb2").DESCRIPTOR
        for service in file.services_by_name.values():
            yield name, service
