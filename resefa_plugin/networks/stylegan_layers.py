"""Layers that StyleGAN2 and StyleGAN3 share: mapping, activations, demodulation, colours."""

from __future__ import annotations

import inspect
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resefa_plugin.errors import CheckpointError, ResefaError, printable
from resefa_plugin.linearization import LayerDerivative, spread

EPSILON = 1e-8
# The slope below zero and the gain of an activation.
ACTIVATIONS = {'linear': (1.0, 1.0), 'relu': (0.0, math.sqrt(2)), 'lrelu': (0.2, math.sqrt(2))}
NOISE_MODES = ('const', 'none')
MOST, MOST_TAPS = 2 ** 31, 64  # of a number in the arguments of a file, and of the taps of a filter


def known_kwargs(where: str, kwargs: Mapping[str, Any], *classes: type, inert: Collection[str] = ()) -> dict[str, Any]:
    """The arguments in a dictionary of a file, without those that are not needed.

    Args:
        where: name of the dictionary, for the error.
        kwargs: the dictionary.
        classes: classes of ours that take them as optional arguments of their constructors.
        inert: names of arguments that are dropped, since they do not change a picture computed in one precision.

    Raises: CheckpointError for an argument that no class takes and that is not dropped, or of another type.
    """
    known = {*inert}
    for cls in classes:
        known |= {p.name for p in inspect.signature(cls).parameters.values() if p.default is not p.empty}
    unknown = sorted(set(kwargs) - known)
    if unknown:
        raise CheckpointError(f'{where}: {", ".join(unknown)} is not one of {", ".join(sorted(known))}; '
                              'use the checkout that the network was trained with')
    check_types(where, kwargs, *classes)
    return {name: value for name, value in kwargs.items() if name not in inert}


def check_types(where: str, kwargs: Mapping[str, Any], *classes: type) -> None:
    """Compares arguments of a file with the annotations of the constructors that take them; others are left alone.

    Args:
        where, kwargs, classes: as of `known_kwargs`.

    Raises: CheckpointError for a value of another type, and for floating-point numbers that no network has.
    """
    for cls in classes:
        for name, hint in get_type_hints(cls.__init__).items():  # type: ignore[misc]
            if name in kwargs and not _is_of(kwargs[name], hint):
                raise CheckpointError(f'{where}: {name} is {printable(repr(kwargs[name]), 60)}, expected '
                                      f"{str(getattr(hint, '__name__', hint)).replace('collections.abc.', '')}")


def _is_of(value: object, hint: Any) -> bool:
    """Whether a value from a file is of an annotated type: a number, text, None, a union or a sequence of these."""
    if hint is float:
        return isinstance(value, (int, float)) and type(value) is not bool and abs(value) <= MOST  # NaN is not
    if get_origin(hint) is Sequence:
        return isinstance(value, (list, tuple)) and len(value) <= MOST_TAPS and all(
            _is_of(item, get_args(hint)[0]) for item in value)
    if get_args(hint):  # a union
        return any(_is_of(value, part) for part in get_args(hint))
    return type(value) is hint


