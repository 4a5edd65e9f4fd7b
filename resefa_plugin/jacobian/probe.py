"""Checks a generator before anything that it returns is believed."""

from __future__ import annotations

import torch
from torch import Tensor

from resefa_plugin.errors import NondeterministicError, NonFiniteError, TangentError, ZeroJacobianError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.adjoint import adjoint_mismatch
from resefa_plugin.jacobian.region_jacobian import RegionJacobian

# Float32 finite differences of deep networks are off by 1-2 %, more at kinks; a cut derivative by tens of percent.
DIFFERENCE_TOLERANCE = 0.1
STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)  # of the latent's own root mean square; the best one counts


def probe(viewpoint: Viewpoint) -> None:
    """Raises a named error, with cause and remedy, if the derivative of the picture cannot be trusted.

    Checks: two calls are bit-equal; everything is finite; one tangent is not zero, obeys the adjoint identity
    <u, J v> = <J^T u, v> against reverse mode by autograd, and agrees with a central difference.

    Args:
        viewpoint: what will be differentiated.

    Raises:
        NondeterministicError, NonFiniteError, ZeroJacobianError, TangentError.
    """
    hook, sample, space = viewpoint.hook, viewpoint.sample, viewpoint.space
    with torch.no_grad():
        first, second = (viewpoint.images(viewpoint.zero()) for _ in range(2))
    if not first.isfinite().all():
        raise NonFiniteError(f'{hook.name}: the picture of {sample.name} contains NaN or infinity. Load the weights in '
                             'float32, and check that they belong to this architecture')
    if not torch.equal(first, second):
        raise NondeterministicError(
            f'{hook.name}: two calls with the same latent differ by up to {(first - second).abs().max():.2g}. The '
            "network draws noise or updates statistics: use noise_mode='const', call .eval(), and switch dropout off")

    generator = torch.Generator().manual_seed(0)
    tangent = torch.randn(1, viewpoint.dim, generator=generator).to(viewpoint.device)
    tangent /= tangent.norm()
    jacobian = RegionJacobian(viewpoint, chunk_size=1)
    pushed = jacobian.jvp(tangent)
    if not pushed.isfinite().all():
        raise NonFiniteError(f'{hook.name}: the derivative of the picture of {sample.name} contains NaN or infinity. A '
                             'square root, norm or division of the network is evaluated at zero')
    if not pushed.any():
        raise ZeroJacobianError(
            f"{hook.name}: the picture of {sample.name} does not change to first order in space '{space.name}'. A "
            'detach(), .data, no_grad, inference_mode, or a rounding inside the network cuts the derivative, or the '
            'chosen layers do nothing')
    jacobian.release()  # a linearization and a graph at once would be the most memory of all steps
    # By autograd, so that a linearization that is wrong both ways is not its own witness.
    mismatch = adjoint_mismatch(tangent[0], pushed[0], jacobian.vjp_by_autograd, generator)
    jacobian.release()
    if mismatch:
        raise TangentError(f'{hook.name}: forward mode and reverse mode disagree, {mismatch}. A custom autograd '
                           'function of the network has a wrong jvp or backward, or a no_grad inside it stops reverse '
                           'mode')
    _check_difference(viewpoint, tangent, pushed)


def _check_difference(viewpoint: Viewpoint, tangent: Tensor, pushed: Tensor) -> None:
    scale = viewpoint.latent.square().mean().sqrt().item() or 1.0
    errors = []
    with torch.no_grad():
        for step in STEPS:
            h = step * scale
            change = viewpoint.images(h * tangent) - viewpoint.images(-h * tangent)
            errors.append(((change / (2 * h) - pushed).norm() / pushed.norm()).item())
            if errors[-1] < DIFFERENCE_TOLERANCE:
                return
    raise TangentError(f'{viewpoint.hook.name}: the derivative of the picture of {viewpoint.sample.name} is off by '
                       f'{min(errors):.0%} from a finite difference. A detach(), .data or custom autograd function '
                       'hides a part of the network from differentiation')
