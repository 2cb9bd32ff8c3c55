"""How this process finds services by xDS: whom it asks, and what it was told (gRFC A27, A40)."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator

import grpc
from envoy.service.status.v3 import status_pb2 as csds
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the one way to what gRPC's core knows of xDS

from chassis.settings import Settings

BOOTSTRAP = "GRPC_XDS_BOOTSTRAP_CONFIG"
CLIENT_STATUS = csds.DESCRIPTOR.services_by_name["ClientStatusDiscoveryService"]


def follow_control_plane(settings: Settings) -> None:
    """Have `xds:///` channels that are opened from now on ask the mesh; gRPC reads it from the environment alone."""
    if settings.mesh:
        os.environ[BOOTSTRAP] = json.dumps(
            {
                "xds_servers": [
                    {
                        "server_uri": settings.mesh,
                        "channel_creds": [{"type": "insecure"}],
                        "server_features": ["xds_v3"],
                    }
                ],
                "node": {
                    "id": settings.instance,
                    "cluster": settings.service,
                    "locality": {"zone": settings.zone},
                },
            }
        )


def client_status_handler() -> grpc.GenericRpcHandler:
    """Return what serves CSDS: the resources this process was sent, and what became of them."""
    return grpc.method_handlers_generic_handler(
        CLIENT_STATUS.full_name,
        {
            "FetchClientStatus": grpc.unary_unary_rpc_method_handler(_fetch),
            "StreamClientStatus": grpc.stream_stream_rpc_method_handler(_stream),
        },
    )


async def _fetch(request: bytes, context: object) -> bytes:
    status: bytes = await asyncio.to_thread(cygrpc.dump_xds_configs)
    return status


async def _stream(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for request in requests:
        yield await _fetch(request, context)
