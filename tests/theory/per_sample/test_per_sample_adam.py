"""Limits of Adam with batches: what must hold, known numbers, and simulations."""

import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.norms import L2, Linf
from penchant.optimizers import Adam
from penchant.theory.per_sample import (
    adam_limits,
    adam_proxy,
    adam_step,
    equilibrium,
    fixed_point_map,
    growth_limit,
    rates,
)
from penchant.training.batching import Cyclic, Shuffled, WithReplacement
from tests.cases import absorbed, cosine, gaussian

DECAYS = [(0.9, 0.95), (0.1, 0.1), (0.5, 0.5), (0.0, 0.9)]
EXPONENTIAL = pn.losses.Exponential()


@functools.cache
def bistable(r=1.0):
    return pn.datasets.bistable(6, 2, r).problem(loss=EXPONENTIAL)


@functools.cache
def best(seed, norm):
    return np.asarray(pn.max_margin(gaussian(seed), norm).weights)


def angle(u, v):
    """In radians; accurate where an arc cosine is not."""
    u, v = (np.asarray(x) / np.linalg.norm(np.asarray(x)) for x in (u, v))
    return float(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


def decays(step, b1, b2):
    """The same step with other decays: one compilation for all."""
    new = tuple(jnp.asarray(x, dtype=float) for x in (b1, b2))
    return eqx.tree_at(lambda s: (s.b1, s.b2), step, new)


def late(problem, b1, b2, batching, eta, steps, init=None):
    """The increment of a run at a constant step size."""
    run = pn.train(
        problem, Adam(b1, b2, 0.0), steps=steps, step_size=eta,
        batching=batching, record=4, init=init,
    )  # fmt: skip
    return run.increment()


STEPS = {
    "proxy": lambda: adam_proxy(gaussian()),
    "noisy proxy": lambda: adam_proxy(gaussian(), Shuffled(4)),
    "cycle": lambda: adam_step(gaussian(), Adam(0.9, 0.95)),
    "batches": lambda: adam_step(gaussian(), Adam(0.9, 0.95), Cyclic(3)),
    "random order": lambda: adam_step(
        gaussian(), Adam(0.9, 0.95), WithReplacement(2), draws=64
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", STEPS)
def test_equilibria_solve_the_inequality(name):
    step = STEPS[name]()
    end = equilibrium(step)
    assert end.converged
    c, F = np.asarray(end.c), np.asarray(gaussian().X) @ np.asarray(end.step)
    assert c.min() >= 0
    assert abs(c.sum() - 1) < 1e-12
    assert c @ F - F.min() <= 1e-12 * F.min()
    assert float(end.margin) == pytest.approx(F.min(), rel=1e-14)
    assert (c * (F - F.min())).max() <= 1e-12 * F.min()
    spectrum = np.asarray(rates(step, end))
    assert (np.diff(spectrum) >= 0).all()
    assert spectrum[0] > 0


@pytest.mark.parametrize("batching", [Cyclic(1), Shuffled(4)], ids=repr)
def test_equilibria_of_the_proxy_are_fixed_points(batching):
    def moved(c):
        T = fixed_point_map(gaussian(), c, batching)
        return float(np.abs(np.asarray(T) - np.asarray(c)).sum())

    assert moved(equilibrium(adam_proxy(gaussian(), batching)).c) < 1e-10
    assert moved(np.full(10, 0.1)) > 0.1  # which is none


@pytest.mark.parametrize("signs", [
    pytest.param(None, id="random", marks=pytest.mark.slow),
    pytest.param(pn.datasets.PAPER_SIGNS, id="4"),
])  # fmt: skip
def test_rows_of_one_size_lead_to_the_euclidean_margin(signs):
    data = pn.datasets.scaled_rademacher(4, 9, signs=signs)
    problem = data.problem(loss=EXPONENTIAL)
    euclidean = pn.max_margin(problem, L2()).weights
    cycle = adam_step(problem, Adam())
    for b1, b2 in DECAYS:
        end = equilibrium(decays(cycle, b1, b2))
        assert angle(end.step, euclidean) < 1e-8
    if signs is None:
        assert angle(equilibrium(adam_proxy(problem)).step, euclidean) < 1e-8
        # batches of two are away from it already
        two = equilibrium(adam_step(problem, Adam(0.9, 0.95), Cyclic(2)))
        assert cosine(two.step, euclidean) < 0.999


def one_decides():
    """sign(x_0) has margin |x_0|_1 on the first row, and more on the others."""
    rng = np.random.default_rng(4)
    signs = rng.choice([-1.0, 1.0], size=9)
    first = rng.uniform(0.1, 1.0, size=9)
    others = first + rng.uniform(0.1, 2.0, size=(3, 9))
    return absorbed(signs * np.vstack([first, others]))


@pytest.mark.parametrize("problem", [
    one_decides(), pn.datasets.shifted_diagonal([1, 2, 3, 4], 0.3).problem(),
], ids=["general rule", "shifted diagonal"])  # fmt: skip
def test_where_one_sample_decides_alone_the_limit_is_its_signs(problem):
    steps = [adam_step(problem, Adam()), adam_proxy(problem)]
    for b1, b2 in DECAYS:
        end = equilibrium(decays(steps[0], b1, b2))
        assert angle(end.step, np.sign(problem.X[0])) < 1e-12
        assert float(end.c[0]) == pytest.approx(1.0, abs=1e-12)
    assert angle(equilibrium(steps[1]).step, np.sign(problem.X[0])) < 1e-12


def test_one_sample():
    problem = absorbed([[0.5, -2.0, 0.0, 1e-3]])
    for step in (adam_proxy(problem), adam_step(problem, Adam(0.9, 0.95))):
        end = equilibrium(step)
        np.testing.assert_allclose(end.step, [1.0, -1.0, 0.0, 1.0], rtol=1e-12)
        assert len(rates(step, end)) == 0


def test_the_datas_scale_and_order():
    problem = gaussian(0)
    end = equilibrium(adam_proxy(problem))
    cycle = equilibrium(adam_step(problem, Adam(0.9, 0.95)))
    for scale in (1e-3, 250.0):
        scaled = absorbed(scale * problem.X)
        assert angle(equilibrium(adam_proxy(scaled)).step, end.step) < 1e-9
        found = equilibrium(adam_step(scaled, Adam(0.9, 0.95)))
        assert angle(found.step, cycle.step) < 1e-9
        np.testing.assert_allclose(found.c, cycle.c, atol=1e-9)
    order = np.random.default_rng(0).permutation(10)
    shuffled = equilibrium(adam_proxy(absorbed(problem.X[order])))
    assert angle(shuffled.step, end.step) < 1e-9
    np.testing.assert_allclose(shuffled.c, end.c[order], atol=1e-9)


@pytest.mark.slow
def test_equal_samples_share_a_weight():
    X = np.random.default_rng(3).normal(size=(4, 6))
    single = equilibrium(adam_proxy(absorbed(X)))
    # all of them twice: half the weight each, and the same direction
    twice = equilibrium(adam_proxy(absorbed(np.repeat(X, 2, axis=0))))
    assert angle(twice.step, single.step) < 1e-9
    np.testing.assert_allclose(twice.c[::2], twice.c[1::2], atol=1e-15)
    # pairs that share a batch are the single sample
    pairs = adam_step(absorbed(np.repeat(X, 2, axis=0)), Adam(0.9, 0.95), Cyclic(2))
    alone = adam_step(absorbed(X), Adam(0.9, 0.95))
    assert angle(equilibrium(pairs).step, equilibrium(alone).step) < 1e-9
    # of a sample that comes twice V sees half the square: another direction
    count = int(np.argmax(single.c))
    more = equilibrium(adam_proxy(absorbed(np.vstack([X, X[count]]))))
    assert float(more.c[-1]) == pytest.approx(float(more.c[count]), abs=1e-15)
    c = np.asarray(more.c[:4]).copy()
    c[count] *= 2
    halved = np.where(np.arange(4) == count, 0.5, 1.0)[:, None]
    expected = (c @ X) / np.sqrt((halved * c[:, None] ** 2 * X**2).sum(axis=0))
    assert angle(more.step, expected) < 1e-9
    assert angle(more.step, single.step) > 1e-3


@pytest.mark.slow
def test_entries_that_are_0():
    # the third feature belongs to a sample of larger margin, and keeps its own pace
    problem = absorbed([[1.0, -0.5, 0.0], [0.5, 1.0, 0.0], [3.0, 3.0, 1.0]])
    found = adam_limits(problem, Adam(0.9, 0.95)).reached
    assert found.norm is None
    assert np.isnan(found.norm_gap)
    assert found.direction[2] > 0.5
    run = late(problem, 0.9, 0.95, Cyclic(1), 1e-5, 4_000_000)
    assert angle(run, found.direction) < 1e-3
    # features without a sample stay where they are
    idle = absorbed([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0]])
    for step in (adam_proxy(idle), adam_step(idle, Adam(0.9, 0.95))):
        end = equilibrium(step)
        assert float(end.step[2]) == 0.0
        assert end.converged


# c and direction from (0, 0, 2), to which runs go too: the study per-sample-adam
SKEWED, WEIGHTS = (0.745176, 0.586323, -0.317706), (0.26454, 0.73546)


def test_two_limits_of_one_data_set():
    step = adam_proxy(bistable())
    middle, *sides = (equilibrium(step, s) for s in ([0, 0], [-1, 1], [1, -1]))
    assert angle(middle.step, [1, 1, 0]) < 1e-9
    assert float(rates(step, middle)[0]) < 0
    for side, flip in zip(sides, (1, -1), strict=True):
        w = np.asarray(side.step) / np.linalg.norm(side.step)
        assert float(rates(step, side)[0]) > 0
        mirrored = w[[1, 0, 2]] * [1, 1, -1] if flip < 0 else w
        np.testing.assert_allclose(mirrored, SKEWED, atol=6e-7)
        np.testing.assert_allclose(np.asarray(side.c)[::flip], WEIGHTS, atol=6e-6)
    for norm in (L2(), Linf()):  # full batches: one limit, another one
        assert angle(pn.max_margin(bistable(), norm).weights, [1, 1, 0]) < 1e-6


@pytest.mark.parametrize(("share", "limits"), [(0.98, 3), (1.02, 1)])
def test_pitchfork(share, limits):
    problem = bistable(share * pn.datasets.pitchfork(6, 2))
    step = adam_proxy(problem)
    middle = equilibrium(step)
    assert angle(middle.step, [1, 1, 0]) < 1e-9
    assert (float(rates(step, middle)[0]) > 0) == (limits == 1)
    for start in ([-3, 3], [0.5, -0.5]):
        end = equilibrium(step, start)
        assert (angle(end.step, [1, 1, 0]) < 1e-5) == (limits == 1)
        assert float(rates(step, end)[0]) > 0
    found = adam_limits(problem, Adam(0.9, 0.999))
    assert len(found.limits) == limits
    assert found.unique == (limits == 1)
    stable = [limit.stable for limit in found.limits]
    assert sorted(stable) == sorted([True] if limits == 1 else [True, True, False])


def stable_limits(p, q, r):
    """By scanning where both samples gain the same, at weights 1 : t."""
    t = np.exp(np.linspace(-12, 12, 400_002))
    first, second = (p + t * q) / np.hypot(p, t * q), (q + t * p) / np.hypot(q, t * p)
    third = r * (1 - t) / np.hypot(r, t * r)
    # F1 - F2 is how fast log t grows: it falls through 0 where that is stable
    ahead = (p - q) * (first - second) + 2 * r * third
    return int(((ahead[:-1] > 0) & (ahead[1:] <= 0)).sum())


@pytest.mark.parametrize(
    ("p", "q"), [(5, 2), (2, 5), (5.9, 2), (6.2, 2), (8, 2), (1, 30)]
)
def test_limits_on_both_sides_of_the_factor_of_three(p, q):
    critical, fold = pn.datasets.pitchfork(p, q), pn.datasets.fold(p, q)
    beyond = max(p / q, q / p) > 3
    assert (fold > critical) == beyond
    assert stable_limits(p, q, critical * (1 - 1e-5)) == 2
    assert stable_limits(p, q, fold * (1 + 1e-5)) == 1
    if beyond:
        for share in (0.02, 0.5, 0.98):
            r = critical + share * (fold - critical)
            assert stable_limits(p, q, r) == 3


@pytest.mark.parametrize(("p", "r", "limits"), [
    (5, 0.83, 1), (8, 1.43, 2), (8, 1.49, 3), (8, 1.56, 1),
])  # fmt: skip
def test_limits_found_on_both_sides_of_the_factor_of_three(p, r, limits):
    problem = pn.datasets.bistable(p, 2, r).problem(loss=EXPONENTIAL)
    found = adam_limits(problem, Adam(0.9, 0.9999))
    assert sum(limit.stable for limit in found.limits) == limits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("third", "middle"), [(0.0, True), (4.0, False), (-4.0, False)]
)
def test_runs_end_at_each_of_three_limits(third, middle):
    problem = pn.datasets.bistable(8, 2, 1.49).problem(loss=EXPONENTIAL)
    start = jnp.asarray([0.0, 0.0, third])
    found = adam_limits(problem, Adam(0.9, 0.999), init=start, step_size=3e-4)
    run = late(problem, 0.9, 0.999, Cyclic(1), 3e-4, 3_000_000, start)
    # near the fold it is slow: 1e-2 after a third of the steps
    assert angle(run, found.reached.direction) < 2e-3
    assert (angle(run, [1, 1, 0]) < 0.05) == middle


@pytest.mark.parametrize("third", [2.0, -2.0])
def test_the_start_decides_which_limit(third):
    start = np.array([0.0, 0.0, third])
    found = adam_limits(bistable(), Adam(0.9, 0.95), init=start, step_size=1e-3)
    run = late(bistable(), 0.9, 0.95, Cyclic(1), 1e-3, 200_000, jnp.asarray(start))
    assert angle(run, found.reached.direction) < 1e-9
    assert float(run[2]) * third < 0


@pytest.mark.sampled
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_constant_steps_are_a_travelling_wave(seed):
    problem, eta = gaussian(seed), 1e-3
    for b2 in (0.95, 0.99):
        found = adam_limits(problem, Adam(0.9, b2), step_size=eta, starts=0).reached
        assert 0 < found.growth < growth_limit(0.9, b2)
        run = late(problem, 0.9, b2, Cyclic(1), eta, 200_000)
        assert angle(run, found.direction) ** 2 / 2 < 1e-14
        small = adam_limits(problem, Adam(0.9, b2), starts=0).reached
        assert small.growth == 0.0
        assert angle(run, small.direction) ** 2 / 2 > 1e-10  # it shows


@pytest.mark.parametrize("b2", [0.95, 0.99])
def test_speed_limit(b2):
    problem, eta, steps = gaussian(0), 0.1, 40_000
    most = growth_limit(0.9, b2)
    run = pn.train(
        problem, Adam(0.9, b2, 0.0), steps=steps, step_size=eta,
        batching=Cyclic(1), record=4,
    )  # fmt: skip
    least = np.asarray(run.margins).min(axis=1)
    growth = (least[-1] - least[-2]) / np.diff(np.asarray(run.steps))[-1]
    assert 0.98 * most < growth < most
    found = adam_limits(problem, Adam(0.9, b2), step_size=eta, starts=0).reached
    assert growth == pytest.approx(found.growth, rel=1e-3)


def test_gaussian_numbers():
    # by NumPy and SciPy alone too: tests/studies/test_expected.py
    end = equilibrium(adam_proxy(gaussian()))
    assert abs(cosine(end.step, best(0, L2())) - 0.974063) < 6e-7
    assert abs(cosine(end.step, best(0, Linf())) - 0.755631) < 6e-7
    assert abs(cosine(best(0, L2()), best(0, Linf())) - 0.744669) < 6e-7


TABLE = [
    (WithReplacement(1), 0.9741, 0.7556, 5e-5),
    (WithReplacement(2), 0.9769, 0.7728, 6e-5),
    (WithReplacement(5), 0.9750, 0.8026, 5e-5),
    (WithReplacement(10), 0.9663, 0.8285, 5e-5),
    (WithReplacement(50), 0.922, 0.889, 5e-4),
    (WithReplacement(1000), 0.824, 0.959, 5e-4),
    (Shuffled(2), 0.9772, 0.7762, 5e-5),
    (Shuffled(5), 0.9681, 0.8245, 6e-5),
]


@pytest.mark.parametrize(("batching", "l2", "linf", "digits"), TABLE, ids=repr)
def test_table_of_batch_sizes(batching, l2, linf, digits):
    end = equilibrium(adam_proxy(gaussian(), batching))
    assert abs(cosine(end.step, best(0, L2())) - l2) < digits
    assert abs(cosine(end.step, best(0, Linf())) - linf) < digits


def test_batches_of_nine_of_ten():
    # the number is for epochs that drop the last batch, of one sample
    step = adam_proxy(gaussian(), Shuffled(9))
    dropped = eqx.tree_at(lambda s: s.noise, step, jnp.asarray(1 / 81))
    end = equilibrium(dropped)
    assert abs(cosine(end.step, best(0, L2())) - 0.9044) < 5e-5
    assert abs(cosine(end.step, best(0, Linf())) - 0.9044) < 5e-5
    assert float(step.noise) == pytest.approx((1 / 81 + 1) / 2)


def test_more_samples_at_the_same_memory():
    for n, d, expected, digits in ((10, 50, 0.999984, 6e-7), (50, 200, 0.9986, 5e-5)):
        proxy = equilibrium(adam_proxy(gaussian(0, n, d)))
        cycle = equilibrium(adam_step(gaussian(0, n, d), Adam(0.9, 0.95)))
        assert abs(cosine(proxy.step, cycle.step) - expected) < digits


def test_random_orders_come_with_a_standard_error():
    problem, rule = bistable(1.2), Adam(0.5, 0.8)
    found = [
        adam_limits(
            problem, rule, batching=WithReplacement(1), draws=512, starts=0, key=key
        ).reached
        for key in range(8)
    ]
    assert all(limit.converged for limit in found)
    ends = np.array([limit.direction for limit in found])
    scatter = np.sqrt(((ends - ends.mean(axis=0)) ** 2).sum() / 7)
    told = np.sqrt(np.mean([limit.standard_error**2 for limit in found]))
    assert 0.4 < told / scatter < 2.5
    exact = adam_limits(problem, rule, starts=0).reached
    assert exact.standard_error == 0.0


@pytest.mark.parametrize("batching", [WithReplacement(5)], ids=repr)
def test_simulated_batches(batching):
    end = equilibrium(adam_proxy(gaussian(0), batching))
    run = late(gaussian(0), 0.9, 0.999, batching, 1e-4, 600_000)
    assert angle(run, end.step) ** 2 / 2 < 1e-5


@pytest.mark.slow
def test_simulated_cycles_of_twenty_sets():
    for seed in range(20):
        run = late(gaussian(seed), 0.9, 0.999, Cyclic(1), 1e-4, 2_000_000)
        proxy = equilibrium(adam_proxy(gaussian(seed))).step
        exact = adam_limits(gaussian(seed), Adam(), step_size=1e-4, starts=0).reached
        assert angle(run, proxy) ** 2 / 2 <= 1e-6
        assert angle(run, exact.direction) ** 2 / 2 <= 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Shuffled, WithReplacement])
