"""Formulas in TeX become MathML, which a browser draws without a script of another site."""

from __future__ import annotations

import re
from html import unescape

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>div|span) class="arithmatex">\\(?P<open>[\[(])(?P<tex>.*?)\\[\])]</(?P=tag)>', re.DOTALL
)


def on_page_content(html: str, **_: object) -> str:
    return FORMULA.sub(_drawn, html)


def _drawn(found: re.Match[str]) -> str:
    display = "block" if found["open"] == "[" else "inline"
    return convert(" ".join(unescape(found["tex"]).split()), display=display)
