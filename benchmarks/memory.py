"""What the memory of `make demo` is made of: resident after each of its steps, and at most within it. Linux only.

    python -m benchmarks.memory [--memory GB] [--label NAME] [--write]
"""

from __future__ import annotations

import json
import pathlib
import resource
import tempfile
import time

import click

from benchmarks.common import HERE, environment, publish
from resefa_plugin import Auto, Callback, Factorizer, Viewpoint, open_network, parse_region
from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.callbacks.picture_writer import PictureWriter
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.memory import set_budget

NETWORK, REGIONS = 'mobilestylegan-ffhq', ('mouth', 'eyes')


class Steps(Callback):
    """Takes down what each step took, in the order of the events that end them. Comes after all other callbacks."""

    def __init__(self):
        self.rows: list[dict] = []
        self._begin()

    def _begin(self) -> None:
        pathlib.Path('/proc/self/clear_refs').write_text('5')  # the peak from here on
        self._start, self._processor, self._faults = time.perf_counter(), time.process_time(), _faults()

    def end(self, name: str) -> None:
        self.rows.append({
            'step': name, 'resident': _status('VmRSS'), 'peak': _status('VmHWM'), 'faulted': _faults() - self._faults,
            'seconds': time.perf_counter() - self._start, 'processor_seconds': time.process_time() - self._processor})
        self._begin()

    def on_sample_start(self, viewpoint):
        self.end('first picture')

    def on_tangents(self, viewpoint, count):
        if self.rows[-1]['step'] == 'first picture':
            self.end('probe, linearization, first tangents')

    def on_jacobian_end(self, jacobian):
        self.end('Jacobian')

    def on_region_start(self, viewpoint, region, num_directions):
        if self.rows[-1]['step'] == 'Jacobian':
            self.end('Gram matrices and solutions')

    def on_region_end(self, result):
        self.end(f'{result.partition.name}: strengths and pictures')

    def on_run_end(self, results):
        self.end('report')


def _faults() -> float:
    """Gigabytes that were mapped in so far, page by page; huge pages count as small ones."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize() / 1e9


def _status(name: str) -> float:
    """Gigabytes of a line of /proc/self/status."""
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024 / 1e9
    raise LookupError(name)


@click.command()
@click.option('--memory', metavar='GB', type=float, default=3, show_default=True, help='Budget of the run')
@click.option('--label', default='now', show_default=True, help='Column of the table that this run is for')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(memory, label, write):
    """What the memory of `make demo` is made of."""
    keep_large_blocks()
    set_budget(int(memory * 1e9))
    steps = Steps()
    hook = open_network(NETWORK)
    first, *others = (Viewpoint(hook, 'w', hook.sample(seed, 0.7)) for seed in range(4))
    steps.end('open the network')
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        writer = PictureWriter(out, {'options': {}, 'versions': {}, 'command': ''}, others)
        regions = [parse_region(name, hook.image_shape[1:]) for name in REGIONS]
        Factorizer([first], regions, Auto(5, quick=True), callbacks=[DirectionsWriter(out), writer, steps]).run()
    file = HERE / 'results' / 'memory.json'
    runs = json.loads(file.read_text())['runs'] if file.exists() else {}
    runs[label] = {'budget': memory, 'steps': steps.rows, 'environment': environment()}
    table = render(runs)
    print(table)
    if write:
        publish('memory', {'network': NETWORK, 'runs': runs}, table)


def render(runs: dict) -> str:
    """A row for each step, and for each run what it left resident, its peak, and its seconds of processor time."""
    labels = sorted(runs)  # before, now
    environments = {run['environment']['cpu'] + f', torch {run["environment"]["torch"]}' for run in runs.values()}
    lines = [f'{NETWORK}, {" and ".join(REGIONS)} of a sample in W, on {"; ".join(sorted(environments))}. Gigabytes.',
             '',
             '| step | ' + ' | '.join(f'{label}: resident | peak | processor' for label in labels) + ' |',
             '| --- |' + ' --- | --- | --- |' * len(labels)]
    names = [row['step'] for row in runs[labels[-1]]['steps']]
    cells = {label: {row['step']: row for row in runs[label]['steps']} for label in labels}
    for name in names:
        rows = [cells[label][name] for label in labels]
        lines.append(f'| {name} | ' + ' | '.join(
            f'{row["resident"]:.2f} | {row["peak"]:.2f} | {row["processor_seconds"]:.0f} s' for row in rows) + ' |')
    totals = []
    for label in labels:
        rows = runs[label]['steps']
        processor = sum(row['processor_seconds'] for row in rows)
        totals.append(f' | **{max(row["peak"] for row in rows):.2f}** | {processor:.0f} s')
    lines.append('| all | ' + ' | '.join(totals) + ' |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