def positive(**sizes: int) -> None:
    """Raises CheckpointError unless each of the named init arguments is an integer of at least 1."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f'{name}: expected an integer of at least 1, got {value!r}')


def activation_constants(name: str) -> tuple[float, float]:
    """The slope below zero and the gain of an activation. Raises CheckpointError if it is not one of `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise CheckpointError(f"activation '{name}' is not one of {', '.join(ACTIVATIONS)}; use the checkout that the "
                              'network was trained with')
    return ACTIVATIONS[name]


def activate(x: Tensor, slope: float, clamp: float | None = None) -> Tensor:
    """Leaky ReLU, then a clamp to [-clamp, clamp]. Callers apply its gain to `x`, which they scale anyway."""
    if slope != 1:
        x = F.leaky_relu(x, slope)
    return x if clamp is None else x.clamp(-clamp, clamp)


def linearize_activation(x: Tensor, slope: float, clamp: float | None = None) -> tuple[Tensor, Tensor]:
    """`activate(x, slope, clamp)` and its derivative at `x`, 0 where clamped. Changes `x` in place."""
    derivative = torch.ones_like(x).masked_fill_(x <= 0, slope)
    x.mul_(derivative)
    if clamp is not None:
        derivative.masked_fill_(x.abs() > clamp, 0)
        x.clamp_(-clamp, clamp)
    return x, derivative


def demodulation(weight: Tensor, styles: Tensor, epsilon: Tensor | float = EPSILON) -> Tensor:
    """What brings the output of a modulated convolution back to unit variance.

    `d_no = (sum_i s_ni^2 sum_k w_oik^2 + epsilon)^(-1/2)`: equation 3 of the StyleGAN2 paper, as one matrix product, so
    that no weight takes a tangent.

    Args:
        weight: `[O, I, k, k]`.
        styles: `[N, I]`.
        epsilon: a number, or `[N, O]`.

    Returns: `[N, O]`.
    """
    return (styles.square() @ weight.square().sum(dim=(2, 3)).t() + epsilon).rsqrt()


def to_colours(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
    """A modulated 1x1 convolution to few channels, not demodulated.

    With so few outputs the weights are scaled, not `x`: their tangents are much smaller than those of `x`.

    Args:
        x: `[N, I, h, w]`.
        weight: `[O, I, 1, 1]`.
        styles: `[N, I]`.
        bias: `[O]`.

    Returns: `[N, O, h, w]`.
    """
    y = (weight[:, :, 0, 0] * styles[:, None, :]) @ x.flatten(2)  # [N, O, h * w]
    return (y + bias[:, None]).unflatten(2, x.shape[2:])


def fastest_layout(x: Tensor) -> Tensor:
    """`x [N, C, h, w]`, on a CPU in channels_last layout, which makes convolutions and filters up to twice as fast."""
    return x.contiguous(memory_format=torch.channels_last) if x.device.type == 'cpu' else x


def average(x: Tensor, factor: int) -> Tensor:
    """Means of boxes of `factor` x `factor` pixels."""
    return x if factor == 1 else F.avg_pool2d(x, factor)


def linearize_colours(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor, clamp: float | None,
                      factor: int) -> LayerDerivative:
    """The derivative of `to_colours`, clamped and averaged over boxes of `factor` x `factor` pixels.

    Args: x `[1, I, h, w]`, weight `[O, I, 1, 1]`, styles `[1, I]`, bias `[O]`; clamp None if it is unbounded.

    Returns: `push`: tangents of x `[K, I, h, w]` and of styles `[K, I]` -> `[K, O, h', w']`, and `pull`: the reverse.
    """
    clamped = None if clamp is None else to_colours(x, weight, styles, bias).abs() > clamp
    if clamped is None or not clamped.any():  # a 1x1 convolution commutes with averaging: fewer pixels come first
        clamped, before, after = None, factor, 1
    else:
        before, after = 1, factor
    x = average(x, before)[0].flatten(1)  # [I, h' * w']
    modulated = weight * styles[:, :, None, None]

    def push(x_t: Tensor, styles_t: Tensor) -> Tensor:
        y_t = F.conv2d(average(x_t, before), modulated)
        weight_t = weight[:, :, 0, 0] * styles_t[:, None, :]  # [K, O, I]
        y_t += (weight_t.flatten(0, 1) @ x).view_as(y_t)  # one product for all tangents
        return average(y_t if clamped is None else y_t.masked_fill_(clamped, 0), after)

    def pull(y_g: Tensor) -> tuple[Tensor, Tensor]:
        g = spread(y_g, after)
        g = g if clamped is None else g.masked_fill(clamped, 0)
        weight_g = (g.flatten(2).flatten(0, 1) @ x.t()).unflatten(0, (len(g), -1))  # [K, O, I]
        styles_g = (weight_g * weight[:, :, 0, 0]).sum(dim=1)
        return spread(F.conv2d(fastest_layout(g), modulated.transpose(0, 1)), before), styles_g

    return LayerDerivative(push, pull)


def normalize(x: Tensor) -> Tensor:
    """Scales each row to unit mean square."""
    return x * (x.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


class FullyConnectedLayer(nn.Module):
    """A linear layer with equalized learning rate: weights are stored at unit scale, and scaled when they are used."""

    def __init__(self, in_features: int, out_features: int, activation: str = 'linear', lr_multiplier: float = 1.0,
                 weight_std: float = 1.0, bias_init: float | Sequence[float] = 0.0):
        super().__init__()
        self.slope, gain = activation_constants(activation)
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * (weight_std / lr_multiplier))
        self.bias = nn.Parameter(torch.as_tensor(bias_init, dtype=torch.float32).expand(out_features).clone())
        self.weight_gain = gain * lr_multiplier / math.sqrt(in_features)
        self.bias_gain = gain * lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        return activate(F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain), self.slope)


class MappingNetwork(nn.Module):
    """Latents to intermediate latents: z, and a label if the network takes one, to W.

    Args:
        z_dim: dimensions of z.
        c_dim: dimensions of the label, 0 if it takes none.
        w_dim: dimensions of w.
        num_ws: how many copies of w the synthesis network takes.
        num_layers: fully connected layers.
        embed_features: dimensions of the embedded label, None if they are `w_dim`.
        layer_features: dimensions between the layers, None if they are `w_dim`.
        activation: of each layer, one of `ACTIVATIONS`.
        lr_multiplier: learning rate of the layers relative to that of other networks; it scales the stored weights.
        w_avg_beta: None if there is no average of W; any other value matters in training only.
        class_w_avg: whether the average of W is one per class, `w_avg [c_dim, w_dim]`, as in StyleGAN-XL.

    Raises: CheckpointError for arguments that are out of range or contradict each other.
    """

    embed: nn.Module
    fc0: FullyConnectedLayer
    w_avg: Tensor | None

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, num_layers: int = 8,
                 embed_features: int | None = None, layer_features: int | None = None, activation: str = 'lrelu',
                 lr_multiplier: float = 0.01, w_avg_beta: float | None = 0.995, class_w_avg: bool = False):
        super().__init__()
        positive(w_dim=w_dim, num_layers=num_layers)
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        embedded = 0
        if c_dim > 0:
            embedded = w_dim if embed_features is None else embed_features
            self.embed = FullyConnectedLayer(c_dim, embedded)
        hidden = w_dim if layer_features is None else layer_features
        features = [z_dim + embedded, *[hidden] * (num_layers - 1), w_dim]
        positive(z_dim=features[0], layer_features=hidden)
        self.num_layers = num_layers
        for idx, (fan_in, fan_out) in enumerate(pairwise(features)):
            setattr(self, f'fc{idx}', FullyConnectedLayer(fan_in, fan_out, activation, lr_multiplier))
        if class_w_avg and (c_dim < 1 or w_avg_beta is None):
            raise CheckpointError('class_w_avg: expected a network with classes and an average of W, got c_dim '
                                  f'{c_dim} and w_avg_beta {w_avg_beta}')
        shape = (c_dim, w_dim) if class_w_avg else (w_dim,)
        self.register_buffer('w_avg', None if w_avg_beta is None else torch.zeros(shape))

    def forward(self, z: Tensor, c: Tensor | None, truncation_psi: float = 1,
                truncation_cutoff: int | None = None) -> Tensor:
        """Maps latents to `ws`, `w_avg + truncation_psi * (w - w_avg)` in the first `truncation_cutoff` layers.

        Where there is an average per class it is `c @ w_avg`: the class's own, and for a mix of classes theirs mixed.

        Args:
            z: `[N, z_dim]`.
            c: `[N, c_dim]`; None or `[N, 0]` for a network without labels.
            truncation_psi: how far from the average; 1 is no truncation.
            truncation_cutoff: how many layers are truncated, None for all.

        Returns: `ws [N, num_ws, w_dim]`.

        Raises: ResefaError for latents or labels of another shape, and for truncation without an average.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise ResefaError(f'z: expected shape [N, {self.z_dim}], got {list(z.shape)}')
        x = normalize(z.to(self.fc0.weight.dtype))
        shape = (z.shape[0], self.c_dim)
        if c is None and self.c_dim > 0 or c is not None and tuple(c.shape) != shape:
            got = None if c is None else list(c.shape)
            raise ResefaError(f'c: expected a label of shape {list(shape)}, got {got}; a network with labels needs '
                              'one, a network without takes none')
        if c is not None and self.c_dim > 0:
            x = torch.cat([x, normalize(self._embedded(c.to(x.dtype)))], dim=1)
        for idx in range(self.num_layers):
            x = getattr(self, f'fc{idx}')(x)
        ws = x.unsqueeze(1).repeat(1, self.num_ws, 1)  # copies: forward mode refuses a tensor that was expanded
        if truncation_psi == 1:
            return ws
        if self.w_avg is None:
            raise ResefaError(f'truncation_psi {truncation_psi}: the network has no average of W to truncate to; use 1')
        w_avg = self.w_avg
        if c is not None and w_avg.ndim == 2:
            w_avg = (c.to(x.dtype) @ w_avg).unsqueeze(1)  # [c_dim, w_dim] -> [N, 1, w_dim]
        truncated = w_avg.lerp(ws, truncation_psi)
        if truncation_cutoff is None:
            return truncated
        return torch.cat([truncated[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)

    def _embedded(self, c: Tensor) -> Tensor:
        """Labels `[N, c_dim]` -> `[N, embed_features]`, of any length."""
        return self.embed(c)
