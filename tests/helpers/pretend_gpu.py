"""A CUDA device that is not there: tensors that say they are on it, with numbers that are computed on the CPU.

Operations that mix it with the CPU raise as on a GPU, so that a tensor made on the wrong device fails a test on any
machine. torch's FakeTensorMode has the same rules but no numbers, which solvers and checks look at, and in a build
without CUDA no autograd. To C++ these tensors are on the device `meta`, which is known in every build.
"""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, BEHIND = torch.device('cuda', 0), torch.device('meta')
MEMORY = 8 << 30
aten = torch.ops.aten
MOVING = {aten._to_copy.default, aten.copy_.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class GPUTensor(torch.Tensor):
    """A tensor on the pretended device; `numbers` is its contents."""

    @staticmethod
    def __new__(cls, numbers):
        return torch.Tensor._make_wrapper_subclass(
            cls, numbers.shape, strides=numbers.stride(), storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype, layout=numbers.layout, device=BEHIND)

    def __init__(self, numbers):
        self.numbers = numbers

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f'{func} on a tensor of a pretended GPU after its context has ended')

    def __repr__(self):
        return f"GPUTensor({list(self.shape)}, {self.dtype}, device='{GPU}')"


class _Operations(TorchDispatchMode):
    """Below autograd: each operation is checked, and computed on the CPU."""

    def __init__(self):
        super().__init__()
        self.really_meta = False  # whether a call asks for torch's own device of that name

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is aten._efficientzerotensor.default:  # it has no memory, and what knows that is passed by here
            func = aten.zeros.default
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        on_gpu = [t for t in tensors if isinstance(t, GPUTensor)]
        device = kwargs.get('device')
        if not on_gpu and (device is None or device.type != 'meta' or self.really_meta
                           or any(t.device.type == 'meta' for t in tensors)):
            return func(*args, **kwargs)
        check(func, args, kwargs, tensors, on_gpu)
        plain_args, plain_kwargs = tree_map(lambda t: t.numbers if isinstance(t, GPUTensor) else t, (args, kwargs))
        if device is not None:
            plain_kwargs['device'] = torch.device('cpu')
        result = func(*plain_args, **plain_kwargs)
        if device is not None and device.type == 'cpu' or func is aten.copy_.default and not on_this(args[0]):
            return result
        known = {id(t.numbers): t for t in on_gpu}  # an operation in place returns what it was given
        return tree_map(lambda t: known[id(t)] if id(t) in known else GPUTensor(t) if isinstance(t, torch.Tensor)
                        else t, result)


def on_this(tensor):
    """Whether a tensor, also within transforms of torch.func, is on the pretended device."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return isinstance(tensor, GPUTensor)


def check(func, args, kwargs, tensors, on_gpu):
    """Raises what a GPU raises: for tensors of both devices, and random numbers of a generator of the CPU."""
    generator = kwargs.get('generator')
    if generator is not None and generator.device.type == 'cpu':
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' in {func}")
    if func in MOVING:
        return
    others = [t for t in tensors if not isinstance(t, GPUTensor)]
    assert not any(t.device.type == 'meta' for t in others), f'{func} got a tensor that C++ made on meta, empty'
    if func in INDEXING:
        indices = tree_leaves(args[1])
        if not isinstance(args[0], GPUTensor) and any(isinstance(t, GPUTensor) for t in indices):
            raise RuntimeError('indices should be either on cpu or on the same device as the indexed tensor (cpu)')
        others = [t for t in others if not any(t is index for index in indices)]
    written = [args[i] if i < len(args) else kwargs.get(argument.name)
               for i, argument in enumerate(func._schema.arguments)
               if argument.alias_info is not None and argument.alias_info.is_write]
    if on_gpu and any(t.ndim or any(t is each for each in written) for t in others):  # single numbers may be elsewhere
        places = [f'{"cuda" if isinstance(t, GPUTensor) else "cpu"} {list(t.shape)}' for t in tensors]
        raise RuntimeError(f'Expected all tensors to be on the same device, but {func} got {", ".join(places)}')


class _Calls(TorchFunctionMode):
    """Above autograd: `device='cuda'` becomes the device that C++ knows, and `.device` the one that was asked for."""

    def __init__(self, operations):
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in QUESTIONS and on_this(args[0]):
            return QUESTIONS[func](args[0])
        if func in (torch.device, torch._C._nn._parse_to):  # what is moved there comes here by itself
            return func(*args, **kwargs)
        if func is torch.Tensor.cuda:
            return args[0].to(BEHIND)
        if func in (torch.tensor, torch.as_tensor) and is_gpu(kwargs.get('device')):  # of numbers, which C++ reads
            return func(*args, **{**kwargs, 'device': 'cpu'}).to(BEHIND)
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and on_this(args[0]):
            args = args[0], plain_index(args[1]), *args[2:]
        before = self.operations.really_meta
        self.operations.really_meta = any(map(is_meta, (*args, *kwargs.values())))
        try:
            return func(*(BEHIND if is_gpu(each) else each for each in args),
                        **{name: BEHIND if is_gpu(each) else each for name, each in kwargs.items()})
        finally:
            self.operations.really_meta = before


# What Python asks of a tensor, and C++ would answer with `meta`.
QUESTIONS = {torch.Tensor.device.__get__: lambda tensor: GPU, torch.Tensor.tolist: lambda tensor: tensor.cpu().tolist(),
             torch.Tensor.is_cuda.__get__: lambda tensor: True, torch.Tensor.is_cpu.__get__: lambda tensor: False}


def plain_index(index):
    """An index whose lists and arrays are tensors, since C++ would make them on `meta`."""
    if isinstance(index, tuple):
        return tuple(map(plain_index, index))
    return torch.as_tensor(index) if isinstance(index, (list, range, np.ndarray)) else index


def is_gpu(value):
    """Whether an argument names the pretended device."""
    return isinstance(value, (str, torch.device)) and str(value) in ('cuda', 'cuda:0')


def is_meta(value):
    """Whether an argument names torch's own device without numbers."""
    return isinstance(value, (str, torch.device)) and str(value) == 'meta'


def assert_same_on_gpu(run, rtol=2e-4):
    """Compares what `run(device)` returns on the CPU and on the pretended device, within the active context.

    Args:
        run: returns tensors or arrays, in lists, tuples or dictionaries.
        rtol: of the largest number of each; convolutions of another layout sum in another order.
    """
    for expected, found in zip(*(tree_leaves(run(device)) for device in (torch.device('cpu'), GPU)), strict=True):
        expected, found = torch.as_tensor(expected), torch.as_tensor(found).cpu()
        assert expected.isfinite().all() and expected.any()
        torch.testing.assert_close(found, expected, rtol=0, atol=rtol * expected.abs().max().item())


@contextlib.contextmanager
def pretend_gpu(monkeypatch):
    """A machine with one GPU that is not there."""
    for name, answer in (('is_available', True), ('device_count', 1), ('mem_get_info', (MEMORY, MEMORY)),
                         ('memory_reserved', 0), ('memory_allocated', 0), ('empty_cache', None)):
        monkeypatch.setattr(torch.cuda, name, lambda *args, answer=answer: answer)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # such a tensor cannot be put into another one
    operations = _Operations()
    try:
        with operations, _Calls(operations):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
