"""Git as the broker: yes only where everything that would meet was verified together."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chassis.testing.bridge import Provider
from chassis.testing.gate import verify
from chassis.testing.pacts import find, read
from chassis.testing.verdict import Verdict
from fleet.__main__ import build
from fleet.broker import Broker
from fleet.errors import FleetError
from tests.contracts.mutants import Mutation, mutated
from tests.contracts.regeneration import CONTRACTS, ROOT
from tests.contracts.test_mutations import BENIGN, BREAKING

ENVIRONMENT = "production"


class Suite:
    """A git repository with services, and what was released from it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broker = Broker(root)

    @classmethod
    def small(cls, root: Path) -> Suite:
        """Three services of nothing but names, with real pacts."""
        suite = cls(root)
        suite._git("init", "--quiet", "--initial-branch=main")
        for service in ("orders", "inventory", "notifications"):
            suite.write(f"services/{service}/__main__.py", "first")
        suite.write("chassis/app.py", "first")
        suite.write("protos/orders.proto", "first")
        suite.write("generated/orders.py", "first")
        for pact in ("orders/inventory.json", "notifications/orders.events.json", "orders/orders.events.json"):
            suite.write(f"contracts/{pact}", (CONTRACTS / pact).read_text())
        return suite

    @classmethod
    def cloned(cls, root: Path) -> Suite:
        """The real ones, as last committed."""
        suite = cls(root)
        suite._git("clone", "--quiet", str(ROOT), ".")
        return suite

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def commit(self) -> str:
        self._git("add", "--all")
        self._git(
            "-c",
            "user.name=Ada",
            "-c",
            "user.email=ada@example.com",
            "commit",
            "--quiet",
            "--allow-empty",
            "--message=change",
        )
        return self.broker.commit()

    def release(self) -> str:
        """Commit, let the gate be green, commit what it recorded."""
        self.commit()
        pacts = [read(file) for file in find(self.root / "contracts")]
        self.broker.record([Verdict(it.consumer, it.provider, it.events, 1, (), it.identity) for it in pacts])
        return self.commit()

    def deploy(self, **commits: str) -> None:
        file = self.root / "contracts" / "deployed" / f"{ENVIRONMENT}.json"
        deployed = json.loads(file.read_text()) if file.exists() else {}
        self.write(f"contracts/deployed/{ENVIRONMENT}.json", json.dumps({**deployed, **commits}))

    def need_more(self) -> None:
        """Let orders need something else of inventory."""
        file = self.root / "contracts" / "orders" / "inventory.json"
        content = json.loads(file.read_text())
        content["interactions"][0]["description"] = "something new"
        file.write_text(json.dumps(content))

    def objections(self, service: str, commit: str = "HEAD") -> list[str]:
        return list(self.broker.objections(service, ENVIRONMENT, commit))

    def _git(self, *arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(self.root), "-c", "core.fsync=none", *arguments], check=True, capture_output=True
        )


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite.small(tmp_path)


def only(objections: Sequence[str]) -> str:
    [objection] = objections
    return objection


def test_everything_released_together_may_go(suite: Suite) -> None:
    commit = suite.release()
    suite.deploy(inventory=commit, orders=commit, notifications=commit)
    for service in ("inventory", "orders", "notifications"):
        assert suite.objections(service) == []


def test_providers_go_first(suite: Suite) -> None:
    commit = suite.release()
    suite.deploy()
    assert only(suite.objections("orders")) == "orders needs inventory, which does not run in production"
    assert suite.objections("inventory") == []
    suite.deploy(inventory=commit)
    assert suite.objections("orders") == []


def test_changed_code_is_unknown_until_it_is_verified(suite: Suite) -> None:
    commit = suite.release()
    suite.deploy(inventory=commit, orders=commit)
    suite.write("services/inventory/__main__.py", "second")
    suite.commit()
    assert "was never verified with what orders" in only(suite.objections("inventory"))
    suite.release()
    assert suite.objections("inventory") == []


@pytest.mark.parametrize("path", ["chassis/app.py", "protos/orders.proto"])
def test_what_all_services_share_counts_as_their_code(suite: Suite, path: str) -> None:
    commit = suite.release()
    suite.deploy(inventory=commit, orders=commit)
    suite.write(path, "second")
    suite.commit()
    assert suite.objections("inventory")


