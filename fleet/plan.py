"""What runs where: the services found by folder, their ports, and what each instance is told."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from chassis.settings import InvalidSetting, Settings
from fleet import nats, ports, postgres
from fleet.errors import FleetError

SLOTS = 4
"""How many instances of one service can run."""

FRONT = "gateway"
"""The service that people and programs outside call, at ports they know."""

FRONT_HTTP_PORT, FRONT_GRPC_PORT = 8080, 9090

MESH = "mesh"
"""The service that tells all others where they find each other."""

TELEMETRY = "telemetry"
"""The service that all others tell what they do."""

SINGLE = (MESH, TELEMETRY)
"""Of these there is one instance, which hears of all others and holds that in memory, in a process of its own."""

TOGETHER = "together"
"""The process that runs all services but the front and those, in the layout of that name."""


class Discovery(StrEnum):
    """How services find each other."""

    MESH = "mesh"
    STATIC = "static"


_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE = "fleet.json"


@dataclass(frozen=True)
class Slot:
    """The ports of one possible instance."""

    port: int
    metrics_port: int
    http_port: int

    @property
    def address(self) -> str:
        """Where its gRPC server listens."""
        return f"{ports.LOOPBACK}:{self.port}"


@dataclass(frozen=True)
class Plan:
    """One fleet. `root` holds `services/`, `home` its state; an engine without a port is somebody else's.

    `grace_s` is how long an instance may take to end. `together` is its layout: one process for all services but the
    front, the mesh and telemetry, or else one for each. Without a mesh among its services, their addresses are fixed.
    `telemetry` is where what they tell goes, where that is not the service among them. All ports but those asked for
    are the run from `first_port` on.
    """

    root: Path
    home: Path
    slots: Mapping[str, tuple[Slot, ...]]
    postgres_url: str
    nats_url: str
    grace_s: float
    postgres_port: int | None = None
    nats_port: int | None = None
    together: bool = False
    version: str = "v1"
    zone: str = "local"
    telemetry: str = ""
    first_port: int = 0

    @property
    def services(self) -> tuple[str, ...]:
        """The names of all services, in order."""
        return tuple(self.slots)

    @property
    def programs(self) -> dict[str, tuple[str, ...]]:
        """What can be run, several times over: by name, the services that each of its processes hosts."""
        if not self.together:
            return {service: (service,) for service in self.services}
        apart = {service: (service,) for service in self.services if service in (FRONT, *SINGLE)}
        rest = tuple(service for service in self.services if service not in apart)
        return apart | ({TOGETHER: rest} if rest else {})

    def most(self, program: str) -> int:
        """How many processes of a program there can be."""
        return 1 if program in SINGLE else SLOTS

    def hosted(self, process: str) -> tuple[str, ...]:
        """The instances in a process: `orders/1` in `orders/1`, or it and others in `together/1`; none in an engine."""
        program, _, number = process.partition("/")
        return tuple(f"{service}/{number}" for service in self.programs.get(program, ()) if number)

    def program(self, name: str) -> str:
        """What runs a service or instance of this name; the name itself where nothing does."""
        service, slash, number = name.partition("/")
        programs = (program for program, services in self.programs.items() if service in services)
        return next(programs, service) + slash + number

    def slot(self, instance: str) -> Slot:
        """The ports of an instance, named as `orders/1`."""
        service, _, number = instance.partition("/")
        return self.slots[service][int(number) - 1]

    def database_url(self, service: str) -> str:
        """Where a service finds its own database, as its own role: neither serves another."""
        role = f"mercato_{service}"
        key = (self.home / "secret").read_bytes()
        password = hmac.new(key, role.encode(), hashlib.sha256).hexdigest()[:32]
        admin = urlsplit(self.postgres_url)
        host = admin.netloc.rpartition("@")[2]
        return urlunsplit(admin._replace(netloc=f"{role}:{password}@{host}", path=f"/{role}"))

    @property
    def mesh_address(self) -> str:
        """Where the mesh listens; empty where there is none."""
        return self.slot(f"{MESH}/1").address if MESH in self.slots else ""

    def environment(self, instance: str, version: str = "") -> dict[str, str]:
        """What an instance, named as `orders/1`, is told; without a version it is the usual one."""
        slot = self.slot(instance)
        return {
            "MERCATO_INSTANCE": instance,
            "MERCATO_VERSION": version or self.version,
            "MERCATO_ZONE": self.zone,
            "MERCATO_HOST": ports.LOOPBACK,
            "MERCATO_PORT": str(slot.port),
            "MERCATO_METRICS_PORT": str(slot.metrics_port),
            "MERCATO_HTTP_PORT": str(slot.http_port),
            "MERCATO_DATABASE_URL": self.database_url(instance.partition("/")[0]),
            "MERCATO_NATS_URL": self.nats_url,
            "MERCATO_MESH": self.mesh_address,
            "MERCATO_TARGETS": "" if self.mesh_address else self._fixed_targets(),
            "MERCATO_TELEMETRY": self.telemetry or self._telemetry_target(),
        }

    def _telemetry_target(self) -> str:
        if TELEMETRY not in self.slots:
            return ""
        return f"xds:///{TELEMETRY}" if self.mesh_address else self._fixed_target(TELEMETRY)

    def _fixed_targets(self) -> str:
        """All addresses that each service could have: clients balance over those that answer."""
        return ";".join(f"{service}={self._fixed_target(service)}" for service in self.slots)

    def _fixed_target(self, service: str) -> str:
        return "ipv4:" + ",".join(slot.address for slot in self.slots[service])

    def save(self) -> None:
        """Keep it in its home, readable by its owner alone: it holds the admin's password."""
        fields = dataclasses.asdict(self) | {"root": str(self.root), "home": str(self.home)}
        scratch = self.home / f"{_FILE}.new"
        scratch.touch(mode=0o600)
        scratch.write_text(json.dumps(fields, indent=2))
        scratch.replace(self.home / _FILE)

    @classmethod
    def load(cls, home: Path) -> Plan:
        """The plan of the fleet that has its state in `home`."""
        try:
            fields = json.loads((home / _FILE).read_text())
        except FileNotFoundError:
            raise FleetError("no fleet was started here; start one with `mercato up`") from None
        slots = {service: tuple(Slot(**slot) for slot in slots) for service, slots in fields.pop("slots").items()}
        return cls(root=Path(fields.pop("root")), home=Path(fields.pop("home")), slots=slots, **fields)


