"""Along the minimisers: closed forms, laws that must hold, and runs that follow."""

import itertools
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import penchant as pn
from penchant.flows.slow import _manifold as manifolds, _projection as projections
from penchant.flows.slow._metric import Metric
from penchant.optimizers import (
    Adam,
    AdamE,
    AdamMini,
    AdamW,
    GradientDescent,
    Shampoo,
    WeightDecay,
)
from tests.flows.slow_cases import (
    RULES,
    diagonal,
    mean_of_runs,
    monomial,
    runs,
    two_outputs,
)

POWERS, START = (1, 2, 3), (2.0, 0.5, 1.0)


def closed_form(rule):
    """Where sum_j H_jj^e is least on prod x_j^a_j = 1: x_j ~ a_j^{1 - 1/(2e)}."""
    a = np.array(POWERS, float)
    what = rule.character().second
    if what is not None and what.over == "blocks":
        A, size = np.array([3.0, 3.0, 3.0]), np.array([2.0, 2.0, 1.0])
        x = np.sqrt(a * size / A)
    else:
        e = 1.0 if what is None else 1.0 - float(what.exponent)
        x = a ** (1 - 1 / (2 * e))
    return x / np.prod(x**a) ** (1 / a.sum())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name != "adam" else [])
        for name in RULES
    ],
)
def test_the_flow_ends_where_its_potential_is_least(name):
    rule, rounded = RULES[name]
    problem = monomial(POWERS, START)
    flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=400.0)
    want = closed_form(rule)
    assert np.allclose(want, rounded, atol=6e-5)
    assert flow.settled
    assert np.abs(np.asarray(flow.last) - want).max() <= 1e-8
    assert float(jnp.max(jnp.diff(flow.potential))) <= 1e-12
    assert flow.tangency < 1e-9


@pytest.mark.parametrize(
    ("exponent", "rate"),
    [
        (0.5, 0.05),
        *(
            pytest.param(e, c, marks=pytest.mark.slow)
            for e in (0.25, 0.5, 0.75)
            for c in (0.05, 1.0, 20.0)
            if (e, c) != (0.5, 0.05)
        ),
    ],
)
def test_the_potential_falls_where_the_sharpness_alone_does_not(exponent, rate):
    # from where the sharpness is least, with a second moment that is not of there
    best = closed_form(AdamE(eps=0.0, exponent=exponent))
    problem = monomial(POWERS, tuple(best))
    second = jnp.array([30.0, 0.01, 2.0])
    flow = pn.flows.slow_flow(
        problem, AdamE(0.9, 0.999, 0.0, exponent), noise=1.0, time=6.0, rate=rate,
        second=second,
    )  # fmt: skip
    assert float(jnp.max(jnp.diff(flow.potential))) <= 1e-12
    if rate == 0.05:
        measure = lambda w: pn.measures.power_trace(problem, w, 1 - exponent).value
        along = [measure(w) for w in flow.weights]
        assert np.max(np.diff(along)) > 1e-3


@pytest.mark.parametrize(
    ("eps", "exponent", "inside"),
    [
        (0.3, 0.5, False),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (1.0, 0.5, False),
                (3.0, 0.5, False),
                (0.3, 0.25, False),
                (3.0, 0.25, False),
                (0.3, 0.5, True),
                (3.0, 0.5, True),
            )
        ),
    ],
)
def test_with_eps_the_end_minimises_the_potential_by_another_solver(
    eps, exponent, inside
):
    from scipy.optimize import minimize_scalar

    rule = (
        Adam(0.0, 0.999, eps, eps_inside=inside)
        if exponent == 0.5
        else AdamE(0.0, 0.999, eps, exponent)
    )
    problem = monomial((2, 1), (1.5, 1.0))
    flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=300.0)
    metric = Metric.of(rule)

    def potential(log_x):
        x, y = np.exp(log_x), np.exp(-2 * log_x)
        h = np.array([2 / x, 1 / y]) ** 2  # on the manifold, h_j = (a_j / x_j)^2
        return metric.lyapunov(h, h)

    best = minimize_scalar(potential, bounds=(-1, 1), method="bounded",
                           options={"xatol": 1e-10})  # fmt: skip
    assert abs(float(flow.last[0]) - np.exp(best.x)) < 1e-6
    assert float(jnp.max(jnp.diff(flow.potential))) <= 1e-12
    if exponent == 0.5 and not inside:
        want = {0.3: 1.03482, 1.0: 1.06907, 3.0: 1.09703}[eps]
        assert abs(float(flow.last[0]) - want) < 2e-5


