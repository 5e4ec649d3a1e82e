"""Euclidean margins of fewer samples than features, found among the samples."""

import numpy as np
import pytest
from scipy.optimize import nnls

import penchant as pn
from penchant import norms
from tests.margins.test_max_margin import check


def drawn(n, d, mu, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.choice([-1, 1], n)
    X = rng.normal(size=(n, d))
    X[:, 0] += mu * y
    return X, y


def problem(X, y):
    return pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def beta(X, y):
    """The dual by another's active set, on the Cholesky factor."""
    Z = X * y[:, None]
    L = np.linalg.cholesky(Z @ Z.T)
    return nnls(L.T, np.linalg.solve(L, np.ones(len(y))))[0]


@pytest.mark.parametrize(
    ("n", "d", "mu"), [(30, 900, 2.0), (50, 120, 4.0), (80, 90, 2)]
)
def test_it_is_scipys_and_certified(n, d, mu):
    X, y = drawn(n, d, mu)
    data = problem(X, y)
    found = pn.max_margin(data, norms.L2())
    assert found.method == "Gram matrix"
    check(data, norms.L2(), found, gap=1e-11)
    b = beta(X, y)
    assert np.array_equal(np.asarray(found.support), b > 0)
    np.testing.assert_allclose(found.dual, b / b.sum(), atol=1e-12)
    assert float(found.margin) == pytest.approx(b.sum() ** -0.5, rel=1e-10)
    assert np.all(np.asarray(found.dual)[~np.asarray(found.support)] == 0.0)


def test_many_features_are_least_squares():
    X, y = drawn(20, 4000, 1.0)
    found = pn.max_margin(problem(X, y), norms.L2())
    assert bool(found.support.all())
    w = np.linalg.lstsq(X, y.astype(float), rcond=None)[0]
    np.testing.assert_allclose(found.weights, w / np.linalg.norm(w), atol=1e-12)


def test_the_engine_that_needs_no_gram_agrees():
    X, y = drawn(40, 60, 3.0, seed=2)
    data = problem(X, y)
    quick = pn.max_margin(data, norms.L2())
    slow = pn.margins.FirstOrder(steps=4000)
    other = pn.max_margin(data, norms.L2(), solver=slow, tol=1e-5)
    # the intervals of both hold the one margin
    assert float(other.margin) <= float(quick.upper_bound) * (1 + 1e-12)
    assert float(quick.margin) <= float(other.upper_bound) * (1 + 1e-12)
    assert float(quick.margin) == pytest.approx(float(other.margin), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-40, 1e-3, 1e50])
def test_units_change_nothing(scale):
    X, y = drawn(25, 100, 2.0)
    a = pn.max_margin(problem(X, y), norms.L2())
    b = pn.max_margin(problem(scale * X, y), norms.L2())
    assert float(b.margin) == pytest.approx(scale * float(a.margin), rel=1e-10)
    assert np.array_equal(a.support, b.support)


def test_rows_in_another_order_are_the_same_rows():
    X, y = drawn(30, 60, 2.0)
    order = np.random.default_rng(1).permutation(30)
    a = pn.max_margin(problem(X, y), norms.L2())
    b = pn.max_margin(problem(X[order], y[order]), norms.L2())
    assert np.array_equal(np.asarray(a.support)[order], b.support)
    np.testing.assert_allclose(a.weights, b.weights, atol=1e-11)


def test_a_vectors_schatten_norms_are_euclidean():
    X, y = drawn(20, 50, 2.0)
    a = pn.max_margin(problem(X, y), norms.L2())
    b = pn.max_margin(problem(X, y), norms.Spectral())
    assert b.method == "Gram matrix"
    assert float(a.margin) == float(b.margin)


def test_repeated_rows_go_another_way():
    X, y = drawn(20, 50, 2.0)
    once = pn.max_margin(problem(X, y), norms.L2())
    twice = pn.max_margin(
        problem(np.vstack([X, X[:5]]), np.append(y, y[:5])), norms.L2()
    )
    assert float(twice.margin) == pytest.approx(float(once.margin), rel=1e-9)
    assert float(twice.gap) <= 1e-9


def test_one_point_with_both_labels_is_a_proof():
    X, y = drawn(12, 50, 2.0)
    data = problem(np.vstack([X, X[3]]), np.append(y, -y[3]))
    with pytest.raises(pn.NotSeparableError) as caught:
        pn.max_margin(data, norms.L2())
    q = caught.value.certificate
    signed = np.asarray(data.X) * np.asarray(data.y)[:, None]
    assert np.abs(q @ signed).max() < 1e-12 * np.abs(signed).max()


def test_nearly_the_same_point_with_both_labels_still_has_its_margin():
    X, y = drawn(12, 50, 0.0)
    near = X[3].copy()
    near[7] += 1e-5
    data = problem(np.vstack([X, near]), np.append(y, -y[3]))
    check(data, norms.L2(), pn.max_margin(data, norms.L2()), gap=1e-6)


def test_more_samples_than_features_go_another_way():
    X, y = drawn(40, 20, 6.0)
    data = problem(X, y)
    found = pn.max_margin(data, norms.L2())
    assert found.method != "Gram matrix"
    check(data, norms.L2(), found, gap=1e-9)
