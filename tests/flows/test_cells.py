"""KKT points at kinks: certified otherwise than they were found."""

import math

import numpy as np
import pytest

import penchant as pn
from penchant.flows.adaptive import _cells
from penchant.flows.adaptive._cells import newton_in_cells
from penchant.margins._gates import Gates
from penchant.problems.models.networks import MLP, ReLU


def made(seed, k, m=8, n=16, d=4, first_bias=False):
    """A small network that a run has separated, far down."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(k, 2), d))
    y = np.arange(n) % max(k, 2)
    X = centres[y] + 0.5 * rng.normal(size=(n, d))
    network = MLP((d, m, k), ReLU(), first_bias=first_bias)
    problem = pn.NetworkClassification(
        network, network.params(seed), X, 2 * y - 1 if k == 1 else y,
        loss=pn.losses.Logistic(),
    )  # fmt: skip
    run = pn.train(
        problem, pn.optimizers.GradientDescent(), steps=3000,
        step_size=pn.schedules.loss_based(), record=5,
    )  # fmt: skip
    assert float(np.min(np.asarray(problem.margins(run.last)))) > 0
    return problem, run


def arrays(problem, weights):
    y = np.asarray(problem.y).astype(int)
    W, A = (np.asarray(layer["W"]) for layer in weights)
    return np.asarray(problem.X), y, W, A


def stationarity(X, y, W, A):
    """Distance from Clarke's cone: every margin that is least, every gate at a kink.

    By a quadratic program of its own: the product of a multiplier and a slope is a
    number between 0 and the multiplier.
    """
    import cvxpy as cp

    k = len(A)
    out = np.maximum(X @ W.T, 0) @ A.T
    n = len(X)
    if k == 1:
        pairs = [(i, np.array([float(y[i])])) for i in range(n)]
    else:
        eye = np.eye(k)
        pairs = [
            (i, eye[y[i]] - eye[c]) for i in range(n) for c in range(k) if c != y[i]
        ]
    q = np.array([out[i] @ e for i, e in pairs])
    assert q.min() == pytest.approx(1.0, abs=1e-9)
    least = [pair for pair, value in zip(pairs, q, strict=True) if value < 1 + 1e-8]
    lam = cp.Variable(len(least), nonneg=True)
    rules, dW, dA = [], 0, 0
    for j, (i, e) in enumerate(least):
        z = W @ X[i]
        dA = dA + lam[j] * np.outer(e, np.maximum(z, 0))
        for u in range(len(W)):
            if not (W[u].any() or A[:, u].any()):
                continue
            push = np.zeros_like(W)
            push[u] = (A[:, u] @ e) * X[i]
            if abs(z[u]) <= 1e-9 * np.linalg.norm(W[u]) * np.linalg.norm(X[i]):
                part = cp.Variable(nonneg=True)
                rules.append(part <= lam[j])
                dW = dW + part * push
            elif z[u] > 0:
                dW = dW + lam[j] * push
    off = cp.sum_squares(dW - W) + cp.sum_squares(dA - A)
    cp.Problem(cp.Minimize(off), rules).solve(solver=cp.CLARABEL)
    return math.sqrt(max(float(off.value), 0.0) / (np.sum(W**2) + np.sum(A**2)))


@pytest.mark.sampled
@pytest.mark.parametrize(("seed", "k"), [(3, 1), (5, 1), (7, 3)])
def test_ends_are_stationary_and_have_no_less_margin(seed, k):
    problem, run = made(seed, k)
    X, y, W, A = arrays(problem, pn.flows.tail_flow(problem, run.last).weights)
    ended = newton_in_cells(X, y, W, A)
    assert ended is not None
    assert ended.converged
    assert ended.undecided == 0
    assert stationarity(X, y, ended.W, ended.A) < 1e-6
    if k == 1:  # in one cell the problem is convex; of several outputs it is not
        least = np.min(np.asarray(problem.margins(problem.read([{"W": W}, {"W": A}]))))
        size = lambda W, A: np.sum(W**2) + np.sum(A**2)
        assert 1.0 / size(ended.W, ended.A) >= least / size(W, A) * (1 - 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("first_bias", [False, True])
def test_the_limit_says_so_with_a_certificate(first_bias):
    problem, run = made(4, 1, m=20, n=30, d=5, first_bias=first_bias)
    limit = pn.limit(problem, run)
    assert limit.kkt_residual < 1e-8
    assert pn.kkt(problem, limit.weights, tol=1e-9).residual < 1e-8
    names = [stage.name for stage in limit.stages]
    assert names[-1] in {"tail", "cells"}
    if names[-1] == "cells":
        assert "kinks hold" in limit.stages[-1].why
        tail = limit.stages[-2]
        assert limit.stages[-1].residual < tail.residual


@pytest.mark.slow
def test_what_is_not_finished_is_not_taken(monkeypatch):
    problem, run = made(3, 1, m=20, n=30, d=5)
    sure = pn.limit(problem, run)
    assert sure.stages[-1].name == "cells"
    monkeypatch.setattr(_cells, "MOST_ROUNDS", 1)
    unsure = pn.limit(problem, run)
    assert "undecided: not taken" in unsure.stages[-1].why
    assert unsure.kkt_residual == pytest.approx(unsure.stages[-2].residual, rel=0.5)
    monkeypatch.setattr(_cells, "MOST_UNKNOWNS", 1)
    assert [s.name for s in pn.limit(problem, run).stages][-1] == "tail"


def test_units_that_are_none_are_at_no_kink():
    problem, run = made(3, 1)
    W, A = (np.array(layer["W"]) for layer in run.last)
    W[2], A[:, 2] = 0.0, 0.0
    weights = [{"W": W}, {"W": A}]
    if float(np.min(np.asarray(problem.margins(problem.read(weights))))) <= 0:
        pytest.skip("the unit was needed")
    gates = lambda: Gates.of(
        problem, np.asarray(problem.flat(problem.read(weights))),
        (np.arange(16), np.zeros(16, dtype=int)), 1e-9,
    )  # fmt: skip
    assert not gates().loose[:, 2].any()
    weights[1]["W"][:, 2] = 0.1  # a head with nothing before it can grow again
    assert gates().loose[:, 2].all()


@pytest.mark.slow
def test_labels_that_are_memorised_end_in_a_certificate():
    """Fifty least margins slide along as many kinks: Newton's method begins early."""
    rng = np.random.default_rng(5)
    rows = rng.permutation(1797)[:60]
    X = pn.datasets.digits().problem().X[rows] / 16.0
    y = np.where(rng.random(60) < 0.5, -1, 1)
    network = pn.networks.MLP((X.shape[1], 64, 1))
    problem = pn.NetworkClassification(network, network.params(1), X, y)
    run = pn.train(
        problem,
        pn.optimizers.GradientDescent(),
        steps=30_000,
        step_size=pn.schedules.loss_based(),
    )
    limit = pn.limit(problem, run)
    assert [stage.name for stage in limit.stages][-2:] == ["tail", "cells"]
    assert limit.kkt_residual < 1e-8
    assert limit.margin > 1.1 * pn.kkt(problem, run.last).margin
