"""The dashboards of Grafana, made of what `grafana/panels/*.toml` say: panels in lines, in the order they are named.

A panel begins a new row where it names one. Its queries are PromQL by their legend; `$faults` stands for the codes of
calls that failed by a fault of the server, `$service` for the services chosen.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.observability.rules import FAULTY

COLUMNS = 24
HEIGHTS = {"stat": 4, "timeseries": 8, "table": 12}
PANELS = Path(__file__).parent / "grafana" / "panels"

_SOURCE = {"type": "prometheus", "uid": "prometheus"}
_LETTERS = "ABCDEF"

Json = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    queries: Mapping[str, str]
    """By their legend, in Grafana's form: `{{rpc_method}}`; in a table, by the name of the column."""
    row: str = ""
    """The heading of the row that begins with it."""
    unit: str = "short"
    """As Grafana names it: `reqps`, `percentunit`, `s`, `bytes`."""
    kind: str = "timeseries"
    width: int = 8
    description: str = ""
    red_below: float | None = None
    red_from: float | None = None

    def json(self, number: int, column: int, row: int) -> Json:
        """Return it as Grafana stores it."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": _SOURCE,
            "gridPos": {"x": column, "y": row, "w": self.width, "h": HEIGHTS[self.kind]},
            "targets": list(self._targets()),
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "transformations": self._transformations(),
        }

    def _targets(self) -> Iterator[Json]:
        for letter, (legend, expr) in zip(_LETTERS, self.queries.items(), strict=False):
            yield {"refId": letter, "datasource": _SOURCE, "expr": expr, "legendFormat": legend} | _TARGETS[self.kind]

    def _defaults(self) -> Json:
        steps: list[Json] = [{"color": "green", "value": None}]
        if self.red_below is not None:
            steps = [{"color": "red", "value": None}, {"color": "green", "value": self.red_below}]
        if self.red_from is not None:
            steps = [*steps, {"color": "red", "value": self.red_from}]
        return {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}, "custom": _CUSTOM[self.kind]}

    def _transformations(self) -> list[Json]:
        """Join the queries of a table to one row for each set of labels, each query a column."""
        if self.kind != "table":
            return []
        names = {f"Value #{letter}": legend for letter, legend in zip(_LETTERS, self.queries, strict=False)}
        hidden = {"Time": True, "le": True, "__name__": True}
        return [
            {"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names}},
        ]


_TARGETS: dict[str, Json] = {
    "stat": {},
    "timeseries": {"exemplar": True},
    "table": {"instant": True, "format": "table"},
}
_CUSTOM: dict[str, Json] = {
    "stat": {},
    "timeseries": {"fillOpacity": 10, "showPoints": "never"},
    "table": {"cellOptions": {"type": "color-text"}},
}
_OPTIONS: dict[str, Json] = {
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True},
}


@dataclass(frozen=True)
class Dashboard:
    """One page of panels."""

    name: str
    title: str
    panels: tuple[Panel, ...] = field(default=())
    by_service: bool = False
    """Whether who looks chooses services, `$service` in the queries."""

    def json(self) -> Json:
        """Return it as Grafana stores it."""
        return {
            "uid": f"mercato-{self.name}",
            "title": self.title,
            "tags": ["mercato"],
            "schemaVersion": 39,
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "timezone": "utc",
            "links": [{"type": "dashboards", "title": "Mercato", "tags": ["mercato"], "asDropdown": False}],
            "templating": {"list": [_CHOICE] if self.by_service else []},
            "panels": list(self._laid_out()),
        }

    def _laid_out(self) -> Iterator[Json]:
        number = row = 0
        for line in _lines(self.panels):
            if heading := line[0].row:
                number += 1
                place = {"x": 0, "y": row, "w": COLUMNS, "h": 1}
                yield {"id": number, "type": "row", "title": heading, "gridPos": place, "panels": []}
                row += 1
            column = 0
            for panel in line:
                number += 1
                yield panel.json(number, column, row)
                column += panel.width
            row += max(HEIGHTS[panel.kind] for panel in line)


_CHOICE: Json = {
    "name": "service",
    "label": "Service",
    "type": "query",
    "datasource": _SOURCE,
    "query": 'label_values(up{job="mercato"}, service)',
    "refresh": 2,
    "includeAll": True,
    "allValue": ".+",
    "multi": True,
    "sort": 1,
    "current": {"text": "All", "value": "$__all"},
}


def load(folder: Path = PANELS) -> list[Dashboard]:
    """Read all dashboards."""
    return [_read(path) for path in sorted(folder.glob("*.toml"))]


def _read(path: Path) -> Dashboard:
    read = tomllib.loads(path.read_text().replace("$faults", FAULTY))
    panels = tuple(Panel(**panel) for panel in read.pop("panel"))
    return Dashboard(name=path.stem, panels=panels, **read)


def _lines(panels: Iterable[Panel]) -> Iterator[list[Panel]]:
    """Break panels into lines: where one names a row, or would not fit."""
    line: list[Panel] = []
    for panel in panels:
        if line and (panel.row or sum(each.width for each in line) + panel.width > COLUMNS):
            yield line
            line = []
        line.append(panel)
    yield line
