"""The derivative of a picture by backward passes alone, for networks whose ops have no forward-mode rules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resefa_plugin.linearization import adjoint_mismatch
from resefa_plugin.machine.memory import out_of_memory
from resefa_plugin.machine.recomputation import recomputing


class ReverseMode:
    """J of a function at a point, from one forward pass whose graph is kept.

    A network of ours computes parts of it again, in place of keeping all of it: see `recomputing`.

    Plain autograd and not `torch.func`, which refuses custom functions that are written in the old way.

    Args:
        f: `[d]` -> `[C, h, w]`.
        x: `[d]`, the point.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor):
        with torch.enable_grad(), recomputing():
            self.x = x.detach().clone().requires_grad_()
            self.y = f(self.x)

    def pull(self, U: Tensor) -> Tensor:
        """J^T u for each picture u of `U [k, C, h, w]`, one pass each; returns `[k, d]`."""
        return torch.stack([self._pull(u) for u in U])

    def _pull(self, u: Tensor, **options: bool) -> Tensor:
        if not self.y.requires_grad:  # nothing of x reaches the picture
            return torch.zeros_like(self.x)
        return torch.autograd.grad(self.y, self.x, u, retain_graph=True, materialize_grads=True, **options)[0]

    def columns(self) -> Callable[[Tensor], Tensor]:
        """J v for each row v of `V [k, d]`, one pass each: J v = d/du <J^T u, v>, which holds at any u.

        The second pass differentiates the first one, which not every op can; an op may even do so wrongly.

        Raises RuntimeError if one cannot, or if <u, J v> = <J^T u, v> does not hold for one pair.
        """
        u = torch.zeros_like(self.y, requires_grad=True)
        with torch.enable_grad():
            pulled = self._pull(u, create_graph=True)

        def push(V: Tensor) -> Tensor:
            if not self.y.requires_grad:
                return self.y.new_zeros(len(V), *self.y.shape)
            return torch.stack([torch.autograd.grad(pulled, u, v, retain_graph=True)[0] for v in V])

        self._check(push)
        return push

    def _check(self, push: Callable[[Tensor], Tensor]) -> None:
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(self.x.shape, generator=generator).to(self.x)
        mismatch = adjoint_mismatch(v, push(v[None])[0], self.pull, generator)
        if mismatch:
            raise RuntimeError(f'the second derivative of an op is wrong: {mismatch}')

    def rows(self) -> Callable[[Tensor], Tensor]:
        """The same by a matrix `[C * h * w, d]`, one pass for each of its rows, when it is called first."""
        matrix: list[Tensor] = []

        def push(V: Tensor) -> Tensor:
            if not matrix:
                J = self.x.new_empty(self.y.numel(), len(self.x))
                u = torch.zeros_like(self.y)
                for i in range(len(J)):
                    u.view(-1)[i] = 1
                    J[i] = self._pull(u)
                    u.view(-1)[i] = 0
                matrix.append(J)
            return (V @ matrix[0].T).unflatten(1, self.y.shape)

        return push

    def push(self) -> tuple[Callable[[Tensor], Tensor], str]:
        """The cheaper one that is right, and what it costs, in words."""
        by_rows = f'{self.y.numel()} backward passes, one for each pixel and colour; a smaller --resolution takes fewer'
        if self.y.numel() <= len(self.x):
            return self.rows(), by_rows
        try:
            return self.columns(), f'{len(self.x)} passes, each through the graph of a backward pass'
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            return self.rows(), by_rows
