"""Classes by number, by name, and mixed."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.biggan_classes import IMAGENET_NAMES, class_vector


@pytest.mark.parametrize('spec, expected', [
    ('12', {12: 1}), (' 999 ', {999: 1}), ('house finch', {12: 1}), ('Golden_Retriever', {207: 1}), ('TABBY', {281: 1}),
    ("jack-o'-lantern", {607: 1}), ('12:1', {12: 1}), ('12:0.5,207:0.5', {12: 0.5, 207: 0.5}),
    ('daisy:0.25, 1:0.75', {985: 0.25, 1: 0.75}), ('3:.5,3:.5', {3: 1}),
    ('1:0.333,2:0.333,3:0.333', {1: 1 / 3, 2: 1 / 3, 3: 1 / 3}),
])
def test_class_vectors(spec, expected):
    vector = class_vector(spec, 1000)
    assert vector.shape == (1, 1000) and vector.dtype == torch.float32
    assert {i: pytest.approx(value) for i, value in expected.items()} == {
        i.item(): vector[0, i].item() for i in vector[0].nonzero()[:, 0]}


def test_the_names_are_distinct_classes_in_the_order_of_imagenet():
    indices = list(IMAGENET_NAMES.values())
    assert 40 <= len(indices) <= 70 and indices == sorted(set(indices)) and indices[-1] < 1000


@pytest.mark.parametrize('spec, n_classes, match', [
    ('1000', 1000, 'class 1000 is out of range: this network has classes 0 to 999'),
    ('5', 5, 'classes 0 to 4'),
    ('unicorn', 1000, "class 'unicorn' is not known by name; expected a number from 0 to 999 or one of: goldfish, "),
    ('tabby', 10, "this network has 10 classes, not ImageNet's 1000"),
    ('', 1000, "class '' is not known"),
    ('-1', 1000, "class '-1' is not known"),
    ('1,2', 1000, "'1' has no weight; a mix is written like 12:0.5,207:0.5"),
    ('1:0.5,2:0.6', 1000, 'the weights sum to 1.1, expected 1'),
    ('1:x', 1000, "weight 'x' is not a number above 0 up to 1"),
    ('1:nan', 1000, "weight 'nan' is not"),
    ('1:-1,2:2', 1000, "weight '-1' is not"),
    ('1:0.5,', 1000, "'' has no weight"),
    ('9' * 5000, 1000, 'is not known by name'),
])
def test_classes_that_cannot_be(spec, n_classes, match):
    with pytest.raises(ResefaError, match=match):
        class_vector(spec, n_classes)
