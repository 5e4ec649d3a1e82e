"""Orders of accuracy, exact cases, and what memory's bias is: taken out, it is gone."""

import math
import time
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant import flows
from penchant.optimizers import Adam, AdamW, GradientDescent, NAdam, RMSProp
from tests.flows.modified.cases import flat, net, off, some, toy


def slope(hs, errors):
    return np.polyfit(np.log(hs[-3:]), np.log(errors[-3:]), 1)[0]


def orders(rule, problem, duration, hs, init=None, norm=np.inf, **variants):
    """The slope of the error at a fixed time, for each way to follow the run."""
    errors = {name: [] for name in variants}
    for h in hs:
        steps = round(duration / h)
        run = pn.train(problem, rule, step_size=h, steps=steps, init=init, record=2)
        for name, how in variants.items():
            path = flows.modified_flow(
                problem, rule, step_size=h, steps=steps, init=init, **how
            )
            last = jax.tree.map(lambda x: x[-1], path)
            gap = flat(run.last) - flat(last)
            errors[name].append(np.linalg.norm(gap, norm))
    return {name: slope(hs, found) for name, found in errors.items()}


FIRST, SECOND = {"order": 1}, {"order": 2}

CASES = {
    "gd": (GradientDescent(), 0.05, 2e-3),
    "adam inside": (Adam(0.9, 0.95, 1e-2, True, True), 1.5, 2.5e-4),
    "adam outside": (Adam(0.9, 0.95, 1e-2, False, True), 1.5, 2.5e-4),
    "adam, b1 > b2": (Adam(0.95, 0.9, 1e-2, True, True), 1.5, 2.5e-4),
    "adamw": (AdamW(0.9, 0.95, 1e-2, 0.1, bias_correction=True), 1.0, 2.5e-4),
    # its past steps differ: every step has a table of them
    "nadam": (NAdam(0.5, 0.7, 1e-2, bias_correction=True), 0.3, 1e-3),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", some(CASES, "gd", "adam inside", "adamw"))
def test_at_a_fixed_time_the_run_is_of_second_order_away(name):
    rule, duration, h = CASES[name]
    hs = [h / 2**k for k in range(3)]
    found = orders(rule, toy(), duration, hs, first=FIRST, second=SECOND)
    assert found["first"] == pytest.approx(1.0, abs=0.05)
    assert found["second"] == pytest.approx(2.0, abs=0.06)


def test_limits_are_first_order_until_the_start_is_shifted():
    # heavy ball's first steps are shorter than its last ones
    hs = [1e-4 / 2**k for k in range(5)]
    w = jnp.array([1.2, 1.5])
    found = orders(
        GradientDescent(0.9), toy(), 0.05, hs, w, first=FIRST, second=SECOND,
        limit={"coefficients": "limit"}, shifted={"coefficients": "shifted"},
    )  # fmt: skip
    assert found["first"] == pytest.approx(1.0, abs=0.03)
    assert found["second"] == pytest.approx(2.0, abs=0.07)
    assert found["limit"] == pytest.approx(1.0, abs=0.1)
    assert found["shifted"] > 1.6


@pytest.mark.slow
def test_rmsprop_without_correction_needs_every_step_of_its_start():
    hs = [1e-3 / 2**k for k in range(3)]
    rule = RMSProp(0.8, 1e-2, eps_inside=True)
    found = orders(
        rule, toy(), 0.2, hs, first=FIRST, second=SECOND,
        limit={"coefficients": "limit"}, shifted={"coefficients": "shifted"},
    )  # fmt: skip
    assert found["first"] == pytest.approx(1.0, abs=0.05)
    assert found["second"] == pytest.approx(2.0, abs=0.05)
    assert found["limit"] == pytest.approx(1.0, abs=0.06)
    assert found["shifted"] == pytest.approx(2.0, abs=0.1)


def test_one_program_serves_all_numbers_of_steps():
    rule = Adam(0.9, 0.95, 1e-2, True, True)
    follow = lambda n: flows.modified_flow(toy(), rule, step_size=1e-3, steps=n)
    follow(5)
    before = time.process_time()
    paths = [follow(n) for n in range(6, 46)]
    # compiling once takes seconds, and forty times forty of them
    assert time.process_time() - before < 4.0
    assert [len(path) for path in paths] == list(range(7, 47))


def test_the_memoryless_map_is_of_second_order_too():
    hs = [1e-3 / 2**k for k in range(3)]
    rule = Adam(0.9, 0.95, 1e-2, True, True)
    found = orders(
        rule, toy(), 1.0, hs,
        first={"kind": "map", "order": 1}, second={"kind": "map"},
    )  # fmt: skip
    assert found["first"] == pytest.approx(1.0, abs=0.1)
    assert found["second"] == pytest.approx(2.0, abs=0.15)


@pytest.mark.slow
def test_gradient_descent_has_a_third_order():
    hs = [4e-3 / 2**k for k in range(4)]
    third = {"order": 3, "substeps": 4}
    found = orders(GradientDescent(), toy(), 0.04, hs, third=third)
    assert found["third"] == pytest.approx(3.0, abs=0.15)
    with pytest.raises(ValueError, match="order 3 is known for the flow of gradient"):
        flows.modified_flow(toy(), "adam", step_size=1e-3, steps=4, order=3)


@pytest.mark.slow
def test_a_rule_that_says_nothing_is_replayed_to_the_same_path():
    rule = Adam(0.9, 0.95, 1e-2, bias_correction=True)
    theirs = optax.adam(1.0, 0.9, 0.95, eps=1e-2)
    a, b = (
        flows.modified_flow(toy(), r, step_size=1e-3, steps=12) for r in (rule, theirs)
    )
    assert a.shape == (13, 2)
    assert off(a, b) < 1e-12


@pytest.mark.slow
def test_batches_are_those_of_the_run():
    rule, batching = GradientDescent(0.5), pn.batching.Shuffled(2)
    errors, hs = [], (2e-3, 1e-3)
    for h in hs:
        steps = round(0.04 / h)
        run = pn.train(
            net(), rule, step_size=h, steps=steps, batching=batching, record=2, key=3
        )
        path = flows.modified_flow(
            net(), rule, step_size=h, steps=steps, batching=batching, key=3
        )
        errors.append(off(jax.tree.map(lambda x: x[-1], path), run.last))
    # another key is another order of batches
    other = flows.modified_flow(
        net(), rule, step_size=h, steps=steps, batching=batching, key=4
    )
    assert errors[0] / errors[1] > 2.8
    assert off(jax.tree.map(lambda x: x[-1], other), run.last) > 5 * errors[1]


def test_the_corrected_flow_rests_where_the_run_does_not():
    # |3/2 - 2 w1 w2| = h (c2 - c1)(w1 + w2) at the spurious equilibrium
    h, rule = 1e-3, Adam(0.9, 0.95, 1e-16, True, True)
    path = flows.modified_flow(toy(), rule, step_size=h, steps=6000)
    run = pn.train(toy(), rule, step_size=h, steps=6000, record=2)
    w = np.asarray(path[-1])
    residual = abs(1.5 - 2 * w[0] * w[1])
    c1, c2 = (flows.memory_coefficient(b) for b in (0.9, 0.95))
    assert residual == pytest.approx(0.0383, abs=2e-4)
    assert h * (c2 - c1) * (w[0] + w[1]) == pytest.approx(0.0379, abs=6e-4)
    assert abs(1.5 - 2 * float(run.last[0] * run.last[1])) < residual / 5
    near = pn.correction(toy(), rule, path[-1], step_size=h)
    assert not near.valid


def quadratic(eigenvalues):
    root = jnp.diag(jnp.sqrt(jnp.asarray(eigenvalues) * len(eigenvalues)))
    losses = lambda w, a: 0.5 * (a @ w) ** 2
    return pn.Objective(losses, jnp.ones(len(eigenvalues)), root)


def test_principal_flow_passes_through_gradient_descent_on_quadratics():
    h = 0.1
    problem = quadratic([0.0, 0.3, 9.99, 10.0, 15.0, 21.0])
    path = flows.principal_flow(problem, step_size=h, steps=25)
    run = pn.train(problem, "gd", step_size=h, steps=25, record=25)
    assert np.max(np.abs(path[1:] - run.weights)) < 2e-13 * np.max(np.abs(path))
    assert np.max(np.abs(path[-1])) > 5.0  # one direction diverges, and is followed


@pytest.mark.slow
def test_principal_flow_is_of_second_order_elsewhere():
    hs, w, errors = [2e-3 / 2**k for k in range(4)], jnp.array([1.0, 1.6]), []
    for h in hs:
        steps = round(0.08 / h)
        run = pn.train(toy(), "gd", step_size=h, steps=steps, init=w, record=2)
        path = flows.principal_flow(toy(), step_size=h, steps=steps, init=w)
        errors.append(np.max(np.abs(path[-1] - run.last)))
    assert slope(hs, errors) == pytest.approx(2.0, abs=0.1)


def test_heavy_ball_follows_its_slow_root_and_no_further():
    b, h = 0.5, 0.9 * (1 - math.sqrt(0.5)) ** 2
    problem = quadratic([0.2, 1.0])
    path = flows.principal_flow(problem, step_size=h, steps=30, momentum=b)
    roots = np.array([flows.slow_root(h * x, b).real for x in (0.2, 1.0)])
    assert np.allclose(path, roots ** np.arange(31)[:, None], rtol=0, atol=1e-13)
    # a run with the memory of that mode goes through the same points
    w, v = np.ones(2), (1 - roots) / roots
    for n in range(30):
        g = np.array([0.2, 1.0]) * w
        v = b * v + h * g
        w = w - v
        assert np.allclose(w, path[n + 1], atol=1e-12)
    with pytest.raises(flows.NoSlowModeError, match=r"at most .* = 0.0858.*at step 0"):
        flows.principal_flow(problem, step_size=1.2 * h, steps=3, momentum=b)


def test_the_slow_root_has_narayana_like_coefficients():
    # -log mu as a power series, mu^2 - (1 + b - x) mu + b = 0, in exact fractions
    b, terms = Fraction(1, 3), 5
    d = [Fraction(0)] * terms  # mu = 1 - d: d^2 - (1 - b + x) d + x = 0
    d[1] = 1 / (1 - b)
    for k in range(2, terms):
        square = sum(d[i] * d[k - i] for i in range(1, k))
        d[k] = (square - d[k - 1]) / (1 - b)
    log = [Fraction(0)] * terms  # -log(1 - d) = d + d^2/2 + ...
    power = [Fraction(1)] + [Fraction(0)] * (terms - 1)
    for j in range(1, terms):
        power = [sum(power[i] * d[k - i] for i in range(k + 1)) for k in range(terms)]
        log = [a + p / j for a, p in zip(log, power, strict=True)]
    for k in range(1, terms):
        N = sum(math.comb(k - 1, j) ** 2 * b**j for j in range(k))
        assert log[k] == N / k / (1 - b) ** (2 * k - 1)
    x = 1e-3
    told = sum(float(log[k]) * x**k for k in range(1, terms))
    assert -math.log(flows.slow_root(x, float(b)).real) == pytest.approx(
        told, rel=1e-11
    )


@pytest.mark.slow
def test_gradient_flow_of_a_quadratic_is_exponential():
    problem = quadratic([0.5, 3.0])
    times = np.array([0.0, 0.3, 2.0])
    path = flows.gradient_flow(problem, times=times)
    told = np.exp(-times[:, None] * np.array([0.5, 3.0]))
    assert np.allclose(path, told, atol=1e-9)
    with pytest.raises(ValueError, match="times must be ascending"):
        flows.gradient_flow(problem, times=[1.0, 0.5])
    with pytest.raises(RuntimeError, match="more than 3 steps"):
        flows.gradient_flow(problem, times=[50.0], most_steps=3)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            AdamW(0.8, 0.9, 1e-1, 0.1, bias_correction=True), marks=pytest.mark.slow
        ),
        NAdam(0.8, 0.9, 1e-1, bias_correction=True),
        GradientDescent(0.8),
        pytest.param(GradientDescent(0.8, nesterov=True), marks=pytest.mark.slow),
    ],
    ids=["adamw", "nadam", "heavy ball", "nesterov"],
)
def test_a_runs_own_differences_test_a_correction_without_solving(rule):
    gaps = {"F": [], "C": []}
    momentum = rule.character().second is None
    hs, n = ((4e-5, 2e-5, 1e-5), 120) if momentum else ((4e-4, 2e-4, 1e-4), 240)
    w = jnp.array([1.2, 1.5])
    for k, h in enumerate(hs):
        # at the same time, so at the same place but for h
        steps = n * 2**k
        run = pn.train(toy(), rule, step_size=h, steps=steps, init=w, record=2)
        more = pn.train(toy(), rule, step_size=h, steps=6, record=6, after=run)
        path = jnp.concatenate([run.last[None], jnp.asarray(more.weights)])
        field = flows.log_difference(path, order=5)[0] / h
        found = pn.correction(toy(), rule, run.last, step_size=h, step=steps)
        gaps["F"].append(off(-found.F, field))
        gaps["C"].append(off(found.velocity, field))
    assert slope(hs, gaps["F"]) == pytest.approx(1.0, abs=0.1)
    assert slope(hs, gaps["C"]) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    "rule",
    [
        Adam(0.9, 0.95, 1e-2, True, True),
        pytest.param(Adam(0.9, 0.95, 1e-2), marks=pytest.mark.slow),
        pytest.param(
            NAdam(0.8, 0.9, 1e-2, bias_correction=True), marks=pytest.mark.slow
        ),
        GradientDescent(0.5, nesterov=True),
    ],
    ids=["adam", "adam uncorrected", "nadam", "nesterov"],
)
def test_with_the_term_taken_out_memory_is_gone(rule):
    # what is left is w <- w - h F(w), the rule without memory, to second order
    # and it is seen once the run is long against the start of the memory
    hs, first = [8e-4, 4e-4, 2e-4], 500
    if rule.character().second is None:
        hs, first = [h / 4 for h in hs], 125
    gaps = {0.0: [], 1.0: []}
    for h in hs:
        steps = round(hs[0] * first / h)
        path = flows.modified_flow(
            toy(), rule, step_size=h, steps=steps, kind="map", order=1
        )
        for strength, found in gaps.items():
            free = flows.WithoutMemoryBias(rule, strength)
            run = pn.train(toy(), free, step_size=h, steps=steps, record=2)
            found.append(off(run.last, path[-1]))
    assert slope(hs, gaps[0.0]) == pytest.approx(1.0, abs=0.1)
    assert slope(hs, gaps[1.0]) == pytest.approx(2.0, abs=0.2)


