"""How the benchmark of the mesh and of overload shows what it measured; the measuring itself is `make bench-mesh`."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from rich.console import Console

from loadtest import bench_mesh, metastable
from loadtest.mesh import Spread
from loadtest.metastable import AFTER_S, BEFORE_S, BIN_S, OVERLOAD_S, Run

PEAK = 100.0
SPREAD = Spread(
    plain_us=200.0,
    mesh_us=212.0,
    cost_ratio=1.06,
    shares={"catalog/1": 0.34, "catalog/2": 0.33, "catalog/3": 0.33},
    ejected_s=0.7,
    returned_s=9.0,
    slow_share=0.06,
    split_share=0.1,
)


def run(name: str, before: float, overload: float, after: float) -> Run:
    """Make a run whose goodput is the same within each part."""
    parts = ((BEFORE_S, before), (OVERLOAD_S, overload), (AFTER_S, after))
    goodput = [rate for duration_s, rate in parts for _ in range(int(duration_s / BIN_S))]
    return Run(name, PEAK, [60.0] * len(goodput), goodput, goodput)


RUNS = [run("naive", 60.0, 5.0, 10.0), run("protected", 60.0, 80.0, 60.0)]


def test_verdicts_follow_from_the_curves() -> None:
    naive, protected = RUNS
    assert (naive.goodput_in_overload, naive.recovery_s) == (0.05, None)
    assert (protected.goodput_in_overload, protected.recovery_s, protected.goodput_after) == (0.8, 0.0, 1.0)


def test_tables_say_what_was_reached_and_what_was_not() -> None:
    console = Console(record=True, width=160)
    bench_mesh.show(SPREAD, RUNS, console)
    text = console.export_text()
    assert "200 and 212 µs, 1.06 times" in text
    assert (text.count("reached"), text.count("missed")) == (5, 1)  # it came back too late
    assert "not within 10 s" in text


def test_the_same_as_json() -> None:
    told = json.loads(json.dumps(bench_mesh.as_json(SPREAD, RUNS)))
    assert told["mesh"]["split_share"] == 0.1
    assert told["overload"]["naive"]["recovery_s"] is None


def test_the_drawing_names_its_curves() -> None:
    drawing = ElementTree.fromstring(metastable.draw(RUNS))
    texts = {element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"asked", "naive", "protected", "overload", "seconds"} <= texts
