"""One instance, and no other of its service: who it is, how it is, how much it logs (mercato.operations.v1)."""

from __future__ import annotations

import logging
from typing import Any

from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1 import operations_pb2_grpc

from chassis.clock import timestamp
from chassis.readiness import Readiness
from chassis.settings import Settings

INSTANCE = pb.DESCRIPTOR.services_by_name["InstanceService"]


class Instance(operations_pb2_grpc.InstanceServiceServicer):
    """Serves InstanceService. The level of logs is the process's: of all instances that it hosts."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness

    async def GetInstance(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:  # noqa: N802
        """See the contract."""
        instance = pb.Instance(
            name=self._settings.instance,
            service=self._settings.service,
            version=self._settings.version,
            ready=not self._readiness.problem,
            dependencies=[
                pb.Dependency(
                    name=each.name,
                    available=not each.problem,
                    optional=each.optional,
                    problem=each.problem,
                    since_time=timestamp(each.since),
                )
                for each in self._readiness.dependencies
            ],
            log_level=log_level(),
        )
        return pb.GetInstanceResponse(instance=instance)

    async def SetLogLevel(self, request: pb.SetLogLevelRequest, context: Any) -> pb.SetLogLevelResponse:  # noqa: N802
        """See the contract."""
        previous = log_level()
        logging.getLogger().setLevel(pb.LogLevel.Name(request.level).removeprefix("LOG_LEVEL_"))
        return pb.SetLogLevelResponse(previous_level=previous)


def log_level() -> pb.LogLevel.ValueType:
    """Return from which level on this process writes logs; unspecified where it is none of those that can be set."""
    names = dict(pb.LogLevel.items())
    return names.get(f"LOG_LEVEL_{logging.getLevelName(logging.getLogger().level)}", pb.LOG_LEVEL_UNSPECIFIED)