def test_another_services_code_does_not(suite: Suite) -> None:
    commit = suite.release()
    suite.deploy(inventory=commit, orders=commit)
    suite.write("services/notifications/__main__.py", "second")
    suite.commit()
    assert suite.objections("inventory") == []


def test_a_new_need_waits_for_its_provider(suite: Suite) -> None:
    """The provider that runs was never verified with it, even though the newest was."""
    old = suite.release()
    suite.deploy(inventory=old, orders=old, notifications=old)
    suite.write("services/inventory/__main__.py", "second")
    suite.need_more()
    suite.release()
    assert "was never verified with what orders now needs of it" in only(suite.objections("orders"))
    assert "was never verified with what orders at" in only(suite.objections("inventory"))  # the old orders still runs


def test_a_new_provider_waits_for_what_its_old_consumers_need(suite: Suite) -> None:
    old = suite.release()
    suite.deploy(inventory=old, orders=old)
    suite.write("services/inventory/__main__.py", "second")
    suite.need_more()
    suite.commit()
    [deployed] = suite.broker.deployed_pacts()  # the gate verifies these, too
    assert (deployed.path, deployed.pact.consumer) == ("contracts/orders/inventory.json", "orders")
    pacts = [read(file) for file in find(suite.root / "contracts")] + [deployed.pact]
    suite.broker.record([Verdict(it.consumer, it.provider, it.events, 1, (), it.identity) for it in pacts])
    suite.commit()
    assert suite.objections("inventory") == []


def test_deployed_pacts_are_read_from_their_commit(suite: Suite) -> None:
    """Files at hand that say otherwise, committed or not, change nothing of what runs."""
    old = suite.release()
    suite.deploy(inventory=old, orders=old)
    suite.need_more()
    shutil.rmtree(suite.root / "contracts" / "orders")
    suite.commit()
    assert suite.objections("inventory") == []
    suite.write("services/inventory/__main__.py", "second")
    suite.release()
    assert "what orders at" in only(suite.objections("inventory"))


def test_an_older_commit_can_be_asked_about(suite: Suite) -> None:
    old = suite.release()
    suite.deploy(inventory=old, orders=old)
    suite.write("services/inventory/__main__.py", "second")
    suite.commit()
    assert suite.objections("inventory", old) == []


def test_only_a_green_gate_and_whole_pacts_are_recorded(suite: Suite) -> None:
    suite.commit()
    with pytest.raises(AssertionError):
        suite.broker.record([Verdict("orders", "inventory", False, 1, ["broken"], "id")])
    with pytest.raises(AssertionError):
        suite.broker.record([Verdict("orders", "inventory", False, 1, (), "")])
    assert not (suite.root / "contracts" / "released").exists()


def test_nothing_is_recorded_of_a_tree_that_is_not_committed(suite: Suite) -> None:
    suite.release()
    suite.broker.require_clean()
    suite.write("services/orders/__main__.py", "second")
    with pytest.raises(FleetError, match=r"services/orders/__main__\.py differs"):
        suite.broker.require_clean()


def test_what_is_not_known_is_told(suite: Suite) -> None:
    suite.release()
    with pytest.raises(FleetError, match=r"nothing is known of production: .* writes contracts/deployed/prod"):
        suite.objections("orders")
    suite.deploy()
    with pytest.raises(FleetError, match="there is no services/nobody"):
        suite.objections("nobody")
    suite.deploy(orders="0123456789")
    with pytest.raises(FleetError, match="0123456789"):
        suite.objections("inventory")


