"""Figures of the study: their numbers, and that they can fall short."""

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
from tests.cases import labelled, missed

STUDY = studies.find("spectral-descent")


@pytest.mark.slow
def test_one_geometry_has_the_digits_of_a_plain_loop():
    figure = _geometries.geometries(_geometries.Sizes(norms=("ℓ∞",), seeds=3), 0)
    assert missed(figure) == []
    assert len(figure.lines) == 4
    (caption, svg), *_ = figure.pictures.items()
    assert "seeds 0 to 2" in caption
    texts = labelled(svg)
    assert "steps" in texts
    assert any("relative gap" in text for text in texts)
    assert "ℓ∞" in texts


@pytest.mark.slow
def test_margins_of_one_method_over_seeds():
    method = _margins.METHODS["SignGD"]
    sizes = _margins.Sizes({"SignGD": method}, seeds=3)
    figure = _margins.margin_ratios(sizes, 0)
    assert missed(figure) == []
    first = figure.lines[0]
    assert "mean of 3 seeds" in first.certificate
    assert "95 %" in first.certificate
    seen = _margins.reached(method, range(3), sizes.steps)
    shares = seen.shares["ℓ∞"][:, -1]
    (_, _, (*_, share)) = _geometries.GEOMETRIES["ℓ∞"]
    assert abs(shares[0] - share) < 2e-4
    assert first.measured == pytest.approx(shares.mean())
    # no share is above 1, and no upper bound below: at every record of every seed
    for rows in seen.shares.values():
        assert rows.max() <= 1 + 1e-9 + 1e-6  # margins are known to 1e-6
    assert seen.proved.min() >= 1 - 1e-6
    assert len(figure.pictures) == 3
    cosines = _margins.correlations(sizes, 0)
    assert missed(cosines) == []


@pytest.mark.slow
def test_wrong_step_sizes_are_found_out():
    # the same figure with steps that are thirty times too large falls short
    right = _margins.METHODS["SignGD"]
    for method in (right, right._replace(first=3.0)):
        sizes = _margins.Sizes({"SignGD": method}, seeds=2, steps=2000)
        figure = _margins.margin_ratios(sizes, 0)
        short = [line.what for line in missed(figure)]
        assert ("SignGD, share of the ℓ∞ margin" in short) == (method is not right)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_network_runs_on_data_given():
    quick = _network.SIZES.quick.rules["gradients"]
    rules = {"gradients": {name: quick[name] for name in ("NGD", "Spectral-GD")}}
    sizes = _network.Sizes(images=3, first=20, both=20, seeds=2, rules=rules)
    digits = pn.datasets.digits()
    few = pn.datasets.Dataset(
        digits.X[:300], digits.y[:300] % 3, digits.features, tuple("abc"), "my images"
    )
    found = STUDY.figures["network"](sizes, 2, data=few)
    assert found.title == STUDY.figures["network"].title
    first, joint = found.pictures
    assert "9 images of my images" in first
    assert "first layer, which alone is trained" in first
    assert "both trained" in joint
    assert all("seeds 2 to 3" in caption for caption in found.pictures)
    assert [line.what for line in found.lines] == [
        "NGD, first layer only, margin over its spectral norm",
        "Spectral-GD, first layer only, margin over its spectral norm",
        "Spectral-GD less NGD, margin over the larger spectral norm",
    ]


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
@pytest.mark.parametrize("figure", ["polars", "margins", "geometries", "bounds"])
def test_full_numbers_come_out(figure):
    assert missed(STUDY.run(seed=0, figure=figure, preset=Preset.FULL)) == []
