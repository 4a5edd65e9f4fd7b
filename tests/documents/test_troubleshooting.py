"""The messages of docs/troubleshooting.md are those of the package, word for word."""

from __future__ import annotations

import ast
import re

import pytest

from tests.helpers.documents import ROOT, text

HEADINGS = re.findall(r'^### (.*)$', text('docs/troubleshooting.md'), re.MULTILINE)
OTHER = '…'  # stands for what differs from run to run
LEAST = 12  # letters that are fixed, or the message could be any


def template(node: ast.AST) -> str | None:
    """A text of the source, with OTHER for each value in it; None for what is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return ''.join(value.value if isinstance(value, ast.Constant) else OTHER for value in node.values)
    return None


@pytest.fixture(scope='module')
def messages():
    """All texts of the package but its docstrings."""
    found = set()
    for path in (path for room in ('resefa_plugin', 'third_party', 'patches') for path in (ROOT / room).rglob('*.py')):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found |= {template(node) for node in ast.walk(tree) if id(node) not in docstrings}
    return found - {None}


@pytest.mark.parametrize('heading', HEADINGS)
def test_each_message_is_said_by_the_package(messages, heading):
    quoted = re.fullmatch(r'`([^`]+)`', heading)
    assert quoted, f'{heading}: expected a message between backticks'
    fixed = quoted[1].strip(OTHER)
    assert len(re.findall(r'[a-z]', fixed)) >= LEAST
    assert any(fixed in message for message in messages), 'no such text in the package: has it been changed?'


def test_a_page_for_what_people_meet():
    assert len(HEADINGS) == len(set(HEADINGS)) >= 25


def test_texts_are_read_with_their_values():
    source = "raise ValueError(f'{name}: no such {kind!r}; ' f'expected a {a if b else c}' 'file')"
    found = {template(node) for node in ast.walk(ast.parse(source))} - {None}
    assert '…: no such …; expected a …file' in found
