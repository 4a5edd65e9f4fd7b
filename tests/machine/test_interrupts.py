"""Signals that ask a run to end, in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

import resefa_plugin
from resefa_plugin.machine import interrupts

BEGUN = '''
import sys, time
from resefa_plugin.machine import interrupts
try:
    with interrupts.{how}():
        print('ready', flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print('in order')
'''
ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def as_at_the_start():
    """What a shell in the background and `nohup` ignore is inherited by all that they start, also by these tests."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_DFL)


def ended(code, number, **options):
    """Exit status, output and errors of a process that gets a signal once it is ready."""
    process = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=as_at_the_start, **options)
    assert process.stdout.readline() == 'ready\n'
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


@pytest.mark.parametrize('number', ENDINGS, ids=lambda number: number.name)
def test_imports_end_with_one_line(number):
    assert ended(BEGUN.format(how='ended_at_once'), number) == (1, '', 'Aborted!\n')


@pytest.mark.parametrize('number', ENDINGS, ids=lambda number: number.name)
def test_runs_end_in_order(number):
    assert ended(BEGUN.format(how='ended_in_order'), number) == (0, 'in order\n', '')


@pytest.mark.parametrize('number', ENDINGS, ids=lambda number: number.name)
def test_an_interrupt_within_a_finalizer_is_not_lost(number):
    """Progress bars have one, and garbage collection calls it at any time."""
    finalizer = """
class Bar:
    def __del__(self):
        print('ready', flush=True)
        for _ in range(600):
            time.sleep(0.1)
"""
    code = BEGUN.replace("print('ready', flush=True)", 'Bar()').replace('sleep(60)', 'sleep(1)')
    code = code.replace('\ntry:', finalizer + 'try:', 1).format(how='ended_in_order')
    assert ended(code, number) == (0, 'in order\n', '')


def test_what_else_finalizers_raise_is_reported_as_before(monkeypatch):
    class Broken:
        def __del__(self):
            raise ValueError('of a finalizer')

    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: seen.append(str(unraisable.exc_value)))
    before = sys.unraisablehook
    with interrupts.ended_in_order():
        Broken()
    assert seen == ['of a finalizer'] and sys.unraisablehook is before


def test_what_is_ignored_stays_so():
    """As `nohup` does with the end of a terminal."""
    code = 'import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)' + BEGUN.replace('sleep(60)', 'sleep(2)')
    assert ended(code.format(how='ended_in_order'), signal.SIGHUP) == (0, '', '')


def test_handlers_are_put_back_and_other_threads_left_alone():
    def handlers():
        return [signal.getsignal(number) for number in ENDINGS]

    outside = handlers()
    as_at_the_start()
    before, seen = handlers(), []
    with interrupts.ended_in_order():
        assert handlers()[1:] == [signal.default_int_handler] * 2

    def elsewhere():
        with interrupts.ended_at_once():
            seen.append(handlers())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    after = handlers()
    for number, handler in zip(ENDINGS, outside, strict=True):
        signal.signal(number, handler)
    assert after == before and seen == [before]


@pytest.mark.parametrize('number', ENDINGS, ids=lambda number: number.name)
def test_a_command_whose_imports_are_interrupted(number, tmp_path):
    """A module that is imported early says that it is its turn, and takes long."""
    (tmp_path / 'scipy.py').write_text("print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    code = "from resefa_plugin.scripts.main import main; main(['factorize', '--help'])"
    assert ended(code, number, env={**os.environ, 'PYTHONPATH': str(tmp_path)}) == (1, '', 'Aborted!\n')


def test_the_version_needs_no_torch():
    code = ("import sys\nfrom resefa_plugin.scripts.main import main\ntry:\n    main(['--version'])\n"
            "except SystemExit:\n    print('torch' in sys.modules)")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == f'resefa, version {resefa_plugin.__version__}\nFalse\n'
