"""Runs a frozen convolutional graph of TensorFlow.js with torch, operation by operation, from a fixed table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resefa_plugin.checkpoints.graphs.tfjs_graph import TfjsGraph, TfjsNode
from resefa_plugin.errors import CheckpointError

_AXES = {0: 0, 1: 2, 2: 3, 3: 1}  # axis of the graph's [N, H, W, C]: the same axis of our [N, C, H, W]


class TfjsNetwork(nn.Module):
    """A graph with one picture as its input.

    Args:
        graph: as it was read.

    Raises:
        CheckpointError: the graph has another number of inputs, or an operation that is not in the table.
    """

    def __init__(self, graph: TfjsGraph):
        super().__init__()
        unknown = {node.op for node in graph.nodes.values()} - {'Const', 'Placeholder', *OPERATIONS}
        if unknown:
            raise CheckpointError(f'the graph has operations that are not known here: {", ".join(sorted(unknown))}')
        inputs = [node for node in graph.nodes.values() if node.op == 'Placeholder']
        if len(inputs) != 1:
            raise CheckpointError(f'the graph has {len(inputs)} inputs, expected one picture')
        self.nodes, self._input = graph.nodes, inputs[0].name
        self._names = {name: f'constant{i}' for i, name in enumerate(graph.constants)}
        for name, value in graph.constants.items():
            self.register_buffer(self._names[name], _constant(value))

    def forward(self, images: Tensor, output: str) -> Tensor:
        """The value of the node `output` for pictures `[N, C, H, W]`; a map is `[N, C, h, w]`.

        Raises CheckpointError if there is no such node, or a setting of an operation is not known.
        """
        values: dict[str, Tensor] = {self._input: images}
        for name in self._needed(output):
            node = self.nodes[name]
            if node.op == 'Const':
                values[name] = getattr(self, self._names[name])
            elif node.op != 'Placeholder':
                values[name] = OPERATIONS[node.op](node, *(values[source] for source in node.inputs))
        return values[output]

    def _needed(self, output: str) -> list[str]:
        """Names of the nodes that `output` depends on, in the order of the graph."""
        if output not in self.nodes:
            raise CheckpointError(f"the graph has no node '{output}'; it is another network than the one expected")
        needed = {output}
        for node in reversed(self.nodes.values()):
            if node.name in needed:
                needed.update(node.inputs)
        return [name for name in self.nodes if name in needed]


def _constant(value: np.ndarray) -> Tensor:
    """Kernels `[h, w, in, out]` become `[out, in, h, w]`; vectors stay as they are."""
    tensor = torch.from_numpy(value.copy())
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor


def _same_padding(x: Tensor, kernel: Sequence[int], stride: Sequence[int], value: float = 0) -> Tensor:
    """TensorFlow's padding SAME: input / stride outputs, rounded up; an odd pixel is added below and on the right."""
    amounts: list[int] = []
    for size, k, s in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):  # `pad` begins with the last axis
        total = max((-(-size // s) - 1) * s + k - size, 0)
        amounts += [total // 2, total - total // 2]
    return functional.pad(x, amounts, value=value)


def _check_same(node: TfjsNode) -> None:
    if node.attributes.get('padding') != 'SAME':
        raise CheckpointError(f"node '{node.name}' has padding {node.attributes.get('padding')}, expected SAME")


def _convolution(node: TfjsNode, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _check_same(node)
    stride = node.attributes['strides'][1:3]
    depthwise = 'Depthwise' in node.op
    if depthwise:  # [multiplier, in, h, w] -> [in * multiplier, 1, h, w]
        weight = weight.transpose(0, 1).flatten(0, 1)[:, None]
    groups = x.shape[1] if depthwise else 1
    y = functional.conv2d(_same_padding(x, weight.shape[2:], stride), weight, bias, stride, groups=groups)
    fused = node.attributes.get('fused_ops', [])
    if fused not in ([], ['BiasAdd'], ['BiasAdd', 'Relu']):
        raise CheckpointError(f"node '{node.name}' has fused operations {fused}, which are not known here")
    return functional.relu(y) if 'Relu' in fused else y


def _max_pool(node: TfjsNode, x: Tensor) -> Tensor:
    _check_same(node)
    kernel, stride = node.attributes['ksize'][1:3], node.attributes['strides'][1:3]
    return functional.max_pool2d(_same_padding(x, kernel, stride, -torch.inf), kernel, stride)


def _average_pool(node: TfjsNode, x: Tensor) -> Tensor:
    """TensorFlow averages over the pixels of the picture only, without the padding."""
    _check_same(node)
    kernel, stride = node.attributes['ksize'][1:3], node.attributes['strides'][1:3]
    total, count = (functional.avg_pool2d(_same_padding(part, kernel, stride), kernel, stride)
                    for part in (x, torch.ones_like(x[:1, :1])))
    return total / count


def resize_bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """TensorFlow 1's bilinear resizing of `[N, C, H, W]`: pixel i samples the input at i * scale."""
    for axis, length in zip((2, 3), size, strict=True):
        last = x.shape[axis] - 1
        position = torch.arange(length, device=x.device) * (x.shape[axis] / length)
        low = position.floor().long().clamp(max=last)
        weight = (position - low).to(x.dtype).view(-1, *[1] * (3 - axis))
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=last)), weight)
    return x


def _resize(node: TfjsNode, x: Tensor, size: Tensor) -> Tensor:
    if node.attributes.get('align_corners') or node.attributes.get('half_pixel_centers'):
        raise CheckpointError(f"node '{node.name}' resizes in a way that is not known here")
    return resize_bilinear(x, size.tolist())


def _slice(node: TfjsNode, x: Tensor, begin: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """Slices of vectors only: graphs take height and width out of the sizes of a map."""
    masks = ('begin_mask', 'end_mask', 'ellipsis_mask', 'new_axis_mask')
    if x.ndim != 1 or any(node.attributes.get(key) for key in masks):
        raise CheckpointError(f"node '{node.name}' slices in a way that is not known here")
    part = x[begin.item():end.item():step.item()]
    return part[0] if node.attributes.get('shrink_axis_mask') else part


def _elementwise(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def apply(node: TfjsNode, a: Tensor, b: Tensor) -> Tensor:
        a, b = (x[:, None, None] if x.ndim == 1 and other.ndim == 4 else x for x, other in ((a, b), (b, a)))
        return function(a, b)

    return apply


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    '_FusedConv2D': _convolution,
    'FusedDepthwiseConv2dNative': _convolution,
    'Conv2D': _convolution,
    'MaxPool': _max_pool,
    'AvgPool': _average_pool,
    'Add': _elementwise(torch.add),
    'Mul': _elementwise(torch.mul),
    'Relu': lambda node, x: functional.relu(x),
    'Sigmoid': lambda node, x: torch.sigmoid(x),
    'Softmax': lambda node, x: torch.softmax(x, dim=1),
    'ArgMax': lambda node, x, axis: x.argmax(dim=_AXES[axis.item() % 4]),
    'Squeeze': lambda node, x: x,  # graphs drop the axis of the only picture, which is kept here
    'Mean': lambda node, x, axes: x.mean(dim=[_AXES[axis] for axis in axes.tolist()], keepdim=True),
    'ConcatV2': lambda node, *inputs: torch.cat(inputs[:-1], dim=_AXES[inputs[-1].item() % 4]),
    'Shape': lambda node, x: torch.tensor([x.shape[0], x.shape[2], x.shape[3], x.shape[1]]),
    'StridedSlice': _slice,
    'Pack': lambda node, *inputs: torch.stack(inputs),
    'ResizeBilinear': _resize,
}
