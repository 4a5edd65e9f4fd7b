"""Damaged and forged files of every kind: each is refused with an error of ours, or read as something plausible.

A short run with the same cases each time; `make fuzz` makes a long one with new cases, and counts.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import time
import warnings
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from resefa_plugin.errors import ResefaError
from tests.fuzz.kinds import KINDS
from tests.fuzz.mutations import changed

EXAMPLES = int(os.environ.get('RESEFA_FUZZ_EXAMPLES', '100'))  # of each kind
SEED = os.environ.get('RESEFA_FUZZ_SEED')  # None: the same cases each time
REPORT = os.environ.get('RESEFA_FUZZ_REPORT')  # a folder for the counts
MOST_BYTES, MOST_SECONDS = 200 << 20, 20.0  # more is a fault: of a file of some kB, on a machine that does other things


def peak_bytes(reset: bool = False) -> int | None:
    """The most memory that was resident since it was reset; None where the system does not tell."""
    try:
        if reset:
            pathlib.Path('/proc/self/clear_refs').write_text('5')
        for line in pathlib.Path('/proc/self/status').read_text().splitlines():
            if line.startswith('VmHWM'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


@pytest.mark.parametrize('name', KINDS)
def test_every_damaged_file_is_refused_or_plausible(name, tmp_path):
    kind, counts = KINDS[name], Counter()
    genuine = tmp_path / 'genuine'
    genuine.mkdir()
    files = {path.name: path.read_bytes() for path in kind.make(genuine)}
    for file in files:
        with warnings.catch_warnings():
            warnings.simplefilter('error')  # what is damaged would be computed anew, with a warning
            kind.read(genuine / file)

    def fresh_folder() -> pathlib.Path:
        shutil.rmtree(tmp_path / 'damaged', ignore_errors=True)
        return shutil.copytree(genuine, tmp_path / 'damaged')

    def check(data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(sorted(files)))
        content = data.draw(changed(files[file]))
        path = fresh_folder() / file
        path.write_bytes(content)
        before, start = peak_bytes(reset=True), time.perf_counter()
        counts['files'] += 1
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            try:
                kind.read(path)
            except ResefaError as error:
                counts['refused'] += 1
                str(error).encode()
            else:  # what was kept is not refused, but computed anew
                counts['refused' if any('anew' in str(w.message) for w in said) else 'plausible'] += 1
        seconds, after = time.perf_counter() - start, peak_bytes()
        assert seconds < MOST_SECONDS, f'{seconds:.1f} s'
        assert before is None or after is None or after - before < MOST_BYTES, f'{(after - before) >> 20} MB'

    options = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=SEED is None,
                       suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
    try:
        (seed(int(SEED)) if SEED else lambda test: test)(options(given(st.data())(check)))()
    finally:
        counts['faults'] = counts['files'] - counts['refused'] - counts['plausible']
        if REPORT:
            (pathlib.Path(REPORT) / f'{name}.json').write_text(json.dumps(counts))
    assert counts['refused'] > 0, 'no damage was noticed: the reader was not reached'
