"""What the documentation site does to its sources: links, mathematics, help texts. `make docs` builds it as a whole."""

from __future__ import annotations

import importlib.util
import logging
import pathlib
import re
import textwrap

import pytest
import yaml

import resefa_plugin
from resefa_plugin.scripts.main import COMMANDS, load_command

pytest.importorskip('mkdocstrings', reason='the extra docs, which needs Python 3.11, is not installed')
from mkdocs.commands.build import build  # noqa: E402
from mkdocs.config import load_config  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
SITE = ROOT / 'docs' / 'site'


def load(name):
    spec = importlib.util.spec_from_file_location(f'site_{name}', SITE / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


commands, links, mathematics = load('commands'), load('links'), load('mathematics')


@pytest.fixture
def site(tmp_path):
    """Builds a site of some files of a small repository, and returns its folder."""
    def make(**files):
        files = {'docs/index.md': '# Start\n', **{name.replace('__', '/'): text for name, text in files.items()}}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding='utf-8')
        (tmp_path / 'mkdocs.yml').write_text(yaml.safe_dump({
            'site_name': 'small', 'site_dir': str(tmp_path / 'out'), 'use_directory_urls': False, 'plugins': [],
            'theme': {'name': 'mkdocs', 'highlightjs': False}, 'validation': {'links': {'anchors': 'warn'}},
            'hooks': [str(SITE / 'links.py'), str(SITE / 'mathematics.py')],
            'markdown_extensions': ['pymdownx.superfences']}))
        build(load_config(str(tmp_path / 'mkdocs.yml')))
        return tmp_path / 'out'
    return make


def targets(page):
    return re.findall(r'(?:href|src)="([^"]*)"', page.read_text(encoding='utf-8').partition('role="main"')[2])


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_links_lead_to_pages_and_to_copies(site, caplog):
    out = site(**{
        'docs/reference/files.md': '''
            [guide](../../CONTRIBUTING.md#test-it), [figures](../../benchmarks/README.md), [front](../../README.md),
            [space](../../examples/space), [house](../index.md "the house"), [far](https://example.org/a.md)

            ![face](../../examples/face%20one.jpg), [licence](../../LICENSE), [by name][name], `[no](../nothing.md)`

            [name]: ../../examples/own.ipynb

            ```
            [no](../nothing.md)
            ```
        ''',
        'CONTRIBUTING.md': '# Guide\n\n## Test it\n\nSee [files](docs/reference/files.md) and [it](#test-it).',
        'benchmarks/README.md': '# Figures\n\n[back](../CONTRIBUTING.md), ![curve](curve.png)',
        'examples/space/README.md': '# Space', 'README.md': '# Front', 'LICENSE': 'MIT',
        'examples/face one.jpg': 'face', 'examples/own.ipynb': '{}', 'benchmarks/curve.png': 'curve'})
    assert not warnings(caplog)
    found = targets(out / 'reference' / 'files.html')
    assert found[:9] == ['../contributing.html#test-it', '../benchmarks.html', '../index.html', '../space.html',
                         '../index.html', 'https://example.org/a.md', '../files/examples/face%20one.jpg',
                         '../files/LICENSE.txt', '../files/examples/own.ipynb']
    assert not [link for link in found if 'nothing' in link]
    assert targets(out / 'contributing.html')[:2] == ['reference/files.html', '#test-it']
    assert {'contributing.html', 'files/benchmarks/curve.png'} <= set(targets(out / 'benchmarks.html'))
    assert (out / 'files' / 'examples' / 'face one.jpg').read_text() == 'face'
    assert (out / 'files' / 'benchmarks' / 'curve.png').exists() and (out / 'files' / 'LICENSE.txt').exists()


@pytest.mark.parametrize('link, message', [
    ('../nothing.png', "'nothing.png' is not in the repository"),
    ('../../outside.png', "'../outside.png' is not in the repository"),
    ('../code', "'code' is a folder without a page: link to a file in it, or add its README.md to PAGES"),
    ('../notes.md', "'notes.md' is no page of the site: add it to PAGES"),
])
def test_links_to_nowhere_are_warnings(site, caplog, link, message):
    site(**{'docs/index.md': f'# Start\n\n[a link]({link})', 'code/a.py': '', 'notes.md': '# Notes'})
    ours = next(text for text in warnings(caplog) if message in text)
    assert ours.startswith(f"docs/index.md has a link '{link}': ")


