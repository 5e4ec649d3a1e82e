"""What is foretold of Adam and Signum with batches, and of input that is bad."""

import functools
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.norms import L2, Linf
from penchant.optimizers import Adam, RMSProp, SignDescent, Signum
from penchant.theory.per_sample import (
    AdamLimits,
    adam_limits,
    adam_proxy,
    adam_step,
    equilibrium,
    signum_gap,
)
from penchant.training.batching import Cyclic, FullBatch, Shuffled, WithReplacement
from tests.cases import absorbed, cosine, gaussian, multiclass
from tests.theory.test_predict import verdict, why

ORDERS = [
    Cyclic(1),
    Cyclic(2),
    Cyclic(3),
    Shuffled(1),
    Shuffled(2),
    WithReplacement(1),
    WithReplacement(4),
]


@functools.cache
def small():
    return absorbed(np.random.default_rng(1).normal(size=(6, 9)))


# Signum


FAST = (Cyclic(1), Shuffled(2), WithReplacement(1))


@pytest.mark.sampled
@pytest.mark.parametrize("batching", [
    pytest.param(order, marks=() if order in FAST else pytest.mark.slow)
    for order in ORDERS
], ids=repr)  # fmt: skip
def test_signum_misses_no_more_than_the_bound(batching):
    problem = small()
    best = float(pn.max_margin(problem, Linf()).margin)
    steps = pn.schedules.power(0.01, 0.5)
    for b1 in (0.9, 0.97, 0.99):
        run = pn.train(
            problem, Signum(b1), steps=100_000, step_size=steps,
            batching=batching, record=4,
        )  # fmt: skip
        u = run.increment()
        measured = best - float(jnp.min(problem.margins(u)) / jnp.max(jnp.abs(u)))
        gap = signum_gap(problem, b1, batching)
        assert gap.best == pytest.approx(best, rel=1e-5)
        assert measured <= gap.bound
        assert measured > -1e-4 * best
        assert gap.vacuous == (gap.bound >= gap.best)
        assert gap.share == pytest.approx(max(0, 1 - gap.bound / gap.best))


def bound(b1, batching):
    return signum_gap(small(), b1, batching).bound


@pytest.mark.sampled
@pytest.mark.parametrize("batching", ORDERS, ids=repr)
def test_longer_momentum_leaves_less(batching):
    values = [bound(b, batching) for b in (0.5, 0.9, 0.99, 0.999, 0.9999)]
    assert all(np.diff(values) < 0)
    # a tenth of the memory's shortness: a tenth of the gap, or its root
    rate = 10**0.5 if isinstance(batching, WithReplacement) else 10.0
    assert values[-2] / values[-1] == pytest.approx(rate, rel=0.02)


def test_bounds_in_closed_form():
    rows = np.abs(np.asarray(small().X)).sum(axis=1).max()
    for b in (0.9, 0.999):
        spread = math.sqrt((1 - b) / (1 + b) * 5 / 4)
        assert bound(b, WithReplacement(4)) == pytest.approx(2 * rows * spread)
        # the bound in closed form: any scale of u is allowed, 1 among them
        noted = 2 * rows * (6 * (1 - b) / (1 - b**6) - 1)
        assert bound(b, Cyclic(1)) <= noted
    # weights fall linearly with the lag, from whose median they are n/4 away
    assert bound(0.9999, Cyclic(1)) == pytest.approx(2e-4 * rows * 6 / 4, rel=1e-3)


def test_full_batches_leave_nothing():
    for whole in (FullBatch(), Cyclic(6), Shuffled(6)):
        assert bound(0.5, whole) == 0.0
    assert bound(0.5, WithReplacement(6)) > 0.0  # samples are missing from a draw


