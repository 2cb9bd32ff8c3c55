"""Curves over time, drawn as SVG; readable on light and on dark pages, as it brings its own ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 100, 58, 44
LINE_HEIGHT = 16


@dataclass(frozen=True, slots=True)
class Curve:
    """One line and its name, which stands where the line ends or below the one that does."""

    name: str
    style: str
    """`load`, `bad` or `good`."""
    points: Sequence[tuple[float, float]]
    """In seconds and percent."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves in percent over seconds, and the span in which something was done to them."""

    title: str
    subtitle: str
    curves: Sequence[Curve]
    span: tuple[float, float]
    span_name: str
    longest_s: float
    most: float

    def svg(self) -> str:
        """Draw it."""
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(self.title)}</title>",
            "<style>text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#374151}.t{font-size:15px;font-weight:600;"
            "fill:#111827}.e{text-anchor:end}.m{text-anchor:middle}.g{stroke:#e5e7eb}.s{fill:#fef3c7}polyline{fill:none;"
            "stroke-width:2;stroke-linejoin:round}.load{stroke:#9ca3af;stroke-width:1.5}.bad{stroke:#dc2626}"
            ".good{stroke:#0f766e}text.load,text.bad,text.good{stroke:none;font-weight:600}text.load{fill:#6b7280}"
            "text.bad{fill:#dc2626}text.good{fill:#0f766e}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff"/>',
            f'<text x="{LEFT}" y="24" class="t">{escape(self.title)}</text>',
            f'<text x="{LEFT}" y="42">{escape(self.subtitle)}</text>',
            *self._grid(),
            *self._lines(),
            "</svg>\n",
        ])  # fmt: skip

    def _grid(self) -> Iterator[str]:
        start, end = map(self._x, self.span)
        bottom = HEIGHT - BOTTOM
        yield f'<rect x="{start}" y="{TOP}" width="{end - start:.1f}" height="{bottom - TOP}" class="s"/>'
        yield f'<text x="{(start + end) / 2}" y="{TOP + 16}" class="m">{escape(self.span_name)}</text>'
        for percent in range(0, int(self.most) + 1, 50):
            y = self._y(percent)
            yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="g"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4}" class="e">{percent} %</text>'
        for second in range(0, int(self.longest_s) + 1, 2):
            yield f'<text x="{self._x(second)}" y="{bottom + 18}" class="m">{second}</text>'
        yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 36}" class="m">seconds</text>'

    def _lines(self) -> Iterator[str]:
        for curve in self.curves:
            drawn = " ".join(f"{self._x(second)},{self._y(percent)}" for second, percent in curve.points)
            yield f'<polyline points="{drawn}" class="{curve.style}"/>'
        y = 0.0
        for curve in sorted(self.curves, key=lambda curve: -curve.points[-1][1]):
            y = max(y + LINE_HEIGHT, self._y(curve.points[-1][1]) + 4)  # names do not cover each other
            yield f'<text x="{WIDTH - RIGHT + 8}" y="{y}" class="{curve.style}">{escape(curve.name)}</text>'

    def _x(self, second: float) -> float:
        return round(LEFT + second / self.longest_s * (WIDTH - LEFT - RIGHT), 1)

    def _y(self, percent: float) -> float:
        return round(HEIGHT - BOTTOM - min(percent, self.most) / self.most * (HEIGHT - BOTTOM - TOP), 1)
