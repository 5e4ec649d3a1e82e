"""What a run imitates: identities, known exponents, errors that mean what they say."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import losses, optimizers
from penchant.estimators import alignment, imitation
from penchant.problems import ScaledGradient


def _run(rule, *, steps=4000, step_size=0.01, n=10, d=40, **options):
    problem = pn.datasets.gaussian(n, d, seed=5).problem()
    return pn.train(problem, rule, steps=steps, step_size=step_size, **options)


def _row(seen, label):
    return next(row for row in seen.rows if row.norm.label == label)


@pytest.mark.parametrize(
    ("rule", "label", "p"),
    [
        (optimizers.SteepestDescent(pn.norms.L2()), "ℓ2", 2.0),
        (optimizers.SignDescent(), "ℓ∞", math.inf),
    ],
)
def test_steepest_descent_imitates_its_own_norm(rule, label, p):
    seen = imitation(_run(rule, step_size=1e-3, steps=20_000))
    best = max(seen.rows, key=lambda row: row.alignment)
    assert best.norm.label == label
    assert best.alignment > 0.97
    low, high = sorted(1 / x for x in seen.entries.interval)
    assert abs(1 / seen.entries.p - 1 / p) < 0.05
    assert low <= 1 / seen.entries.p <= high
    assert seen.own is None


def test_the_curve_holds_the_named_norms():
    """The same number by two routes: the curve at 1, 1/2 and 0 is the rows'."""
    seen = imitation(_run(optimizers.Adam()))
    for s, label in ((1.0, "ℓ1"), (0.5, "ℓ2"), (0.0, "ℓ∞")):
        (at,) = np.flatnonzero(np.asarray(seen.entries.inverse) == s)
        assert float(seen.entries.curve[at]) == pytest.approx(
            _row(seen, label).alignment, rel=1e-10
        )


def test_a_window_of_one_block_is_the_gradient_after_the_next_step():
    run = _run(optimizers.GradientDescent(), steps=50)
    seen = imitation(run, [pn.norms.L2()], steps=1)
    later = pn.train(run.rule.problem, run.rule.optimizer, steps=51, step_size=0.01)
    g = run.rule.problem.scaled_gradient(later.last)
    (row,) = alignment(run.rule.problem, run.last, [pn.norms.L2()], gradients=[g])
    assert seen.rows[0].alignment == pytest.approx(row.alignment, rel=1e-12)


def test_matrices_have_a_curve_of_schatten_exponents():
    problem = pn.datasets.class_centres(k=3, d=8, per_class=4, seed=1).problem()
    run = pn.train(
        problem,
        optimizers.SteepestDescent(pn.norms.Spectral()),
        steps=20_000,
        step_size=1e-3,
    )
    seen = imitation(run)
    assert max(seen.rows, key=lambda row: row.alignment).norm.label == "spectral"
    assert seen.singular_values is not None
    assert 1 / seen.singular_values.p < 0.1
    json.dumps(seen.to_dict(), allow_nan=False)


def test_what_divides_is_read_off_the_run():
    run = _run(optimizers.Adam(b2=0.9999), steps=4000)
    seen = imitation(run)
    assert seen.own is not None
    assert seen.own.alignment > _row(seen, "ℓ∞").alignment
    text = repr(seen)
    assert "its own divisor" in text


@pytest.mark.parametrize("norm", [pn.norms.L2(), pn.norms.Linf()])
def test_the_error_is_the_spread_over_other_batches(norm):
    """Of 100 sets of 16 batches: the spread of a_N, over what each says of itself."""
    data = pn.datasets.gaussian(64, 12, seed=8)
    X, y = np.asarray(data.X), np.asarray(data.y)
    problem = data.problem(losses.Logistic())
    w = pn.train(problem, optimizers.GradientDescent(), steps=300, step_size=0.3).last
    slopes = -(X * y[:, None]) / (1 + np.exp(y * (X @ np.asarray(w))))[:, None]
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(100):
        means = slopes[rng.integers(64, size=(16, 24))].mean(axis=1)
        gradients = [ScaledGradient(jnp.asarray(g), jnp.zeros(())) for g in means]
        rows += alignment(problem, w, [norm], gradients=gradients)
    spread = np.std([row.alignment for row in rows], ddof=1)
    said = np.sqrt(np.mean([row.error**2 for row in rows]))
    assert 0.8 < spread / said < 1.25
