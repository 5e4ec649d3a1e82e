"""What was chosen: weights on one scale, their pictures, and lines in the plane."""

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import penchant as pn
from penchant import plotting
from penchant.diagnosis import Chosen
from tests.diagnosis.cases import overlapping, separable, several

SIGN = pn.optimizers.SignDescent()
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/result.schema.json").read_text()
)


@functools.cache
def of_pixels():
    """Sixteen samples of 4 by 5 pixels, of which two are always 0."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(16, 20))
    X[:, [0, 7]] = 0.0
    y = np.where(rng.random(16) < 0.5, "no", "yes")
    problem = pn.problems.read(X, y, image="4x5")
    init = np.full(20, 0.5)  # dead weights stay where they start
    return pn.diagnose(problem, SIGN, steps=200, init=init, holdout=0.25)


def made(problem, **weights):
    """`Chosen` of weights by name, the first of a run."""
    return Chosen(
        names=tuple(weights),
        runs=1,
        weights=tuple(map(jnp.asarray, weights.values())),
        several=(None,) * len(weights),
        what="weights",
        problem=problem,
    )


@pytest.mark.slow
def test_columns_are_the_run_and_the_optima():
    says = several()
    chosen = says.chosen
    assert chosen.names == ("run", *(row.label for row in says.table))
    assert np.array_equal(chosen.weights[0], says.trajectory.weights[-1])
    for w, row in zip(chosen.weights[1:], says.table, strict=True):
        # they are what the table says they are
        problem = says.trajectory.rule.problem
        reached = float(np.min(problem.margins(w))) / float(row.norm(w))
        assert reached == pytest.approx(row.best, rel=2e-3)
    shown = chosen.shown
    assert shown.shape == (6, 4, 6)
    assert np.allclose(np.abs(shown).max(axis=(1, 2)), 1.0)
    for w, drawn in zip(chosen.weights, shown, strict=True):
        assert np.allclose(drawn, w / np.abs(w).max())


@pytest.mark.slow
def test_lengths_change_nothing_and_dead_pixels_are_0():
    says = of_pixels()
    chosen = says.chosen
    assert chosen.image == (4, 5)
    assert np.flatnonzero(chosen.dead).tolist() == [0, 7]
    assert (chosen.weights[0][np.array([0, 7])] == 0.5).all()
    assert (chosen.shown[:, :, [0, 7]] == 0.0).all()
    assert "2 pixels are 0 in every sample" in chosen.caption
    longer = made(chosen.problem, run=8.0 * chosen.weights[0])
    assert np.array_equal(longer.shown[0], chosen.shown[0])
    nothing = made(chosen.problem, run=np.zeros(20))
    assert (nothing.shown == 0.0).all()
    assert nothing.top() == ()


@pytest.mark.slow
def test_pictures_show_each_weight_in_its_place():
    chosen = of_pixels().chosen
    figure = chosen.plot().figure
    drawn = [ax for ax in figure.axes if ax.images and ax.images[0].get_array().ndim]
    assert [ax.get_title() for ax in drawn[:-1]] == list(chosen.names)
    for ax, (row,) in zip(drawn[:-1], chosen.shown, strict=True):
        image = np.asarray(ax.images[0].get_array())
        signs = np.where(image[..., 2] > image[..., 0], 1.0, -1.0)
        assert np.allclose(signs * image[..., 3], row.reshape(4, 5))


def test_a_bias_is_beside_the_picture():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 20)), np.arange(6) % 2
    problem = pn.problems.read(X, y, image="4x5", bias=True)
    chosen = made(problem, run=np.arange(-10.0, 11.0), other=np.full(21, -3.0))
    assert chosen.features[-1] == "bias"
    assert np.allclose(np.abs(chosen.shown[..., :-1]).max(axis=(1, 2)), 1.0)
    texts = [ax.get_xlabel() for ax in chosen.plot().figure.axes]
    assert texts[:2] == ["b = 1", "b = −1"]


def test_the_largest_weights_by_name():
    chosen = separable().chosen
    run = chosen.shown[0, 0]
    entries = chosen.top(3)
    order = np.argsort(-np.abs(run), kind="stable")
    assert [e.feature for e in entries[:3]] == [f"x{j}" for j in order[:3]]
    for entry in entries:
        j = int(entry.feature[1:])
        assert entry.label == ""
        assert entry.values == pytest.approx(chosen.shown[:, 0, j])
        X = np.asarray(chosen.problem.X)
        assert entry.deviation == pytest.approx(X[:, j].std())
    # ℓ1's own two are there too; all of ℓ∞'s are of one size or nearly
    ell_1 = np.argsort(-np.abs(chosen.shown[1, 0]), kind="stable")[:2]
    assert {f"x{j}" for j in ell_1} <= {e.feature for e in entries}
    assert entries[0].feature in repr(chosen)
    classes = several().chosen.top()
    assert {e.label for e in classes} <= {"0", "1", "2", "3"}
    assert all(e.name == f"{e.feature} → {e.label}" for e in classes)


def test_units_are_said():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.where(rng.random(30) < 0.5, -1, 1)
    w = {"run": np.ones(3)}
    data = pn.datasets.Dataset.of(5.0 + X, y)
    told = lambda data: made(data.problem(), **w).units
    assert "units of the data." in told(data)
    assert "standardised: a weight is per standard" in told(data.standardized())
    part = data.standardized().problem().take(np.arange(24))
    assert "nearly" in made(part, **w).units
    mixed = pn.datasets.Dataset.of(X * np.array([1.0, 10.0, 1.0]), y)
    assert "sizes of weights on different features don't compare" in told(mixed)


PLANE = {
    "two": (np.array([[1.0, 2.0], [-3.0, 0.5]]), False),
    "two, with a bias": (np.array([[1.0, 2.0, 0.7], [0.2, -1.0, 0.4]]), True),
}


@pytest.mark.parametrize("name", PLANE)
def test_boundaries_are_where_the_score_is_0(name):
    weights, bias = PLANE[name]
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(20, 2)), np.arange(20) % 2
    chosen = made(pn.problems.read(X, y, bias=bias), run=weights[0], other=weights[1])
    lines = chosen.boundaries([-2.0, -1.0], [2.0, 3.0])
    for w, (x, y) in zip(weights, lines.values(), strict=True):
        b = w[2] if bias else 0.0
        assert len(x) == 2
        assert np.allclose(w[0] * x + w[1] * y + b, 0.0, atol=1e-12)
        # from side to side of the window
        assert ((x >= -2 - 1e-12) & (x <= 2 + 1e-12)).all()
        assert ((y >= -1 - 1e-12) & (y <= 3 + 1e-12)).all()
        on_side = np.isclose(np.abs(x), 2) | np.isclose(y, -1) | np.isclose(y, 3)
        assert on_side.all()


@pytest.mark.parametrize("bias", [False, True])
def test_boundaries_of_classes_are_where_the_two_largest_scores_meet(bias):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(20, 2)), np.arange(20) % 4
    W = rng.normal(size=(4, 3))[:, : 3 if bias else 2]
    problem = pn.problems.read(X, y, bias=bias)
    low, high = [-3.0, -3.0], [3.0, 3.0]
    x, y = made(problem, run=W).boundaries(low, high)["run"]
    V = W if bias else np.hstack([W, np.zeros((4, 1))])
    known = ~np.isnan(x)
    assert known.any()
    scores = np.sort(V @ np.stack([x, y, np.ones_like(x)])[:, known], axis=0)
    assert np.allclose(scores[-1], scores[-2], atol=1e-9)
    # and nothing is missing: along a fine grid, where the class changes, a line is near
    side = np.linspace(-3, 3, 61)
    P = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    said = np.argmax(np.hstack([P, np.ones((len(P), 1))]) @ V.T, axis=1)
    grid = said.reshape(61, 61)
    where = np.argwhere(grid[:, 1:] != grid[:, :-1])
    starts, ends = np.stack([x, y], 1)[::3], np.stack([x, y], 1)[1::3]
    for i, j in where:
        p = np.array([(side[j] + side[j + 1]) / 2, side[i]])
        along = ends - starts
        t = np.sum((p - starts) * along, axis=1) / np.sum(along**2, axis=1)
        foot = starts + np.clip(t, 0, 1)[:, None] * along
        assert np.hypot(*(p - foot).T).min() < 0.11


def test_no_line_where_there_is_none():
    X, y = np.array([[1.0, 1.0], [2.0, 3.0]]), [0, 1]
    chosen = made(pn.problems.read(X, y, bias=True), run=np.array([0.0, 0.0, 1.0]))
    assert chosen.boundaries([0.0, 0.0], [1.0, 1.0])["run"][0].size == 0
    assert "<svg" in plotting.themed_svg(chosen.plot(), "nothing but points")
    with pytest.raises(ValueError, match="lines where there are two features; got 12"):
        separable().chosen.boundaries([0, 0], [1, 1])


@pytest.mark.parametrize("says", [separable, several, overlapping, of_pixels])
def test_every_kind_is_drawn_and_told(says):
    chosen = says().chosen
    for width in (7.2, 3.5):
        assert chosen.plot(width=width).figure.get_size_inches()[0] <= width + 1e-9
    assert "<svg" in chosen._repr_html_()
    told = says().to_dict()
    jsonschema.validate(told, SCHEMA)
    top = told["evidence"]["chosen"]["top"]
    assert [e["feature"] for e in top] == [e.feature for e in chosen.top()]


def test_without_a_margin_the_minimiser_stands_beside_the_run():
    says = overlapping()
    assert says.chosen.names == ("run", "minimiser")
    assert np.array_equal(says.chosen.weights[1], says.minimiser.weights)
    assert "beside the minimiser" in says.chosen.caption


def test_the_page_shows_them(tmp_path):
    page = of_pixels().save(tmp_path).read_text("utf-8")
    for name in ("chosen", "accuracy"):
        assert f'<figure id="{name}">' in page
    assert "images of 4 × 5 pixels" in page
    assert page.count("data:image/png;base64") >= 10  # a picture a column, twice