def test_a_strength_of_zero_is_the_rule_itself():
    rule = Adam(0.9, 0.95)
    free = flows.WithoutMemoryBias(rule, 0.0)
    a, b = (
        pn.train(toy(), r, step_size=1e-3, steps=50, record=2).last
        for r in (rule, free)
    )
    assert np.array_equal(a, b)
    with pytest.raises(TypeError, match="which moments it has"):
        flows.WithoutMemoryBias(pn.optimizers.read(optax.adam(1.0)))


def test_beyond_stability_it_is_said_where_the_flow_ends():
    with pytest.warns(flows.DivergedFlowWarning, match="left the range of floats"):
        path = flows.modified_flow(toy(), GradientDescent(0.9), step_size=0.5, steps=40)
    assert not np.isfinite(path[-1]).all()


@pytest.mark.slow
def test_at_the_edge_the_central_flow_is_the_mean_of_a_run():
    # sharpness w1 rises by c a step until oscillations in w0 of variance 2c hold it;
    # steps spiral away from that by a factor of about 1 + c, so c is small, the start
    # next to it, and the run three turns of 2 pi/sqrt(2c) steps
    c, h, steps = 1e-3, 1.0, 420
    sharpen = lambda w, _: 0.5 * w[1] * w[0] ** 2 - c * w[1] + 0.0 * _
    start = jnp.array([math.sqrt(2 * c), 1.99])
    problem = pn.Objective(sharpen, start, jnp.zeros(1))
    flow = flows.central_flow(problem, step_size=h, steps=40)
    run = pn.train(problem, "gd", step_size=h, steps=steps, record=steps)
    path = np.asarray(run.weights)
    assert float(flow.sharpness[-1]) == pytest.approx(2.0 / h, abs=5e-3)
    assert path[:, 1].mean() == pytest.approx(2.0 / h, abs=5e-3)
    assert float(flow.variance[-1]) == pytest.approx(2 * c, rel=0.02)
    assert np.mean(path[:, 0] ** 2) == pytest.approx(2 * c, rel=0.05)
    # below the edge nothing is added, and without it the sharpness goes on rising
    assert np.all(np.asarray(flow.variance[:5]) < 1e-9)
    plain = flows.gradient_flow(problem, times=[steps * h])
    assert float(plain[-1, 1]) > 2.3
