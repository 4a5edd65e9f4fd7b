"""Writes pickles that name classes which are not there: files in the shape of the official ones, and hostile ones.

Python's own pickler does the encoding, so the opcodes of each protocol are the genuine ones.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

SOURCE = '# the Python source that an official file would carry\n'


class Name:
    """A global, by name."""

    def __init__(self, module: str, name: str):
        self.module = module
        self.name = name

    def __call__(self):
        raise AssertionError('a name is never called')


class Reduce:
    """REDUCE of a global with arguments, then BUILD with a state."""

    def __init__(self, func: Name, *args: object, state: object = None):
        self.func = func
        self.args = args
        self.state = state


class New:
    """NEWOBJ of a class without arguments, then SETITEMS, then BUILD."""

    def __init__(self, cls: Name, items: dict | None = None, state: object = None):
        self.cls = cls
        self.items = items or {}
        self.state = state


class Persistent:
    """A persistent id."""

    def __init__(self, pid: object):
        self.pid = pid


class Forger(pickle._Pickler):
    """Python's pickler, which also writes the classes above."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_name(self, name: Name) -> None:
        if self.proto >= 4:
            self.save(name.module)
            self.save(name.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f'{name.module}\n{name.name}\n'.encode())
        self.memoize(name)

    def save_call(self, call: Reduce) -> None:
        self.save_reduce(call.func, call.args, state=call.state, obj=call)

    def save_new(self, new: New) -> None:
        self.save(new.cls)
        self.save(())
        self.write(pickle.NEWOBJ)
        self.memoize(new)
        self._batch_setitems(new.items.items())
        if new.state is not None:
            self.save(new.state)
            self.write(pickle.BUILD)

    def save_persistent(self, ref: Persistent) -> None:
        self.save(ref.pid)
        self.write(pickle.BINPERSID)

    dispatch[Name] = save_name
    dispatch[Reduce] = save_call
    dispatch[New] = save_new
    dispatch[Persistent] = save_persistent


def dumps(value: object, protocol: int = 4) -> bytes:
    stream = io.BytesIO()
    Forger(stream, protocol).dump(value)
    return stream.getvalue()


# Shapes of official files.

RECONSTRUCT = Name('torch_utils.persistence', '_reconstruct_persistent_obj')
EASY_DICT = Name('dnnlib.util', 'EasyDict')
TF_NETWORK = Name('dnnlib.tflib.network', 'Network')


def easy_dict(**items: object) -> New:
    return New(EASY_DICT, items)


def persistent(module: torch.nn.Module, class_name: str = 'Generator', source: str = SOURCE,
               **init_kwargs: object) -> Reduce:
    """A module, children included, as persistent objects."""
    state = dict(vars(module))
    state['_modules'] = OrderedDict((name, child if child is None else persistent(child, type(child).__name__, source))
                                    for name, child in module._modules.items())
    state['_init_args'] = ()
    state['_init_kwargs'] = init_kwargs
    return Reduce(RECONSTRUCT, dict(type='class', version=6, module_src=source, class_name=class_name, state=state))


def toy_generator(seed: int = 0, family: str = 'stylegan2') -> torch.nn.Module:
    """Modules with some names of a generator, and with what modules may have: None, 0-dim, strides, buffers."""
    torch.manual_seed(seed)
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(torch.randn(3, 2, 3, 3).to(memory_format=torch.channels_last))
    layer.noise_strength = torch.nn.Parameter(torch.randn([]))
    layer.register_parameter('bias', None)
    layer.register_buffer('resample_filter', torch.ones(4, 4) / 16)
    layer.register_buffer('scratch', torch.zeros(2), persistent=False)
    layer.affine = torch.nn.Linear(4, 2)
    synthesis = torch.nn.Module()
    if family == 'stylegan2':
        synthesis.b4 = torch.nn.Module()
        synthesis.b4.conv1 = layer
    else:
        synthesis.L0 = layer
        synthesis.input = torch.nn.Module()
        synthesis.input.register_buffer('freqs', torch.randn(3, 2))
    generator = torch.nn.Module()
    generator.z_dim = 4
    generator.register_buffer('count', torch.tensor(3))
    generator.synthesis = synthesis
    generator.mapping = torch.nn.Linear(4, 4)
    return generator.eval()


LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
FLOAT_STORAGE = Name('torch', 'FloatStorage')


def storage_ref(key: str = '0', numel: int = 4, kind: Name = FLOAT_STORAGE) -> Persistent:
    return Persistent(('storage', kind, key, 'cpu', numel, None))


def legacy_torch(root: object, payload: bytes = bytes(16), numel: int = 4, keys: object = ('0',), *,
                 magic: object = LEGACY_MAGIC, version: object = 1001, little_endian: object = True) -> bytes:
    """A legacy file of torch.save with one storage of float32."""
    system = dict(protocol_version=1001, little_endian=little_endian, type_sizes=dict(short=2, int=4, long=4))
    parts = [dumps(part, 2) for part in (magic, version, system, root, list(keys))]
    return b''.join(parts) + struct.pack('<q', numel) + payload


def tensor_call(storage: object, offset: object = 0, size: object = (4,), stride: object = (1,),
                *metadata: object) -> Reduce:
    return Reduce(Name('torch._utils', '_rebuild_tensor_v2'), storage, offset, size, stride, False, OrderedDict(),
                  *metadata)


# Hostile streams, in protocol 2.

PROTO = b'\x80\x02'


def hostile_calls(marker: Path) -> dict[str, bytes]:
    """Pickles that would create the file `marker`, each in another way, if an ordinary loader read them."""
    command = dumps(f'touch {marker}', 2)[2:-1]
    code = dumps(f'open({str(marker)!r}, "w")', 2)[2:-1]
    return {
        'os.system': PROTO + b'cos\nsystem\n' + command + b'\x85R.',
        'posix.system': PROTO + b'cposix\nsystem\n' + command + b'\x85R.',
        'builtins.eval': PROTO + b'cbuiltins\neval\n' + code + b'\x85R.',
        'builtins.exec': b'\x80\x04\x8c\x08builtins\x8c\x04exec\x93' + code + b'\x85R.',
        'builtins.getattr': PROTO + b'cbuiltins\ngetattr\ncos\nsystem\nX\x08\x00\x00\x00__call__\x86R.',
        'subprocess.Popen': PROTO + b'csubprocess\nPopen\n' + command + b'\x85\x81.',
        # names that reach a function through a module that is allowed to be mentioned
        'torch.serialization.os.system':
            b'\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93' + command + b'\x85R.',
        'collections.OrderedDict.__init__': b'\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.',
        'torch.load': PROTO + b'ctorch\nload\n' + command + b'\x85R.',
    }


def run_upstream(checkout: str, script: str, *arguments: object) -> None:
    """Runs a script in its own process with an official checkout importable; skips where there is no checkout."""
    folder = os.environ.get('RESEFA_UPSTREAM')
    if not folder:
        pytest.skip('RESEFA_UPSTREAM is not set')
    path = Path(folder) / checkout
    if not path.is_dir():
        pytest.skip(f'RESEFA_UPSTREAM has no {checkout}')
    # The checkouts import two packages for things that no test needs.
    shim = ('import sys, types, packaging.version\n'
            'sys.modules["requests"] = types.ModuleType("requests")\n'
            'sys.modules["pkg_resources"] = types.ModuleType("pkg_resources")\n'
            'sys.modules["pkg_resources"].parse_version = packaging.version.parse\n')
    environment = {**os.environ, 'PYTHONPATH': str(path), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, '-c', shim + script, *map(str, arguments)], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