def test_a_missing_page_or_anchor_is_a_warning(site, caplog):
    site(**{'docs/index.md': '# Start\n\n[a](nothing.md), [b](../CONTRIBUTING.md#nothing)', 'CONTRIBUTING.md': '# A'})
    text = '\n'.join(warnings(caplog))
    assert "'nothing.md'" in text and 'contributing.md#nothing' in text


def test_formulas_become_mathml(site):
    out = site(**{'docs/index.md': r'''
        A direction $`n`$ with $`\|J_f n\|^2 < a`$; `$x$` and ``$`x`$`` are code.

        ```math
        \arg\max_n \frac{n^\top A n}{n^\top B n}
        ```

        ````text
        ```math
        x
        ```
        ````
    '''})
    page = (out / 'index.html').read_text(encoding='utf-8')
    formulas = re.findall(r'<math.*?</math>', page, re.DOTALL)
    assert [re.search(r'display="(\w+)"', each)[1] for each in formulas] == ['inline', 'inline', 'block']
    assert '<mi>n</mi>' in formulas[0] and '&#x0003C;' in formulas[1]
    assert '<mfrac>' in formulas[2] and '<mo>arg</mo>' in formulas[2]
    assert '<code>$x$</code>' in page and '<code>$`x`$</code>' in page and '```math' in page


@pytest.mark.parametrize('page', [r'$`\eggs{x}`$', '```math\n\\eggs{x}\n```', '$`\\frac{a`$'])
def test_what_is_no_formula_ends_the_build(site, page):
    with pytest.raises(Exception, match=r'latex2mathml does not know: .*eggs|is not a formula'):
        site(**{'docs/index.md': f'# Start\n\n{page}\n'})


def test_help_texts_become_markdown():
    text = commands.markdown('''Do it, *all* of it, with <this>.

    Without --seeds=0, as `resefa edit --alpha` says: see a_b_c.

    Examples:

    \b
    # One
    resefa edit --seeds=0 \\
        --outdir=out

    \b
    resefa edit

    \b
      a box
        as it stands
    ''')
    assert text.split('\n\n', 3) == [
        r'Do it, \*all\* of it, with \<this\>.', r'Without `--seeds=0`, as `resefa edit --alpha` says: see a\_b\_c.',
        'Examples:', '```bash\n# One\nresefa edit --seeds=0 \\\n    --outdir=out\n\nresefa edit\n```\n\n'
                     '```text\na box\n  as it stands\n```']


def test_flags_are_not_broken():
    html = '<p>a --b</p><code><a id="x"></a>--c-d<span>=</span>e --f\n--g a--h</code>'
    assert commands.on_page_content(html, None, None, None) == (
        '<p>a --b</p><code><a id="x"></a><span class="flag">--c-d</span><span>=</span>e <span class="flag">--f</span>\n'
        '<span class="flag">--g</span> a--h</code>')


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_commands_are_documented_with_all_of_their_help(name):
    before, page = load_command(name).help, getattr(commands, name)
    assert load_command(name).help == before and page is not load_command(name)
    examples = re.findall(r'^ *(resefa .*)', before, re.MULTILINE)
    assert examples and all(example.strip() in page.help for example in examples)
    assert '\b' not in page.help and page.help.count('```') % 2 == 0
    if load_command(name).epilog:
        assert 'labels:FILE:1,2,5' in page.help


def test_the_reference_has_all_commands_and_names():
    page = (ROOT / 'docs' / 'reference' / 'command-line.md').read_text(encoding='utf-8')
    assert re.findall(r':command: (\w+)\n +:prog_name: (.+)\n', page) == [
        ('main', 'resefa'), *((name, f'resefa {name}') for name in COMMANDS)]
    page = (ROOT / 'docs' / 'reference' / 'python.md').read_text(encoding='utf-8')
    assert sorted(re.findall(r'^::: resefa_plugin\.(\w+)$', page, re.MULTILINE)) == sorted(resefa_plugin.__all__)
    with pytest.raises(AttributeError, match="no command 'eggs'"):
        _ = commands.eggs
