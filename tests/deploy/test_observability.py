"""What is committed is what the protos give, and fits together."""

from __future__ import annotations

import json
import re
from pathlib import Path

from deploy.observability import generate
from deploy.observability.dashboards import COLUMNS, load
from deploy.observability.objectives import promises
from deploy.observability.rules import BURNS, Scale

HERE = Path(generate.__file__).parent
FOLDERS = ("prometheus/rules", "grafana/dashboards")
BY_HAND = {"operations.yml"}


def test_what_is_committed_is_what_the_protos_give(tmp_path: Path) -> None:
    generate.generate(tmp_path)
    for folder in FOLDERS:
        made = {path.name: path.read_text() for path in (tmp_path / folder).iterdir()}
        committed = {path.name: path.read_text() for path in (HERE / folder).iterdir() if path.name not in BY_HAND}
        assert made == committed, "run `make generate`"


def test_every_service_here_promises_something() -> None:
    services = {path.parent.name for path in (HERE.parents[1] / "services").glob("*/__main__.py")}
    assert services - {promise.service for promise in promises()} == {"gateway"}  # it has no methods of its own


def test_scaled_rules_are_the_same_but_for_their_times(tmp_path: Path) -> None:
    generate.write_rules(tmp_path, Scale(1 / 60))
    for path in tmp_path.iterdir():
        times = r"\b\d+[smhd]\b"
        committed = re.sub(times, "T", (HERE / "prometheus/rules" / path.name).read_text())
        assert re.sub(times, "T", path.read_text()) == committed
    assert [Scale(1 / 60)(time) for time in ("5m", "6h", "3d", "15s")] == ["5s", "6m", "72m", "1s"]


def test_windows_are_those_that_spend_the_budget_as_the_workbook_says() -> None:
    hours = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}
    spent = [round(burn.factor * hours[burn.long] / (30 * 24), 2) for burn in BURNS]
    assert spent == [0.02, 0.05, 0.10, 0.10]


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    for dashboard in load():
        panels = dashboard.json()["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = set[tuple[int, int]]()
        for place in (panel["gridPos"] for panel in panels):
            fields = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
            assert not fields & taken
            assert place["x"] + place["w"] <= COLUMNS
            taken |= fields


def test_every_rule_that_is_asked_for_is_recorded() -> None:
    rules = "".join(path.read_text() for path in (HERE / "prometheus/rules").iterdir())
    boards = json.dumps([dashboard.json() for dashboard in load()])
    used = set(re.findall(r"\b(?:mercato:objective|rpc_method:\w+):\w+", rules + boards))
    assert used <= set(re.findall(r"record: (\S+)", rules))
