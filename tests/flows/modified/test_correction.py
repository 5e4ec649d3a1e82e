"""Closed forms are replays; both are what the papers derive; validity comes first."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant.flows.modified._choose import Engine
from penchant.flows.modified._moments import MomentRule
from penchant.flows.modified._replay import EVERY, Increment, replay
from penchant.optimizers import AbstractOptimizer, Adam, GradientDescent
from tests.flows.modified.cases import RULES, TWINS, flat, net, off, some, toy

H = 1e-3


@pytest.mark.sampled
@pytest.mark.parametrize("name", some(RULES, "heavy ball", "nesterov", "nadam", "lion"))
def test_the_closed_form_of_a_moment_rule_is_its_replay(name):
    rule, problem = RULES[name], net()
    w = problem.start
    increment = Increment(problem, rule, True)
    moments = MomentRule.of(rule)
    run = eqx.filter_jit(replay)
    expand = eqx.filter_jit(lambda w, known: moments.form.expand(problem, w, known))
    for n in (0, 1, 60):
        seen = run(increment, w, jnp.asarray(n), jnp.full(1, H), EVERY)
        told = expand(w, moments.coefficients(n))
        size = np.max(np.abs(flat(seen.F))) + np.max(np.abs(flat(seen.memory)))
        assert off(told.F, seen.F) < 1e-12
        for parts, whole in ((told.memory, seen.memory), (told.half, seen.half)):
            total = sum(flat(part) for part in parts)
            assert np.max(np.abs(total - flat(whole))) < 2e-12 * size


def test_long_memories_need_no_unrolling():
    # 10^6 steps of a decay of .999999: against sums one by one, of smooth steps alone
    rule = Adam(0.9, 0.999999, 1e-2)
    moments = MomentRule.of(rule)
    n = 300_000
    known = moments._host(n)
    s = np.arange(n, dtype=float)
    first, second = moments.first.total(s), moments.second.total(s)
    for g in (0.3, 1.0, 40.0):
        step = first * g / (np.sqrt(second) * g + 1e-2)
        for i, ages in enumerate((moments.first, moments.second)):
            direct = math.fsum(ages.tail(n, s) * step)
            at = known.at[:, 0] * g / (np.sqrt(known.at[:, 1]) * g + 1e-2)
            assert np.sum(known.weights[i] * at) == pytest.approx(direct, rel=1e-11)


@pytest.mark.parametrize("b", [0.5, 0.9, 0.999, 0.999999])
def test_the_memory_coefficient_is_one_and_twice_the_mean_age(b):
    for n in (0, 1, 7, 1000, 30_000):
        k = np.arange(n + 1.0)
        weights = b**k
        age = np.sum(k * weights) / np.sum(weights)
        assert pn.flows.memory_coefficient(b, n) == pytest.approx(1 + 2 * age, rel=1e-9)
    assert pn.flows.memory_coefficient(b) == pytest.approx((1 + b) / (1 - b))


@pytest.mark.parametrize(
    "name", some([name for name in TWINS if name != "clipped"], "adamw")
)
def test_an_optax_transformation_has_the_correction_of_its_twin(name):
    theirs, ours = TWINS[name]
    problem = net()
    for step in (3, None):
        a, b = (
            pn.correction(problem, rule, problem.start, step_size=H, step=step)
            for rule in (theirs, ours)
        )
        assert a.how.startswith("replay")
        assert b.how.startswith("the closed form")
        assert off(a.F, b.F) < 1e-12
        assert off(a.direction, b.direction) < (1e-11 if step is None else 1e-12)


@pytest.mark.slow
def test_a_clipped_rule_is_expanded_as_what_it_does():
    theirs, _ = TWINS["clipped"]
    ours = pn.optimizers.SteepestDescent(pn.norms.L2())
    problem = toy()
    a, b = (
        pn.correction(problem, rule, problem.start, step_size=H, step=2)
        for rule in (theirs, ours)
    )
    assert off(a.direction, b.direction) < 1e-12


class _Displaced(AbstractOptimizer):
    """Heavy ball on steps: v <- b v - h g, w <- w + v. The step size is remembered."""

    def init(self, w):
        return jax.tree.map(jnp.zeros_like, w)

    def update(self, gradient, state, w, step_size):
        g = gradient.value()
        v = jax.tree.map(lambda v, g: 0.9 * v - step_size * g, state, g)
        return jax.tree.map(jnp.add, w, v), v


@pytest.mark.slow
def test_a_rule_of_a_stranger_whose_memory_holds_the_step_size():
    problem = net()
    engine = Engine.of(problem, _Displaced(), H)
    assert not engine.increment.linear
    assert engine.moments is None
    a, b = (
        pn.correction(problem, rule, problem.start, step_size=H, step=5)
        for rule in (_Displaced(), GradientDescent(0.9))
    )
    # its steps are differences of weights, with their rounding
    assert off(a.F, b.F) < 1e-11
    assert off(a.direction, b.direction) < 1e-10


@pytest.mark.slow
def test_mini_batches_are_the_sums_of_the_theorem():
    # cattaneo2024adam: M, R, L, P and their bars for batches in a given order
    problem, b1, b2, eps = net(), 0.8, 0.9, 1e-2
    rows = np.array([[0, 1], [4, 5], [2, 3], [6, 7], [1, 6]])
    n, w = len(rows) - 1, problem.start
    x = problem.flat(w)
    loss = lambda x, r: problem.batch_loss(problem.unflat(x), r)
    g = np.stack([jax.grad(loss)(x, jnp.asarray(r)) for r in rows])
    H_ = np.stack([jax.hessian(loss)(x, jnp.asarray(r)) for r in rows])

    def weights(b, n):
        k = np.arange(n + 1)
        return (1 - b) * b ** (n - k) / (1 - b ** (n + 1))

    M = np.stack([weights(b1, m) @ g[: m + 1] for m in range(n + 1)])
    v = np.stack([weights(b2, m) @ g[: m + 1] ** 2 for m in range(n + 1)])
    for inside in (True, False):
        R = np.sqrt(v + eps) if inside else np.sqrt(v) + eps
        F = M / R
        D = np.stack([F[k:n].sum(axis=0) for k in range(n + 1)])
        L = sum(weights(b1, n)[k] * H_[k] @ D[k] for k in range(n + 1))
        P = sum(weights(b2, n)[k] * g[k] * (H_[k] @ D[k]) for k in range(n + 1))
        Lbar = sum(weights(b1, n)[k] * H_[k] @ F[n] for k in range(n + 1))
        Pbar = sum(weights(b2, n)[k] * g[k] * (H_[k] @ F[n]) for k in range(n + 1))
        if inside:
            told = M[n] * (2 * P + Pbar) / (2 * R[n] ** 3)
        else:
            told = M[n] * (2 * P + Pbar) / (2 * R[n] ** 2 * np.sqrt(v[n]))
        told = told - (2 * L + Lbar) / (2 * R[n])
        rule = Adam(b1, b2, eps, inside, bias_correction=True)
        found = pn.correction(problem, rule, w, step_size=H, batches=rows)
        assert off(found.F, F[n]) < 1e-12
        assert off(found.direction, told) < 1e-12
        assert off(jax.tree.map(jnp.add, found.memory, found.discretisation),
                   found.direction) < 1e-15  # fmt: skip


@pytest.mark.slow
def test_full_batches_are_a_hessian_product_with_two_coefficients():
    # bias = h/2 {c1 - c2 + c2 eps/(g^2 + eps)} d|g|_(1, eps), at this very step
    problem, eps, n = net(), 1e-2, 4
    rule = Adam(0.9, 0.95, eps, eps_inside=True, bias_correction=True)
    found = pn.correction(problem, rule, problem.start, step_size=H, step=n)
    x = problem.flat(problem.start)
    loss = lambda x: problem.batch_loss(problem.unflat(x))
    slope = jax.grad(loss)
    norm = lambda x: jnp.sum(jnp.sqrt(slope(x) ** 2 + eps))
    g, N = slope(x), jax.grad(norm)(x)
    c1, c2 = (pn.flows.memory_coefficient(b, n) for b in (0.9, 0.95))
    bias = 0.5 * (c1 - c2 + c2 * eps / (g**2 + eps)) * N
    assert off(found.direction, -bias / jnp.sqrt(g**2 + eps)) < 1e-12
    V = H * jnp.abs(bias) / jnp.abs(g)
    assert np.allclose(flat(found.validity), V, rtol=1e-11)


@pytest.mark.slow
def test_a_schedule_weighs_the_past_by_its_steps():
    problem, n = net(), 12
    schedule = pn.schedules.power(1e-3, 0.7)
    for name in ("heavy ball", "adam", "adamw", "nadam"):
        rule = RULES[name]
        told = pn.correction(problem, rule, problem.start, step_size=schedule, step=n)
        etas = pn.schedules.table(schedule, jnp.asarray(0), n + 1)
        increment = Increment(problem, rule, True)
        seen = eqx.filter_jit(replay)(
            increment, problem.start, jnp.asarray(n), etas, EVERY
        )
        both = jax.tree.map(lambda a, b: -(a + b), seen.memory, seen.half)
        assert off(told.direction, both) < 1e-11
        assert told.step_size == pytest.approx(float(etas[-1]))


def test_the_map_is_memory_alone_and_a_first_step_has_none():
    problem, rule = net(), RULES["heavy ball"]
    flow, map_ = (
        pn.correction(problem, rule, problem.start, step_size=H, kind=kind)
        for kind in ("flow", "map")
    )
    assert off(map_.direction, flow.memory) == 0.0
    first = pn.correction(problem, rule, problem.start, step_size=H, step=0)
    assert np.all(flat(first.memory) == 0)
    assert off(first.direction, first.discretisation) == 0.0


@pytest.mark.slow
def test_over_random_orders_heavy_ball_adds_the_spread_of_gradients():
    # E of memory = b/(1-b)^3 Hg + b/((1-b)^2 (1+b)) Cov(H, g), for independent batches
    problem, b, n = net(), 0.5, 40
    found = pn.correction(
        problem,
        GradientDescent(b),
        problem.start,
        step_size=H,
        step=n,
        batches=pn.batching.WithReplacement(1),
        orders=600,
        kind="map",
    )
    x = problem.flat(problem.start)
    loss = lambda x, r: problem.batch_loss(problem.unflat(x), r)
    each = [jnp.asarray([i]) for i in range(8)]
    g = np.stack([jax.grad(loss)(x, r) for r in each])
    H_ = np.stack([jax.hessian(loss)(x, r) for r in each])
    together = H_.mean(axis=0) @ g.mean(axis=0)
    spread = np.einsum("nij,nj->i", H_, g) / 8 - together
    told = b / (1 - b) ** 3 * together + b / ((1 - b) ** 2 * (1 + b)) * spread
    z = (flat(found.direction) + told) / flat(found.error)
    assert np.max(np.abs(z)) < 4.0
    # without the spread it is another number
    without = (flat(found.direction) + b / (1 - b) ** 3 * together) / flat(found.error)
    assert np.max(np.abs(without)) > 6.0


def test_outside_the_perturbative_regime_no_norm_is_quoted():
    problem = toy()
    found = pn.correction(problem, Adam(0.9, 0.999, 1e-8), problem.start, step_size=0.1)
    assert found.share_valid < 0.5
    assert not found.valid
    assert math.isnan(found.ratio)
    assert math.isnan(found.cosine)
    assert "outside the perturbative regime" in found.verdict
    assert "of the step at cosine" not in repr(found)
    inside = pn.correction(problem, "gd", problem.start, step_size=1e-4)
    assert inside.valid
    assert inside.penalised == 1.0
    assert inside.cosine > 0.9
    assert "penalises the gradient's norm in 100%" in inside.verdict


def test_a_first_moment_may_be_valid_where_the_second_is_not():
    rule = Adam(0.9, 0.999, 1e-8, bias_correction=True)
    found = pn.correction(net(), rule, net().start, step_size=1e-4)
    assert found.first.valid
    assert not found.second.valid
    parts = jax.tree.map(jnp.add, found.first.direction, found.second.direction)
    assert off(parts, found.direction) < 1e-12
    assert "the first moment's part alone is valid" in found.verdict


def test_the_threshold_is_where_it_stops_helping():
    # the true step of a run against its memoryless and its corrected one, coordinates
    # in bins of V: below .1 the correction helps, beyond 1 it makes things worse
    problem, n = net(), 60
    rule = Adam(0.9, 0.95, 1e-8, bias_correction=True)
    before, after, V = [], [], []
    for h in np.geomspace(1e-5, 3e-2, 12):
        run = pn.train(problem, rule, step_size=h, steps=n + 1, record=n + 1)
        w = jax.tree.map(lambda x: x[n - 1], run.weights)
        step = (flat(w) - flat(run.last)) / h
        told = pn.correction(problem, rule, w, step_size=h, step=n, kind="map")
        before.append(np.abs(step - flat(told.F)))
        after.append(np.abs(step + flat(told.velocity)))
        V.append(flat(told.validity))
    before, after, V = map(np.concatenate, (before, after, V))
    helps = lambda low, high: (
        np.median(after[(low <= V) & (high > V)])
        / np.median(before[(low <= V) & (high > V)])
    )
    assert helps(0.0, 0.03) < 0.3
    assert helps(0.03, 0.3) < 0.8
    assert helps(1.0, np.inf) > 1.0


def test_entries_that_divide_zero_by_zero_count_as_invalid():
    def losses(w, batch):
        return (w[0] - 1.0) ** 2 + w[0] * w[1] * w[2] + 0.0 * batch

    problem = pn.Objective(losses, jnp.array([0.5, 0.0, 0.0]), jnp.zeros(1))
    found = pn.correction(problem, Adam(0.9, 0.95, 0.0), problem.start, step_size=H)
    assert np.all(np.isfinite(flat(found.direction)))
    assert found.validity[0] < 1.0
    # where neither the gradient nor its change is, nothing moves: 0/0 = 0
    assert found.validity[1:].tolist() == [0.0, 0.0]
    tilted = pn.Objective(losses, jnp.array([0.5, 0.0, 1e-3]), jnp.zeros(1))
    seen = pn.correction(tilted, Adam(0.9, 0.95, 0.0), tilted.start, step_size=H)
    assert math.isinf(seen.validity[2])
    assert seen.direction[2] == 0.0
    assert "divide 0 by 0" in seen.notes[0]


@pytest.mark.slow
def test_what_is_not_smooth_is_said():
    def kinked(w, batch):
        return jax.nn.relu(batch @ w) ** 2 + jnp.sum(w**2)

    problem = pn.Objective(kinked, jnp.ones(2), jnp.eye(2))
    rule = optax.amsgrad(1.0)
    notes = pn.correction(problem, rule, jnp.ones(2), step_size=H, step=4).notes
    assert any("maximum" in note for note in notes)
    assert any("kinks (relu)" in note for note in notes)
    lion = pn.correction(net(), "lion", net().start, step_size=H)
    assert lion.ratio == 0.0
    assert "nothing is added" in lion.verdict
    assert any("a sign changes" in note for note in lion.notes)


@pytest.mark.slow
def test_bad_input_is_refused_at_the_door():
    problem, w = net(), net().start
    with pytest.raises(ValueError, match="does not fade"):
        pn.correction(problem, "adagrad", w, step_size=H)
    with pytest.raises(ValueError, match="does not fade"):
        pn.correction(problem, optax.adagrad(1.0), w, step_size=H)
    with pytest.raises(ValueError, match="step must be given where the step size"):
        pn.correction(problem, "adam", w, step_size=pn.schedules.power(0.1, 0.5))
    with pytest.raises(ValueError, match=r"step \+ 1 = 3 rows.*got 2"):
        pn.correction(problem, "gd", w, step_size=H, step=2, batches=[[0], [1]])
    with pytest.raises(ValueError, match="rows from 0 to 7; got 0 to 8"):
        pn.correction(problem, "gd", w, step_size=H, batches=[[0], [8]])
    with pytest.raises(ValueError, match="row indices, whole numbers"):
        pn.correction(problem, "gd", w, step_size=H, batches=[0.5, 1.0])
    with pytest.raises(ValueError, match="step must be given where batches"):
        pn.correction(problem, "gd", w, step_size=H, batches=pn.batching.Shuffled(2))
    with pytest.raises(ValueError, match="kind must be 'flow' or 'map'"):
        pn.correction(problem, "gd", w, step_size=H, kind="ode")
    with pytest.raises(ValueError, match="step_size"):
        pn.correction(problem, "gd", w, step_size=-1.0)


def test_single_precision_is_warned_of():
    problem = toy()
    with pytest.warns(pn.flows.SinglePrecisionWarning, match="drift"):
        pn.correction(problem, "gd", np.float32([1.0, 2.0]), step_size=H)
