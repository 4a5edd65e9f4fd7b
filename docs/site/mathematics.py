"""Mathematics of the documentation site: LaTeX becomes MathML when the site is built, so that a page needs no script.

It is written as GitHub shows it, too: blocks fenced by ```math, and $`...`$ in a line.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from pymdownx.superfences import SuperFencesException
from typing_extensions import override

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

FENCES = 'pymdownx.superfences'
OPERATORS = re.compile(r'\\(arg)(?![A-Za-z])')  # which latex2mathml has not


def mathml(latex: str, display: str = 'inline') -> str:
    """The formula as a `<math>` element.

    Args:
        display: 'inline' or 'block'.

    Raises ValueError: it is not LaTeX, or has a command that is not known.
    """
    if len(re.findall(r'(?<!\\){', latex)) != len(re.findall(r'(?<!\\)}', latex)):  # latex2mathml would take it
        raise ValueError(f'{latex.strip()!r} is not a formula: a brace is missing')
    try:
        converted = convert(OPERATORS.sub(r'\\operatorname{\1}', latex.strip()), display=display)
    except Exception as error:  # each mistake has a class of its own
        raise ValueError(f'{latex.strip()!r} is not a formula: {type(error).__name__} {error}'.rstrip()) from error
    unknown = [text for text in ElementTree.fromstring(converted).itertext() if re.match(r'\\[A-Za-z]', text)]
    if unknown:
        raise ValueError(f'{latex.strip()!r} has what latex2mathml does not know: {", ".join(unknown)}')
    return converted


def block(source: str, language: str, css_class: str, options: dict[str, Any], md: Markdown, **rest: Any) -> str:
    """What a fenced block becomes, as `pymdownx.superfences` asks for it."""
    try:
        return f'<div class="{css_class}">{mathml(source, "block")}</div>'
    except ValueError as error:  # any other exception would leave the block as it is
        raise SuperFencesException(str(error)) from error


class _Inline(InlineProcessor):
    """A formula between $` and `$."""

    @override
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(m[1])), m.start(0), m.end(0)


class InlineMathematics(Extension):
    """Formulas in a line."""

    @override
    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_Inline(r'(?<!`)\$`([^`]+)`\$(?!`)', md), 'mathematics', 195)  # before code, at 190


def on_config(config: MkDocsConfig) -> None:
    """Takes both forms into the configuration."""
    config.markdown_extensions.append(InlineMathematics())
    fences = config.mdx_configs.setdefault(FENCES, {}).setdefault('custom_fences', [])
    fences.append({'name': 'math', 'class': 'formula', 'format': block})
