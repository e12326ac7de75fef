"""Formulas in TeX, between double dollars, become MathML, which a browser draws without a script of another site."""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig

FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)


class Formulas(Preprocessor):
    """Put them aside as they will stand in the page, before Markdown takes their underscores for its own."""

    def run(self, lines: list[str]) -> list[str]:
        return FORMULA.sub(self._aside, "\n".join(lines)).split("\n")

    def _aside(self, found: re.Match[str]) -> str:
        return self.md.htmlStash.store(convert(" ".join(found[1].split()), display="block"))


class FormulaExtension(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(Formulas(md), "formulas", 22)  # after code blocks, before raw HTML


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    config.markdown_extensions.append(FormulaExtension())
    return config