def locate(environment: Mapping[str, str], start: Path) -> tuple[Path, Path]:
    """The folder that holds `services/`, looked for from `start` upwards, and the folder for the fleet's state."""
    installed = Path(__file__).parent.parent
    root = next((folder for folder in (start, *start.parents) if _service_folders(folder)), installed)
    beside = start if root == installed and installed not in (start, *start.parents) else root
    return root, Path(environment.get("MERCATO_HOME") or beside / ".mercato").absolute()


def make(
    root: Path,
    home: Path,
    environment: Mapping[str, str],
    *,
    http_port: int | None = None,
    grpc_port: int | None = None,
    together: bool = False,
    discovery: Discovery | None = None,
) -> Plan:
    """Plan a new fleet: ports that are free now, the front's as asked for, engines of our own unless told of others.

    Where the ports of the fleet that was here before are free, they are its ports again: who scrapes or calls it by
    them goes on.
    """
    found = [folder.name for folder in _service_folders(root)]
    by_mesh = (discovery or _discovery(environment)) is Discovery.MESH
    telemetry = environment.get("MERCATO_TELEMETRY") or ""
    left_out = {*((MESH,) if not by_mesh else ()), *((TELEMETRY,) if telemetry else ())}
    services = [name for name in found if name not in left_out]
    if not services:
        raise FleetError(f"found no services: expected {root}/services/<name>/__main__.py")
    if wrong := [name for name in services if not _NAME.fullmatch(name)]:
        raise FleetError(f"services/{wrong[0]}: a service's name is lower-case letters, digits and underscores")
    http_port = _front_port("MERCATO_HTTP_PORT", http_port, environment, FRONT_HTTP_PORT)
    grpc_port = _front_port("MERCATO_GRPC_PORT", grpc_port, environment, FRONT_GRPC_PORT)
    try:
        settings = Settings.from_environment("fleet", environment)
    except InvalidSetting as error:
        raise FleetError(str(error)) from error
    block = ports.free_block(2 + 3 * SLOTS * len(services), _first_port(home))
    postgres_url, nats_url = environment.get("MERCATO_POSTGRES_URL"), environment.get("MERCATO_NATS_URL")
    postgres_port, nats_port, *others = block
    port = iter(others)
    slots = {name: [Slot(next(port), next(port), next(port)) for _ in range(SLOTS)] for name in services}
    if FRONT in slots:
        first = slots[FRONT][0]
        slots[FRONT][0] = dataclasses.replace(
            first, port=grpc_port or first.port, http_port=http_port or first.http_port
        )
    _make_home(home)
    return Plan(
        root=root,
        home=home,
        slots={name: tuple(of_service) for name, of_service in slots.items()},
        postgres_url=postgres_url or postgres.url(home / "postgres", postgres_port),
        nats_url=nats_url or nats.url(nats_port),
        grace_s=settings.drain_s + settings.grace_s,
        postgres_port=None if postgres_url else postgres_port,
        nats_port=None if nats_url else nats_port,
        first_port=block[0],
        together=together,
        version=settings.version,
        zone=environment.get("MERCATO_ZONE") or "local",
        telemetry=telemetry,
    )


def _first_port(home: Path) -> int | None:
    """Where the ports of the fleet before begin, whatever it was that wrote its plan."""
    try:
        first = json.loads((home / _FILE).read_text())["first_port"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return first if isinstance(first, int) else None


def _service_folders(root: Path) -> list[Path]:
    return sorted(main.parent for main in root.glob("services/*/__main__.py"))


def _discovery(environment: Mapping[str, str]) -> Discovery:
    text = environment.get("MERCATO_DISCOVERY") or Discovery.MESH
    if text not in list(Discovery):
        raise FleetError(f"MERCATO_DISCOVERY is {text!r}; expected one of {', '.join(Discovery)}")
    return Discovery(text)


def _front_port(variable: str, asked: int | None, environment: Mapping[str, str], default: int) -> int | None:
    """The port asked for, which must be free; else the usual one where it is free; else none."""
    text = str(asked) if asked is not None else environment.get(variable)
    if not text:
        return default if ports.is_free(default) else None
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise FleetError(f"{variable} is {text!r}; expected a port, 1 to 65535")
    if not ports.is_free(int(text)):
        raise FleetError(f"port {text} was asked for ({variable}) but is taken; name a free one")
    return int(text)


def _make_home(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "logs").mkdir(exist_ok=True, mode=0o700)
    secret = home / "secret"
    if not secret.exists():
        descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
