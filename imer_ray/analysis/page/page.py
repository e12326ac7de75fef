"""The report as one HTML file that needs nothing else: no network, no other file; light and dark, laptop and phone."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from string import Template
from typing import Any

from imer_ray.analysis.charts.parts import Chart
from imer_ray.analysis.style import DARK, LIGHT

# In the order in which they use each other.
SCRIPTS = (
    *("packed.js", "report.js", "address.js", "card.js", "marks.js", "page.js"),
    *("pins.js", "picker.js", "download.js", "trials.js", "print.js"),
)
LIVE_SCRIPTS = (*SCRIPTS[:2], "live.js", *SCRIPTS[2:])  # before those that fill in what it compares with
PACKED_FROM = 1_000_000  # letters of JSON; below, a page can be read as it is
STYLES = ("page.css", "trials.css")
GROUND = {"light": "#f6f7f9", "dark": "#0f1216"}


@dataclass
class Page:
    """A page that grows from top to bottom.

    Attributes:
        points: id -> what to say of a point that is pointed at (`imer_ray.analysis.charts.parts.describe`).
        shown: the point that is shown before any is pointed at.
        given: what else the scripts are given, by the name that they know it by.
    """

    title: str
    points: dict[str, Chart] = field(default_factory=dict)
    shown: str | None = None
    given: dict[str, Any] = field(default_factory=dict)
    _body: list[str] = field(default_factory=list)
    _charts: list[Chart] = field(default_factory=list)

    def add(self, html: str) -> None:
        self._body.append(html)

    def chart(self, name: str, chart: Chart, height: int, narrow: int | None = None) -> str:
        """The place of a chart, whose heights are in pixels; ``narrow`` is that on a phone."""
        self._charts.append({"id": name, "height": height, "narrow": narrow or height, **chart})
        return f'<div class="chart" id="{name}" style="min-height:{min(height, narrow or height)}px"></div>'

    @property
    def body(self) -> str:
        """The page's text, with places for what its scripts fill in."""
        return "\n".join(self._body)

    @property
    def report(self) -> dict[str, Any]:
        """What the page's scripts are given."""
        return {"charts": self._charts, "points": self.points, "shown": self.shown, **self.given}

    def render(self, live: Mapping[str, Any] | None = None) -> str:
        """The file; one that keeps itself up to date (`imer_ray.analysis.live`) is given what it knows to begin."""
        from plotly.offline import get_plotlyjs

        kind, report = packed(json_in_script(self.report | ({"live": live} if live else {})))
        return Template(_asset("page.html")).substitute(
            title=escape(self.title),
            colours=_colours(),
            css="\n".join(map(_asset, STYLES)),
            body=self.body,
            kind=kind,
            report=report,
            plotly=get_plotlyjs(),
            script="\n".join(map(_asset, LIVE_SCRIPTS if live else SCRIPTS)),
            connections="'self'" if live else "'none'",
        )


def section(title: str, *parts: str, note: str = "", kind: str = "") -> str:
    """A card; ``note`` says how to read it."""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{said}{"".join(parts)}</section>'


def tiles(entries: Iterable[tuple[str, str, str]]) -> str:
    """Headline numbers: (value, name, what more there is to say)."""
    made = (
        f'<div class="tile"><div class="value">{escape(value)}</div><div class="name">{escape(name)}</div>'
        f'<div class="more">{escape(more)}</div></div>'
        for value, name, more in entries
    )
    return f'<div class="tiles">{"".join(made)}</div>'


@dataclass(frozen=True)
class Cell:
    """A table's cell: text, escaped here, or HTML that the caller made."""

    text: str = ""
    html: str = ""
    kind: str = ""  # "number", "mono"


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls sideways by itself where it is too wide; heads are (text, kind)."""
    head = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="{c.kind}">{c.html or escape(c.text)}</td>' for c in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _colours() -> str:
    def rules(shades: Mapping[str, Any], ground: str) -> str:
        return " ".join(f"--{name}: {shade};" for name, shade in {**shades, "ground": ground}.items())

    return (
        f":root {{ color-scheme: light dark; {rules(LIGHT, GROUND['light'])} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {rules(DARK, GROUND['dark'])} }} }}"
    )


def json_in_script(content: Any) -> str:  # noqa: ANN401 (JSON)
    """JSON that no text in it can end or open a script with, and no number spoil: what is not finite is null."""
    try:  # ASCII, which also has U+2028 and lone surrogates escaped
        text = json.dumps(content, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(content), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def packed(text: str) -> tuple[str, str]:
    """How a page is given JSON, and it; a large one shrinks to a quarter, which packed.js unpacks."""
    if len(text) < PACKED_FROM:
        return "application/json", text
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    content = packer.compress(text.encode("ascii")) + packer.flush()
    return "application/x-deflate", f"{len(text)}:{base64.b64encode(content).decode('ascii')}"


def _finite(content: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _asset(name: str) -> str:
    return resources.files("imer_ray.analysis").joinpath("assets", name).read_text(encoding="utf-8")
