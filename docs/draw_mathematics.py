"""Draws the pictures of mathematics.md, from the demo generator's mouth in W. Writes them beside itself.

    python docs/draw_mathematics.py [FOLDER OF KEPT JACOBIANS]

Takes about two minutes on 2 processor cores.
"""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resefa_plugin import Viewpoint, open_network, parse_region
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.rayleigh.problem import TAU, RayleighProblem
from resefa_plugin.rayleigh.solve import solve_rayleigh

HERE = pathlib.Path(__file__).parent
INSIDE, OUTSIDE, INK = '#00629b', '#a3a8ae', '#1d2126'
BRIGHTEST = 0.15  # root mean square over the channels, of the changes that are shown
CHANGE = 0.02  # mean squared change of the mouth at which pictures are shown, [-1, 1] scale


def save(figure: Figure, name: str) -> None:
    """Writes a figure on white paper, which reads on dark pages, too."""
    FigureCanvasAgg(figure)
    figure.savefig(HERE / name, dpi=100, facecolor='white')


def draw_maps(viewpoint: Viewpoint, mask: NDArray[np.bool_], columns: torch.Tensor,
              directions: dict[str, NDArray[np.float64]]) -> None:
    """Directions at equal change inside: each pixel's change to first order, and the picture.

    Args:
        columns: `[d, C, h, w]`, of the Jacobian.
        directions: by title, `[d]` each.
    """
    figure = Figure((9.6, 4.6), layout='constrained')
    axes = figure.subplots(2, len(directions) + 1)
    original = viewpoint.images(torch.zeros(1, viewpoint.dim))[0]
    shown = [('the picture', original, None)]
    for title, direction in directions.items():
        change = torch.tensordot(torch.from_numpy(direction).float(), columns, 1)
        length = (CHANGE / change[:, torch.tensor(mask)].square().mean()).sqrt()
        picture = viewpoint.images((length * torch.from_numpy(direction)).float()[None])[0]
        shown.append((title, picture, length * change.square().mean(dim=0).sqrt()))
    for column, (title, picture, change) in zip(axes.T, shown, strict=True):
        column[0].set_title(title, fontsize=10, color=INK)
        column[0].imshow(picture.permute(1, 2, 0).numpy() / 2 + 0.5)
        if change is None:
            column[0].contour(mask, [0.5], colors='white', linewidths=1.2)
            column[1].set_visible(False)
        else:
            column[1].imshow(change, cmap='magma', vmin=0, vmax=BRIGHTEST)
            column[1].contour(mask, [0.5], colors='white', linewidths=0.8)
        for panel in column:
            panel.set_axis_off()
    save(figure, 'mathematics-maps.jpg')


def draw_spectrum(problem: RayleighProblem, quotients: NDArray[np.float64]) -> None:
    """Eigenvalues of A and of B with the ridge, and those of the quotient."""
    figure = Figure((9.6, 3.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name, matrix, colour in (('A, the mouth', problem.A, INSIDE), ('B, the rest', problem.B, OUTSIDE)):
        left.semilogy(np.maximum(np.linalg.eigvalsh(matrix)[::-1], 1e-12), color=colour, label=name)
    left.axhline(problem.ridge, color=INK, linestyle=':', label='the ridge a')
    left.set(xlabel='number of the eigenvalue', ylim=(1e-7 * np.linalg.eigvalsh(problem.B)[-1], None))
    right.semilogy(np.arange(1, 33), quotients[:32], '.', color=INSIDE, label='the quotient')
    right.set(xlabel='number of the direction')
    for axis in (left, right):
        axis.legend(frameon=False)
        axis.spines[['top', 'right']].set_visible(False)
    save(figure, 'mathematics-spectrum.png')


def main(jacobian_dir: str | None = None) -> None:
    """Takes the derivative, or finds it in a folder, and draws."""
    keep_large_blocks()
    hook = open_network('mobilestylegan-ffhq')
    viewpoint = Viewpoint(hook, 'w', hook.sample(0, truncation_psi=0.7))
    jacobian = RegionJacobian(viewpoint).compute(path=jacobian_dir)
    mouth = parse_region('mouth', jacobian.image_shape[1:])
    problem = RayleighProblem.checked(*jacobian.gram(mouth), TAU)
    solution = solve_rayleigh(problem.A, problem.B, num_directions=32)
    moved = np.linalg.eigh(problem.A)[1][:, -1]
    chance = np.random.default_rng(0).standard_normal(len(moved))
    directions = {'a random direction': chance, 'moves the mouth most': moved,
                  'the quotient\'s first': solution.directions[0]}
    with torch.no_grad():
        draw_maps(viewpoint, mouth.mask, jacobian.matrix.unflatten(1, jacobian.image_shape), directions)
    draw_spectrum(problem, solution.eigenvalues)


if __name__ == '__main__':
    main(*sys.argv[1:2])
