"""Loops that are compiled as one function, and those that can't be."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.training import _loop as loops, _train as runners

KW = {"steps": 40, "step_size": 0.01, "record": 2, "progress": False}


def problem(random=True):
    rng = np.random.default_rng(0)
    apply = lambda w, X: X @ (w["u"] ** 2 - w["v"] ** 2)
    w = {"u": rng.uniform(0.2, 0.5, 5), "v": rng.uniform(0.2, 0.5, 5)}
    X = rng.normal(size=(7, 5))
    return pn.Regression(apply, w, X, X[:, 0], label_noise=0.3 * random)


@pytest.fixture
def seen(monkeypatch):
    """What was found of each loop, and the calls that the compiler then refused."""
    found = []
    asked, steps = loops.can_inline, runners._Calls._called

    def can_inline(*arguments, **options):
        found.append(asked(*arguments, **options))
        return found[-1]

    def checked(self, compiled, state, until):
        before = self.inline
        result = steps(self, compiled, state, until)
        assert self.inline == before, "the compiler refused what was taken for small"
        return result

    monkeypatch.setattr(loops, "can_inline", can_inline)
    monkeypatch.setattr(runners._Calls, "_called", checked)
    jax.clear_caches()
    return found


BATCHINGS = [
    pn.batching.FullBatch(),
    pn.batching.WithReplacement(1),
    pn.batching.WithReplacement(3),
    pn.batching.Shuffled(2),
]


@pytest.mark.parametrize(
    "batching",
    [*(pytest.param(b, marks=pytest.mark.slow) for b in BATCHINGS[:3]), BATCHINGS[3]],
    ids=repr,
)
def test_label_noise_is_drawn_within_one_function(seen, batching, monkeypatch):
    run = pn.train(problem(), "adam", batching=batching, **KW)
    assert seen
    assert all(seen)
    monkeypatch.setattr(loops, "can_inline", lambda *_, **__: False)
    jax.clear_caches()
    again = pn.train(problem(), "adam", batching=batching, **KW)
    for a, b in zip(jax.tree.leaves(run.last), jax.tree.leaves(again.last),
                    strict=True):  # fmt: skip
        assert np.allclose(a, b, rtol=1e-13, atol=0)


@pytest.mark.slow
def test_lanes_that_draw_their_samples_are_one_function_too(seen):
    grid = {"seed": list(range(4))}
    runs = pn.sweep(problem(), "adam", grid=grid, batching=BATCHINGS[1], **KW)
    assert seen
    assert all(seen)
    one = pn.train(problem(), "adam", batching=BATCHINGS[1], key=2, **KW)
    last = one.rule.problem.flat(one.last)
    assert np.allclose(np.asarray(runs.weights)[2, -1], last, rtol=1e-12, atol=0)


def test_lanes_that_share_a_matrix_are_not(seen):
    pn.sweep(problem(), "adam", grid={"seed": [0, 1]}, **KW)
    assert seen
    assert not any(seen)


def test_other_generators_and_products_of_matrices_are_not(seen):
    net = lambda w, X: (jnp.tanh(X @ w[0]) @ w[1])[:, 0]
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(5, 3)), rng.normal(size=(3, 1))]
    pn.train(pn.Regression(net, w, np.eye(5), np.ones(5)), "adam", **KW)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        key = jax.random.key(0, impl="rbg")
    pn.train(problem(), "adam", key=key, **KW)
    assert not any(seen)
