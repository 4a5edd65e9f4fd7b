"""Checks a generator before anything that it returns is believed."""

from __future__ import annotations

import contextlib
import warnings

import torch
from torch import Tensor

from resefa_plugin.errors import (
    BatchDependenceError,
    NondeterministicError,
    NonFiniteError,
    TangentError,
    ZeroJacobianError,
)
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.linearization import adjoint_mismatch
from resefa_plugin.machine.module_state import ModuleState, in_training

# Float32 finite differences of deep networks are off by 1-2 %, more at kinks; a cut derivative by tens of percent.
DIFFERENCE_TOLERANCE = 0.1
# Of the contrast, root mean square: float16 on a GPU is off by a percent where kernels differ, statistics by a half.
BATCH_TOLERANCE = 0.05
# Trained networks overshoot: pictures of [-1, 1] reach 2 and more.
MAX_UNIT, SLACK = 8.0, 0.1
STEPS = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)  # of the latent's own root mean square; the best one counts


def probe(viewpoint: Viewpoint) -> None:
    """Raises a named error, with cause and remedy, if the derivative of the picture cannot be trusted.

    Checks: two calls are bit-equal, and leave the network as it was; a picture is the same alone, in a batch of two,
    and once another one was rendered; everything is finite; one tangent is not zero, obeys the adjoint identity
    <u, J v> = <J^T u, v> against reverse mode by autograd, and agrees with a central difference. What the calls have
    changed in the network is put back.

    Warns if the pictures do not look as if they were in [-1, 1], unless the hook states its range.

    Args:
        viewpoint: what will be differentiated.

    Raises:
        NondeterministicError, BatchDependenceError, NonFiniteError, ZeroJacobianError, TangentError.
    """
    hook, sample, space = viewpoint.hook, viewpoint.sample, viewpoint.space
    generator = torch.Generator().manual_seed(0)
    tangent = torch.randn(1, viewpoint.dim, generator=generator).to(viewpoint.device)
    state = ModuleState(hook)
    try:
        with torch.no_grad():
            first, second = (viewpoint.images(viewpoint.zero()) for _ in range(2))
    finally:
        changed = state.put_back()
    if not first.isfinite().all():
        raise NonFiniteError(f'{hook.name}: the picture of {sample.name} contains NaN or infinity. Load the weights in '
                             'float32, and check that they belong to this architecture')
    if not torch.equal(first, second):
        raise NondeterministicError(
            f'{hook.name}: two calls with the same latent differ by up to {(first - second).abs().max():.2g}. The '
            f"network draws noise or updates statistics: use noise_mode='const', call .eval(), and switch dropout off"
            f'{_training(hook)}')
    if changed:
        raise BatchDependenceError(f'{hook.name}: each picture changes the network ({", ".join(changed[:3])}), which '
                                   f'was put back as it was: call .eval() on it{_training(hook)}')
    _check_batch(viewpoint, tangent, first)
    if hook.value_range is None:
        _look_at_range(hook.name, first)

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


def _training(hook: GeneratorHook) -> str:
    """The layers that are in training mode, for an error."""
    layers = in_training(hook)
    return f'. In training mode: {", ".join(layers[:3])}{", ..." if len(layers) > 3 else ""}' if layers else ''


def _check_batch(viewpoint: Viewpoint, tangent: Tensor, alone: Tensor) -> None:
    """Compares a picture that was rendered alone, `[1, C, h, w]`, with the same behind another one, and after it."""
    name, sample = viewpoint.hook.name, viewpoint.sample.name
    state = ModuleState(viewpoint.hook)
    scale = viewpoint.latent.square().mean().sqrt()
    together = None
    try:
        with torch.no_grad():
            # Behind the other one: noise that is drawn for a whole batch at once differs from place to place.
            with contextlib.suppress(Exception):  # it takes one latent at a time, or memory takes one picture
                together = viewpoint.images(torch.cat([scale * tangent, viewpoint.zero()]))
            if together is None:  # nothing else is asked of it
                viewpoint.images(scale * tangent)
            again = viewpoint.images(viewpoint.zero())
    finally:
        state.put_back()
    if not torch.equal(again, alone):
        raise NondeterministicError(
            f'{name}: the picture of {sample} is another one, by up to {(again - alone).abs().max():.2g}, once another '
            f'latent was rendered: something is kept from call to call. Call .eval() on the network, and take out what '
            f'it remembers{_training(viewpoint.hook)}')
    if together is None:
        return
    if together.shape != (2, *alone.shape[1:]):
        raise BatchDependenceError(f'{name}: for two latents it returns {list(together.shape)}, expected '
                                   f'{[2, *alone.shape[1:]]}: a picture for each latent, of the size that it has alone')
    error = ((together[1:] - alone).norm() / (alone - alone.mean()).norm().clamp(min=1e-12)).item()
    if not error < BATCH_TOLERANCE:
        raise BatchDependenceError(
            f'{name}: the picture of {sample} is another one, by {error:.2g} of its contrast, if a second latent is '
            'beside it: a layer uses statistics of the batch, or noise that differs from place to place. Call .eval() '
            f"on the network, and use noise_mode='const'{_training(viewpoint.hook)}")


def _look_at_range(name: str, image: Tensor) -> None:
    """Warns if a picture looks as if black and white were other values than -1 and 1."""
    low, high = image.min().item(), image.max().item()
    if low >= 0 and high <= 1 + SLACK:
        guess, remedy = '[0, 1]', 'value_range=(0, 1), or --range=0,1'
    elif low >= -SLACK and MAX_UNIT < high <= 255.5:
        guess, remedy = '[0, 255]', 'value_range=(0, 255), or --range=0,255'
    elif max(-low, high) > MAX_UNIT:
        guess, remedy = 'none that is known', 'value_range=(LOW, HIGH), or --range=LOW,HIGH'
    else:
        return
    warnings.warn(f'{name}: its pictures are taken to be in [-1, 1], but go from {low:.3g} to {high:.3g}: the range '
                  f'looks like {guess}. State it with {remedy} (-1 and 1 if it is right), or strengths mean something '
                  'else and pictures are too dark or too bright', stacklevel=3)


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
