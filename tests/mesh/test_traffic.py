"""What stock gRPC clients make of what the mesh tells them: real servers, real calls by `xds:///`."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from mercato.mesh.v1 import mesh_pb2 as pb

from tests.mesh.world import PATH, World, call, until_calls


async def test_instances_share_the_calls_and_a_new_one_gets_its_part(world: World) -> None:
    service = world.new_service()
    await world.members(service, 2)
    channel = world.channel(service)
    first = await until_calls(channel, lambda calls: len(calls.answers) == 2)
    assert not first.errors
    await world.member(f"{service}/3")
    calls = await until_calls(channel, lambda calls: len(calls.answers) == 3, timeout_s=2)
    assert not calls.errors
