r"""Numbers of runs on fixed data, which loops in plain NumPy have too.

Data of seed 0: those of `fan2025spectral` for several classes, Gaussian ones for two.
`tests/studies/test_expected.py` has loops for most of the numbers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers as rules
from penchant.problems import ScaledGradient
from tests.cases import paper_data

# norm, its maximum margin on the paper's data
MARGINS = {
    "e1": (norms.L1(), 0.145203),
    "e1.5": (norms.Lp(1.5), 0.603588),
    "e2": (norms.L2(), 1.337672),
    "e3": (norms.Lp(3.0), 3.017938),
    "e∞": (norms.Linf(), 15.418961),
    "S1": (norms.Nuclear(), 0.478300),
    "S1.5": (norms.Schatten(1.5), 0.942992),
    "S3": (norms.Schatten(3.0), 1.895062),
    "S∞": (norms.Spectral(), 3.493780),
}
PAPER = paper_data(0)


def ratio(problem, weights, norm, best):
    """Margin of the weights as a share of the best in that norm."""
    return float(jnp.min(problem.margins(weights)) / norm(weights) / best)


def cosine(a, b):
    return float(jnp.vdot(a, b) / jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b)))


# --- steepest descent and momentum, several classes: step sizes scale / sqrt(t)


@pytest.mark.parametrize(
    ("norm", "scale", "wanted"),
    [
        ("e1", 1.0, (0.619, 0.886, 0.964)),
        pytest.param("e1.5", 0.1, (0.447, 0.785, 0.897), marks=pytest.mark.slow),
        pytest.param("e2", 0.1, (0.740, 0.884, 0.955), marks=pytest.mark.slow),
        pytest.param("e3", 0.1, (0.861, 0.940, 0.976), marks=pytest.mark.slow),
        pytest.param("S1", 0.25, (0.613, 0.851, 0.940), marks=pytest.mark.slow),
        pytest.param("S1.5", 0.05, (0.431, 0.742, 0.894), marks=pytest.mark.slow),
        pytest.param("S3", 0.05, (0.734, 0.861, 0.940), marks=pytest.mark.slow),
        ("S∞", 0.05, (0.893, 0.958, 0.967)),
    ],
)
def test_steepest_descent_reaches_its_own_margin(norm, scale, wanted):
    kind, best = MARGINS[norm]
    run = pn.train(
        PAPER,
        rules.SteepestDescent(kind),
        steps=10_000,
        step_size=pn.schedules.power(scale, 0.5, offset=1),
        record=9,  # two a decade
    )
    by_step = dict(zip(run.steps.tolist(), run.weights, strict=True))
    seen = [ratio(PAPER, by_step[t], kind, best) for t in (100, 1000, 10_000)]
    assert np.allclose(seen, wanted, rtol=0, atol=0.001)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("rule", "norm", "scale", "wanted"),
    [
        (rules.Signum(0.9), "e∞", 0.1, 0.981),
        pytest.param(
            rules.SteepestDescent(norms.L2(), 0.9),
            "e2",
            0.1,
            0.955,
            marks=pytest.mark.slow,
        ),
        (rules.Muon(0.9), "S∞", 0.05, 0.967),
        (rules.Muon(0.99), "S∞", 0.05, 0.966),
    ],
    ids=repr,
)
def test_momentum_goes_to_the_same_place(rule, norm, scale, wanted):
    step_size = pn.schedules.power(scale, 0.5, offset=1)
    run = pn.train(PAPER, rule, steps=10_000, step_size=step_size, record=2)
    assert abs(ratio(PAPER, run.weights[-1], *MARGINS[norm]) - wanted) <= 0.001


def test_sign_descent_passes_the_wall_of_softmax_minus_one_hot():
    def sign_descent(steps):
        return pn.train(
            PAPER,
            rules.SignDescent(),
            steps=steps,
            step_size=pn.schedules.power(0.1, 0.5, offset=1),
            record=2,
        )

    run = sign_descent(10_000)
    margin = float(jnp.min(run.margins[-1]))
    assert abs(margin - 305) <= 1
    assert abs(ratio(PAPER, run.weights[-1], *MARGINS["e∞"]) - 0.9955) <= 0.0001

    # as every autograd computes cross-entropy: the margin freezes at 53 log 2 = 36.7
    X, y = np.asarray(PAPER.X), np.asarray(PAPER.y)
    rows = np.arange(len(y))
    w = np.zeros(PAPER.weight_shape)
    for t in range(1, 1001):
        Z = X @ w.T
        P = np.exp(Z - Z.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        P[rows, y] -= 1.0
        w -= 0.1 * t**-0.5 * np.sign(P.T @ X)
    naive = float(jnp.min(PAPER.margins(jnp.asarray(w))))
    assert 36.5 < naive < 37.5
    assert float(jnp.min(sign_descent(1000).margins[-1])) > 90


# Newton–Schulz with the usual coefficients ends nearer the Frobenius solution; shares
# of the spectral and of the Frobenius margin with a constant step
POLARS = {
    "exact": (rules.ExactPolar(), 0.9997, 0.881),
    "Newton-Schulz 5": (rules.NewtonSchulz(5), 0.946, 0.990),
    "Newton-Schulz 10": (rules.NewtonSchulz(10), 0.866, 0.961),
    "Newton-Schulz 20": (rules.NewtonSchulz(20), 0.890, 0.958),
    "cubic 5": (rules.CubicNewtonSchulz(5), 0.982, 0.983),
    "cubic 15": (rules.CubicNewtonSchulz(15), 0.9996, 0.945),
    "cubic 30": (rules.CubicNewtonSchulz(30), 0.9998, 0.900),
}


def muon_shares(polar, steps):
    R = np.sqrt(2) * np.max(np.linalg.norm(PAPER.X, axis=1))
    run = pn.train(PAPER, rules.Muon(0.0, polar), steps=steps, step_size=0.1 / R)
    return [ratio(PAPER, run.weights[-1], *MARGINS[norm]) for norm in ("S∞", "e2")]


@pytest.mark.slow
@pytest.mark.parametrize("case", POLARS, ids=str)
def test_where_approximate_polar_factors_lead(case):
    polar, spectral, frobenius = POLARS[case]
    seen = muon_shares(polar, 100_000)
    assert np.allclose(seen, [spectral, frobenius], rtol=0, atol=0.001)


# --- Adam, several classes


@pytest.mark.parametrize(
    ("b2", "wanted"), [(0.95, 0.940), (0.99, 0.714), (0.999, 0.670)]
)
def test_adam_reaches_the_max_norm_late(b2, wanted):
    # the sign-like phase starts after 3.8e3, 9.5e4 and 9.5e6 steps
    rule = rules.Adam(0.9, b2, 0.0, bias_correction=True)
    step_size = pn.schedules.power(0.1, 0.5, offset=1)
    run = pn.train(PAPER, rule, steps=10_000, step_size=step_size, record=2)
    assert abs(ratio(PAPER, run.weights[-1], *MARGINS["e∞"]) - wanted) <= 0.004


@pytest.mark.slow
@pytest.mark.parametrize(
    ("b2", "wanted"), [(0.95, 0.991), (0.99, 0.970), (0.999, 0.663)]
)
def test_adam_reaches_the_max_norm_after_many_steps(b2, wanted):
    rule = rules.Adam(0.9, b2, 0.0, bias_correction=True)
    step_size = pn.schedules.power(0.1, 0.5, offset=1)
    run = pn.train(PAPER, rule, steps=200_000, step_size=step_size, record=2)
    assert abs(ratio(PAPER, run.weights[-1], *MARGINS["e∞"]) - wanted) <= 0.001


@pytest.mark.slow
def test_with_eps_adam_sticks_and_drifts_to_the_euclidean_margin():
    # at a margin near 22 the gradient falls below eps = 1e-8
    rule = rules.Adam(0.9, 0.95, 1e-8)
    step_size = pn.schedules.power(0.1, 0.5, offset=1)
    run = pn.train(PAPER, rule, steps=200_000, step_size=step_size, record=2)
    w = run.weights[-1]
    assert abs(float(jnp.min(run.margins[-1])) - 22) <= 0.5
    assert abs(ratio(PAPER, w, *MARGINS["e∞"]) - 0.70) <= 0.01
    assert 0.86 <= ratio(PAPER, w, *MARGINS["e2"]) <= 0.88


# --- Adam and Signum, two classes: Gaussian data, N = 10, d = 50


@functools.cache
def gaussian():
    """The problem, and its maximum margins in the Euclidean and the max norm."""
    X = np.random.default_rng(0).normal(size=(10, 50))
    problem = pn.LinearClassification(X, np.ones(10), loss=pn.losses.Exponential())
    return (
        problem,
        pn.max_margin(problem, norms.L2()),
        pn.max_margin(problem, norms.Linf()),
    )


def increment_ratio(run):
    problem, _, linf = gaussian()
    return ratio(problem, run.increment(), norms.Linf(), linf.margin)


def test_the_optima_are_apart():
    _, l2, linf = gaussian()
    assert abs(cosine(l2.weights, linf.weights) - 0.744669) < 1e-6


@pytest.mark.parametrize(
    ("exponent", "wanted"), [(0.5, 0.9934), (0.8, 0.974), (1.0, 0.916)]
)
def test_full_batch_adam_goes_to_the_max_norm(exponent, wanted):
    problem, _, linf = gaussian()
    run = pn.train(
        problem,
        rules.Adam(0.9, 0.95, 0.0),
        steps=300_000,
        step_size=pn.schedules.power(1.0, exponent),
    )
    w = run.weights[-1]
    # the weights themselves converge like 1 / sum of the steps, increments do not
    assert abs(ratio(problem, w, norms.Linf(), linf.margin) - wanted) <= 0.0005
    assert increment_ratio(run) >= 0.9999
    if exponent == 0.8:
        assert 1 - cosine(run.increment(), linf.weights) < 1e-11


def test_per_sample_adam_goes_elsewhere():
    problem, l2, linf = gaussian()
    run = pn.train(
        problem,
        rules.Adam(0.9, 0.95, 0.0),
        steps=300_000,
        step_size=pn.schedules.power(1.0, 0.8),
        batching=pn.batching.Cyclic(1),
    )
    # the fixed point: cosines .974063 and .755631 for b2 -> 1
    seen = run.increment()
    assert abs(cosine(seen, l2.weights) - 0.974) <= 0.001
    assert abs(cosine(seen, linf.weights) - 0.756) <= 0.003


def scaled_rademacher():
    """Samples whose entries are all of one size: there the limit is Euclidean."""
    signs = np.array([[1, 1, 1, 1], [1, 1, 1, -1], [1, 1, -1, -1], [1, -1, 1, -1]])
    X = np.array([[1.0], [2.0], [3.0], [4.0]]) * signs
    return pn.LinearClassification(X, np.ones(4), loss=pn.losses.Exponential())


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.1, 0.1), (0.5, 0.5), (0.0, 0.9)])
def test_per_sample_adam_on_scaled_rademacher_data_goes_to_the_l2_margin(betas):
    problem = scaled_rademacher()
    best = pn.max_margin(problem, norms.L2())
    run = pn.train(
        problem,
        rules.Adam(*betas, 0.0),
        steps=300_000,
        step_size=pn.schedules.power(1.0, 0.8),
        batching=pn.batching.Cyclic(1),
    )
    assert 1 - cosine(run.increment(), best.weights) < 1e-8


@pytest.mark.parametrize(
    ("beta", "gap"), [(0.0, 0.895), (0.5, 0.466), (0.9, 0.082), (0.99, 0.0011)]
)
def test_per_sample_signum_nears_the_max_norm_as_its_memory_grows(beta, gap):
    problem, _, linf = gaussian()
    run = pn.train(
        problem,
        rules.Signum(beta),
        steps=300_000,
        step_size=pn.schedules.power(0.01, 0.5),
        batching=pn.batching.Cyclic(1),
    )
    seen = ratio(problem, run.increment(), norms.Linf(), linf.margin)
    assert abs(1 - seen - gap) <= min(0.0005, 0.1 * gap)


@pytest.mark.slow
def test_with_eps_even_full_batch_adam_is_gradient_descent_in_the_end():
    problem, l2, _ = gaussian()
    run = pn.train(
        problem,
        rules.Adam(0.9, 0.95, 1e-8),
        steps=300_000,
        step_size=0.01,
    )
    assert cosine(run.increment(), l2.weights) > 0.9999
    assert 18 < float(jnp.min(run.margins[-1])) < 40


# --- losses far below the smallest number


def test_adam_trains_down_to_a_loss_of_e_to_the_minus_million():
    # one sample decides: sign(x_1) x_j >= |x_1|_1 for all j, and the limit is sign(x_1)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10, 50))
    X[1:] *= np.sign(X[1:] @ np.sign(X[0]))[:, None]
    X[0] *= 0.5 * np.min(X[1:] @ np.sign(X[0])) / np.sum(np.abs(X[0]))
    problem = pn.LinearClassification(X, np.ones(10), loss=pn.losses.Exponential())
    b2, eta, steps = 0.1, 2.5, 1_200_000
    run = pn.train(problem, rules.Adam(0.0, b2, 0.0), steps=steps, step_size=eta)
    assert run.outcome is pn.training.Outcome.COMPLETE
    assert run.log_loss[-1] < -1e6
    assert np.all(np.isfinite(run.weights))
    best = pn.max_margin(problem, norms.Linf())
    assert ratio(problem, run.increment(), norms.Linf(), best.margin) > 1 - 1e-9
    seen = pn.certify(problem, run.weights[-1], norms.Linf())
    assert seen.gap < 1e-4

    # a travelling wave: where gradients fall by e^rho a step, Adam's steps are
    # eta sqrt((1 - b2 e^(2 rho)) / (1 - b2)), so that rho < -log(b2) / 2 whatever eta
    half = int(np.flatnonzero(np.asarray(run.steps) == steps // 2)[0])
    speed = np.asarray(run.weights[-1] - run.weights[half]) / (steps - steps // 2)
    rho = float(run.log_loss[half] - run.log_loss[-1]) / (steps - steps // 2)
    wave = eta * np.sqrt((1 - b2 * np.exp(2 * rho)) / (1 - b2))
    assert rho < -0.5 * np.log(b2)
    assert np.allclose(np.abs(speed), wave, rtol=1e-7)


def test_a_run_that_starts_a_million_lower_is_the_same_run():
    # X u = c adds c to every margin, and log losses are shifted by -c exactly
    problem, _, _ = gaussian()
    c = 1e6
    u = np.linalg.lstsq(np.asarray(problem.X), np.full(10, c), rcond=None)[0]
    for rule in (rules.Adam(0.9, 0.95, 0.0), rules.Signum(0.9)):
        runs = [
            pn.train(
                problem,
                rule,
                steps=2000,
                step_size=pn.schedules.power(0.1, 0.5),
                batching=pn.batching.Cyclic(1),
                init=init,
                record=20,
            )
            for init in (np.zeros(50), u)
        ]
        moved = runs[1].weights - jnp.asarray(u)[None, :]
        # margins of 1e6 leave ten digits
        assert jnp.allclose(moved, runs[0].weights, rtol=1e-6, atol=1e-6)
        assert jnp.allclose(runs[1].log_loss, runs[0].log_loss - c, rtol=1e-11)


def test_what_adam_computes_does_not_depend_on_the_scale():
    # gradients e^c times as large for c = -2^20, which leaves the scales' digits alone
    rng = np.random.default_rng(0)
    directions = jnp.asarray(rng.normal(size=(200, 50)))
    scales = jnp.asarray(np.round(np.cumsum(rng.normal(size=200) - 1) * 2**10) / 2**10)
    rule = rules.Adam(0.9, 0.95, 0.0)

    @jax.jit
    def follow(shift):
        def one(carry, gradient):
            w, state = carry
            d, s = gradient
            scaled = ScaledGradient(d, s + shift)
            return rule.update(scaled, state, w, jnp.asarray(0.1)), None

        start = jnp.zeros(50), rule.init(jnp.zeros(50))
        return jax.lax.scan(one, start, (directions, scales))[0][0]

    wanted = follow(0.0)
    assert np.max(np.abs(follow(-(2.0**20)) - wanted)) <= 1e-8 * np.max(np.abs(wanted))