@pytest.mark.slow
def test_blocks_lie_between_adam_and_one_block():
    problem = monomial(POWERS, START)
    single = pn.flows.slow_flow(
        problem, AdamMini(0.9, 0.999, 0.0, [0, 1, 2]), noise=1.0, time=30.0, rate=2.0
    )
    adam = pn.flows.slow_flow(
        problem, Adam(0.9, 0.999, 0.0), noise=1.0, time=30.0, rate=2.0
    )
    assert jnp.allclose(single.last, adam.last, atol=1e-9)
    whole = pn.flows.slow_flow(
        problem, AdamMini(0.9, 0.999, 0.0, [0, 0, 0]), noise=1.0, time=300.0
    )
    sgd = pn.flows.slow_flow(problem, GradientDescent(), noise=1.0, time=30.0)
    assert jnp.allclose(whole.last, sgd.last, atol=1e-6)  # same end, another speed


def test_momentum_is_a_factor_on_steps_or_nothing():
    problem = monomial(POWERS, START)
    far = lambda rule, time: pn.flows.slow_flow(problem, rule, noise=1.0, time=time)
    heavy = far(GradientDescent(0.5), 0.01)
    assert jnp.allclose(heavy.last, far(GradientDescent(), 0.04).last, atol=1e-9)
    mean = far(Adam(0.0, 0.999, 0.0), 0.5), far(Adam(0.95, 0.999, 0.0), 0.5)
    assert jnp.allclose(mean[0].last, mean[1].last, atol=1e-12)


@pytest.mark.slow
def test_adams_flow_does_not_see_the_noise_level_and_others_do():
    problem = monomial((2, 1), (2.0, 1.0))
    end = lambda rule, a: pn.flows.slow_flow(problem, rule, noise=a, time=0.5).last
    adam = Adam(0.9, 0.999, 0.0)
    assert jnp.allclose(end(adam, 1.0), end(adam, 0.0625), atol=1e-9)
    assert not jnp.allclose(end("gd", 1.0), end("gd", 0.0625), atol=1e-2)
    # SGD's speed is as the noise, AdamE's as its power 1 - 2 lambda
    slow = pn.flows.slow_flow(problem, "gd", noise=0.0625, time=8.0).last
    assert jnp.allclose(end("gd", 1.0), slow, atol=1e-8)
    rule = AdamE(0.9, 0.999, 0.0, 0.25)
    slow = pn.flows.slow_flow(problem, rule, noise=0.0625, time=2.0).last
    assert jnp.allclose(end(rule, 1.0), slow, atol=1e-8)


def printed(problem, rule, x, alpha, time, rate, v):
    """-(alpha/2) S dPhi_S S grad<H, S>, the form in print, by Euler in small steps."""
    manifold = manifolds.manifold_of(problem, x)
    metric = Metric.of(rule)

    @jax.jit
    def go(x, v):
        def one(_, carry):
            x, v = carry
            S = metric.S(manifold, v, x)
            q = jax.grad(lambda y: manifold.inner(y, S))(x)
            u = manifolds.tangent(manifold, x, S, S * q)
            aim = metric.follows(manifold, x, alpha)
            dt = time / 4000
            return x - dt * 0.5 * alpha * S * u, v + dt * rate * (aim - v)

        return jax.lax.fori_loop(0, 4000, one, (x, v))[0]

    return go(x, v)


def test_the_printed_form_misses():
    problem = monomial((2, 1), (2.0, 1.0))
    rule = Adam(0.9, 0.999, 0.0)
    x = problem.flat(problem.start)
    v = 4.0 * manifolds.manifold_of(problem, x).diagonal(x)
    end = printed(problem, rule, x, jnp.ones(()), 4.0, 1.0, v)
    assert np.allclose(end, (0.9115, 0.4051), atol=2e-3)
    assert abs(float(end[0] ** 2 * end[1]) - 0.4956) < 0.2  # it has left h = 1 far
    flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=4.0, rate=1.0, second=v)
    assert np.allclose(flow.last, (1.2746, 0.6156), atol=1e-4)
    assert abs(float(flow.last[0] ** 2 * flow.last[1]) - 1.0) < 1e-9


