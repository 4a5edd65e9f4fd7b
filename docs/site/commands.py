r"""The commands for the reference of the documentation site: their help texts as Markdown, for mkdocs-click to lay out.

Help texts are written for a terminal: `\b` keeps lines apart, and `#` begins the comment of an example, where Markdown
would see a heading.
"""

from __future__ import annotations

import copy
import re
import sys
from inspect import cleandoc
from typing import TYPE_CHECKING

import click

from resefa_plugin.scripts.main import COMMANDS, load_command
from resefa_plugin.scripts.main import main as program

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

WIDTH = 78  # characters that fit into the page


def prose(text: str) -> str:
    """A paragraph of a help text: flags as code, and nothing that Markdown would take as its own; backticks stay."""
    pieces = re.split(r'(`[^`]*`|(?<![\w-])--[a-z][\w-]*(?:=[\w-]+)?)', text)
    return ''.join(re.sub(r'([\\*_<>\[\]#|~&])', r'\\\1', piece) if number % 2 == 0 else f'`{piece.strip("`")}`'
                   for number, piece in enumerate(pieces))


def markdown(text: str) -> str:
    r"""A help text as Markdown: paragraphs, and what `\b` keeps as it is in blocks, those of commands together."""
    parts: list[tuple[str, str]] = []
    for paragraph in re.split(r'\n[ ]*\n', cleandoc(text).strip('\n')):
        if not paragraph.startswith('\b'):
            parts.append(('', prose(paragraph)))
            continue
        lines = cleandoc(paragraph[1:]).strip('\n')
        kind = 'bash' if re.search(r'^(resefa |#)', lines, re.MULTILINE) else 'text'
        if parts and parts[-1][0] == kind:
            parts[-1] = (kind, f'{parts[-1][1]}\n\n{lines}')
        else:
            parts.append((kind, lines))
    return '\n\n'.join(f'```{kind}\n{body}\n```' if kind else body for kind, body in parts)


def documented(command: click.Command) -> click.Command:
    """A copy of a command whose help is Markdown, and has all that `--help` prints."""
    page = copy.copy(command)
    page.help = markdown(f'{cleandoc(command.help or "")}\n\n{command.epilog or ""}')
    page.context_settings = {**command.context_settings, 'terminal_width': WIDTH}
    return page


def __getattr__(name: str) -> click.Command:
    """`main`, or a command by its name: what the pages ask for."""
    if name == 'main':
        page = documented(program)
        page.list_commands = lambda ctx: []  # they follow, each under its heading
        return page
    if name in COMMANDS:
        return documented(load_command(name))
    raise AttributeError(f'there is no command {name!r}')


def on_config(config: MkDocsConfig) -> None:
    """Lets mkdocs-click import this module, by the name `site_commands`."""
    sys.modules['site_commands'] = sys.modules[__name__]


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keeps flags in one piece: browsers break a line after the two hyphens with which one begins."""
    def unbroken(code: re.Match[str]) -> str:
        return re.sub(r'(?<=[\s>])--[a-z][\w-]*', r'<span class="flag">\g<0></span>', code[0])
    return re.sub(r'<code>.*?</code>', unbroken, html, flags=re.DOTALL)