def deviation(b1, n, size, epochs=20_000):
    """The spread of the momentum that a sample's gradient has, simulated."""
    rng, per = np.random.default_rng(0), -(-n // size)
    place = rng.integers(0, n, epochs) // size
    y = np.zeros(epochs * per)
    y[np.arange(epochs) * per + place] = n / np.minimum(size, n - size * place)
    u, m = np.zeros_like(y), 0.0
    for t, now in enumerate(y):
        u[t] = m = b1 * m + (1 - b1) * now
    u = u[len(u) // 10 :]
    return min(np.abs(scale * u - 1).mean() for scale in np.linspace(0.5, 1.2, 15))


@pytest.mark.sampled
@pytest.mark.parametrize("size", [
    1, 2, 3,
    4,
])  # fmt: skip
def test_what_reshuffled_momentum_forgets(size):
    rows = np.abs(np.asarray(small().X)).sum(axis=1).max()
    for b1 in (0.5, 0.9):
        needed = 2 * rows * deviation(b1, 6, size)
        assert bound(b1, Shuffled(size)) > 0.97 * needed


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: signum_gap(small(), 1.0, Cyclic(1)), ValueError, "b1"),
        (lambda: signum_gap(small(), -0.1, Cyclic(1)), ValueError, "b1"),
        (lambda: signum_gap(small(), 0.9, Cyclic(7)), ValueError, "batch size"),
        (lambda: signum_gap(small(), 0.9, 1), TypeError, "batching"),
        (lambda: signum_gap(multiclass(0), 0.9, Cyclic(1)), ValueError, "two classes"),
        (lambda: signum_gap(np.eye(2), 0.9, Cyclic(1)), TypeError, "problem"),
    ],
)
def test_signum_gap_refuses(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_signum_with_short_and_with_long_memory():
    short = pn.predict(small(), Signum(0.9), batching=Cyclic(1))
    assert short.norm is None
    assert "leaves" in short.statement
    assert [repr(other.norm) for other in short.alternatives] == ["Linf()", "L2()"]
    long = pn.predict(small(), Signum(0.9999), batching=Cyclic(1), step_size=1e-6)
    assert repr(long.norm) == "Linf()"
    assert verdict(long, "momentum is long") == "holds"
    assert verdict(long, "steps are small") in ("holds", "unknown")
    none = pn.predict(small(), SignDescent(), batching=Cyclic(1))
    assert none.norm is None
    assert "Σ sign" in none.statement
    assert "baek2026persample" in pn.cite(long)
    for told in (short, long, none):
        json.dumps(told.to_dict(), allow_nan=False)


# Adam

RULE = Adam(0.9, 0.95, 0.0)


@pytest.mark.slow
def test_norms_of_three_kinds_of_data():
    rademacher = pn.datasets.scaled_rademacher(6, 9).problem()
    diagonal = pn.datasets.shifted_diagonal([1, 2, 3, 4], 0.3).problem()
    for problem, norm in ((rademacher, L2()), (diagonal, Linf())):
        told = pn.predict(problem, RULE, batching=Cyclic(1))
        assert repr(told.norm) == repr(norm)
        best = pn.max_margin(problem, norm)
        assert float(told.margin) == pytest.approx(float(best.margin), rel=1e-6)
        assert told.source.startswith("baek2026persample")
    told = pn.predict(small(), RULE, batching=Cyclic(1), step_size=1e-3)
    found = told.evidence
    assert isinstance(found, AdamLimits)
    assert isinstance(told.norm, pn.norms.Mahalanobis)
    assert found.reached.converged
    assert cosine(told.weights, found.reached.direction) > 1 - 1e-12
    # unit weights, whose margin is within norm_gap of the norm's largest
    assert float(told.norm(told.weights)) == pytest.approx(1.0)
    assert float(told.margin) == pytest.approx(float(found.reached.margin))
    largest = float(pn.max_margin(small(), told.norm).margin)
    gap = 1 - float(told.margin) / largest
    assert -1e-7 < gap < found.reached.norm_gap + 1e-7
    assert verdict(told, "the limit does not depend") == "unknown"
    assert "AdamLimit(" in repr(told)


@pytest.mark.slow
def test_without_a_norm_where_features_follow_different_samples():
    problem = absorbed([[2.0, -0.5, 0.3, 0.0], [0.5, 1.0, -0.7, 0.0], [3, 3, 1, 1]])
    told = pn.predict(problem, RULE, batching=Cyclic(1))
    assert told.norm is told.margin is None
    assert "no norm" in told.statement
    assert told.evidence.reached.direction[3] > 0.1


@pytest.mark.slow
def test_eps_has_the_last_word():
    rule, steps = Adam(0.9, 0.95, 1e-8), pn.schedules.power(0.02, 0.5)
    told = pn.predict(gaussian(), rule, batching=Cyclic(1), step_size=steps)
    assert repr(told.norm) == "L2()"
    names = [regime.name for regime in told.regimes]
    assert names == ["throttled", "data-adaptive", "below ε"]
    for one, next_one in zip(told.regimes, told.regimes[1:], strict=False):
        assert one.end == next_one.start
    assert told.regimes[0].norm is None
    assert told.regimes[-1].end == math.inf
    assert {a.verdict.value for a in told.assumptions} <= {"holds", "unknown"}
    for key in ("wang2021adaptive", "nacson2019stochastic", "baek2026persample"):
        assert f"{{{key}," in pn.cite(told)
    without = pn.predict(gaussian(), rule, batching=Cyclic(1))
    assert math.isnan(without.regimes[-1].start)


@pytest.mark.parametrize("eps", [
    1e-8,
    pytest.param(1e-16, marks=pytest.mark.slow),
])  # fmt: skip
def test_the_step_at_which_eps_takes_over(eps):
    rule, eta = Adam(0.9, 0.99, eps), 1e-3
    told = pn.predict(gaussian(), rule, batching=Cyclic(1), step_size=eta)
    before, after = told.evidence.reached.direction, told.weights
    cross = told.regimes[-1].start
    run = pn.train(
        gaussian(), rule, steps=int(2 * cross), step_size=eta,
        batching=Cyclic(1), record=300,
    )  # fmt: skip
    at, W = np.asarray(run.steps), np.asarray(run.weights)

    def increment(share):
        """Of the last fifth before a share of the crossover."""
        ends = [np.argmin(np.abs(at - x * share * cross)) for x in (0.8, 1.0)]
        return W[ends[1]] - W[ends[0]]

    assert cosine(increment(0.5), before) > 0.9999
    assert cosine(increment(0.5), after) < 0.98
    assert cosine(increment(2.0), after) > 0.999
    assert cosine(increment(2.0), before) < 0.98


def test_two_limits_are_both_told():
    problem = pn.datasets.bistable(6, 2, 1).problem()
    told = pn.predict(problem, RULE, batching=Cyclic(1))
    assert verdict(told, "the limit does not depend") == "fails"
    assert not told.holds
    assert len(told.alternatives) == 2
    norms = sorted(repr(other.norm)[:4] for other in told.alternatives)
    assert norms == ["L2()", "Maha"]
    unstable = next(o for o in told.alternatives if repr(o.norm) == "L2()")
    assert "unstable" in unstable.statement
    runaway = pn.predict(problem, Adam(0.9, 0.8, 0.0), batching=Cyclic(1))
    assert verdict(runaway, "b1 is at most b2") == "fails"
    assert "run away" in why(runaway, "b1 is at most b2")


def test_evidence_in_json():
    one_alone = absorbed([[2.0, 0.5, 0.0], [1.0, 2.0, 0.0], [3.0, 3.0, 1.0]])
    for problem in (pn.datasets.bistable(6, 2, 1).problem(), one_alone):
        told = pn.predict(problem, RULE, batching=Cyclic(1))
        says = json.loads(json.dumps(told.to_dict(), allow_nan=False))
        evidence, found = says["evidence"], told.evidence
        assert len(evidence["limits"]) == len(found.limits)
        for text, limit in zip(evidence["limits"], found.limits, strict=True):
            assert text["gap"] == pytest.approx(limit.gap)
            assert text["pace"] == pytest.approx(limit.pace)
            assert text["stable"] is limit.stable
            assert (text["norm_gap"] is None) == (limit.norm is None)


def test_answers_that_are_not_known():
    several = multiclass(0, k=3, d=4, n=12)
    told = pn.predict(several, RULE, batching=Cyclic(1))
    assert told.norm is None
    assert "two classes" in told.statement
    forgetful = pn.predict(small(), Adam(0.0, 0.0, 0.0), batching=Cyclic(1))
    assert forgetful.norm is None
    assert "b2 = 0" in forgetful.statement
    json.dumps(forgetful.to_dict(), allow_nan=False)


def test_a_batch_of_all_samples_is_no_batch():
    one = absorbed([[0.5, -2.0, 1e-3]])
    told = pn.predict(one, RULE, batching=Cyclic(1))
    assert repr(told.norm) == "Linf()"
    assert told.source.startswith("zhang2024adam")
    assert told.evidence is None


# bad input


def test_data_that_no_weights_separate():
    torn = absorbed([[1.0, 2.0, 0.5], [-1.0, -2.0, -0.5], [1.0, 0.0, 0.0]])
    for call in (
        lambda: adam_limits(torn, RULE),
        lambda: pn.predict(torn, RULE, batching=Cyclic(1)),
        lambda: signum_gap(torn, 0.9, Cyclic(1)),
        lambda: pn.theory.per_sample.parametric_margin(torn, [1.0, 1.0, 1.0]),
    ):
        with pytest.raises(pn.NotSeparableError):
            call()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"batching": Cyclic(7)}, ValueError, "batch size must be at most"),
        ({"batching": FullBatch()}, ValueError, "leave samples out"),
        ({"batching": 2}, TypeError, "batching"),
        ({"init": np.zeros(8)}, ValueError, "init"),
        ({"init": np.full(9, np.inf)}, ValueError, "init"),
        ({"starts": -1}, ValueError, "starts"),
        ({"starts": 1.5}, TypeError, "starts"),
        ({"draws": -1}, ValueError, "draws"),
        ({"step_size": -0.1}, ValueError, "step_size"),
    ],
    ids=repr,
)
def test_adam_limits_refuse(options, error, said):
    options = {"batching": Shuffled(1)} | options if "draws" in options else options
    with pytest.raises(error, match=said):
        adam_limits(small(), RULE, **options)


