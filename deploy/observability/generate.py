"""Write what Prometheus and Grafana are told from the protos' objectives; run by `make generate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deploy.observability import dashboards, rules, yaml
from deploy.observability.objectives import promises
from deploy.observability.rules import Scale
from deploy.observability.yaml import Value

HERE = Path(__file__).parent
HEADER = "# Written by `make generate` from the protos; a change here is lost.\n"


def generate(target: Path) -> None:
    """Write all that is derived into `target`, in folders as they are here."""
    write_rules(target / "prometheus" / "rules")
    folder = target / "grafana" / "dashboards"
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards.load():
        (folder / f"{dashboard.name}.json").write_text(json.dumps(dashboard.json(), indent=1) + "\n")


def write_rules(folder: Path, scale: Scale | None = None) -> None:
    """Write the rules' files; with a scale, the same rules over shorter times."""
    folder.mkdir(parents=True, exist_ok=True)
    scale, promised = scale or Scale(), promises()
    files: dict[str, list[Value]] = {
        "objectives": [_group("objectives", rules.objectives(promised), scale(rules.EVERY))],
        "ratios": [
            *(_ratios(window, rules.rates(window, promised, scale), scale(rules.EVERY)) for window in rules.SHORT),
            *(_ratios(window, rules.averages(window, scale), scale(rules.LONG_EVERY)) for window in rules.LONG),
        ],
        "budgets": [_group(kind, rules.burn_alerts(kind, scale), scale(rules.EVERY)) for kind in rules.BAD],
    }
    for name, groups in files.items():
        (folder / f"{name}.yml").write_text(HEADER + yaml.dump({"groups": groups}))


def _ratios(window: str, rates: list[Value], every: str) -> Value:
    return _group(f"over {window}", [*rates, *rules.ratios(window)], every)


def _group(name: str, members: list[Value], every: str) -> Value:
    return {"name": name, "interval": every, "rules": members}


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
