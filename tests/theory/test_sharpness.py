"""What is foretold near minimisers, and the models that can be solved by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import penchant as pn
from penchant.optimizers import Adam, AdamE, AdamMini, NAdam, Shampoo
from penchant.theory import sharpness as near
from tests.flows.slow_cases import diagonal, monomial


def verdicts(told):
    return {a.statement: a.verdict.value for a in told.assumptions}


def verdict(told, words):
    (found,) = [v for s, v in verdicts(told).items() if words in s]
    return found


@pytest.mark.parametrize(
    ("rule", "measure"),
    [
        ("gd", "tr H"),
        ("adam", "tr Diag(H)^0.5"),
        ("rmsprop", "tr Diag(H)^0.5"),
        (NAdam(), "tr Diag(H)^0.5"),
        (AdamE(exponent=0.25), "tr Diag(H)^0.75"),
        (AdamE(exponent=0.0), "tr H"),
        (AdamMini(blocks=[0, 0, 1]), "Σ_B √(|B| tr H_B)"),
        ("shampoo", None),
        ("sign", None),
    ],
    ids=str,
)
def test_what_each_rule_lowers(rule, measure):
    assert near.lowered(rule) == measure


@pytest.mark.slow
def test_what_is_foretold_falls_along_the_flow_and_another_measure_rises():
    problem = monomial((1, 2, 3), (0.9, 1.2, 1.0))
    for rule, other in (("gd", 0.25), (AdamE(eps=0.0, exponent=0.75), 1.0)):
        told = near.foretell_sharpness(problem, rule)
        flow = pn.flows.slow_flow(problem, rule, noise=1.0, time=30.0)
        along = [told.at(w).value for w in flow.weights]
        assert np.all(np.diff(along) <= 1e-10)
        rest = [pn.measures.power_trace(problem, w, other).value for w in flow.weights]
        assert np.max(np.diff(rest)) > 1e-6


@pytest.mark.slow
def test_assumptions_are_looked_at():
    problem, _ = diagonal(12, 5, 2, 0)
    noisy = pn.Regression(
        problem.apply, problem.params, problem.X, problem.y, label_noise=0.5
    )
    batching = pn.batching.WithReplacement(1)
    rule = Adam(0.9, 0.999, 1e-8)
    told = pn.predict(noisy, rule, batching=batching, step_size=1e-3, steps=100_000)
    assert told.time == pytest.approx(0.1)
    assert told.noise == pytest.approx(0.25)
    assert verdict(told, "noise is fresh") == "holds"
    assert verdict(told, "1 - β2") == "holds"
    assert verdict(told, "ε is small") == "holds"
    # a coordinate of 0.3 takes 0.3^2 to die: T = 0.1 is about the time needed
    assert 0.05 < told.needed < 0.5
    soon = pn.predict(noisy, rule, batching=batching, step_size=1e-3, steps=1_000)
    assert soon.begun is False
    assert "hardly begun" in repr(soon)
    assert verdict(soon, "slow clock") == "fails"
    silent = pn.predict(problem, rule)
    assert verdict(silent, "noise is fresh") == "fails"
    short = pn.predict(noisy, Adam(0.9, 0.9, 1e-8), step_size=1e-3, batching=batching)
    assert verdict(short, "1 - β2") == "fails"
    lag = pn.predict(noisy, Adam(0.9, 1 - 1e-9, 0.0), step_size=1e-2, batching=batching)
    assert verdict(lag, "1 - β2") == "fails"
    large = pn.predict(noisy, Adam(0.9, 0.999, 3.0), batching=batching)
    assert verdict(large, "ε is small") == "fails"
    decayed = pn.predict(noisy, "adamw", batching=batching)
    assert verdict(decayed, "weight decay") == "fails"
    none = pn.predict(noisy, Shampoo(0.99), batching=batching)
    assert none.measure is None
    assert "descends no function" in none.statement
    with pytest.raises(ValueError, match="no measure is foretold"):
        none.at(noisy.start)
    assert pn.predict(noisy, "sign").statement.startswith("No slow flow is known")
    point = pn.Regression(lambda w, X: X @ w, jnp.ones(1), [[1.0]], [1.0])
    assert verdict(pn.predict(point, "adam"), "constant rank") == "fails"


def test_the_slow_clock_sums_squares():
    power = pn.schedules.power(0.1, 0.5, offset=1)
    want = sum(0.01 / (t + 1) for t in range(1000))
    assert near.slow_time(power, 1000) == pytest.approx(want, rel=1e-12)
    assert near.slow_time(
        lambda t: 0.1 * (jnp.asarray(t, float) + 1.0) ** -0.5, 1000
    ) == pytest.approx(want)


def test_schatten_power_by_minimisation():
    # over factorisations W2 W1 = M of the lengths' powers, by a general optimizer
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    sigma = np.array([3.0, 1.0, 0.2])
    R = np.sqrt(sigma)

    for exponent in (0.0, 0.25, 0.5):
        e = near.schatten_power(AdamE(exponent=exponent))

        def total(a, e=e):
            # every factorisation is W2 = U R A, W1 = A^-1 R V'
            A = a.reshape(3, 3)
            W2, W1 = (U * R) @ A, np.linalg.solve(A, (R[:, None] * V.T))
            return (np.sum(W2**2, axis=0) ** e).sum() + (
                np.sum(W1**2, axis=1) ** e
            ).sum()

        best = min(
            minimize(total, np.eye(3).ravel() + 0.5 * rng.normal(size=9)).fun
            for _ in range(6)
        )
        assert best == pytest.approx(2 * np.sum(sigma**e), rel=1e-3)


def test_statistical_dimension_at_its_ends():
    assert near.statistical_dimension(200, 5) == pytest.approx(24.6, abs=0.05)
    assert near.statistical_dimension(10_000, 50) == pytest.approx(354.2, abs=0.05)
    assert near.statistical_dimension(50, 49) < 50
    with pytest.raises(ValueError, match="k must be below d"):
        near.statistical_dimension(5, 5)


@pytest.mark.sampled
@pytest.mark.parametrize("exponent", [0.25, 0.5, 0.75])
def test_a_free_coordinate_dies_on_time(exponent):
    # two coordinates that nothing holds up: u^2 - v^2 = 0 stays fitted as both fall
    apply = lambda w, X: X[:, 0] * (w["u"] ** 2 - w["v"] ** 2)
    w = {"u": jnp.asarray(0.4), "v": jnp.asarray(0.4)}
    problem = pn.Regression(apply, w, [[1.0]], [0.0])
    rule = AdamE(0.0, 0.999, 0.0, exponent)
    alpha = 0.3
    time = near.extinction_time(rule, 0.4, noise=alpha)
    flow = pn.flows.slow_flow(problem, rule, noise=alpha, time=1.3 * time)
    assert bool(flow.extinct.all())
    seen = np.asarray(flow.extinction)
    assert np.allclose(seen, time, rtol=0.02)
    assert near.extinction_time("gd", 0.4) == np.inf


@pytest.mark.slow
def test_shampoos_form_is_not_closed_and_others_are():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3, 2, 2))
    apply = lambda w, X: jnp.einsum("nij,ij->n", X, w["B"] @ w["A"])
    w = {"A": jnp.asarray(rng.normal(size=(2, 2))), "B": jnp.eye(2)}
    problem = pn.Regression(apply, w, X, apply(w, X))
    t = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    a, b = rng.normal(size=(2, 8))
    flat = np.asarray(problem.flat(w))
    points = flat + 0.3 * (np.cos(t)[:, None] * a + np.sin(t)[:, None] * b)
    loop = jax.vmap(problem.unflat)(jnp.asarray(points))
    around = lambda rule: pn.flows.slow.loop_integral(problem, rule, loop)
    for rule in ("gd", Adam(eps=1e-3), AdamE(exponent=0.25), AdamMini()):
        assert abs(around(rule)) < 2e-4
    for power in (0.25, 0.5):
        assert abs(around(Shampoo(0.9, 1e-6, power))) > 5e-3
