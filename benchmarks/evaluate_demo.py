"""The paper's Table 1, Figure 5 and speed on the demo generator, with the robustness of the region, in one run.

    python -m benchmarks.evaluate_demo [--write] [--outdir out/evaluation]

It continues where it was stopped. `--quick` tries everything on few samples.
"""

from __future__ import annotations

import pathlib

import click
import torch

from benchmarks.common import environment, peak_gigabytes, publish
from resefa_plugin import open_network
from resefa_plugin.attributes.face_parts import SIDE, FaceParts
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.evaluation.comparison import Comparison
from resefa_plugin.evaluation.measures import ATTRIBUTE_NAMES, Measures
from resefa_plugin.evaluation.presentation.tables import markdown
from resefa_plugin.evaluation.rows import parse_row
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import RegionPartition

NETWORK, TRUNCATION = 'mobilestylegan-ffhq', 0.7
ROWS = ('close-eyes=eyes:eyes_open-', 'close-mouth=mouth:mouth_open-', 'lipstick=mouth:lipstick+',
        'big-nose=nose:nose_size+')
FACTORIZED, HELD_OUT, OTHER = 0, range(100, 132), (1,)
PARTS = {'close-eyes': ('left_eye', 'right_eye'), 'close-mouth': ('mouth', 'upper_lip', 'lower_lip'),
         'big-nose': ('nose',)}
METRICS = ('lpips', 'identity')
# Those that leak least first. resefa-quick finds what resefa finds.
COMPARED = ('resefa-best', 'stylespace', 'published', 'resefa-s', 'resefa', 'lowrankgan', 'sefa', 'ganspace', 'random')
DIRECTIONS = 12  # that each method may offer, by themselves and combined


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--outdir', default='out/evaluation', show_default=True,
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--jacobian-dir', type=click.Path(file_okay=False, path_type=pathlib.Path),
              help='Where Jacobians are kept, 15 GB; the table then extrapolates their time')
@click.option('--methods', default=','.join(COMPARED), show_default=True, help='Of which rows are computed')
@click.option('--quick', is_flag=True, help='Four held-out samples instead of 32')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device: str, outdir: pathlib.Path, jacobian_dir: pathlib.Path | None, methods: str, quick: bool,
         write: bool) -> None:
    """Compare ReSeFa with its rivals on the demo generator."""
    if quick and write:
        raise click.UsageError('--quick is for trying: what it finds is not published')
    keep_large_blocks()
    hook = open_network(NETWORK, device)
    factorized, *samples = (hook.sample(seed, TRUNCATION)
                            for seed in (FACTORIZED, *OTHER, *list(HELD_OUT)[:4 if quick else None]))
    further, held_out = samples[:len(OTHER)], samples[len(OTHER):]
    rows = [parse_row(spec, hook.image_shape[1:], ATTRIBUTE_NAMES) for spec in ROWS]
    networks = Networks(fetch=True, device=device)
    settings = Settings('w', tuple(methods.split(',')), num_directions=DIRECTIONS, curve_samples=2 if quick else 3,
                        jacobian_dir=jacobian_dir)
    results = Comparison(hook, [factorized], held_out, rows, settings, Measures(METRICS, networks), outdir, further,
                         parsed_regions(hook, factorized, networks)).run()
    minutes = sum(cell['elapsed'] for cell in results['cells']) / 60  # also of an earlier run that was stopped
    print(markdown(results))
    print(f'{minutes:.0f} minutes')
    if write:
        record = {'environment': environment(), 'minutes': minutes, 'peak_gigabytes': peak_gigabytes(hook.device)}
        # Single edits stay in the output folder.
        record |= {key: value for key, value in results.items() if key != 'cells'}
        publish('evaluate_demo', record, where(record) + '\n\n' + markdown(results))


def parsed_regions(hook: GeneratorHook, sample: Sample, networks: Networks) -> dict[str, dict[str, RegionPartition]]:
    """The parts of the face themselves in place of the boxes around them, by face parsing, for each row."""
    viewpoint = Viewpoint(hook, 'w', sample).full()
    with torch.no_grad():
        parts = FaceParts(render_edits(viewpoint, viewpoint.zero()), networks)
    factor = hook.image_shape[1] // SIDE

    def region(row: str, names: tuple[str, ...]) -> RegionPartition:
        mask = (parts.map(*names) > 0.5).numpy()
        return RegionPartition(mask.repeat(factor, axis=0).repeat(factor, axis=1), row)

    return {row: {'parsing mask': region(row, names)} for row, names in PARTS.items()}


def where(record: dict) -> str:
    """The machine and what the run took."""
    e = record['environment']
    return (f"{e.get('gpu') or e['cpu']}, {e['cores']} cores, torch {e['torch']}; {record['minutes']:.0f} minutes in "
            f"all, peak memory {record['peak_gigabytes']:.1f} GB.")


if __name__ == '__main__':
    main()