def _errors(name, etas, seeds, time):
    """The largest error over time and weights, and the standard error of its place."""
    problem = monomial((2, 1), (2.0, 1.0))
    base = RULES[name][0]
    sgd = name == "sgd"
    v = None
    if not sgd:
        x = problem.flat(problem.start)
        v = 4.0 * manifolds.manifold_of(problem, x).diagonal(x)
    flow = pn.flows.slow_flow(
        problem, base, noise=1.0, time=time, rate=None if sgd else 1.0, second=v,
        record=21,
    )  # fmt: skip
    errors = []
    for eta in etas:
        rule = base
        if not sgd:
            rule = eqx.tree_at(lambda r: r.b2, base, jnp.asarray(1 - eta**2))
        steps = round(time / eta**2 / 20) * 20
        mean, spread = mean_of_runs(problem, rule, eta, steps, 1.0, seeds, v)
        off = np.abs(mean - np.asarray(flow.weights)[1:])
        errors.append((off.max(), spread.ravel()[off.argmax()]))
    return errors


def test_the_mean_of_runs_is_theirs_with_less_spread():
    problem = monomial((2, 1), (2.0, 1.0))
    mean, error = mean_of_runs(problem, GradientDescent(), 0.04, 100, 1.0, 256, None, 2)
    paths = runs(problem, GradientDescent(), 0.04, 100, 1.0, 256, None, 2)
    plain = paths.std(axis=1, ddof=1) / 16
    assert np.all(np.abs(mean - paths.mean(axis=1)) < 3.5 * plain)
    assert np.all(error < 0.5 * plain)


@pytest.mark.slow
def test_gradient_descent_follows_its_flow_to_the_first_order():
    errors = _errors("sgd", (0.02, 0.01), 256, 0.3)
    (coarse, _), (fine, spread) = errors
    assert 1.7 <= coarse / fine <= 2.5, errors
    assert spread < 0.1 * fine


@pytest.mark.slow
def test_the_error_of_adams_flow_is_of_first_order():
    errors = _errors("adam", (0.02, 0.01, 0.005), 512, 4.0)
    for (coarse, _), (fine, spread) in itertools.pairwise(errors):
        assert 1.7 <= coarse / fine <= 2.5, errors
        assert spread < 0.1 * fine


@pytest.mark.slow
def test_the_error_of_adames_flow_is_of_first_order():
    # above, a term of second order counts: from .02 on it falls 4.3, 2.5, 1.8 fold
    errors = _errors("adame, 1/4", (0.01, 0.005, 0.0025), 512, 4.0)
    for (coarse, _), (fine, spread) in itertools.pairwise(errors):
        assert coarse / fine >= 1.7, errors
        assert spread < 0.1 * fine
    (coarse, _), (fine, _) = errors[1:]
    assert coarse / fine <= 2.5, errors


@pytest.mark.slow
def test_gradient_descents_error_falls_fourfold():
    (coarse, _), (fine, spread) = errors = _errors("sgd", (0.02, 0.005), 512, 0.6)
    assert coarse / fine >= 4, errors
    assert spread < 0.05 * fine


@pytest.mark.parametrize(
    "S", [pytest.param(None, marks=pytest.mark.slow), (1.0, 0.3, 2.0)]
)
def test_the_projection_is_the_end_of_the_flow(S):
    problem = two_outputs()
    w = jnp.array([1.3, 0.8, 1.1])
    S = None if S is None else jnp.array(S)
    scale = 1.0 if S is None else S
    right = lambda t, y: -np.asarray(scale * problem.gradient(jnp.asarray(y)))
    far = solve_ivp(right, (0, 300), np.asarray(w), method="LSODA", rtol=1e-12,
                    atol=1e-14)  # fmt: skip
    at = pn.flows.project(problem, w, preconditioner=S)
    assert np.abs(np.asarray(at) - far.y[:, -1]).max() < 1e-9
    assert float(problem.loss(at)) < 1e-20


@pytest.mark.slow
def test_near_the_manifold_the_expansion_has_an_error_of_third_order():
    problem, S = two_outputs(), jnp.array([1.0, 0.3, 2.0])
    errors, plain, told = [], [], []
    for h in (0.1, 0.05):
        w = jnp.array([1 + h, 1 - 0.7 * h, 1 + 0.5 * h])
        manifold = manifolds.manifold_of(problem, w)
        want = pn.flows.project(problem, w, preconditioner=S)
        y, error = projections.near(manifold, w, S)
        step = w
        for _ in range(20):
            step = step - manifold.back(step, S)
        errors.append(float(jnp.linalg.norm(y - want)))
        plain.append(float(jnp.linalg.norm(step - want)))
        told.append(float(error))
    assert errors[0] / errors[1] > 7
    assert 3.5 < plain[0] / plain[1] < 5  # Gauss-Newton alone is of the second
    assert all(e <= t for e, t in zip(errors, told, strict=True))


