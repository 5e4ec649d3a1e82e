"""Shortest steps in the spectral norm, against a cone solver and their own bound."""

import cvxpy as cp
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.margins.geometry import (
    Euclidean,
    NoStepError,
    SpectralLayers,
    geometry_of,
)
from penchant.norms import Layerwise, Nuclear, Spectral
from tests.flows.cases import EXPONENTIAL, data, linear, network


def random_rows(shapes, m, seed):
    """Rows with a common part, and what is asked of them, of either sign."""
    rng = np.random.default_rng(seed)
    p = sum(k * d for k, d in shapes)
    return rng.normal(size=(m, p)) + 0.3 * rng.normal(size=p), rng.normal(size=m) + 0.3


def by_cones(J, r, shapes):
    matrices = [cp.Variable(shape) for shape in shapes]
    x = cp.hstack([cp.reshape(X, (X.size,), order="C") for X in matrices])
    longest = cp.max(cp.hstack([cp.sigma_max(X) for X in matrices]))
    return cp.Problem(cp.Minimize(longest), [J @ x >= r]).solve(solver="CLARABEL")


def steps_of(shapes, J, r):
    geometry = SpectralLayers(shapes)
    return geometry, *geometry.shortest(J, r, np.ones(len(r), dtype=bool))


@pytest.mark.parametrize(
    ("shapes", "m"),
    [
        (((3, 4),), 5),
        (((5, 3), (1, 5)), 6),
        (((1, 7), (6, 1)), 4),
        (((5, 4), (4, 5), (1, 5)), 12),
    ],
)
def test_no_step_is_shorter(shapes, m):
    J, r = random_rows(shapes, m, m)
    geometry, x, dual = steps_of(shapes, J, r)
    assert (J @ x >= r - 1e-10).all()
    assert (dual >= 0).all()
    assert geometry.length(x) == pytest.approx(by_cones(J, r, shapes), rel=1e-6)
    # weak duality, by the multipliers alone
    bound = r @ dual / geometry.dual_length(dual @ J)
    assert bound <= geometry.length(x) * (1 + 1e-12)
    assert bound == pytest.approx(geometry.length(x), rel=1e-8)


def test_scales_of_rows_and_of_what_is_asked_do_not_matter():
    shapes = ((5, 3), (1, 5))
    J, r = random_rows(shapes, 6, 0)
    _, x, _ = steps_of(shapes, J, r)
    by = 10.0 ** np.arange(-6, 6, 2)
    geometry, other, dual = steps_of(shapes, 1e3 * by[:, None] * J, 1e-5 * by * r)
    assert geometry.length(other) == pytest.approx(1e-8 * geometry.length(x), rel=1e-7)
    assert (1e-5 * by * r) @ dual == pytest.approx(geometry.length(other), rel=1e-7)


def test_what_is_there_already_takes_no_step():
    shapes = ((2, 3),)
    _, x, dual = steps_of(shapes, np.ones((2, 6)), np.array([-1.0, 0.0]))
    assert not x.any()
    assert not dual.any()


def test_rows_that_oppose_one_another_have_no_step():
    shapes = ((2, 3),)
    J = np.arange(1.0, 7.0)
    with pytest.raises(NoStepError, match="duality gap"):
        steps_of(shapes, np.stack([J, -J]), np.ones(2))
    with pytest.raises(NoStepError, match="duality gap"):
        steps_of(shapes, np.zeros((1, 6)), np.ones(1))


def test_layers_are_what_the_norm_takes_them_for():
    params = [np.ones((2, 4, 3)), np.ones(3)]
    apply = lambda w, X: ((X * w[1].reshape(1, 3)) @ w[0].reshape(8, 3).T).sum(axis=1)
    problem = pn.NetworkClassification(apply, params, *data(), loss=EXPONENTIAL)
    norm = Layerwise(Spectral())
    geometry = geometry_of(norm, problem)
    assert geometry == SpectralLayers(((8, 3), (1, 3)))
    w = np.random.default_rng(0).normal(size=27)
    tree = problem.unflat(jnp.asarray(w))
    assert geometry.length(w) == pytest.approx(float(norm(tree)))
    assert geometry.dual_length(w) == pytest.approx(float(norm.dual(tree)))
    assert isinstance(geometry_of(norm, linear()), Euclidean)  # of one row


def test_norms_that_have_no_shortest_step_here():
    with pytest.raises(ValueError, match="parameters here are 2 arrays"):
        geometry_of(Spectral(), network())
    for norm in (Nuclear(), Layerwise(Nuclear())):
        with pytest.raises(TypeError, match="norm must be L2"):
            geometry_of(norm, linear())
