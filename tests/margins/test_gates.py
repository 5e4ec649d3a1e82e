"""KKT residuals over all of Clarke's gradients, against a quadratic program."""

import cvxpy as cp
import numpy as np
import pytest

import penchant as pn

DATA = pn.datasets.clusters(60, 4, 24)
PROBLEM = DATA.network(4, scale=1e-4)


@pytest.fixture(scope="module")
def ends():
    run = pn.flows.rescaled_flow(PROBLEM, steps=8000, record=8)
    inside = pn.problems.row_space(PROBLEM)
    at = lambda i: inside.drop([
        {name: x[i] for name, x in layer.items()} for layer in run.weights
    ])
    return inside.problem, [at(i) for i in (-3, -2, -1)]


def by_program(problem, w, kink, tol):
    """The note's program: a_ij between 0 and the multiplier at a kink, by CVXPY."""
    q = np.asarray(problem.margins(w))
    w = [
        {name: np.asarray(x) / q.min() ** 0.5 for name, x in layer.items()}
        for layer in w
    ]
    W, b, v = w[0]["W"], w[0]["b"], w[1]["W"][0]
    X, y, q = np.asarray(problem.X), np.asarray(problem.y), q / q.min()
    Z = X @ W.T + b
    loose, on = np.abs(Z) <= kink * np.abs(Z).max(), Z > 0
    near = np.flatnonzero(q <= 1 + tol)
    lam = cp.Variable(len(near), nonneg=True)
    parts, bounds = [], []
    for j in range(len(v)):
        a = cp.Variable(len(near), nonneg=True)
        for r, i in enumerate(near):
            if loose[i, j]:
                bounds.append(a[r] <= lam[r])
            else:
                bounds.append(a[r] == (lam[r] if on[i, j] else 0))
        E = y[near, None] * np.concatenate([X[near], np.ones((len(near), 1))], axis=1)
        parts.append(np.append(W[j], b[j]) - v[j] * (E.T @ a))
        parts.append(cp.reshape(
            v[j] - lam @ (y[near] * np.maximum(Z[near, j], 0)), (1,), order="C"
        ))  # fmt: skip
    program = cp.Problem(cp.Minimize(cp.sum_squares(cp.hstack(parts))), bounds)
    program.solve(solver=cp.CLARABEL)
    size = np.sqrt(sum(float((x**2).sum()) for layer in w for x in layer.values()))
    return float(np.sqrt(max(program.value, 0.0))) / size


@pytest.mark.parametrize("kink", [1e-2, 5e-2])
def test_it_is_the_program_of_the_definition(ends, kink):
    problem, weights = ends
    for w in weights[:2]:
        found = float(pn.kkt(problem, w, tol=1.0, kink=kink).residual)
        assert found == pytest.approx(
            by_program(problem, w, kink, 1.0), rel=2e-3, abs=2e-5
        )


def test_the_residual_falls_with_kinks_and_stalls_without(ends):
    problem, weights = ends
    clarke = [float(pn.kkt(problem, w, tol=1.0, kink=1e-2).residual) for w in weights]
    strict = [float(pn.kkt(problem, w, tol=1.0).active) for w in weights]
    assert clarke[0] > clarke[1] > clarke[2]
    assert clarke[2] < 0.6 * clarke[0]
    assert min(strict) > 5 * clarke[2]


def test_the_whole_space_has_the_same_residual(ends):
    problem, weights = ends
    inside = pn.problems.row_space(PROBLEM)
    whole = inside.lift(weights[2], PROBLEM.start)
    a = pn.kkt(PROBLEM, whole, tol=1.0, kink=1e-2)
    b = pn.kkt(problem, weights[2], tol=1.0, kink=1e-2)
    assert float(a.residual) == pytest.approx(float(b.residual), rel=1e-6)
    assert a.kinks == b.kinks


@pytest.mark.slow
def test_several_classes_and_no_kinks():
    data = pn.datasets.clusters(30, 3, 12, sigma=0.3, classes=range(3))
    problem = data.network(16, scale=0.1)
    w = pn.flows.rescaled_flow(problem, steps=1000).last
    found = pn.kkt(problem, w, tol=1.0, kink=1e-9)
    assert found.kinks == 0
    assert float(found.residual) == pytest.approx(float(found.active), abs=1e-9)
    wide = pn.kkt(problem, w, tol=1.0, kink=0.05)
    assert wide.residual <= found.residual


def test_a_kink_must_be_a_share():
    w = pn.networks.from_clusters(DATA.means, DATA.labels)[1]
    with pytest.raises(ValueError, match="kink must be > 0 and < 1"):
        pn.kkt(PROBLEM, w, kink=2.0)
