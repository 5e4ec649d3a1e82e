"""The study of exact estimators, at sizes that a test can afford."""

import numpy as np
import pytest

import penchant as pn
from penchant.studies import Preset, gradient_matching as study
from penchant.studies.gradient_matching import (
    _dropout,
    _early_stopping,
    _elastic_net,
    _finite_steps,
    _long_horizon,
    _norms,
    _published,
    _shapes,
    _terms,
)
from tests.cases import labelled, missed


def test_it_has_the_figures_of_the_paper_and_beyond():
    assert study.STUDY.name == "gradient-matching"
    assert tuple(study.STUDY.figures) == (
        "elastic-net", "early-stopping", "dropout", "finite-steps", "long-horizon",
        "terms", "norms", "adamw", "averaging", "shapes",
    )  # fmt: skip
    assert study.STUDY.reads == (
        "dropout", "finite-steps", "long-horizon", "averaging",
    )  # fmt: skip


def test_early_stopping():
    figure = study.early_stopping(_early_stopping.Sizes(100, 5, (1, 10, 500)))
    assert not missed(figure)
    (svg,) = figure.pictures.values()
    assert {"steps", "least squares", "as published"} <= set(labelled(svg))


def test_the_published_fit_by_hand():
    """Adam on the logarithm of one coefficient, in plain numbers."""
    rng = np.random.default_rng(0)
    b, r = rng.normal(size=(2, 30))
    r = 0.3 * b + 0.01 * r
    beta, m, v = 0.0, 0.0, 0.0
    for t in range(1, 201):
        s = np.exp(beta)
        g = np.mean(-2.0 * s * b * (r - s * b))
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        beta -= 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    found = _published.fitted(b[:, None], r, steps=200, rate=0.05)
    assert found[0] == pytest.approx(np.exp(beta), rel=1e-9)


def test_memory_makes_the_published_fit_slow_as_reported():
    """Of s = 4e-5 at |w| = 18, 3.35e5 weights: 423 times it after 2 000 steps, and 4
    after 20 000; right after 60 000."""
    w = np.full((1, 1), 18.0 / np.sqrt(3.35e5))  # the mean square is all that counts
    target = 4e-5 * w[:, 0]
    ratio = {
        steps: float(
            _published.fitted(2.0 * w, 2.0 * target, steps=steps, rate=0.05)[0] / 4e-5
        )
        for steps in (2_000, 20_000, 60_000)
    }
    assert ratio[2_000] == pytest.approx(423, rel=0.02)
    assert ratio[20_000] == pytest.approx(4, rel=0.2)
    assert ratio[60_000] == pytest.approx(1, rel=0.05)


@pytest.mark.slow
def test_long_horizon():
    assert not missed(study.long_horizon(_long_horizon.Sizes(80, (12,), 20)))


@pytest.mark.slow
def test_norms():
    assert not missed(study.norms(_norms.Sizes(3, 8, 6, 3000, 4)))


@pytest.mark.slow
def test_finite_steps():
    sizes = _finite_steps.Sizes(60, (10,), (0.01, 0.03), 100, ((0.5, 0.01, 0.1),))
    assert not missed(study.finite_steps(sizes))


@pytest.mark.slow
def test_terms():
    sizes = _terms.Sizes(600, ((0.5, 0.9),), (1e-3, 3e-4))
    assert not missed(study.terms(sizes))


@pytest.mark.slow
def test_elastic_net():
    sizes = _elastic_net.Sizes(200, 10, 1500, 2000, (0.01, 0.3))
    assert not missed(study.elastic_net(sizes))


@pytest.mark.slow
def test_shapes():
    assert not missed(study.shapes(_shapes.Sizes(128, 4, 3, 1)))


@pytest.mark.slow
def test_averaging_on_data_of_a_users_own():
    images = pn.datasets.digits(classes=("1", "3", "8"))
    assert not missed(study.averaging(Preset.QUICK, data=images))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_dropout_is_not_a_ridge_in_a_deep_network(seed):
    """Part-way: the Gauss-Newton term explains most of it, a ridge nothing."""
    figure = study.dropout(
        _dropout.Sizes(1500, 64, 3, 1200, 3000, 300, (0.0, 0.1), 2000), seed
    )
    assert not missed(figure)
    seen = {line.what.rpartition("that ")[2]: line.measured for line in figure.lines}
    assert seen["Gauss-Newton explains"] > 0.7
    assert abs(seen["a ridge explains"]) < 0.05


@pytest.mark.slow
def test_adamw():
    assert not missed(study.adamw(Preset.QUICK))
