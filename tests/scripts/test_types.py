"""The types of command line options: what a text becomes, and what is said of a wrong one."""

from __future__ import annotations

import pathlib

import click
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.scripts.common.options import device_option
from resefa_plugin.scripts.common.types import (
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
