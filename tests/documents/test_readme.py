"""What pages show beside their commands, which test_pages.py runs: the first picture, and figures of a benchmark."""

from __future__ import annotations

import json
import re

from benchmarks.rivals_table import table
from tests.helpers.documents import ROOT, text


def test_readme_begins_with_what_to_run_and_a_light_picture():
    assert {'demo', 'test'} <= set(re.findall(r'^make (\w+)', text('README.md'), re.MULTILINE))
    assert (ROOT / 'examples' / 'overview.jpg').stat().st_size < 400_000


def test_the_table_of_rivals_is_the_benchmark():
    record = json.loads((ROOT / 'benchmarks' / 'results' / 'evaluate_demo.json').read_text())
    assert f'<!-- evaluation -->\n{table(record)}<!-- /evaluation -->' in text('docs/rivals.md')
