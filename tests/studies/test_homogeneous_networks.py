"""Figures of the study: their numbers on other seeds, and that they can fall short."""

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Preset
from penchant.studies.homogeneous_networks import (
    _digits,
    _invariant,
    _qian,
    _setup,
    _step_sizes,
    _toy,
)
from tests.cases import labelled, missed

STUDY = studies.find("homogeneous-networks")


@pytest.mark.slow
def test_adagrad_of_two_samples_goes_where_scipy_says():
    figure = _qian.qian(_qian.Sizes(power=3, step_sizes=(0.5,), others=False), 3)
    assert missed(figure) == []
    limits = [line for line in figure.lines if "distance of the limit" in line.what]
    assert limits[0].measured == pytest.approx(0.24707, abs=1e-5)
    (svg,) = figure.pictures.values()
    assert "steps" in labelled(svg)


@pytest.mark.slow
def test_the_invariant_holds_on_another_seed():
    flows = (("linear", "logistic", -20.0),)
    figure = _invariant.invariant(_invariant.Sizes(flows), 5)
    assert missed(figure) == []
    assert len(figure.lines) == 2
    assert figure.lines[1].measured == pytest.approx(figure.lines[1].expected)


@pytest.mark.slow
def test_steps_that_fall_too_slowly_are_throttled_on_another_seed():
    figure = _step_sizes.step_sizes(Preset.QUICK, 2)
    assert missed(figure) == []
    (caption,) = figure.pictures
    assert "seed 2" in caption


@pytest.mark.slow
def test_a_memory_that_is_not_a_sum_has_no_start_of_its_own():
    # AdaGrad passed off as RMSProp is found out: its h is not isotropic
    adagrad = _setup.RULES["AdaGrad"]
    sizes = _toy.Sizes(starts=2, rules={"AdaGrad": adagrad, "RMSProp": adagrad})
    figure = _toy.toy(sizes, 0)
    assert any("isotropic" in line.what for line in missed(figure))


def test_starts_have_a_unit_on_the_side_of_every_sample():
    for seed in range(4):
        problem = _setup.toy("ReLU", seed)
        hidden, out = problem.start
        active = np.asarray(problem.X @ hidden["W"].T) > 0
        own = np.asarray(problem.y)[:, None] * np.asarray(out["W"]) > 0
        assert (active & own).any(axis=1).all()
    # the first draw, where it has such units
    flat = 0.5 * np.random.default_rng(1).normal(size=20)
    start = _setup.toy("squared ReLU", 0)
    assert jnp.allclose(start.flat(start.start), flat)


def test_levels_are_found_between_records():
    path = _digits.Records(
        np.array([-1.0, -3.0, -2.0, -5.0]), np.arange(4.0), np.arange(4.0)
    )
    assert _digits.value_at(path, path.margin, -2.0) == pytest.approx(0.5)
    assert _digits.value_at(path, path.margin, -4.0) == pytest.approx(2.5)
    assert _digits.value_at(path, path.margin, -5.0) == 3.0
    with pytest.raises(RuntimeError, match="-6"):
        _digits.value_at(path, path.margin, -6.0)


def test_a_file_of_images_may_be_given(tmp_path):
    digits = pn.datasets.digits()
    file = tmp_path / "images.npz"
    np.savez(file, X=np.asarray(digits.X), y=np.asarray(digits.y))
    given = _digits.images(pn.datasets.load(str(file)), 0)
    assert given.problem.samples == _digits.TRAIN
    assert given.problem.degree == 2.0
    assert float(given.problem.X.max()) <= 1.0
    assert len(given.y) == len(digits.y) - _digits.TRAIN


@pytest.mark.slow
@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.parametrize("seed", [0, 7])
def test_quick_numbers_come_out(figure, seed):
    found = STUDY.run(seed=seed, figure=figure)
    assert missed(found) == []
    for caption, svg in found.figures.items():
        assert len(caption) > 60
        assert len(labelled(svg)) > 2


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["limits", "invariant", "rates", "crossover"])
def test_full_numbers_come_out(figure):
    assert missed(STUDY.run(seed=0, figure=figure, preset=Preset.FULL)) == []
