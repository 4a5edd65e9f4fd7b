"""A long run with new cases, and its counts: `python -m tests.fuzz --examples=2000 --seed=1` (or `make fuzz`)."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--examples', type=int, default=2000, help='files of each kind')
    parser.add_argument('--seed', type=int, default=int(time.time()), help='of the cases; printed, to have them again')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, 'RESEFA_FUZZ_EXAMPLES': str(arguments.examples),
                       'RESEFA_FUZZ_SEED': str(arguments.seed), 'RESEFA_FUZZ_REPORT': folder}
        done = subprocess.run([sys.executable, '-m', 'pytest', '-q', 'tests/fuzz/test_fuzz.py'], env=environment)
        rows = {path.stem: json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).iterdir())}
    columns = 'files', 'refused', 'plausible', 'faults'
    rows['all'] = {column: sum(row[column] for row in rows.values()) for column in columns}
    print(f"seed {arguments.seed}\n| kind | {' | '.join(columns)} |\n" + '|---' * (len(columns) + 1) + '|')
    for name, row in rows.items():
        print(f'| {name} | ' + ' | '.join(str(row[column]) for column in columns) + ' |')
    return done.returncode


if __name__ == '__main__':
    sys.exit(main())
