"""Services in forks of one warm process: their code is imported once and its memory shared by all."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

_ROOMS = ("services", "chassis")
_METRICS = "prometheus_client"  # its registry takes no metric twice: code that is imported anew needs a new one


class Warm:
    """The imported code of the services below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._imported_at = time.time()
        sys.path.insert(0, str(root))

    def preload(self, services: Iterable[str]) -> list[str]:
        """Import every service; returns those that cannot be, the reason being on standard error.

        Such a service tries again in its own fork, and fails there in its own log.
        """
        failed = []
        for service in services:
            try:
                importlib.import_module(_module(service))
            except (Exception, SystemExit):
                traceback.print_exc()
                failed.append(service)
        gc.collect()
        gc.freeze()  # so that collections in the forks do not write to, and thereby copy, the shared pages
        return failed

    def become(self, service: str, environment: Mapping[str, str], *, anew: bool) -> None:
        """In a fork: be an instance of the service, which is told this, until it ends.

        `anew` is with the code as it is now, else as it was when it was preloaded.
        """
        os.environ.update(environment)
        sys.argv = [_module(service)]
        self._prepare(anew)
        importlib.import_module(_module(service)).main()

    def become_together(self, process: str, environments: Mapping[str, Mapping[str, str]], *, anew: bool) -> None:
        """In a fork: be an instance of each of several services, which are told each its own."""
        self._prepare(anew)
        from chassis.app import run_together
        from chassis.settings import Settings

        hosted = [
            (
                Settings.from_environment(service, {**os.environ, **told}),
                importlib.import_module(_module(service)).compose,
            )
            for service, told in environments.items()
        ]
        first, _ = hosted[0]
        run_together(replace(first, service=process.partition("/")[0], instance=process), hosted)

    def changed(self) -> bool:
        """Whether code is newer than what was preloaded."""
        return any(_changed_at(module) > self._imported_at for module in _of(_ROOMS))

    def _prepare(self, anew: bool) -> None:
        if hasattr(os, "SCHED_BATCH"):  # fewer thread switches: 13 % less CPU a call
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        if anew:
            for module in _of((*_ROOMS, _METRICS)):
                del sys.modules[module.__name__]


def _module(service: str) -> str:
    return f"services.{service}.__main__"


def _of(packages: tuple[str, ...]) -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages]


def _changed_at(module: ModuleType) -> float:
    file = getattr(module, "__file__", None)
    try:
        return Path(file).stat().st_mtime if file else 0.0
    except FileNotFoundError:
        return time.time()
