"""The warm parent of all processes of a fleet: starts them, starts them again, ends them, obeys the control socket.

One thread, no event loop and no grpc object: what it forks must inherit none of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fleet import control, logs, nats, postgres
from fleet.child import HANDLED, Child
from fleet.errors import FleetError
from fleet.instance import Instance
from fleet.plan import FRONT, SINGLE, TOGETHER, Plan
from fleet.warm import Warm

_ENGINE_GRACE_S = 10.0
_TIDY_EVERY_S = 10.0


class Supervisor:
    """Runs one plan until told to end."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._warm = Warm(plan.root)
        self._engines = _engines(plan)
        self._instances = [
            Instance(plan, self._warm, f"{program}/{number}")
            for program in plan.programs
            for number in range(1, plan.most(program) + 1)
        ]
        self._children = {child.name: child for child in (*self._engines, *self._instances)}
        self._started_at = time.time()
        self._tidy_due = 0.0
        self._asked_to_end_by: list[socket.socket] = []
        self._ending = False

    def run(self) -> None:
        """Go to the background as soon as clients can connect; serve until a signal or a command ends it all."""
        with control.listening(self._plan.home) as listener:
            if os.fork():
                os._exit(0)
            with selectors.DefaultSelector() as selector, _signals() as woken:
                selector.register(listener, selectors.EVENT_READ, self._accept)
                selector.register(woken, selectors.EVENT_READ, self._signalled)
                for engine in self._engines:
                    engine.wanted = True
                    engine.tick()
                for service in self._warm.preload(self._plan.services):
                    _say("ERROR", f"{service} cannot be imported")
                while not self._ending:
                    self._turn(selector)
                steps = self._end(selector)
        for connection in self._asked_to_end_by:
            with connection:
                control.answer(connection, result=steps)

    def _turn(self, selector: selectors.BaseSelector) -> None:
        """Wait until something happens or is due, and see to it."""
        due = min(self._tidy_due, *(child.due for child in self._children.values()))
        for key, _ in selector.select(max(due - time.monotonic(), 0)):
            key.data(key.fileobj)
        self._reap()
        for child in self._children.values():
            child.tick()
        if time.monotonic() >= self._tidy_due:
            logs.keep_small(self._plan.home / "logs")
            self._tidy_due = time.monotonic() + _TIDY_EVERY_S

    def _signalled(self, woken: socket.socket) -> None:
        if {signal.SIGTERM, signal.SIGINT} & set(woken.recv(4096)):
            self._ending = True

    def _reap(self) -> None:
        by_pid = {child.pid: child for child in self._children.values()}
        while by_pid.keys() - {None}:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            child = by_pid.pop(pid)
            level = "INFO" if child.state == "stopping" else "WARNING"
            delay_s = child.ended()
            then = f"; starting it again in {delay_s:.1f} s" if child.wanted else ""
            _say(level, f"{child.name} (pid {pid}) ended with code {os.waitstatus_to_exitcode(status)}{then}")

    def _end(self, selector: selectors.BaseSelector) -> list[str]:
        """End the front, so that nothing new comes in, the services, what all of them need, the engines; say so."""
        front = [child for child in self._instances if child.program == FRONT]
        single = [child for child in self._instances if child.program in SINGLE]
        services = [child for child in self._instances if child not in (*front, *single)]
        steps: list[str] = []
        for group in (front, services, single, self._engines):
            for child in group:
                child.wanted = False
                child.stop()
            running = [child for child in group if child.pid is not None]
            while any(child.pid is not None for child in running):
                self._turn(selector)
            steps += [f"{'killed' if child.forced else 'ended'} {child.name}" for child in running]
        return steps

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        try:
            request = control.receive(connection)
            do = request.pop("do", None)
            if do == "down":
                self._ending = True
                self._asked_to_end_by.append(connection)
                return
            control.answer(connection, result=self._obey(do, request))
        except FleetError as error:
            control.answer(connection, error=str(error))
        except Exception as error:  # nothing that a client sends may end the fleet
            traceback.print_exc()
            control.answer(connection, error=repr(error))
        connection.close()

    def _obey(self, do: object, arguments: dict[str, Any]) -> object:
        commands: dict[str, Callable[..., object]] = {
            "status": self.status,
            "scale": self.scale,
            "restart": self.restart,
            "kill": self.kill,
            "retire": self.retire,
        }
        if do not in commands:
            raise FleetError(f"unknown command {do!r}; expected one of {', '.join(commands)}, down")
        return commands[str(do)](**arguments)

    def status(self) -> dict[str, Any]:
        """Every process that runs or should."""
        children = [
            {
                "name": child.name,
                "state": child.state,
                "pid": child.pid,
                "restarts": child.restarts,
                "started_at": child.started_at,
                "version": child.version if isinstance(child, Instance) else "",
            }
            for child in self._children.values()
            if child.state != "down"
        ]
        return {"supervisor": {"pid": os.getpid(), "started_at": self._started_at}, "children": children}

    def scale(self, counts: dict[str, int]) -> list[str]:
        """Want so many processes of each program, or of one version of it as `orders/v2`; returns their names."""
        for name, count in counts.items():
            program = name.partition("/")[0]
            if program not in self._plan.programs:
                if program in self._plan.services:
                    raise FleetError(f"{program} runs in {TOGETHER}; scale that: {TOGETHER}={count}")
                raise FleetError(f"unknown service {program!r}; expected one of {', '.join(self._plan.programs)}")
            if not 0 <= count <= self._plan.most(program):
                raise FleetError(f"{name}={count}: expected {_range(program, self._plan.most(program))}")
        runs = {child: child.version for child in self._instances if child.wanted}
        wanted = [child for name, count in counts.items() for child in self._place(name, count, runs)]
        for child in self._instances:
            child.wanted = child in runs
            if child.wanted:
                child.version = runs[child]
            else:
                child.stop()
        return [child.name for child in wanted]

    def _place(self, name: str, count: int, runs: dict[Instance, str]) -> list[Instance]:
        """Have so many run in `runs`, which says what runs in which version; returns these."""
        program, _, version = name.partition("/")
        places = [child for child in self._instances if child.program == program]
        versions = sorted({runs[child] for child in places if child in runs})
        if not version and len(versions) > 1:
            which = " or ".join(f"{program}/{each}={count}" for each in versions)
            raise FleetError(f"{program} runs {' and '.join(versions)}; say of which: {which}")
        version = version or next(iter(versions), self._plan.version)
        ours = [child for child in places if runs.get(child) == version]
        free = [child for child in places if child not in runs]
        if count > len(ours) + len(free):
            raise FleetError(f"{name}={count}: {program} has {len(places)} places, and {len(free)} of them are free")
        for child in ours[count:]:
            del runs[child]
        wanted = [*ours[:count], *free[: max(count - len(ours), 0)]]
        runs.update(dict.fromkeys(wanted, version))
        return wanted

    def restart(self, name: str) -> list[str]:
        """End gently and start again what has this name; returns the names of the processes."""
        running = self._running(name)
        for child in running:
            child.stop()
        return [child.name for child in running]

    def kill(self, name: str) -> list[str]:
        """End by force, as a crash would, what has this name; returns the names of the processes."""
        running = self._running(name)
        for child in running:
            child.kill()
        return [child.name for child in running]

    def retire(self, name: str) -> list[str]:
        """End gently, for good, what has this name; returns the names of the processes."""
        named = self._named(name)
        for child in named:
            child.wanted = False
            child.stop()
        return [child.name for child in named]

    def _named(self, name: str) -> list[Child]:
        """The process, or all processes of the program, that is or hosts what has this name."""
        name = self._plan.program(name)
        named = [child for child in self._children.values() if name in (child.name, child.name.partition("/")[0])]
        if not named:
            known = [*(engine.name for engine in self._engines), *self._plan.services]
            raise FleetError(f"unknown name {name!r}; expected one of {', '.join(known)}, or one instance as orders/1")
        return named

    def _running(self, name: str) -> list[Child]:
        running = [child for child in self._named(name) if child.pid is not None]
        if not running:
            raise FleetError(f"{name} is not running")
        return running


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket that yields the number of each signal as a byte."""
    woken, wake = socket.socketpair()
    with woken, wake:
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        yield woken
        signal.set_wakeup_fd(-1)


def _engines(plan: Plan) -> list[Child]:
    engines = []
    if plan.postgres_port is not None:
        run = partial(postgres.run, plan.home / "postgres", plan.postgres_port)
        engines.append(_engine(plan, "postgres", run, postgres.STOP_SIGNAL))
    if plan.nats_port is not None:
        engines.append(_engine(plan, "nats", partial(nats.run, plan.home / "nats", plan.nats_port), signal.SIGTERM))
    return engines


def _engine(plan: Plan, name: str, run: partial[Any], stop_signal: signal.Signals) -> Child:
    log = plan.home / "logs" / f"{name}.log"
    return Child(name, run, log=log, grace_s=_ENGINE_GRACE_S, stop_signal=stop_signal)


def _range(program: str, most: int) -> str:
    if most > 1:
        return f"0 to {most} instances"
    return f"0 or 1: there is one {program}, which holds in memory what it hears; while it is away the others go on"


def _say(level: str, message: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"time": now, "level": level, "service": "supervisor", "message": message}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    Supervisor(Plan.load(Path(sys.argv[1]))).run()
