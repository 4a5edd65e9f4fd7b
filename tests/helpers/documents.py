"""The Markdown files of the repository: their blocks of code, run or checked as a reader would type them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shlex
import shutil
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from resefa_plugin.scripts.install import COMMANDS as INSTALLED
from resefa_plugin.scripts.main import COMMANDS, load_command, main

ROOT = pathlib.Path(__file__).parents[2]
DEMO = 'mobilestylegan-ffhq'  # in its place, a network of tests is used
FOLDERS = ('.', 'benchmarks', 'docs', 'docs/reference', 'examples/space', 'tests')
MARKDOWN = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).glob('*.md'))
# What belongs to the reader's machine, and what belongs to the host repository.
TOOLS = {'.venv/bin/pip', 'cd', 'cp', 'docker', 'export', 'git', 'ls', 'mkdir', 'npm', 'open', 'pip', 'pre-commit',
         'source'}
OUTPUT = {'console', 'html', 'json', 'math', 'text', 'toml', 'yaml'}  # fences that are read
HOST_SCRIPTS = {'gen_images.py', 'generate.py', 'projector.py', 'run_projector.py', 'style_mixing.py', 'train.py'}


def text(name: str) -> str:
    """The text of a file of the repository."""
    return (ROOT / name).read_text(encoding='utf-8')


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """The fenced blocks of a Markdown text: language, what else the fence says, and content without indentation."""
    for match in re.finditer(r'^( *)(```+)(\w+)([^\n]*)\n(.*?)^\1\2[ ]*$', page, re.MULTILINE | re.DOTALL):
        indent, _, language, rest, content = match.groups()
        yield language, rest, re.sub(rf'^{indent}', '', content, flags=re.MULTILINE)


def shell_lines(block: str) -> list[str]:
    """The lines of a block as the shell sees them, those that go on put together; neither empty ones nor comments."""
    lines = [line.strip() for line in re.sub(r'\\\s*\n\s*', ' ', block).splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def commands(block: str) -> list[str]:
    """The command lines of `resefa` in a text."""
    return [line for line in shell_lines(block) if line.startswith('resefa ')]


def run(line: str) -> None:
    """Runs a command line of `resefa`, which has to succeed."""
    result = CliRunner().invoke(main, shlex.split(line.replace(DEMO, 'tiny'), comments=True)[1:])
    assert result.exit_code == 0, f'{line}\n{result.output}'


def check_options(name: str, words: list[str]) -> None:
    """Whether a command takes these words, without running it: none is unknown, and none that it needs is missing."""
    command = load_command(name)
    context = command.context_class(command, info_name=name)
    given, rest, _ = command.make_parser(context).parse_args(list(words))
    missing = [param.name for param in command.params if param.required and not given.get(param.name)]
    assert not missing and not rest, f'{name} {shlex.join(words)}: without {missing}, and {rest} is too much'


def run_lines(block: str) -> None:
    """Runs the lines of `resefa` in a block, and checks all others; `cd` holds to the end of the block."""
    with contextlib.ExitStack() as stack:
        for line in shell_lines(block):
            words = shlex.split(line, comments=True)
            while words and re.match(r'[A-Z_]+=', words[0]):
                words = words[1:]
            if words[0] == 'resefa' and '--build' in words:  # compiles for minutes
                check_options(words[1], words[2:])
            elif words[0] == 'resefa':
                run(shlex.join(words))
            elif words[0] == 'make':
                targets = [word for word in words[1:] if '=' not in word]
                assert all(re.search(rf'^{target}:', text('Makefile'), re.MULTILINE) for target in targets), line
            elif re.fullmatch(r'(\.venv/bin/)?python3?|torchrun', words[0]):
                check_python(words[1:])
            elif words[0] == 'cd' and pathlib.Path(words[1]).is_dir():
                stack.enter_context(_folder(words[1]))
            else:
                assert words[0] in TOOLS, f'{line}: neither run nor checked, see TOOLS in tests/helpers/documents.py'
            for extra in re.findall(r'\.\[([\w,]+)\]', line):
                assert all(f"'{name}': [" in text('setup.py') for name in extra.split(',')), line


@contextlib.contextmanager
def _folder(path: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def check_python(words: list[str]) -> None:
    """Whether what `python` or `torchrun` shall run exists, and is the host's, or ours with options that it takes."""
    modules = [index for index, word in enumerate(words) if word == '-m']
    if modules:
        module, rest = words[modules[-1] + 1], words[modules[-1] + 2:]
        name = module.rpartition('.')[2]
        if module.startswith('resefa_plugin.scripts.'):
            assert name in COMMANDS, module
            check_options(name, rest)
        elif module == 'pytest':
            assert all((ROOT / word).exists() for word in rest if '/' in word and not word.startswith('-')), rest
        elif module.startswith(('benchmarks.', 'tests.')):
            path = ROOT / module.replace('.', '/')
            assert path.with_suffix('.py').exists() or (path / '__main__.py').exists(), module
        else:
            assert module in {'http.server', 'mkdocs', 'pip', 'venv'}, module
        return
    script = pathlib.PurePosixPath(words[0])
    if script.stem in INSTALLED and str(script) == script.name:
        check_options(script.stem, words[1:])
    elif script.name == 'projector.py':  # what it would have written
        outdir = pathlib.Path(next(word.partition('=')[2] for word in words if word.startswith('--outdir=')))
        outdir.mkdir(parents=True, exist_ok=True)
        shutil.copy('projected_w.npz' if os.path.exists('projected_w.npz') else '../projected_w.npz', outdir)
    else:
        assert script.name in HOST_SCRIPTS or (ROOT / script).is_file(), words


def run_page(name: str) -> int:
    """Runs a page in the current folder, from top to bottom, and says how many blocks that were.

    Blocks of `bash` are commands, as are lines of `python` that begin with `!` (of a notebook). Blocks of `python`
    share their names; one whose fence has title="Sketch..." has to compile. All others are what is printed.
    """
    names: dict[str, object] = {}
    count = 0
    for language, rest, content in blocks(text(name)):
        if language == 'bash':
            run_lines(content)
        elif language == 'python' and content.startswith('!'):
            run_lines(re.sub(r'^!', '', content, flags=re.MULTILINE))
        elif language == 'python':
            code = compile(content.replace(DEMO, 'tiny'), name, 'exec')
            if not re.search(r'title="Sketch', rest):
                exec(code, names)
        else:
            assert language in OUTPUT, f'{name} has a fence of {language}, see OUTPUT in tests/helpers/documents.py'
            continue
        count += 1
    return count


def has_code(name: str) -> bool:
    """Whether a page has something to run."""
    return any(language in ('bash', 'python') for language, *_ in blocks(text(name)))


def marked_pages() -> list[object]:
    """The pages to run, as parameters of a test."""
    return [pytest.param(name, id=name) for name in MARKDOWN if has_code(name)]
