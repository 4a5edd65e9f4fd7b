"""What a search without the Jacobian takes, in W and W+ of the demo generator, against the exact way in the same run.

    python -m benchmarks.matrix_free [--jacobian-dir DIR] [--write]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch

from benchmarks.common import environment, peak_gigabytes, publish
from resefa_plugin import RegionJacobian, open_network, parse_region, solve_rayleigh
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.rayleigh.davidson import TOLERANCE, solve_davidson
from resefa_plugin.rayleigh.solution import RayleighSolution
from resefa_plugin.rayleigh.solvers import QUICK_TOLERANCE

NETWORK, RESOLUTION, REGIONS = 'mobilestylegan-ffhq', 256, ('mouth', 'eyes')
# space, directions, tolerance
SEARCHES = (('w', 4, QUICK_TOLERANCE), ('w', 8, TOLERANCE), ('w+', 4, QUICK_TOLERANCE), ('w+', 8, TOLERANCE))


def search(hook: GeneratorHook, sample: Sample, name: str, region: str, k: int,
           tolerance: float) -> tuple[dict, RayleighSolution, RegionJacobian]:
    """One search from a fresh start, and the time of tangents before and after it."""
    jacobian = RegionJacobian(Viewpoint(hook, hook.space(name), sample, RESOLUTION))
    V = torch.randn(8, jacobian.viewpoint.dim)
    start = time.process_time()
    jacobian.jvp(V), jacobian.vjp(jacobian.jvp(V[:1]))  # linearizes and checks, which a search has to do as well
    prepared = time.process_time() - start
    partition = parse_region(region, hook.image_shape[1:])
    foreground = partition.at(*jacobian.image_shape[1:])
    tangents = [timed(lambda: jacobian.jvp(V)) / len(V)]
    start = time.process_time()
    operator = RegionOperator(jacobian, foreground, (~foreground).astype(np.float32))
    solution = solve_davidson(operator, k, tolerance=tolerance)
    seconds = time.process_time() - start
    tangents.append(timed(lambda: jacobian.jvp(V)) / len(V))
    tangent = float(np.mean(tangents))
    exact = tangent * jacobian.viewpoint.dim
    return {'space': name, 'dimensions': jacobian.viewpoint.dim, 'region': region, 'directions': k,
            'tolerance': tolerance, 'columns': solution.search.columns, 'residual': float(solution.residuals.max()),
            'converged': solution.search.converged, 'trace_error': solution.search.trace_error,
            'seconds': prepared + seconds, 'tangent_seconds': tangent, 'in_tangents': (prepared + seconds) / tangent,
            'exact_seconds_extrapolated': exact,
            'times_faster': exact / (prepared + seconds)}, solution, jacobian


def timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def agreement(record: dict, solution: RayleighSolution, gram: tuple[torch.Tensor, torch.Tensor]) -> dict:
    """Against the dense solution with the same ridge, and what the estimated trace does to it."""
    A, B = (M.numpy() for M in gram)
    k = record['directions']
    exact = solve_rayleigh(A, B, k, trace=solution.search.trace)
    own = solve_rayleigh(A, B, k)
    return {'eigenvalue_error': float(np.abs(solution.eigenvalues / exact.eigenvalues - 1).max()),
            'eigenvalue_error_own_trace': float(np.abs(solution.eigenvalues / own.eigenvalues - 1).max()),
            'angle': float(scipy.linalg.subspace_angles(solution.directions.T, own.directions.T)[0]),
            'true_trace_error': float(abs(solution.search.trace / np.trace(B) - 1)),
            'scipy_columns': scipy_columns(A, B, k)}


def scipy_columns(A: np.ndarray, B: np.ndarray, k: int, most: int = 60) -> int:
    """Products with (A, B) that scipy's lobpcg takes to the same residual, or -1.

    Blocks of 2 k, since with fewer the k-th vector did not get there in 60 steps, started at A times random.
    """
    ridge, block = 1e-3 * np.trace(B), 2 * k
    B = B + ridge * np.eye(len(B))
    X = A @ np.random.RandomState(0).randn(len(A), block)
    count = 0

    def counted(M: np.ndarray) -> scipy.sparse.linalg.LinearOperator:
        def product(V: np.ndarray) -> np.ndarray:
            nonlocal count
            count += V.shape[1] if V.ndim > 1 else 1
            return M @ V
        return scipy.sparse.linalg.LinearOperator(M.shape, matvec=product, matmat=product, dtype=M.dtype)

    for steps in range(1, most + 1):
        count = 0
        values, vectors = scipy.sparse.linalg.lobpcg(counted(A), X.copy(), B, largest=True, maxiter=steps, tol=1e-14)
        A_x, B_x = A @ vectors, B @ vectors
        residuals = np.linalg.norm(A_x - values * B_x, axis=0) / np.linalg.norm(A_x, axis=0)
        if np.sort(residuals)[:k].max() <= TOLERANCE:
            return count
    return -1


@click.command()
@click.option('--jacobian-dir', help='Folder with a kept Jacobian of seed 0 in W')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(jacobian_dir: str | None, write: bool) -> None:
    """What a search without the Jacobian takes, against the exact way in the same run."""
    keep_large_blocks()
    hook = open_network(NETWORK)
    sample = hook.sample(0, 0.7)
    rows, peak = [], 0.0
    for name, k, tolerance in SEARCHES:
        for region in REGIONS:
            record, solution, jacobian = search(hook, sample, name, region, k, tolerance)
            print(record, flush=True)
            rows.append((record, solution))
    peak = peak_gigabytes(hook.device)
    dense = RegionJacobian(Viewpoint(hook, hook.space('w'), sample, RESOLUTION)).compute(path=jacobian_dir)
    grams = {region: dense.gram(parse_region(region, hook.image_shape[1:])) for region in REGIONS}
    for record, solution in rows:
        if record['space'] == 'w':
            record |= agreement(record, solution, grams[record['region']])
    record = {'environment': environment(), 'network': NETWORK, 'resolution': RESOLUTION,
              'peak_gigabytes_of_searches': peak, 'searches': [record for record, _ in rows]}
    table = render(record)
    print(table)
    if write:
        publish('matrix_free', record, table)


def render(record: dict) -> str:
    heads = ('space', 'd', 'region', 'top', 'residual', 'columns', 'in tangents', 'times faster than the Jacobian',
             'eigenvalues off by', 'subspace angle', 'tr(B) off by (stated)', "scipy's lobpcg, columns")
    environment = record['environment']
    lines = [f'{record["network"]} at {record["resolution"]}, torch {environment["torch"]}, {environment["cores"]} '
             f'cores; peak memory {record["peak_gigabytes_of_searches"]:.1f} GB', '', '| ' + ' | '.join(heads) + ' |',
             '|' + '---|' * len(heads)]
    for r in record['searches']:
        dense = 'eigenvalue_error' in r
        cells = (r['space'], r['dimensions'], r['region'], r['directions'], f'{r["residual"]:.0e}', r['columns'],
                 f'{r["in_tangents"]:.0f}', f'{r["times_faster"]:.1f}',
                 f'{r["eigenvalue_error"]:.0e}' if dense else '', f'{r["angle"]:.0e} rad' if dense else '',
                 (f'{r["true_trace_error"]:.1%} ' if dense else '') + f'({r["trace_error"]:.1%})',
                 r['scipy_columns'] if dense and r['tolerance'] == TOLERANCE else '')
        lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
