"""The paper's Table 1, Figure 5 and speed on the demo generator, with the robustness of the region, in one run.

    python -m benchmarks.evaluate_demo [--write] [--outdir out/evaluation]

It continues where it was stopped. `--quick` tries everything on few samples.
"""

from __future__ import annotations

import pathlib
import time

import click

from benchmarks.common import environment, peak_gigabytes, publish
from resefa_plugin import open_network
from resefa_plugin.allocator import keep_large_blocks
from resefa_plugin.baselines import METHODS
from resefa_plugin.evaluation import Comparison, Settings, parse_row
from resefa_plugin.evaluation.measures import ATTRIBUTE_NAMES, Measures
from resefa_plugin.evaluation.tables import markdown
from resefa_plugin.metrics import Networks

NETWORK, TRUNCATION = 'mobilestylegan-ffhq', 0.7
ROWS = ('close-eyes=eyes:eyes_open-', 'close-mouth=mouth:mouth_open-', 'lipstick=mouth:lipstick+',
        'big-nose=nose:nose_size+')
FACTORIZED, HELD_OUT, OTHER = 0, range(100, 132), (1,)
METRICS = ('lpips', 'identity', 'fid', 'kid')
COMPARED = tuple(method for method in METHODS if method != 'resefa-quick')  # which finds what resefa finds


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--outdir', default='out/evaluation', show_default=True,
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--jacobian-dir', type=click.Path(file_okay=False, path_type=pathlib.Path),
              help='Where Jacobians are kept; the table then extrapolates their time')
@click.option('--quick', is_flag=True, help='Four held-out samples instead of 32')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device, outdir, jacobian_dir, quick, write):
    """Compare ReSeFa with its rivals on the demo generator."""
    if quick and write:
        raise click.UsageError('--quick is for trying: what it finds is not published')
    keep_large_blocks()
    start = time.perf_counter()
    hook = open_network(NETWORK, device)
    factorized, *samples = (hook.sample(seed, TRUNCATION)
                            for seed in (FACTORIZED, *OTHER, *list(HELD_OUT)[:4 if quick else None]))
    further, held_out = samples[:len(OTHER)], samples[len(OTHER):]
    rows = [parse_row(spec, hook.image_shape[1:], ATTRIBUTE_NAMES) for spec in ROWS]
    results = Comparison(hook, [factorized], held_out, rows, Settings('w', COMPARED, curve_samples=2 if quick
                                                                      else 8, jacobian_dir=jacobian_dir),
                         Measures(METRICS, Networks(fetch=True, device=device)), outdir, further).run()
    minutes = (time.perf_counter() - start) / 60
    print(markdown(results))
    print(f'{minutes:.0f} minutes')
    if write:
        record = {'environment': environment(), 'minutes': minutes, 'peak_gigabytes': peak_gigabytes(hook.device)}
        record |= {key: value for key, value in results.items()
                   if key != 'cells'}  # single edits stay in the output folder
        publish('evaluate_demo', record, where(record) + '\n\n' + markdown(results))


def where(record: dict) -> str:
    """The machine and what the run took."""
    e = record['environment']
    return (f"{e.get('gpu') or e['cpu']}, {e['cores']} cores, torch {e['torch']}; {record['minutes']:.0f} minutes in "
            f"all, peak memory "
            f"{record['peak_gigabytes']:.1f} GB.")


if __name__ == '__main__':
    main()