@pytest.mark.slow
def test_an_objective_has_the_flow_of_its_regression():
    problem = monomial((2, 1), (2.0, 1.0))
    losses = lambda w, x: 0.5 * (w[0] ** 2 * w[1] - x) ** 2
    same = pn.Objective(losses, problem.start, jnp.ones(1))
    for rule in ("gd", Adam(0.9, 0.999, 0.0)):
        one = pn.flows.slow_flow(problem, rule, noise=1.0, time=0.4)
        other = pn.flows.slow_flow(same, rule, noise=1.0, time=0.4)
        assert jnp.allclose(one.last, other.last, atol=1e-7)
        assert int(other.rank[0]) == 1


def test_decay_ends_where_it_balances_the_sharpness():
    # on xy = 1: SGD's flow is -(a/4) grad tr H, decay's -(l/eta) x, along the curve
    problem = monomial((2, 1), (2.0, 1.0))
    decay, eta, alpha = 0.02, 0.05, 0.3
    rule = WeightDecay(GradientDescent(), decay)
    flow = pn.flows.slow_flow(problem, rule, noise=alpha, time=40.0, step_size=eta)
    x = flow.last
    h = jnp.array([2 / x[0], 1 / x[1]])  # grad of log h, normal to the curve
    force = jax.grad(
        lambda w: (
            0.25 * alpha * ((2 * w[0] * w[1]) ** 2 + w[0] ** 4)
            + decay / eta * 0.5 * jnp.sum(w**2)
        )
    )(x)
    along = jnp.array([-h[1], h[0]]) / jnp.linalg.norm(h)
    assert abs(float(along @ force)) < 1e-6
    assert flow.potential is None
    with pytest.raises(ValueError, match="step_size must be given"):
        pn.flows.slow_flow(problem, AdamW(eps=0.0), noise=1.0, time=1.0)


@pytest.mark.slow
def test_decayed_runs_follow_the_flow():
    problem = monomial((2, 1), (2.0, 1.0))
    x = problem.flat(problem.start)
    v = 4.0 * manifolds.manifold_of(problem, x).diagonal(x)
    eta, decay = 0.01, 0.004
    rule = WeightDecay(Adam(0.9, 1 - eta**2, 0.0), decay)
    flow = pn.flows.slow_flow(
        problem, rule, noise=1.0, time=1.0, rate=1.0, second=v, step_size=eta
    )
    bare = pn.flows.slow_flow(
        problem, Adam(0.9, 0.999, 0.0), noise=1.0, time=1.0, rate=1.0, second=v
    )
    paths = runs(problem, rule, eta, 10_000, 1.0, 16, v)
    mean = paths[-1].mean(axis=0)
    assert np.abs(mean - np.asarray(flow.last)).max() < 0.01
    assert np.abs(mean - np.asarray(bare.last)).max() > 0.04


@pytest.mark.slow
def test_shampoo_has_a_flow_and_no_potential():
    apply = lambda w, X: jnp.einsum("nij,ij->n", X, w @ w.T)
    rng = np.random.default_rng(0)
    w = jnp.asarray(rng.normal(size=(2, 2)))
    X = rng.normal(size=(1, 2, 2))
    problem = pn.Regression(apply, w, X, apply(w, X))
    for power in (0.25, 0.5):
        rule = Shampoo(0.99, 1e-2, power)
        flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=0.05)
        assert flow.potential is None
        assert flow.tangency < 1e-9
        assert float(problem.loss(flow.last)) < 1e-18
        assert not jnp.allclose(flow.last, w)


@pytest.mark.slow
def test_extinct_coordinates_are_seen_and_timed():
    problem, truth = diagonal()
    flow = pn.flows.slow_flow(
        problem, Adam(0.9, 0.999, 0.05), noise=0.25, time=4.0, rate=4.0
    )
    beta = np.asarray(flow.last["u"] ** 2 - flow.last["v"] ** 2)
    assert np.abs(beta - truth).max() < 1e-3
    assert int(flow.extinct.sum()) >= 60
    assert "coordinates extinct" in repr(flow)
    times = np.asarray(flow.extinction)[np.asarray(flow.extinct)]
    assert np.all((times > 0) & (times <= 4.0))