@pytest.mark.parametrize("b", [1, 2, 5])
def test_simulated_batches_of_twenty_sets(kind, b):
    for seed in range(20):
        end = equilibrium(adam_proxy(gaussian(seed), kind(b)))
        run = late(gaussian(seed), 0.9, 0.999, kind(b), 1e-4, 1_500_000)
        assert angle(run, end.step) ** 2 / 2 <= 1e-5


@pytest.mark.slow
def test_one_limit_on_gaussian_data():
    cosines = []
    for seed in range(100):
        found = adam_limits(gaussian(seed), Adam(), starts=4)
        assert len(found.limits) == 1
        cosines.append([cosine(found.reached.direction, best(seed, norm))
                        for norm in (L2(), Linf())])  # fmt: skip
    mean, spread = np.mean(cosines, axis=0), np.std(cosines, axis=0)
    np.testing.assert_allclose(mean, [0.970, 0.822], atol=2e-3)
    np.testing.assert_allclose(spread, [0.009, 0.030], atol=2e-3)


def crowded():
    """More samples than a memory of ten steps sees: the flow of weights never rests."""
    rng = np.random.default_rng(2)
    X, w = rng.uniform(size=(200, 10)), rng.normal(size=10)
    w -= w.mean()
    side = np.sign(X @ w)
    X += np.outer(0.02 * side, w / np.linalg.norm(w))
    return pn.LinearClassification(X, side, loss=EXPONENTIAL)