def test_the_command_answers_by_words_and_exit_code(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = suite.release()
    suite.deploy(inventory=commit)
    suite.commit()
    monkeypatch.chdir(suite.root)
    yes = mercato("can-i-deploy", "orders", "--to", ENVIRONMENT)
    assert yes == (0, f"Yes: orders at {suite.broker.commit()[:12]} may go to production.\n")
    code, no = mercato("can-i-deploy", "notifications", "--to", ENVIRONMENT)
    assert code == 1
    assert "- notifications needs orders, which does not run in production" in no
    _, old = mercato("can-i-deploy", "inventory", "--to", ENVIRONMENT, "--commit", commit)
    assert old.startswith(f"Yes: inventory at {commit[:12]}")


def mercato(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build(), ["contracts", *arguments])
    return result.exit_code, result.output


def test_what_is_deployed_is_recorded_only_if_it_may_be(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(suite.root)
    commit = suite.release()
    refused = "No: production may not run orders.\n- orders needs inventory, which does not run in production\n"
    assert mercato("deployed", ENVIRONMENT, "orders=HEAD") == (1, refused)
    assert not (suite.root / "contracts" / "deployed").exists()
    assert mercato("deployed", ENVIRONMENT, "inventory=HEAD", f"orders={commit}") == (
        0, "Yes: production runs inventory, orders.\n",
    )  # fmt: skip
    assert suite.broker.deployed(ENVIRONMENT) == {"inventory": commit, "orders": commit}
    suite.write("services/inventory/__main__.py", "second")
    suite.commit()
    assert mercato("deployed", ENVIRONMENT, "inventory=HEAD")[0] == 1
    newer = suite.release()
    assert mercato("deployed", ENVIRONMENT, f"inventory={newer[:10]}")[0] == 0
    assert suite.broker.deployed(ENVIRONMENT) == {"inventory": newer, "orders": commit}


@pytest.mark.parametrize("services", [["orders"], ["orders=HEAD", "orders=HEAD"]])
def test_deployments_are_named_by_revision(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, services: Sequence[str]
) -> None:
    monkeypatch.chdir(suite.root)
    suite.release()
    code, output = mercato("deployed", ENVIRONMENT, *services)
    assert code == 2
    assert "SERVICE=REVISION" in output
    with pytest.raises(FleetError, match="does not name an environment"):
        suite.broker.deploy("../released/verified", {})


async def test_a_change_of_this_very_repository_that_breaks_may_not_go(
    tmp_path: Path, running: Mapping[str, Provider], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = Suite.cloned(tmp_path)
    monkeypatch.chdir(suite.root)
    released = suite.release()
    services = sorted(main.parent.name for main in suite.root.glob("services/*/__main__.py"))
    assert mercato("deployed", ENVIRONMENT, *(f"{service}={released}" for service in services))[0] == 0
    suite.commit()
    assert mercato("can-i-deploy", "inventory", "--to", ENVIRONMENT)[0] == 0

    async def verified(mutation: Mutation) -> list[Verdict]:
        async with mutated(mutation, running["inventory"]) as changed:
            return [await verify(file, changed) for file in find(CONTRACTS) if file.name == "inventory.json"]

    proto = "protos/mercato/inventory/v1/inventory.proto"
    text = (suite.root / proto).read_text()
    suite.write(proto, text.replace("int64 quantity = 2", "int64 quantity = 9"))
    suite.commit()
    verdicts = await verified(next(it for it in BREAKING if it.name == "field renumbered in a request"))
    with pytest.raises(AssertionError, match="only a green gate"):
        suite.broker.record(verdicts)
    code, output = mercato("can-i-deploy", "inventory", "--to", ENVIRONMENT)
    assert (code, output.startswith("No: inventory")) == (1, True)
    assert {consumer for consumer in services if f"what {consumer} at {released[:12]} needs of it" in output} == {
        each.consumer for each in verdicts if not each.green
    }

    suite.write(proto, text.replace("message StockLine {", "message StockLine {\n  string note = 20;"))
    suite.commit()
    suite.broker.record(await verified(next(it for it in BENIGN if it.name == "field added to a request")))
    suite.commit()
    assert mercato("can-i-deploy", "inventory", "--to", ENVIRONMENT)[0] == 0


def test_the_picture_in_the_docs_is_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    drawn = tmp_path / "contracts.svg"
    assert CliRunner().invoke(build(), ["contracts", "matrix", "--svg", str(drawn)]).exit_code == 0
    assert drawn.read_bytes() == (ROOT / "docs" / "contracts.svg").read_bytes(), (
        "run `mercato contracts matrix --svg docs/contracts.svg`"
    )


def test_the_matrix_names_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(build(), ["contracts", "matrix"]).output
    assert "products.prices.end_time" in shown
    assert "customer.email" in shown
    unused = CliRunner().invoke(build(), ["contracts", "matrix", "--unused"]).output
    assert "mercato.customers.v1.Customer: create_time\n" in unused
