"""Solvers as objects: which way the quotient is solved, to what tolerance, and what that needs of a network."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from resefa_plugin.errors import SolverError, check_number
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.davidson import TOLERANCE, solve_davidson
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams, GramOperator
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.rayleigh.solution import RayleighSolution
from resefa_plugin.rayleigh.solve import solve_rayleigh

NUM_DIRECTIONS, QUICK_NUM_DIRECTIONS = 5, 4  # per region, where no number is given
QUICK_TOLERANCE = 1e-2  # of residuals
SPECTRUM = 20  # eigenvalues to know, so that a reader sees how quickly they fall
DENSE_LIMIT = 2048  # dimensions beyond which the whole Jacobian is hours on a CPU and gigabytes
# Measured on the demo generator, in tangents of a Jacobian: what a matrix-free answer to QUICK_TOLERANCE takes for a
# region, in any space. See benchmarks/README.md.
QUICK_TANGENTS = 275
# What a basis common to all regions takes, see `jacobian.common_basis`.
BASIS_TANGENTS = 1024
# What a sample of a pool takes for the channels of a region, and what finding those takes, see `jacobian.channels`.
CHANNEL_TANGENTS = 160


def _no_progress(products: int, residual: float) -> None:
    pass


@dataclass(frozen=True)
class Solver(abc.ABC):
    """A way to solve the quotient of a region (Eq. 7 to 12).

    Attributes:
        num_directions: directions to find per region; None means 5, or 4 of a quick solver.
        tau: the ridge relative to tr(B) (Eq. 11), at least 0.

    Raises ResefaError for numbers out of range.
    """

    num_directions: int | None = None
    tau: float = TAU

    def __post_init__(self) -> None:
        if self.num_directions is not None:
            check_number('num_directions', self.num_directions, least=1, whole=True)
        check_number('tau', self.tau, least=0)

    def count(self, dim: int) -> int:
        """Directions to find in a space of `dim` dimensions."""
        return min(dim, NUM_DIRECTIONS if self.num_directions is None else self.num_directions)

    @abc.abstractmethod
    def needs_jacobian(self, dim: int, num_regions: int = 1) -> bool:
        """Whether the whole Jacobian is computed for so many regions of one sample, or products with it suffice."""

    def needs_basis(self, dim: int, num_regions: int = 1) -> bool:
        """Whether a basis common to so many regions of one sample is computed, in place of the whole Jacobian."""
        return False

    def needs_shared_basis(self, dim: int, num_regions: int = 1) -> bool:
        """Whether a basis common to the samples of a pool is computed, in place of their whole Jacobians."""
        return False

    def needs_channels(self, dim: int) -> bool:
        """Whether directions of a pool are made of the channels that change the region, if the space has channels."""
        return False

    @property
    def takes_kept_jacobian(self) -> bool:
        """Whether a whole Jacobian that is there already, from an earlier run, is taken though it is not needed."""
        return False

    @abc.abstractmethod
    def solve(self, grams: GramOperator, coordinates: Coordinates | None = None,
              progress: Callable[[int, float], None] = _no_progress) -> RayleighSolution:
        """The best directions of n^T A n / n^T (B + a I) n, a = tau tr(B0).

        Args:
            grams: A and B: matrices (DenseGrams), factors (FactoredGrams), or products with a network's Jacobian.
            coordinates: in which to solve; None means those of the latent.
            progress: called along a search with the products so far and the largest residual.

        Raises SolverError: the quotient has no answer, or this solver needs A and B in another form.
        """

    def choice(self, space: str, dim: int, num_regions: int, num_samples: int = 1, has_channels: bool = False) -> str:
        """Which way a run will go, and why, as a line for the user.

        Args:
            num_samples: of a pool.
            has_channels: whether the coordinates of the space are channels.
        """
        return f"space '{space}' has {dim} dimensions; solver {self._name(dim, num_regions)}"

    def tangents(self, dim: int, num_regions: int, num_samples: int = 1, has_channels: bool = False) -> int:
        """What so many regions of a pool of so many samples take, in tangents of a Jacobian, at most."""
        if has_channels and num_samples > 1 and self.needs_channels(dim):
            return num_regions * CHANNEL_TANGENTS * (num_samples + 1)
        if self.needs_jacobian(dim, num_regions):
            return num_samples * dim
        if num_samples > 1 and self.needs_shared_basis(dim, num_regions):
            return (num_samples + 1) * BASIS_TANGENTS // 2
        return num_samples * (BASIS_TANGENTS if self.needs_basis(dim, num_regions) else num_regions * QUICK_TANGENTS)

    @abc.abstractmethod
    def _name(self, dim: int, num_regions: int) -> str:
        """The name of the solver that such a run ends with."""

    def matrices_key(self, dim: int, num_regions: int) -> list[object]:
        """What A and B of a region depend on beside Jacobian and pixels: nothing, unless a search found them."""
        return []


@dataclass(frozen=True)
class Direct(Solver):
    """A solver of A and B as matrices, `[d, d]`."""

    name: ClassVar[str]

    def _rank(self) -> int | None:
        return None

    @override
    def needs_jacobian(self, dim: int, num_regions: int = 1) -> bool:
        return True

    @override
    def solve(self, grams: GramOperator, coordinates: Coordinates | None = None,
              progress: Callable[[int, float], None] = _no_progress) -> RayleighSolution:
        if not isinstance(grams, DenseGrams):
            raise SolverError(f"solver '{self.name}' needs A and B as matrices, from a Jacobian that is computed; take "
                              "solver 'davidson' to do without")
        trace = None if grams.whole else grams.trace(coordinates)
        count = min(grams.dim, max(self.count(grams.dim), SPECTRUM))
        return solve_rayleigh(grams.A, grams.B, count, tau=self.tau, solver=self.name, rank=self._rank(), trace=trace,
                              coordinates=coordinates)

    @override
    def _name(self, dim: int, num_regions: int) -> str:
        return self.name


@dataclass(frozen=True)
class Dense(Direct):
    """Cholesky factor of B + a I and one symmetric eigenproblem (Eq. 9)."""

    name = 'dense'


@dataclass(frozen=True)
class Woodbury(Direct):
    """B by its largest eigenvectors and Woodbury's identity (Eq. 12).

    Attributes:
        rank: how many eigenvectors of B are kept; None keeps all that stand above rounding.
    """

    name = 'woodbury'
    rank: int | None = None

    @override
    def _rank(self) -> int | None:
        return self.rank


@dataclass(frozen=True)
class Davidson(Solver):
    """From products with A and B alone, see `solve_davidson`; the Jacobian is never formed.

    Attributes:
        tolerance: of the relative residuals.
    """

    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number('tolerance', self.tolerance)
        if not self.tolerance > 0:
            raise SolverError(f'tolerance is {self.tolerance!r}, expected a number above 0')

    @override
    def needs_jacobian(self, dim: int, num_regions: int = 1) -> bool:
        return False

    @override
    def solve(self, grams: GramOperator, coordinates: Coordinates | None = None,
              progress: Callable[[int, float], None] = _no_progress) -> RayleighSolution:
        # Products with factors cost nothing: there is no reason to stop early.
        tolerance = min(self.tolerance, TOLERANCE) if isinstance(grams, FactoredGrams) else self.tolerance
        return solve_davidson(grams, self.count(grams.dim), tau=self.tau, tolerance=tolerance,
                              coordinates=coordinates, progress=progress)

    @override
    def _name(self, dim: int, num_regions: int) -> str:
        return 'davidson'

    @override
    def matrices_key(self, dim: int, num_regions: int) -> list[object]:
        # The order and the words are those of files that were kept before.
        quick = self.tolerance == QUICK_TOLERANCE
        kind = quick if quick or self.tolerance == TOLERANCE else self.tolerance
        return ['searched', kind, self.tau, self.count(dim)]


@dataclass(frozen=True)
class Auto(Solver):
    """The whole Jacobian where it is affordable, up to 2048 dimensions; else a common basis, or a search for one.

    Attributes:
        quick: do without the Jacobian wherever that is faster, to a residual of 1e-2.
    """

    quick: bool = False

    @override
    def count(self, dim: int) -> int:
        return min(dim, QUICK_NUM_DIRECTIONS) if self.quick and self.num_directions is None else super().count(dim)

    @property
    def _search(self) -> Davidson:
        count = QUICK_NUM_DIRECTIONS if self.quick and self.num_directions is None else self.num_directions
        return Davidson(count, self.tau, QUICK_TOLERANCE if self.quick else TOLERANCE)

    @override
    def needs_jacobian(self, dim: int, num_regions: int = 1) -> bool:
        affordable = num_regions * QUICK_TANGENTS if self.quick else DENSE_LIMIT
        return dim <= affordable or self.tau == 0  # without a ridge there is no search

    @override
    def needs_basis(self, dim: int, num_regions: int = 1) -> bool:
        least = BASIS_TANGENTS / QUICK_TANGENTS if self.quick else 2
        return num_regions >= least and dim > BASIS_TANGENTS and not self.needs_jacobian(dim, num_regions)

    @override
    def needs_shared_basis(self, dim: int, num_regions: int = 1) -> bool:
        return dim > BASIS_TANGENTS and not self.needs_jacobian(dim, num_regions)

    @override
    def needs_channels(self, dim: int) -> bool:
        return dim > CHANNEL_TANGENTS

    @property
    @override
    def takes_kept_jacobian(self) -> bool:
        return self.quick

    @override
    def solve(self, grams: GramOperator, coordinates: Coordinates | None = None,
              progress: Callable[[int, float], None] = _no_progress) -> RayleighSolution:
        if isinstance(grams, DenseGrams):
            return Dense(self.count(grams.dim), self.tau).solve(grams, coordinates)
        return self._search.solve(grams, coordinates, progress)

    @override
    def _name(self, dim: int, num_regions: int) -> str:
        return Dense.name  # of a search, `choice` says more

    @override
    def choice(self, space: str, dim: int, num_regions: int, num_samples: int = 1, has_channels: bool = False) -> str:
        whole = self.needs_jacobian(dim, num_regions)
        if num_samples > 1 and has_channels and self.needs_channels(dim):
            return f"space '{space}' has {dim} channels; directions are made of those that change each region"
        if whole and not self.quick:
            return super().choice(space, dim, num_regions)
        if num_samples > 1 and self.needs_shared_basis(dim, num_regions):
            return (f"space '{space}' has {dim} dimensions, too many for its Jacobian; the pool is solved in a basis "
                    'that its samples share')
        if self.needs_basis(dim, num_regions):
            return (f"space '{space}' has {dim} dimensions, too many for its Jacobian; the {num_regions} regions are "
                    f'solved in a basis for all, which takes about {BASIS_TANGENTS} tangents')
        plural = num_regions > 1
        searched = (f'{num_regions} region{"s" if plural else ""} without the Jacobian take{"" if plural else "s"} '
                    f'about {num_regions * QUICK_TANGENTS} tangents')
        return f"space '{space}' has {dim} dimensions, so that its Jacobian takes {dim} tangents; {searched}: " + (
            'the Jacobian is computed' if whole else 'it is not computed')

    @override
    def matrices_key(self, dim: int, num_regions: int) -> list[object]:
        if self.needs_jacobian(dim, num_regions):
            return []
        if self.needs_basis(dim, num_regions):
            return ['basis', BASIS_TANGENTS]
        return self._search.matrices_key(dim, num_regions)


# Names on the command line.
SOLVERS: dict[str, type[Solver]] = {
    'auto': Auto, 'dense': Dense, 'woodbury': Woodbury, 'davidson': Davidson, 'lobpcg': Davidson}
