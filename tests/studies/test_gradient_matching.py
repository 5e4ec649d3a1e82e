"""The study of exact estimators, at sizes that a test can afford."""

import pytest

from penchant.studies import Preset, gradient_matching as study
from penchant.studies.gradient_matching import _dropout, _early_stopping, _finite_steps
from tests.cases import missed


def test_early_stopping():
    sizes = _early_stopping.Sizes(100, 5, (1, 10, 100))
    figure = study.early_stopping(sizes)
    assert not missed(figure)
    assert len(figure.pictures) == 1


def test_finite_steps():
    sizes = _finite_steps.Sizes(60, (0.02, 0.01), ((0.5, 0.003, 0.1),))
    assert not missed(study.finite_steps(sizes))


@pytest.mark.slow
def test_dropout():
    assert not missed(study.dropout(_dropout.Sizes(100, 8, 200, 40, (0.1,))))


@pytest.mark.slow
def test_adamw():
    assert not missed(study.adamw(Preset.QUICK))


def test_its_name_is_on_the_command_line():
    assert study.STUDY.name == "gradient-matching"
    assert study.STUDY.reads == ("dropout",)
