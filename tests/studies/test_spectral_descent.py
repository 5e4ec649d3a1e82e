"""Figures of the study: their numbers, and that they can fall short."""

import re

import jax
import numpy as np
import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Preset
from penchant.studies.spectral_descent import (
    _batches,
    _geometries,
    _margins,
    _network,
    _setup,
)

STUDY = studies.find("spectral-descent")

# the note's own numbers for seed 0 (muon_spectral, section 5.3)
SEEN = {
    "SignGD": 0.9955,
    "NGD": 0.955,
    "Spectral-GD": 0.967,
    "Signum": 0.981,
    "NMD-GD": 0.955,
    "Muon": 0.967,
}


def missed(figure):
    return [line for line in figure.lines if not line.passed]


def labelled(svg):
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg)


def test_one_geometry_has_the_digits_of_the_note(monkeypatch):
    monkeypatch.setattr(_geometries, "QUICK", ("ℓ∞",))
    figure = _geometries.geometries(Preset.QUICK, 0)
    assert missed(figure) == []
    assert len(figure.lines) == 4
    (caption, svg), *_ = figure.pictures.items()
    assert "seeds 0 to 2" in caption
    texts = labelled(svg)
    assert "steps" in texts
    assert any("relative gap" in text for text in texts)
    assert "ℓ∞" in texts


@pytest.mark.slow
def test_margins_of_one_method_over_seeds(monkeypatch):
    monkeypatch.setattr(_margins, "QUICK", ("SignGD",))
    figure = _margins.margin_ratios(Preset.QUICK, 0)
    assert missed(figure) == []
    first = figure.lines[0]
    assert "mean of 3 seeds" in first.certificate
    assert "standard error" in first.certificate
    seen = _margins.reached("SignGD", range(3))
    shares = seen.shares["ℓ∞"][:, -1]
    assert abs(shares[0] - SEEN["SignGD"]) < 2e-4
    assert first.measured == pytest.approx(shares.mean())
    # no share is above 1, and no upper bound below: at every record of every seed
    for rows in seen.shares.values():
        assert rows.max() <= 1 + 1e-9 + 1e-6  # margins are known to 1e-6
    assert seen.proved.min() >= 1 - 1e-6
    assert len(figure.pictures) == 3
    cosines = _margins.correlations(Preset.QUICK, 0)
    assert missed(cosines) == []


def test_wrong_step_sizes_are_found_out(monkeypatch):
    # the same figure with steps that are thirty times too large falls short
    wrong = _margins.METHODS["SignGD"]._replace(first=3.0)
    monkeypatch.setitem(_margins.METHODS, "SignGD", wrong)
    monkeypatch.setattr(_margins, "QUICK", ("SignGD",))
    monkeypatch.setattr(_margins, "STEPS", 2000)
    monkeypatch.setattr(_setup, "SEEDS", 2)
    _margins.reached.cache_clear()
    try:
        figure = _margins.margin_ratios(Preset.QUICK, 0)
    finally:
        _margins.reached.cache_clear()
    assert missed(figure)


def test_gradients_of_the_network_are_those_of_autodiff():
    rng = np.random.default_rng(0)
    X = jax.numpy.asarray(rng.uniform(size=(12, 5)))
    y = jax.numpy.asarray(np.arange(12) % 3)
    params = {
        "hidden": jax.random.normal(jax.random.key(0), (7, 5)),
        "out": jax.random.normal(jax.random.key(1), (3, 7)),
    }

    def loss(params):
        Z = _network._logits(params, X)
        rows = jax.numpy.arange(12)
        return -jax.numpy.mean(jax.nn.log_softmax(Z, axis=1)[rows, y])

    one = jax.numpy.asarray
    rule = pn.optimizers.GradientDescent()
    wanted = jax.grad(loss)(params)
    for both in (True, False):
        moved, _ = _network._advance(
            rule, X, y, params, None, one(0), one(1), one(0.1), one(both)
        )
        for name, g in wanted.items():
            step = (params[name] - moved[name]) / 0.1
            g = g if both or name == "hidden" else 0.0 * g
            assert jax.numpy.allclose(step, g, rtol=1e-9, atol=1e-12)


def test_the_network_takes_images_of_each_class():
    images = _network._images(pn.datasets.digits(), 0, 100)
    assert images.X.shape == (1000, 64)
    assert np.bincount(np.asarray(images.y)).tolist() == [100] * 10
    assert float(images.X.max()) == 1.0
    one = pn.datasets.Dataset(
        np.ones((3, 2)), np.ones(3, dtype=int), ("a", "b"), (), "one"
    )
    with pytest.raises(ValueError, match="one has one class"):
        _network._images(one, 0, 100)


def test_the_network_runs_on_data_given(monkeypatch):
    monkeypatch.setattr(
        _network,
        "RULES",
        {name: _network.RULES[name] for name in ("NGD", "Spectral-GD")},
    )
    monkeypatch.setattr(_network, "steps_of", lambda preset, quick, full: quick // 10)
    digits = pn.datasets.digits()
    few = pn.datasets.Dataset(
        digits.X[:300], digits.y[:300] % 3, digits.features, tuple("abc"), "my images"
    )
    found = STUDY.run(seed=2, figure="network", data=few)
    assert "my images for network" in found.ran
    first, joint = found.figures
    assert "9 images of my images" in first
    assert "first layer, which alone is trained" in first
    assert "both trained" in joint
    assert all("seeds 2 to 3" in caption for caption in found.figures)
    assert [line.what for line in found.lines] == [
        "NGD, first layer only, margin over its spectral norm",
        "Spectral-GD, first layer only, margin over its spectral norm",
        "Spectral-GD less NGD, margin over the larger spectral norm",
    ]


def test_intervals_are_those_of_student():
    text = _setup.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451052 * np.std([1, 2, 3, 4, 5], ddof=1) / 5**0.5
    assert f"{3 - half:.4g} to {3 + half:.4g}" in text
    assert "mean of 5 seeds 3," in text
    assert "least 1, greatest 5" in text
    assert _setup.interval([1.0]) == "one run"


def test_bands_leave_out_what_a_seed_lacks():
    x = np.array([1.0, 2.0])
    runs = [(x, np.array([np.nan, 1.0])), (x, np.array([1.0, 3.0]))]
    means, bands = _setup.over_seeds({"a": runs})
    assert np.isnan(means["a"][1][0])
    assert means["a"][1][1] == 2.0
    assert (bands["a"][0][1], bands["a"][1][1]) == (1.0, 3.0)


def test_random_labels_are_separable_but_small():
    problem = _batches.random_labels(0)
    best = pn.max_margin(problem, pn.norms.Spectral(), tol=1e-4)
    assert 0 < float(best.margin) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("figure", STUDY.figures)
@pytest.mark.parametrize("seed", [0, 7])
def test_quick_numbers_come_out(figure, seed):
    found = STUDY.run(seed=seed, figure=figure)
    assert missed(found) == []
    for caption, svg in found.figures.items():
        assert len(caption) > 60
        assert len(labelled(svg)) > 4


@pytest.mark.slow
def test_six_methods_have_the_shares_of_the_note():
    for name, wanted in SEEN.items():
        seen = _margins.reached(name, range(1))
        own = seen.shares[_margins.METHODS[name].own]
        assert abs(own[0, -1] - wanted) <= 0.002
        assert own.max() <= 1 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["polars", "margins", "geometries", "bounds"])
def test_full_numbers_come_out(figure):
    assert missed(STUDY.run(seed=0, figure=figure, preset=Preset.FULL)) == []
