"""ResefaCallback in real trainings of a tiny GAN, by both of Lightning's packages."""

from __future__ import annotations

import importlib.util
import random
import sys

import numpy as np
import pytest
import torch

from resefa_plugin import Auto, DirectionSet, FunctionHook
from resefa_plugin.errors import ResefaError
from resefa_plugin.integrations import lightning as integration
from resefa_plugin.integrations.lightning import ResefaCallback, borrowed

REGION = 'left=0,0,0.5,1'


class Generator(torch.nn.Module):
    """Batch statistics and dropout, which must be off while it is factorized; `frozen` is not trained."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.Dropout(0.5),
                                        torch.nn.Tanh(), torch.nn.Linear(16, 64), torch.nn.Tanh())
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, z):
        return (self.frozen * self.body(z)).unflatten(1, (1, 8, 8))


def make_gan(pl):
    class Gan(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.generator, self.critic = Generator(), torch.nn.Linear(64, 1)
            self.critic.eval()  # a part with a flag of its own

        def training_step(self, batch, index):
            for optimizer, sign in zip(self.optimizers(), (-1, 1), strict=True):
                loss = sign * self.critic(self.generator(batch).flatten(1)).mean()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()

        def configure_optimizers(self):
            return [torch.optim.SGD(part.parameters(), 0.1) for part in (self.generator, self.critic)]

    return Gan()


def hook_of(module):
    return FunctionHook(module.generator, 4, device=module.device)


def train(pl, tmp_path, callbacks, epochs=2):
    torch.manual_seed(0)
    module = make_gan(pl)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator='cpu',
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=callbacks,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=8, shuffle=True))
    return module


@pytest.fixture(params=['lightning.pytorch', 'pytorch_lightning'])
def pl(request):
    return pytest.importorskip(request.param)


@pytest.mark.filterwarnings('ignore')  # Lightning's advice on workers and batch sizes
def test_a_training_run_is_factorized_and_not_changed(pl, tmp_path):
    callback = ResefaCallback(
        hook_of, [REGION], every_n_epochs=2, seeds=[0, 1], outdir=tmp_path / 'out', space='z', solver=Auto(2)
    )
    with_callback, without = train(pl, tmp_path, [callback], epochs=3), train(pl, tmp_path, [], epochs=3)
    files = sorted(str(file.relative_to(tmp_path / 'out')) for file in (tmp_path / 'out').rglob('*.npz'))
    assert files == ['epoch0001/seed0000-left.npz', 'epoch0001/seed0001-left.npz']
    assert len(DirectionSet.load(tmp_path / 'out' / files[0])) == 2 and len(callback.results) == 2
    # Dropout and shuffling draw from the same random states, batch statistics gather: all must come out bit for bit.
    for (name, actual), expected in zip(with_callback.state_dict().items(), without.state_dict().values(), strict=True):
        assert torch.equal(actual, expected), name


@pytest.mark.filterwarnings('ignore:.*:UserWarning:lightning', 'ignore:.*:UserWarning:pytorch_lightning')
def test_an_error_is_a_warning_or_ends_the_training(pl, tmp_path):
    def broken(module):
        raise ResefaError('no such generator')

    with pytest.warns(UserWarning, match='epoch 0: no directions, ResefaError: no such generator'):
        train(pl, tmp_path, [ResefaCallback(broken, [REGION])], epochs=1)
    with pytest.raises(ResefaError, match='no such generator'):
        train(pl, tmp_path, [ResefaCallback(broken, [REGION], on_error='raise')], epochs=1)


def test_other_ranks_do_nothing(pl, tmp_path):
    class Rank1:
        is_global_zero, current_epoch = False, 0

    ResefaCallback(lambda module: pytest.fail('called'), [REGION], on_error='raise').on_train_epoch_end(Rank1(), None)


@pytest.mark.parametrize('fails', [False, True])
def test_everything_borrowed_is_given_back(fails):
    module = Generator()
    module.body[2].eval()
    parameters = list(module.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    before = [(p, p.data_ptr(), p.requires_grad, p.grad) for p in parameters]
    buffers, flags = dict(module.named_buffers()), [part.training for part in module.modules()]
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    try:
        with borrowed(module):
            assert not any(part.training for part in module.modules()) and not any(p.requires_grad for p in parameters)
            module.to(torch.float64).train()
            torch.rand(3), np.random.rand(3), random.random()
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert [(p, p.data_ptr(), p.requires_grad, p.grad) for p in parameters] == before
    assert all(buffers[name] is buffer for name, buffer in module.named_buffers())
    assert [part.training for part in module.modules()] == flags
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[2]
    assert np.array_equal(np.random.get_state()[1], states[1])


@pytest.mark.parametrize('options, message', [
    ({'every_n_epochs': 0}, 'every_n_epochs is 0, expected 1 or more'),
    ({'on_error': 'ignore'}, "on_error is 'ignore', expected one of warn, raise"),
    ({'seeds': ()}, 'regions and seeds must each list one or more'),
    ({'regions': 'mouth'}, 'regions and seeds must each list one or more'),
])
def test_wrong_arguments(pl, options, message):
    with pytest.raises(ResefaError, match=message):
        ResefaCallback(hook_of, **{'regions': [REGION]} | options)


def test_without_lightning_only_the_callback_is_an_error(monkeypatch):
    monkeypatch.setattr(integration, '_MISSING', 'lightning.pytorch: operator torchvision::nms does not exist')
    with pytest.raises(
        ResefaError, match=r'needs lightning or pytorch_lightning: pip install lightning \(.*torchvision::nms'
    ):
        ResefaCallback(hook_of, [REGION])
    for name in ('lightning', 'lightning.pytorch', 'pytorch_lightning'):
        monkeypatch.setitem(sys.modules, name, None)  # as if it was not installed
    spec = importlib.util.spec_from_file_location('imported_without_lightning', integration.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert 'pytorch_lightning' in module._MISSING and module.ResefaCallback
