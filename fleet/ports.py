"""Free TCP ports on loopback."""

from __future__ import annotations

import asyncio
import random
import socket

from fleet.errors import FleetError

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 10_000, 32_000  # below the ports the kernel gives to outgoing connections, which could take ours
_TRIES = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: connections of an ended server that linger in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


async def listens(host: str, port: int) -> bool:
    """Whether a server accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def free_block(count: int, before: int | None = None) -> range:
    """A run of `count` consecutive free ports, from `before` on if those are free.

    Else it is at a random place, so that fleets started together rarely meet.
    """
    places = [random.SystemRandom().randrange(_LOWEST, _HIGHEST - count) for _ in range(_TRIES)]
    if before is not None:
        places.insert(0, before)
    for first in places:
        block = range(first, first + count)
        if all(is_free(port) for port in block):
            return block
    raise FleetError(f"found no {count} consecutive free TCP ports between {_LOWEST} and {_HIGHEST}")
