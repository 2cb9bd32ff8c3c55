"""The contracts keep the house's rules, and the committed code is theirs."""

from __future__ import annotations

import filecmp
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.protobuf.descriptor_pool import DescriptorPool
from mercato.policy.v1 import policy_pb2

ROOT = Path(__file__).parent.parent.parent
INTERNAL = ("mercato.operations.v1.InstanceService", "mercato.mesh.v1.RegistryService")
"""What the gateway keeps to itself."""
BOUNDS_S = (0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""What policy.proto lets an objective of latency be, which are bounds of the histograms of calls; or nothing said."""


def files() -> list[FileDescriptor]:
    """Return our files, as generated and committed."""
    described = FileDescriptorSet.FromString((ROOT / "generated/mercato/descriptors.binpb").read_bytes())
    pool = DescriptorPool()
    for file in described.file:
        pool.Add(file)
    return [pool.FindFileByName(file.name) for file in described.file if file.package.startswith("mercato.")]


def methods() -> Iterator[MethodDescriptor]:
    for file in files():
        for service in file.services_by_name.values():
            yield from service.methods


METHODS = {method.full_name: method for method in methods()}
BUSINESS = {name: method for name, method in METHODS.items() if not name.startswith(INTERNAL)}


def options(method: MethodDescriptor) -> Any:
    """Return the options of a method, with the extensions that our modules know."""
    return MethodOptions.FromString(method.GetOptions().SerializeToString())


def rules(field: FieldDescriptor) -> Any:
    """Return what a field is held to."""
    known = type(field.GetOptions()).FromString(field.GetOptions().SerializeToString())
    return known.Extensions[validate_pb2.field]


def fields_named(name: str) -> Iterator[FieldDescriptor]:
    for method in METHODS.values():
        field = method.input_type.fields_by_name.get(name)
        if field is not None:
            yield field


def test_the_committed_code_is_what_the_protos_give(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "protos/generate.py", str(tmp_path / "generated")], cwd=ROOT, check=True)
    made, committed = tmp_path / "generated", ROOT / "generated"
    names = sorted(_names(made))
    assert names == sorted(_names(committed))
    _, different, missing = filecmp.cmpfiles(made, committed, names, shallow=False)
    assert (different, missing) == ([], []), "run `make generate`"


def _names(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [path.relative_to(folder).as_posix() for path in paths]


def test_buf_finds_nothing_to_complain_of(tmp_path: Path) -> None:
    image = runpy.run_path(str(ROOT / "protos/generate.py"))["image"]
    image(tmp_path / "protos.binpb")
    lint = subprocess.run(
        [Path(sys.executable).parent / "buf", "lint", tmp_path / "protos.binpb"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (lint.returncode, lint.stdout) == (0, "")


def test_there_are_contracts_to_judge() -> None:
    assert len(BUSINESS) > 40
    assert len({method.containing_service.full_name for method in BUSINESS.values()}) == 10


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_whether_it_may_be_called_again(name: str) -> None:
    level = options(METHODS[name]).idempotency_level
    assert level in (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


@pytest.mark.parametrize("name", BUSINESS)
def test_every_method_has_a_route_that_fits_what_it_does(name: str) -> None:
    known = options(BUSINESS[name])
    rule = known.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    assert getattr(rule, verb).startswith("/v1/")
    assert (verb == "get") == (known.idempotency_level == MethodOptions.NO_SIDE_EFFECTS)
    assert rule.body == ("" if verb in ("get", "delete") else "*")


@pytest.mark.parametrize("name", BUSINESS)
def test_every_mutation_can_be_sent_again(name: str) -> None:
    method = BUSINESS[name]
    if method.name == "ReplayDeadLetters":  # events have ids of their own
        return
    field = method.input_type.fields_by_name.get("request_id")
    if options(method).idempotency_level == MethodOptions.NO_SIDE_EFFECTS or method.client_streaming:
        assert field is None  # a read needs none; a stream says so itself, in its comment
    else:
        assert field is not None
        assert rules(field).string.uuid


@pytest.mark.parametrize("name", METHODS)
def test_every_objective_can_be_measured_and_missed(name: str) -> None:
    objective = options(METHODS[name]).Extensions[policy_pb2.method].objective
    assert objective.latency.ToTimedelta().total_seconds() in BOUNDS_S
    assert 0 <= objective.availability_percent < 100
    assert 0 <= objective.latency_percent < 100


def test_every_page_has_a_size_that_is_not_negative_and_a_token_that_has_an_end() -> None:
    sizes, tokens = list(fields_named("page_size")), list(fields_named("page_token"))
    assert len(sizes) >= len(tokens) > 5
    assert all(rules(field).int32.gte == 0 and rules(field).int32.HasField("gte") for field in sizes)
    assert all(rules(field).string.max_len for field in tokens)


@pytest.mark.parametrize("name", METHODS)
def test_every_text_and_list_of_a_request_has_an_end(name: str) -> None:
    assert list(_boundless(METHODS[name].input_type, "")) == []


def _boundless(message: Any, path: str) -> Iterator[str]:
    """Yield the paths of texts and lists of ours in a request that nothing limits but the size of a message."""
    if not message.full_name.startswith("mercato."):
        return
    for field in message.fields:
        held, where = rules(field), f"{path}{field.name}"
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.is_repeated and not (held.repeated.max_items or held.map.max_pairs):
            yield where
        if is_map and not _is_bounded(held.map.keys.string):
            yield f"{where} (its keys)"
        each = held.repeated.items if held.HasField("repeated") else held
        if field.type == FieldDescriptor.TYPE_STRING and not _is_bounded(each.string):
            yield where
        inner = field.message_type.fields_by_name["value"].message_type if is_map else field.message_type
        if inner is not None:
            yield from _boundless(inner, f"{where}.")


def _is_bounded(text: Any) -> bool:
    return bool(text.max_len or text.max_bytes or text.len or text.uuid or text.email or text.pattern)
