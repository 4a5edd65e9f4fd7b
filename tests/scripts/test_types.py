"""The types of command line options: what a text becomes, and what is said of a wrong one."""

from __future__ import annotations

import pathlib
import re

import click
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.regions.partition import parse_region
from resefa_plugin.scripts.common.options import device_option
from resefa_plugin.scripts.common.types import (
    FILE,
    FOLDER,
    Degrees,
    Device,
    LayerRange,
    NamedFile,
    NameList,
    SeedRange,
    Shard,
    StrengthRange,
    Vector2,
)
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TinyHook


@pytest.mark.parametrize('type_, text, value', [
    (SeedRange(), '0', [0]),
    (SeedRange(), ' 7, 0,4-6,4 ', [7, 0, 4, 5, 6, 4]),
    (LayerRange(), '5,4-6,0', (0, 4, 5, 6)),
    (StrengthRange(), '-3,4.5', (-3.0, 4.5)),
    (StrengthRange(), '2', (-2.0, 2.0)),
    (Vector2(), '0.3,-1', (0.3, -1.0)),
    (Degrees(), '-45', -45.0),
    (Shard(), '2/4', (2, 4)),
    (Shard(), '1/1', (1, 1)),
    (Device(), 'cpu', torch.device('cpu')),
    (NameList(), 'resefa,sefa:4-7,', ('resefa', 'sefa:4-7')),
    (NameList(), '', ()),
    (NamedFile(), 'identity=a=b.onnx', ('identity', pathlib.Path('a=b.onnx'))),
])
def test_a_text_is_parsed_once(type_, text, value):
    parsed = type_.convert(text, None, None)
    assert parsed == value and type(parsed) is type(value)
    assert type_.convert(parsed, None, None) is parsed


@pytest.mark.parametrize('type_, text, name', [
    (FILE, '~/x.npz', 'x.npz'), (FOLDER, '~/out', 'out'), (NamedFile(), 'identity=~/a.onnx', 'a.onnx')])
def test_the_home_folder_is_expanded(type_, text, name, tmp_path, monkeypatch):
    """Shells leave `--outdir=~/x` as it is."""
    monkeypatch.setenv('HOME', str(tmp_path))
    value = type_.convert(text, None, None)
    assert (value[1] if isinstance(value, tuple) else value) == tmp_path / name


@pytest.mark.parametrize('command', ['factorize', 'edit', 'evaluate'])
def test_lists_with_spaces_get_a_hint(command):
    needed = ['--directions=x.npz'] if command == 'edit' else ['--region=mouth']
    result = CliRunner().invoke(main, [command, *needed, '--outdir=x', '--seeds', '0', '1'])
    assert result.exit_code == 2
    assert 'unexpected extra argument (1): lists are written with commas' in result.output
    assert '--seeds=0,1' in result.output


@pytest.mark.parametrize('arguments, hint', [
    (['--network=mobilestylegan'], 'no such network; did you mean mobilestylegan-ffhq?'),
    (['--network=Biggan:G.pth'], 'did you mean biggan:G.pth?'),
    (['--network=~/missing.pkl'], 'missing.pkl: no such network; expected a network file')])
def test_names_that_are_almost_right(arguments, hint, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    result = CliRunner().invoke(main, ['factorize', *arguments, '--region=mouth', f'--outdir={tmp_path}/out'])
    assert result.exit_code == 1 and hint in ' '.join(result.output.split())
    assert '~' not in hint or str(tmp_path) in result.output


@pytest.mark.parametrize('space, meant', [('W', 'w'), ('W+', 'w+'), ('S', 's'), ('ww', 'w')])
def test_spaces_that_are_almost_right(space, meant):
    with pytest.raises(ResefaError, match=f"is not one of z, w, .*; did you mean {re.escape(meant)}\\?"):
        TinyHook().space(space)


def test_regions_in_a_list_get_a_hint():
    with pytest.raises(RegionError, match=re.escape('written --region=mouth --region=eyes, and one region of them all '
                                                    '--region=mouth+eyes')):
        parse_region('mouth, eyes', (32, 32))


@pytest.mark.parametrize('type_, text, message', [
    (SeedRange(), '4-2', "'4-2' is not a list of seeds: expected numbers and ascending ranges like 0,1,4-6"),
    (SeedRange(), '', "'' is not a list of seeds"),
    (SeedRange(), '1,,2', "'1,,2' is not a list of seeds"),
    (SeedRange(), '-1', "'-1' is not a list of seeds"),
    (SeedRange(), '0-60000,0-60000', "'0-60000,0-60000' names more than 100,000 seeds"),
    (LayerRange(), 'all', "'all' is not a list of layers"),
    (StrengthRange(), '1,2,3', "'1,2,3' is not LOW,HIGH: expected two numbers such as -3,3"),
    (StrengthRange(), 'nan', "'nan' is not LOW,HIGH"),
    (StrengthRange(), '', "'' is not LOW,HIGH"),
    (Shard(), '0/4', "'0/4' is not I/N: expected a part from 1 to N, such as 1/4 to 4/4"),
    (Shard(), '5/4', "'5/4' is not I/N"),
    (Shard(), '2', "'2' is not I/N"),
    (Device(), 'tpu9', "'tpu9' cannot be used: "),
    (Device(), 'meta:x', 'Try cpu, cuda, cuda:1 or mps'),
    (NamedFile(), 'sface.onnx', "'sface.onnx' is not NAME=FILE, as in identity=sface.onnx"),
])
def test_a_wrong_text_is_named_with_its_option(type_, text, message):
    @click.command()
    @click.option('--flag', type=type_)
    def command(flag):
        raise AssertionError(flag)

    result = CliRunner().invoke(command, [f'--flag={text}'])
    assert result.exit_code == 2 and "Invalid value for '--flag': '" in result.output and message in result.output


@pytest.mark.parametrize('type_, shown', [
    (SeedRange(), 'RANGE'), (LayerRange(), 'RANGE'), (StrengthRange(), 'LOW,HIGH'), (Shard(), 'I/N'),
    (Device(), 'DEVICE'), (NameList(), 'LIST'), (NamedFile(), 'NAME=FILE'),
])
def test_the_help_shows_what_to_type(type_, shown):
    @click.command()
    @click.option('--flag', type=type_)
    def command(flag):
        pass

    assert f'--flag {shown}' in CliRunner().invoke(command, ['--help']).output


@pytest.mark.parametrize('present, device', [(True, 'cuda'), (False, 'cpu')])
def test_without_a_device_it_is_the_gpu_if_there_is_one(monkeypatch, present, device):
    @click.command()
    @device_option
    def command(device):
        click.echo(f'on {device}')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: present)
    monkeypatch.setattr(torch, 'empty', lambda *size, device: device)  # of a GPU that this machine may not have
    assert CliRunner().invoke(command, []).output == f'on {device}\n'


@pytest.mark.parametrize('option', ['--memory', '--tau'])
@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_numbers_that_are_none(option, value):
    result = CliRunner().invoke(main, ['factorize', f'{option}={value}', '--region=mouth', '--outdir=out'])
    assert result.exit_code == 2 and f"'{option}': {value} is not a finite number" in result.stderr