@pytest.mark.slow
def test_weights_that_do_not_come_to_rest_are_no_limit():
    end = equilibrium(adam_step(crowded(), Adam(0.9, 0.9)))
    assert not end.converged
    assert end.iterations < 600  # and not 2000: the gap does not halve
    found = adam_limits(crowded(), Adam(0.9, 0.9), starts=0).reached
    assert (found.stable, found.rate, found.converged) == (None, None, False)
    told = pn.predict(crowded(), Adam(0.9, 0.9, 0.0), batching=Cyclic(1))
    assert told.norm is None
    assert "did not come to rest for b1 = 0.9, b2 = 0.9 (a gap" in told.statement
    # longer memories do: b2 is what it hangs on
    assert equilibrium(adam_step(crowded(), Adam(0.9, 0.999))).converged


def test_further_limits_are_looked_for_as_long_as_there_is_time():
    first = adam_limits(bistable(), Adam(0.9, 0.999), seconds=0)
    assert (len(first.limits), first.starts, first.complete) == (1, 1, False)
    assert "from 1 starts, not all" in repr(first)
    every = adam_limits(bistable(), Adam(0.9, 0.999), seconds=1000)
    assert (len(every.limits), every.starts, every.complete) == (3, 9, True)
    assert angle(every.limits[0].direction, first.limits[0].direction) == 0.0
    assert every.to_dict()["complete"] is True
    with pytest.raises(ValueError, match="seconds must be"):
        adam_limits(bistable(), Adam(), seconds=-1)
