"""The adjoint identity on matrices."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.linearization import adjoint_mismatch


def case(scale):
    """v, J v as a picture of 1 x 4 x 5, and J^T; of float32."""
    generator = torch.Generator().manual_seed(0)
    J, v = scale * torch.randn(20, 6, generator=generator), torch.randn(6, generator=generator)
    return v, (J @ v).reshape(1, 4, 5), lambda U: U.flatten(1) @ J


@pytest.mark.parametrize('scale', [1e-8, 1, 1e8])
def test_it_is_relative_to_the_derivative(scale):
    v, column, pull = case(scale)
    assert adjoint_mismatch(v, column, pull, torch.Generator().manual_seed(1)) is None
    for wrong in (lambda U: 1.01 * pull(U), lambda U: -pull(U), lambda U: 0 * pull(U)):
        said = adjoint_mismatch(v, column, wrong, torch.Generator().manual_seed(1))
        assert said.startswith('<u, J v> = ') and ' but <J^T u, v> = ' in said


@pytest.mark.parametrize('scale', [1e-8, 1, 1e8])
def test_it_is_asked_near_the_column_where_rounding_does_not_decide(scale):
    v, column, pull = case(scale)
    asked = []
    adjoint_mismatch(v, column, lambda U: asked.append(U[0]) or pull(U), torch.Generator().manual_seed(1))
    assert (asked[0] - column).norm() == pytest.approx(column.norm(), rel=1e-5)
    assert (asked[0] * column).sum() > 0.5 * asked[0].norm() * column.norm()


def test_a_column_of_zeros_tells_as_well():
    nothing = torch.zeros(1, 4, 5)
    for pull, right in ((lambda U: torch.zeros(1, 6), True), (lambda U: U.flatten(1)[:, :6], False)):
        assert (adjoint_mismatch(torch.ones(6), nothing, pull, torch.Generator().manual_seed(1)) is None) == right
