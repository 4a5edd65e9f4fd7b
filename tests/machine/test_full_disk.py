"""Every kind of file that is written, where the disk has no room: an error of ours, and nothing is left behind.

A limit on the size of a file stands in for a full disk. It is on a process, so the writers run in one of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys

WRITERS = '''
import json, os, pathlib, resource, signal, sys
import numpy as np, torch
from PIL import Image
from resefa_plugin.directions import exports
from resefa_plugin.errors import ResefaError
from resefa_plugin.evaluation.cell_store import write_cell
from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.report import pictures
from resefa_plugin.studio.files import downloads
from tests.helpers.direction_sets import make_set
from tests.helpers.toys import TanhToy
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.files import replacing

random = np.random.RandomState(0)
frames = [Image.fromarray(random.randint(0, 256, (64, 64, 3)).astype(np.uint8)) for _ in range(3)]
mask = random.rand(6, 4) < 0.5
directions = make_set(latent=random.randn(1, 5, 8).astype(np.float32))
hook = TanhToy().hook()
viewpoint = Viewpoint(hook, 'z', hook.sample(0))
viewpoint.fingerprint()

def animation(kind):
    def write(path):
        with replacing(path) as part:
            downloads._WRITERS[kind](frames, part)
    return write

writers = {
    'd.npz': directions.save,
    'g.npz': lambda path: GramStore.save(path, DenseGrams(random.randn(40, 40), random.randn(40, 40), 1.0)),
    'w.npz': lambda path: exports.save_projected_w(path, np.ones((1, 18, 512), np.float32)),
    'cell.json': lambda path: write_cell(path, {'edits': list(range(2000))}),
    'p.png': lambda path: pictures.save_png(frames[0], path),
    'p.jpg': lambda path: pictures.save_jpeg(frames[0], path),
    'a.webp': animation('webp'),
    'a.mp4': animation('mp4'),
    'jacobian': lambda path: RegionJacobian(viewpoint).compute(path=path.parent),
    **{f'export-{name}': lambda path, export=export: export(directions, path, 1)
       for name, export in exports.EXPORTS.items()},
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
said = {}
folder = pathlib.Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for name, write in writers.items():
    limit = 64 if name.startswith('export') else 1000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        write(folder / name)
        outcome = 'written'
    except Exception as error:
        outcome = f'{type(error).__name__}: {error}'
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    said[name] = [outcome, sorted(os.listdir(folder))]
print(json.dumps(said))
'''


def test_nothing_is_left_where_there_is_no_room(tmp_path):
    done = subprocess.run([sys.executable, '-c', WRITERS, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert len(said) > 10
    for name, (outcome, left) in said.items():
        assert outcome.startswith('ResefaError: cannot write ') and 'has room' in outcome, (name, outcome)
        assert not left, (name, left)