def test_adam_limits_refuse_other_problems_and_rules():
    with pytest.raises(ValueError, match="b2 must be above 0"):
        adam_limits(small(), RMSProp(0.0))
    with pytest.raises(TypeError, match="optimizer"):
        adam_limits(small(), Signum(0.9))
    with pytest.raises(ValueError, match="two classes"):
        adam_limits(multiclass(0), RULE)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"start": [0.0, -np.inf, 0, 0, 0, 0]}, ValueError, "sample 1 has -inf"),
        ({"start": [0.0, 0.0]}, ValueError, "shape"),
        ({"start": "even"}, TypeError, "log-weights"),
        ({"tol": 0.0}, ValueError, "tol"),
        ({"max_steps": 0}, ValueError, "max_steps"),
    ],
    ids=repr,
)
def test_equilibria_refuse(options, error, said):
    with pytest.raises(error, match=said):
        equilibrium(adam_proxy(small()), **options)
    with pytest.raises(TypeError, match="step"):
        equilibrium(small())


def test_a_search_cut_short_says_so():
    end = equilibrium(adam_step(small(), RULE), max_steps=1)
    assert not end.converged
    assert "not converged" in repr(end)
    assert end.gap > 1e-6


@pytest.mark.parametrize("step_size", [0.05, 1e3])
def test_large_constant_steps(step_size):
    problem = pn.datasets.bistable(6, 2, 1).problem()
    rule = Adam(0.9, 0.8 if step_size < 1 else 0.95, 0.0)
    assert adam_limits(problem, rule, step_size=step_size).limits
