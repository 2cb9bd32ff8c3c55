"""A process of services under supervision: what it is told, which version it is, and with which code it comes back."""

from __future__ import annotations

from fleet.child import Child
from fleet.plan import Plan
from fleet.warm import Warm

_SPARE_GRACE_S = 1.0


class Instance(Child):
    """One possible process of a program, named as `orders/1`.

    Started because it is wanted, it runs the code as it is then. After a crash it comes back with the same: changed
    code must not reach a version that it was not meant for. Only one that was started on changed code comes back with
    the code as it is when it crashes, as no other copy of that is kept.
    """

    def __init__(self, plan: Plan, warm: Warm, name: str) -> None:
        log = plan.home / "logs" / f"{name.replace('/', '-')}.log"
        super().__init__(name, self._live, log=log, grace_s=plan.grace_s + _SPARE_GRACE_S)
        self.program = name.partition("/")[0]
        self.version = plan.version
        self._plan = plan
        self._warm = warm
        self._anew = False

    def start(self) -> None:
        """Start it."""
        if not self.crashed:
            self._anew = self._warm.changed()
        super().start()

    def _live(self) -> None:
        told = {
            instance.partition("/")[0]: self._plan.environment(instance, self.version)
            for instance in self._plan.hosted(self.name)
        }
        if self.program in told:
            self._warm.become(self.program, told[self.program], anew=self._anew)
        else:
            self._warm.become_together(self.name, told, anew=self._anew)