# x of the point of rest at parts of 2 / lambda_1(S H), the edge at small steps, by an
# independent derivation; runs come there in test_runs_with_large_steps_end_there
LARGE = (
    (GradientDescent(), 0.1, 0.97354),
    (GradientDescent(), 0.5, 0.96139),
    (GradientDescent(), 0.8, 0.94571),
    (Adam(0.0, 0.999, 0.0), 0.5, 1.04847),
    (Adam(0.0, 0.999, 0.0), 0.8, 1.04137),
    (Adam(0.9, 0.999, 0.0), 0.5, 1.06854),
)


@pytest.mark.parametrize(
    ("rule", "part", "x"),
    [
        LARGE[0],
        *(pytest.param(*c, marks=pytest.mark.slow) for c in LARGE[1:]),
    ],
    ids=repr,
)
def test_large_steps_end_where_foretold(rule, part, x):
    problem, small = two_outputs(), 1e-7
    b1 = rule.character().b1
    rest = pn.flows.stationary(problem, rule, noise=1e-4, step_size=small)
    edge = rest.edge / small * (1 + b1) / (1 - b1)
    at = pn.flows.stationary(problem, rule, noise=1e-4, step_size=part / edge)
    assert abs(float(at.weights[0]) - x) < 6e-6
    # as steps go to 0 it is the end of the slow flow
    flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=60.0)
    assert jnp.allclose(rest.weights, flow.last, atol=2e-6)


@pytest.mark.slow
def test_runs_with_large_steps_end_there():
    # noise is Gaussian and small, so that only the step size is not
    problem, alpha = two_outputs(), 1e-4
    rule = Adam(0.0, 1 - 1e-4, 0.0)
    eta = 0.00276
    at = pn.flows.stationary(problem, rule, noise=alpha, step_size=eta)
    x = problem.flat(problem.start)
    v = alpha * manifolds.manifold_of(problem, x).diagonal(x)
    paths = runs(problem, rule, eta, 2_000_000, np.sqrt(alpha), 8, v)
    mean = paths[-8:, :, 0].mean()
    assert abs(mean - float(at.weights[0])) < 2e-3
    with pytest.raises(ValueError, match="below where steps turn unstable"):
        pn.flows.stationary(problem, "gd", noise=1.0, step_size=1.0)


def ellipse(a, b):
    return lambda w, X: ((w[0] / a) ** 2 + (w[1] / b) ** 2)[None] + 0 * X[:, 0]


@pytest.mark.slow
def test_brownian_motion_on_a_circle_and_its_drift():
    problem = pn.Regression(ellipse(1.0, 1.0), jnp.array([1.0, 0.0]), [[1.0]], [1.0])
    seen = pn.flows.slow_sde(
        problem, "gd", covariance=pn.flows.slow.Isotropic(0.5), time=2.0, seeds=1024
    )
    assert seen.mean(lambda w: w[0]).covers(np.exp(-0.5), 0.999)
    assert seen.residual < 1e-8


@pytest.mark.slow
def test_isotropic_noise_has_the_density_of_its_drift():
    # speed -(s/4) d/ds log lambda and diffusion s: density ~ lambda^{-1/2} ds
    a, b = 1.5, 1.0
    problem = pn.Regression(ellipse(a, b), jnp.array([a, 0.0]), [[1.0]], [1.0])
    seen = pn.flows.slow_sde(
        problem, "gd", covariance=lambda w: jnp.eye(2), time=12.0, seeds=512, dt=0.01
    )
    # |grad h| = 2 |(x/a^2, y/b^2)|, so that ds / |grad h| is uniform in the angle
    assert seen.mean(lambda w: 2 * (w[0] / a) ** 2 - 1).covers(0.0, 0.999)


def test_label_noise_makes_the_flow_and_no_diffusion():
    problem = monomial((2, 1), (2.0, 1.0))
    rule = Adam(0.9, 0.999, 0.0)
    flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=0.5, rate=2.0)
    noise = pn.flows.slow.LabelNoise(1.0)
    seen = pn.flows.slow_sde(
        problem, rule, covariance=noise, time=0.5, seeds=64, rate=2.0, dt=5e-4
    )
    mean = seen.mean(lambda w: w[0])
    assert abs(mean.value - float(flow.last[0])) < 4 * mean.error + 2e-3


