"""Separation along the path of a shrinking ridge, and first-order steps from it."""

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.margins import FirstOrder
from penchant.margins._solvers.ridge_path import separating
from tests.cases import binary, multiclass


def narrow(seed=5, n=240, d=24, k=4):
    """Classes of a teacher, with the least margins cut off: separable by a little."""
    rng = np.random.default_rng(seed)
    X, W = rng.normal(size=(n, d)), rng.normal(size=(k, d))
    Z = np.sort(X @ W.T, axis=1)
    kept = Z[:, -1] - Z[:, -2] > 0.05
    return pn.LinearClassification(X[kept], (X @ W.T).argmax(axis=1)[kept])


@pytest.mark.parametrize("unit", [1.0, 3e6, 1e-7])
def test_separates_whatever_the_units(unit):
    for problem in (narrow(), binary(3), multiclass(4)):
        scaled = pn.LinearClassification(unit * problem.X, problem.y)
        w = separating(scaled)
        assert np.linalg.norm(w) == pytest.approx(1.0)
        best = float(pn.max_margin(scaled, "l2").margin)
        assert (
            0.2 * best
            < float(jnp.min(scaled.margins(jnp.asarray(w))))
            <= best * (1 + 1e-9)
        )


def test_returns_nothing_where_nothing_separates():
    X = np.random.default_rng(0).normal(size=(30, 4))
    problem = pn.LinearClassification(
        np.vstack([X, X[:1]]), np.append(np.ones(30), -1).astype(int)
    )
    assert separating(problem) is None
    assert separating(pn.LinearClassification(0.0 * X, np.repeat([1, -1], 15))) is None


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "spectral"])
def test_steps_from_given_weights_end_in_a_bracket_about_the_optimum(norm):
    problem = narrow()
    best = float(pn.max_margin(problem, norm).margin)
    start = 40.0 * separating(problem)
    with pytest.warns(pn.margins.LooseMarginWarning):
        found = pn.max_margin(problem, norm, tol=1e-3, solver=FirstOrder(64, start))
    assert (
        float(found.margin)
        <= best * (1 + 1e-6)
        <= float(found.upper_bound) * (1 + 1e-5)
    )
    given = float(pn.certify(problem, start, norm).margin)
    assert float(found.margin) >= given * (1 - 1e-12)


def test_steps_that_do_not_separate_go_on_from_the_path():
    problem = narrow(6, n=900, d=60)
    assert float(pn.certify(problem, np.ones((4, 60)) + 0.0, "l2").margin) <= 0
    with pytest.warns(pn.margins.LooseMarginWarning):
        found = pn.max_margin(problem, "l2", tol=1e-3, solver=FirstOrder(64))
    assert found.margin > 0


@pytest.mark.parametrize("start", [np.ones((3, 24)), np.zeros((4, 24)), "all"])
def test_starts_that_are_no_weights_are_refused(start):
    with pytest.raises((TypeError, ValueError), match="start"):
        pn.max_margin(narrow(), "l2", solver=FirstOrder(64, start))
