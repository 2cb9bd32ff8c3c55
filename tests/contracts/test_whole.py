"""The gate as `make contracts` runs it: what it prints and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.contracts import protos
from tests.contracts.__main__ import main
from tests.contracts.protos import IMAGE
from tests.contracts.regeneration import CONTRACTS


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    """A copy of the contracts."""
    return Path(shutil.copytree(CONTRACTS, tmp_path / "contracts"))


async def test_it_is_red_by_name(contracts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One pact asks for what its provider does not give, and no consumer's test agrees."""
    file = contracts / "orders" / "customers.json"
    content = json.loads(file.read_text())
    [told] = [each for each in content["interactions"] if each["description"] == "tell the mail address of a customer"]
    told["response"]["body"]["content"]["customer"]["email"] = "bob@customers.example"
    file.write_text(json.dumps(content))
    assert await main(contracts=contracts) == 1
    printed = capsys.readouterr().out
    assert (
        "orders breaks by customers: GetCustomer.customer.email: expected 'ada@customers.example' (String)"
        " to be equal to 'bob@customers.example' (String) (tell the mail address of a customer)"
    ) in printed
    assert "orders/customers.json: the consumer's tests agree on something else than is committed" in printed
    assert "Red: this may not go out." in printed


async def test_protos_that_break_are_red(tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    files = FileDescriptorSet.FromString(IMAGE.read_bytes())
    [catalog] = [file for file in files.file if file.name == "mercato/catalog/v1/catalog.proto"]
    [product] = [message for message in catalog.message_type if message.name == "Product"]
    del product.field[1]
    image.write_bytes(files.SerializeToString())
    [found] = await protos.check(image)
    assert found.startswith("buf breaking: ")
    assert 'Previously present field "2" with name "title" on message "Product" was deleted' in found


async def test_protos_that_nobody_released_are_red(tmp_path: Path) -> None:
    assert await protos.check(released=tmp_path / "none") == [protos.MISSING]


async def test_protos_as_they_are_are_green() -> None:
    assert await protos.check() == []