@pytest.mark.slow
def test_local_steps_add_drift_that_one_worker_lacks():
    problem = monomial((2, 1), (2.0, 1.0))
    noise = pn.flows.slow.LabelNoise(1.0)
    end = lambda covariance: pn.flows.slow_sde(
        problem, "gd", covariance=covariance, time=0.05, seeds=64, dt=5e-4
    ).mean(lambda w: w[0])
    one = end(pn.flows.slow.LocalSGD(noise, 1, 5.0))
    alone = end(noise)
    assert abs(one.value - alone.value) < 3 * (one.error + alone.error) + 1e-3
    # at an infinite horizon psi is 1: K workers have the drift of one, (1 + K - 1) / K
    many = end(pn.flows.slow.LocalSGD(noise, 8, 1e6))
    assert abs(many.value - alone.value) < 3 * (many.error + alone.error) + 2e-3
    # and at a short one they average their noise: an eighth of it
    short = end(pn.flows.slow.LocalSGD(noise, 8, 0.0))
    eighth = end(pn.flows.slow.LabelNoise(1 / 8))
    assert abs(short.value - eighth.value) < 3 * (short.error + eighth.error) + 1e-3
    assert abs(short.value - alone.value) > 0.02


@pytest.mark.slow
def test_bad_input_is_named():
    problem = monomial((2, 1), (2.0, 1.0))
    flow = pn.flows.slow_flow
    with pytest.raises(ValueError, match="noise must be > 0"):
        flow(problem, "gd", noise=0.0, time=1.0)
    with pytest.raises(
        TypeError, match="optimizer must be gradient descent, or divide"
    ):
        flow(problem, "sign", noise=1.0, time=1.0)
    with pytest.raises(
        TypeError, match="optimizer must be gradient descent, or divide"
    ):
        flow(problem, "adagrad", noise=1.0, time=1.0)
    linear = pn.datasets.gaussian(6, 3, seed=0).problem()
    with pytest.raises(TypeError, match="problem must have minimisers"):
        flow(linear, "gd", noise=1.0, time=1.0)
    apply = lambda w, X: X @ w
    torn = pn.Regression(apply, jnp.ones(1), [[1.0], [1.0]], [0.0, 1.0])
    with pytest.raises(pn.flows.NotInterpolatingError, match="fitted exactly"):
        flow(torn, "gd", noise=1.0, time=1.0)
    w = jnp.array([2.0, 0.25, 1.0])
    idle = pn.Regression(lambda w, X: (w[0] ** 2 * w[1])[None], w, [[1.0]], [1.0])
    with pytest.raises(ValueError, match="start has 1 coordinates with H_jj = 0"):
        flow(idle, Adam(eps=0.0), noise=1.0, time=1.0)
    assert flow(idle, Adam(eps=0.1), noise=1.0, time=1.0).last[2] == 1.0
    far = flow(problem, "gd", noise=1.0, time=0.1, start=jnp.array([2.5, 0.6]))
    assert far.convergence > 0.1  # the convergence phase was run, and is said
    with pytest.raises(ValueError, match="preconditioner must be > 0"):
        pn.flows.project(problem, w[:2], preconditioner=jnp.zeros(2))


@pytest.mark.slow
def test_denormal_coordinates_neither_stall_nor_break():
    problem, _ = diagonal()
    tiny = {k: w.at[10:].set(1e-160) for k, w in problem.start.items()}
    noisy = pn.Regression(
        problem.apply, tiny, problem.X, problem.y, label_noise=0.3
    )  # squares of these weights are below the least normal number
    for rule in ("gd", Adam(0.9, 0.999, 1e-3)):
        times, last = [], None
        for w in (problem.start, tiny):
            go = lambda w=w, rule=rule: pn.train(
                noisy, rule, steps=20_000, step_size=1e-3, init=w, record=2,
                progress=False,
            )  # fmt: skip
            go()
            begun = time.process_time()
            last = go().last
            times.append(time.process_time() - begun)
        assert np.isfinite(problem.flat(last)).all()
        assert times[1] < 5 * times[0] + 0.2
    one = {k: w.at[-1].set(1e-160) for k, w in problem.start.items()}
    flow = pn.flows.slow_flow(
        problem, Adam(0.9, 0.999, 0.05), noise=0.25, time=0.02, start=one
    )
    assert np.isfinite(problem.flat(flow.last)).all()
    assert bool(flow.extinct[39])
    assert bool(flow.extinct[79])
    assert int(flow.extinct.sum()) == 2
