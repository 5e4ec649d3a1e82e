"""What momentum costs: bounds that hold at every record, by three sets of constants."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers as rules
from penchant.problems import losses
from penchant.theory.descent import (
    dimension_free_constants,
    guarantee,
    guarantee_along,
    log_proxy,
    paper_constants,
    sharp_constants,
)

LOSSES = [losses.Logistic(), losses.Exponential(), losses.PairLog()]


def several(loss, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(6) % 3
    X = np.eye(3, 4)[y] + 0.05 * rng.normal(size=(6, 4))
    return pn.LinearClassification(X, y, loss=loss)


def two(loss):
    X = np.eye(3, 4) + 0.05 * np.random.default_rng(1).normal(size=(3, 4))
    return pn.LinearClassification(X, [1, -1, 1], loss=loss)


def every(problem, norm):
    return [
        sharp_constants(problem, norm),
        dimension_free_constants(problem, norm),
        paper_constants(problem),
    ]


def cost(c, beta, t, eta):
    """P_t as its formula stands, sums and all, for constant steps."""
    s = np.arange(t + 1)
    S = (beta**s * np.expm1(c.reach * eta * s)).sum()
    a, b = c.start or (1.0, 1.0)
    seen = 2 * c.R * c.factor * (1 - beta) * S
    plain = seen + 2 * c.R * beta ** (a * t + b)
    return plain if c.start else min(plain, seen / (1 - beta ** (t + 1)))


@pytest.mark.sampled
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("norm", [norms.Linf(), norms.L2(), norms.Spectral()], ids=repr)
def test_momentum_is_as_near_to_the_gradient_as_bounded(loss, norm):
    problem, beta, eta = several(loss), 0.8, 0.02
    constants = every(problem, norm)
    # each set of constants is the wider one of the set before
    for t in (0, 1, 5, 40):
        costs = [cost(c, beta, t, eta) for c in constants]
        assert costs == sorted(costs)
    W = jnp.zeros(problem.weight_shape)
    m, worst = 0.0, 0.0
    for t in range(60):
        g = problem.scaled_gradient(W)
        gradient = g.direction * jnp.exp(g.log_scale)
        m = beta * m + (1 - beta) * gradient
        apart = norm.dual(m / (1 - beta ** (t + 1)) - gradient)
        share = float(apart / jnp.exp(log_proxy(problem, W)))
        bound = 0.5 * cost(constants[0], beta, t, eta)
        assert share <= bound + 1e-12
        worst = max(worst, share / bound if bound > 0 else 0.0)
        plain = float(norm.dual(m - gradient) / jnp.exp(log_proxy(problem, W)))
        assert plain <= 0.5 * cost(constants[1], beta, t, eta) + 1e-12
        W = W - eta * norm.steepest(m)
    assert 0.02 < worst <= 1.0  # a bound that is met within orders, and not crossed


RUNS = [
    (rules.Signum(0.9), norms.Linf()),
    (rules.SteepestDescent(norms.L2(), b1=0.9), norms.L2()),
    (rules.Muon(0.9), norms.Spectral()),
    (rules.Muon(0.9, nesterov=True), norms.Spectral()),
    (rules.SteepestDescent(norms.Linf(), b1=0.5), norms.Linf()),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("rule", "norm"), RUNS, ids=repr)
@pytest.mark.parametrize("loss", [
    LOSSES[0], pytest.param(LOSSES[1], marks=pytest.mark.slow)
], ids=repr)  # fmt: skip
def test_margins_are_never_below_the_bound(rule, norm, loss):
    for problem in (several(loss), two(loss)):
        best = pn.max_margin(problem, norm, tol=1e-6)
        upper = float(best.upper_bound)  # bounds grow with it: the least favourable
        eta = 0.002 / pn.theory.longest_row(problem, norm)
        run = pn.train(problem, rule, steps=12_000, step_size=eta, record=80)
        least = np.asarray(run.margins.min(axis=1))
        lengths = np.asarray(run.lengths(norm))
        shares = []
        for c in every(problem, norm):
            told = guarantee_along(run, norm, gamma=upper, constants=c)
            assert np.all(np.asarray(told.margin) <= least)
            seen = least[1:] / (upper * lengths[1:])
            assert np.all(np.asarray(told.share)[1:] <= seen)
            shares.append(float(told.share[-1]))
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > 0.5  # and says something
        told = guarantee(problem, norm, eta, 12_000, gamma=upper, momentum=0.9)
        assert float(told.margin[-1]) <= least[-1]


def test_promises_with_momentum_are_kept_before_a_run():
    problem = pn.LinearClassification(np.eye(3), np.arange(3), loss=losses.Logistic())
    norm, steps, eta = norms.Spectral(), 20_000, 0.005
    told = guarantee(problem, norm, eta, steps, gamma=1.0, momentum=0.9)
    run = pn.train(problem, rules.Muon(0.9), steps=steps, step_size=eta, record=60)
    assert math.isfinite(told.separated)
    after = np.asarray(run.steps) >= told.separated
    assert np.all(np.asarray(run.log_loss)[after] <= math.log(math.log(2) / 3))
    assert 0.5 < float(told.share[-1]) <= 1.0
    assert float(told.margin[-1]) <= float(run.margins[-1].min())
    none = guarantee(problem, norm, eta, steps, gamma=1.0, momentum=0.0)
    assert float(none.margin[-1]) > float(told.margin[-1])
    with pytest.raises(ValueError, match="momentum must be"):
        guarantee(problem, norm, eta, steps, gamma=1.0, momentum=1.0)


def test_too_long_a_memory_promises_nothing_and_says_so():
    problem = several(losses.Logistic())
    told = guarantee(problem, norms.Linf(), 0.1, 1000, gamma=1.0, momentum=0.999)
    assert bool(told.vacuous.all())
    assert math.isinf(told.separated)


def test_rates_with_momentum_name_both_sources():
    rate = pn.theory.papers.fan2025spectral.proved_rate(0.5, 0.9)
    assert (rate.power, rate.logs) == (0.5, 1.0)
    assert "kim2026minibatch" in pn.cite(rate.source)


@pytest.mark.slow
def test_reshuffled_gaps_are_the_least_of_two_bounds():
    problem = pn.datasets.gaussian(6, 10, seed=1).problem()
    longest = float(jnp.abs(problem.X).sum(axis=1).max())
    for size in (1, 2, 3):
        for b in (0.0, 0.5, 0.9, 0.99, 0.9999):
            batching = pn.batching.Shuffled(size)
            gap = pn.theory.per_sample.signum_gap(problem, b, batching)
            m = 6 // size
            assert gap.bound <= 2 * longest * (1 - b) * m * (m**2 - 1) * (1 + 1e-12)
