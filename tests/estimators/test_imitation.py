"""What a run imitates: identities, known exponents, errors that mean what they say."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import losses, optimizers
from penchant.estimators import alignment, imitation
from penchant.estimators._alignment import jackknife
from penchant.estimators._imitation import _exponent as exponent
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


@pytest.mark.parametrize("rule", [optimizers.Adam(b2=0.9999), optimizers.AdaGrad()])
def test_what_divides_is_read_off_the_run(rule):
    """Of the norm whose squares √v + ε weighs, v from the run's own memory."""
    run = _run(rule, steps=4000)
    seen = imitation(run, steps=1)
    log_v = np.asarray(rule.log_second(run.state.optimizer))
    M = np.exp(0.5 * (log_v - log_v.max()))  # ε is far below
    problem = run.rule.problem
    later = pn.train(problem, rule, steps=4001, step_size=0.01).last
    g = np.asarray(problem.scaled_gradient(later).direction)
    w = np.asarray(run.last)
    by_hand = -w @ g / np.sqrt(np.sum(M * w**2) * np.sum(g**2 / M))
    assert seen.own.alignment == pytest.approx(by_hand, rel=1e-3)
    assert "its own divisor" in repr(seen)


@pytest.mark.slow
def test_a_square_of_weights_and_a_network_have_their_divisor_too():
    square = pn.datasets.class_centres(k=4, d=4, per_class=4, seed=1).problem()
    run = pn.train(square, optimizers.Adam(), steps=200, step_size=0.01)
    assert imitation(run).own is not None
    rng = np.random.default_rng(0)
    X, network = rng.normal(size=(8, 3)), pn.networks.MLP((3, 5, 1))
    problem = pn.NetworkClassification(
        network, network.params(1), X, np.sign(X[:, 0]), loss=losses.Exponential()
    )
    run = pn.train(problem, optimizers.Adam(), steps=50, step_size=0.01)
    seen = imitation(run)
    assert [row.norm.label for row in seen.rows] == ["ℓ1", "ℓ2", "ℓ∞"]
    assert -1 <= seen.own.alignment <= 1


def test_norms_are_taken_by_name():
    run = _run(optimizers.SignDescent(), steps=50)
    by_name, whole = imitation(run, ["linf"]), imitation(run)
    (row,) = by_name.rows
    assert row.alignment == pytest.approx(_row(whole, "ℓ∞").alignment, rel=1e-12)


def test_where_nothing_tells_exponents_apart_the_interval_holds_them_all():
    X = [[1.0], [2.0]]
    problem = pn.LinearClassification(X, [1, 1], loss=losses.Logistic())
    run = pn.train(problem, optimizers.GradientDescent(), steps=40, step_size=0.1)
    assert imitation(run).entries.interval == (1.0, math.inf)


def test_no_gradient_is_no_alignment_and_still_is_json():
    problem = pn.LinearClassification(
        np.zeros((3, 2)), [1, -1, 1], loss=losses.Logistic()
    )
    run = pn.train(problem, optimizers.GradientDescent(), steps=20, step_size=0.1)
    seen = imitation(run)
    assert np.isnan(seen.rows[0].alignment)
    assert json.loads(json.dumps(seen.to_dict(), allow_nan=False))["own"] is None


def _draws(sets, seed):
    """Of a problem, its weights and means of batches of 24: 16 of them a set."""
    data = pn.datasets.gaussian(64, 12, seed=8)
    X, y = np.asarray(data.X), np.asarray(data.y)
    problem = data.problem(losses.Logistic())
    w = pn.train(problem, optimizers.GradientDescent(), steps=300, step_size=0.3).last
    slopes = -(X * y[:, None]) / (1 + np.exp(y * (X @ np.asarray(w))))[:, None]
    rng = np.random.default_rng(seed)
    drawn = [slopes[rng.integers(64, size=(16, 24))].mean(axis=1) for _ in range(sets)]
    return problem, w, slopes.mean(axis=0), drawn


@pytest.mark.parametrize("norm", [pn.norms.L2(), pn.norms.Linf()])
def test_the_error_is_the_spread_over_other_batches(norm):
    """Of 100 sets of 16 batches: the spread of a_N, over what each says of itself."""
    problem, w, _, drawn = _draws(100, 3)
    rows = []
    for means in drawn:
        gradients = [ScaledGradient(jnp.asarray(g), jnp.zeros(())) for g in means]
        rows += alignment(problem, w, [norm], gradients=gradients)
    spread = np.std([row.alignment for row in rows], ddof=1)
    said = np.sqrt(np.mean([row.error**2 for row in rows]))
    assert 0.8 < spread / said < 1.25


def test_intervals_of_exponents_cover():
    """The exponent by the mean of all gradients lies in 95 % intervals of 100 sets."""
    _, w, exact, drawn = _draws(100, 5)
    w = np.asarray(w)

    def found(gradients):
        means = jackknife(gradients)
        means = np.asarray(means)
        return exponent(-means @ w, w, means)

    plain = lambda g: ScaledGradient(jnp.asarray(g), jnp.zeros(()))
    truth = 1 / found([plain(exact)]).p
    assert 0.05 < truth < 0.95  # inside, where an interval has two sides
    covered = 0
    for means in drawn:
        interval = found([plain(g) for g in means]).interval
        covered += 1 / interval[1] <= truth <= 1 / interval[0]
    assert 0.88 <= covered / len(drawn) <= 0.99
