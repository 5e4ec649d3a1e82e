import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.optimizers import Adam, RMSProp, SignDescent
from penchant.theory.per_sample import (
    _mean_step,
    adam_proxy,
    adam_step,
    fixed_point_map,
    growth_limit,
    parametric_margin,
)
from penchant.training.batching import Cyclic, FullBatch, Shuffled, WithReplacement
from tests.cases import absorbed

# b1, b2: b1 > b2 too, and none of either memory's length special
DECAYS = [(0.9, 0.95), (0.1, 0.1), (0.0, 0.9), (0.95, 0.6), (0.9, 0.999)]
N, D = 5, 6  # 5 = 2 + 2 + 1 = 3 + 2 = 4 + 1

value = eqx.filter_jit(lambda step, log_c: step(log_c))

X = np.random.default_rng(0).normal(size=(N, D))
LOG_C = jnp.asarray(np.random.default_rng(1).normal(scale=2.0, size=N))
G = np.exp(np.asarray(LOG_C))[:, None] * X
PROBLEM = absorbed(X)


def partition(g, size):
    """Gradients of the batches of an epoch, the last a mean over what it holds."""
    return np.array([g[i : i + size].mean(axis=0) for i in range(0, len(g), size)])


def lags(g, b1, b2):
    """Proposition 2.5, with its table of lags and its constant."""
    s = len(g)
    lag = (np.arange(s)[:, None] - np.arange(s)[None, :]) % s
    C = (1 - b1) / (1 - b1**s) * np.sqrt((1 - b2**s) / (1 - b2))
    return C / s * ((b1**lag @ g) / np.sqrt(b2**lag @ g**2)).sum(axis=0)


def recursion(g, b1, b2, growth, epochs):
    """Adam on gradients that fall by e^-growth a step; the mean of its last epoch."""
    m, v, seen = np.zeros(g.shape[1]), np.zeros(g.shape[1]), []
    for t in range(epochs * len(g)):
        now = g[t % len(g)] * np.exp(-growth * t)
        m, v = b1 * m + (1 - b1) * now, b2 * v + (1 - b2) * now**2
        seen.append(m / np.sqrt(v))
    return np.mean(seen[-len(g) :], axis=0)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_cycle_is_proposition_2_5(size):
    step = adam_step(PROBLEM, Adam(), Cyclic(size))
    for b1, b2 in DECAYS:
        given = eqx.tree_at(lambda s: (s.b1, s.b2), step, _arrays(b1, b2))
        expected = lags(partition(G, size), b1, b2)
        np.testing.assert_allclose(value(given, LOG_C), expected, rtol=1e-12)


def _arrays(*numbers):
    return tuple(jnp.asarray(x) for x in numbers)


def test_decays_are_those_of_the_optimizer():
    step = adam_step(PROBLEM, Adam(0.3, 0.7), Cyclic(1))
    np.testing.assert_allclose(value(step, LOG_C), lags(G, 0.3, 0.7), rtol=1e-12)
    step = adam_step(PROBLEM, RMSProp(0.7), Cyclic(1))
    np.testing.assert_allclose(value(step, LOG_C), lags(G, 0.0, 0.7), rtol=1e-12)


@pytest.mark.parametrize("growth", [0.0, 0.004, 0.02])
def test_growth_is_what_falling_gradients_do(growth):
    step = adam_step(PROBLEM, Adam(0.9, 0.95), Cyclic(2), growth=growth)
    # memory fades like (b2 e^2r)^t, which is slow for .02
    expected = recursion(partition(G, 2), 0.9, 0.95, growth, epochs=1000)
    np.testing.assert_allclose(value(step, LOG_C), expected, rtol=1e-10)


@pytest.mark.parametrize("b", [1, 2, 3, 4])
def test_the_proxy_of_reshuffled_batches_is_a_mean_over_all_of_them(b):
    sizes = [len(range(i, min(i + b, N))) for i in range(0, N, b)]
    every = lambda k: np.array([
        G[list(rows)].mean(axis=0) for rows in itertools.combinations(range(N), k)
    ])
    V = np.mean([(every(k) ** 2).mean(axis=0) for k in sizes], axis=0)
    got = value(adam_proxy(PROBLEM, Shuffled(b)), LOG_C)
    np.testing.assert_allclose(got, G.mean(axis=0) / np.sqrt(V), rtol=1e-12)


@pytest.mark.parametrize("b", [1, 2, 3])
def test_the_proxy_with_replacement_is_a_mean_over_all_draws(b):
    drawn = [
        G[list(rows)].mean(axis=0) for rows in itertools.product(range(N), repeat=b)
    ]
    V = (np.array(drawn) ** 2).mean(axis=0)
    got = value(adam_proxy(PROBLEM, WithReplacement(b)), LOG_C)
    np.testing.assert_allclose(got, G.mean(axis=0) / np.sqrt(V), rtol=1e-12)


@pytest.mark.parametrize("b", [1, 2, 3])
def test_the_proxy_of_a_partition(b):
    g = partition(G, b)
    expected = g.sum(axis=0) / np.sqrt(len(g) * (g**2).sum(axis=0))
    step = adam_proxy(PROBLEM, Cyclic(b))
    np.testing.assert_allclose(value(step, LOG_C), expected, rtol=1e-12)
    spread = np.sqrt((g**2).mean(axis=0)) / np.exp(float(LOG_C.max()))
    np.testing.assert_allclose(step.spread(LOG_C), spread, rtol=1e-12)


@pytest.mark.parametrize(("batching", "rho"), [
    (WithReplacement(1), 1.0),
    (WithReplacement(4), 1 / 4),
    (Shuffled(1), 1.0),
])  # fmt: skip
def test_noise_is_the_notes_formula(batching, rho):
    assert float(adam_proxy(PROBLEM, batching).noise) == rho
    # where b divides n: (n - b) / (b (n - 1))
    even = absorbed(np.random.default_rng(2).normal(size=(6, D)))
    assert np.isclose(float(adam_proxy(even, Shuffled(2)).noise), 4 / 10)
    assert np.isclose(float(adam_proxy(even, Shuffled(3)).noise), 3 / 15)


@pytest.mark.parametrize("batching", [Cyclic(1), Cyclic(2)], ids=repr)
def test_the_proxy_is_the_limit_of_long_memories(batching):
    proxy = value(adam_proxy(PROBLEM, batching), LOG_C)
    step = adam_step(PROBLEM, Adam(), batching)

    def error(short):  # 1 - b2; momentum drops out, whatever it is
        given = eqx.tree_at(lambda s: s.b2, step, jnp.asarray(1 - short))
        return np.abs(np.asarray(value(given, LOG_C) - proxy)).max()

    errors = [error(short) for short in (4e-4, 2e-4, 1e-4)]
    assert errors[-1] < 2e-3
    for wide, narrow in itertools.pairwise(errors):
        assert 1.9 < wide / narrow < 2.1


STEPS = [
    adam_proxy(PROBLEM),
    adam_proxy(PROBLEM, Shuffled(2)),
    adam_step(PROBLEM, Adam(0.9, 0.95), Cyclic(2), growth=0.01),
    adam_step(PROBLEM, Adam(0.9, 0.95), Shuffled(2), draws=64),
]
IDS = ["proxy", "noisy proxy", "growing cycle", "random order"]
every_step = pytest.mark.parametrize("step", STEPS, ids=IDS)


@pytest.mark.sampled
@every_step
def test_sensitivities_are_derivatives(step, monkeypatch):
    delta, slopes = eqx.filter_jit(lambda s, c: s.sensitivity(c))(step, LOG_C)
    np.testing.assert_allclose(delta, value(step, LOG_C), rtol=1e-13)
    # the loop itself, without the derivative that was written for it
    monkeypatch.setattr(_mean_step, "means_over", _mean_step.means_over.fun)
    forward = eqx.filter_jit(lambda s, c: jax.jacfwd(s)(c))(step, LOG_C)
    np.testing.assert_allclose(slopes, forward.T, rtol=1e-10, atol=1e-12)
    # weights have no scale: a common factor changes nothing
    np.testing.assert_allclose(np.sum(slopes, axis=0), 0.0, atol=1e-12)
    h = 1e-5
    for j in range(N):
        bump = jnp.zeros(N).at[j].set(h)
        difference = (value(step, LOG_C + bump) - value(step, LOG_C - bump)) / (2 * h)
        np.testing.assert_allclose(slopes[j], difference, atol=1e-8)


@every_step
def test_only_ratios_of_weights_count(step):
    at = value(step, LOG_C)
    for shift in (-900.0, 3.7, 1e6):
        np.testing.assert_allclose(value(step, LOG_C + shift), at, rtol=1e-9)


@every_step
def test_features_are_treated_alike(step):
    order = np.random.default_rng(3).permutation(D)
    cut = lambda rows: rows[:, order]
    moved = eqx.tree_at(lambda s: s.rows, step, cut(step.rows))
    if getattr(step, "control", None) is not None:
        moved = eqx.tree_at(lambda s: s.control.rows, moved, cut(step.control.rows))
    np.testing.assert_allclose(
        value(moved, LOG_C), value(step, LOG_C)[order], rtol=1e-12, atol=1e-14
    )


def test_a_cycle_has_no_first_sample_and_a_proxy_no_order():
    cycle = adam_step(PROBLEM, Adam(0.9, 0.95), Cyclic(1))
    proxy = adam_proxy(PROBLEM)
    turned = lambda step, order: value(
        eqx.tree_at(lambda s: s.rows, step, step.rows[order]), LOG_C[order]
    )
    rolled, swapped = np.roll(np.arange(N), 2), np.array([1, 0, 2, 3, 4])
    np.testing.assert_allclose(turned(cycle, rolled), value(cycle, LOG_C), rtol=1e-12)
    np.testing.assert_allclose(turned(proxy, swapped), value(proxy, LOG_C), rtol=1e-12)
    assert np.abs(turned(cycle, swapped) - value(cycle, LOG_C)).max() > 1e-4


def random_order(g, b1, b2, size, chains=200, epochs=400, seed=0):
    """Means of m/√v over many reshuffled epochs, a row a chain."""
    rng = np.random.default_rng(seed)
    m = np.zeros((chains, g.shape[1]))
    v, total, count = m.copy(), m.copy(), 0
    for epoch in range(epochs):
        orders = np.argsort(rng.random((chains, len(g))), axis=1)
        for first in range(0, len(g), size):
            now = g[orders[:, first : first + size]].mean(axis=1)
            m, v = b1 * m + (1 - b1) * now, b2 * v + (1 - b2) * now**2
            if epoch >= 60:  # of the start .6^180 is left
                total, count = total + m / np.sqrt(v), count + 1
    return total / count


def test_random_orders_are_sampled_without_bias():
    simulated = random_order(G, 0.5, 0.6, size=2)
    keys = [value(_shuffled(key), LOG_C) for key in range(12)]
    sampled = np.array(keys)
    error = np.sqrt(sum(x.var(axis=0, ddof=1) / len(x) for x in (simulated, sampled)))
    difference = np.abs(simulated.mean(axis=0) - sampled.mean(axis=0))
    assert (difference < 4 * error).all()
    assert error.max() < 2e-3
    # and the proxy is not it: the sample says something
    proxy = np.asarray(value(adam_proxy(PROBLEM, Shuffled(2)), LOG_C))
    assert np.abs(proxy - sampled.mean(axis=0)).max() > 10 * error.max()


def _shuffled(key):
    return adam_step(PROBLEM, Adam(0.5, 0.6), Shuffled(2), draws=3000, key=key)


def test_batches_multiplied_out_are_those_copied(monkeypatch):
    copied = adam_step(PROBLEM, Adam(0.9, 0.95), Shuffled(2), draws=64)
    assert copied.units.matrix is None
    monkeypatch.setattr(_mean_step, "GATHERED", 0.0)
    out = adam_step(PROBLEM, Adam(0.9, 0.95), Shuffled(2), draws=64)
    assert out.units.rows is None
    np.testing.assert_allclose(value(out, LOG_C), value(copied, LOG_C), rtol=1e-11)


def test_a_feature_follows_the_samples_that_have_it():
    rows = X.copy()
    rows[:3, 0] = 0.0  # two samples far behind have it, alone
    rows[:, 1] = 0.0  # and this none
    log_c = jnp.array([0.0, 1.0, -1.0, -5000.0, -5001.0])
    step = value(adam_step(absorbed(rows), Adam(0.9, 0.95)), log_c)
    only = np.exp([-np.inf, -np.inf, -np.inf, 0.0, -1.0])[:, None] * rows
    assert np.isclose(step[0], lags(only[:, :1], 0.9, 0.95)[0], rtol=1e-12)
    assert step[1] == 0.0
    proxy = value(adam_proxy(absorbed(rows)), log_c)
    assert np.isclose(proxy[0], only[:, 0].sum() / np.sqrt(N * (only[:, 0] ** 2).sum()))
    assert np.isfinite(np.asarray(proxy)).all()


def test_labels_are_absorbed():
    y = np.array([1, -1, 1, -1, -1])
    signed = pn.LinearClassification(X * y[:, None], y, loss=pn.losses.Logistic())
    got = value(adam_proxy(signed), LOG_C)
    np.testing.assert_allclose(got, value(adam_proxy(PROBLEM), LOG_C), rtol=1e-14)


def test_growth_limits():
    # per_sample_adam, section 1: .025647 for b2 = .95, (1 - b2) / 2 for long memories
    assert abs(growth_limit(0.9, 0.95) - 0.025647) < 5e-7
    assert abs(growth_limit(0.9, 0.99) - 0.005025) < 5e-7
    assert abs(growth_limit(0.9, 0.999) - 0.000500) < 5e-7
    assert growth_limit(0.9, 0.6) == pytest.approx(-np.log(0.9))  # b1^2 > b2
    assert growth_limit(0.0, 0.0) == np.inf


def test_parametric_margin_is_the_quadratic_programme():
    c = np.array([0.3, 0.0, 0.2, 0.4, 0.1])
    M = np.sqrt((c[:, None] ** 2 * X**2).sum(axis=0))
    found = parametric_margin(PROBLEM, 17.0 * c)  # only ratios count
    w, p = np.asarray(found.weights), np.asarray(found.dual)
    margins = X @ w
    assert p.min() >= 0
    assert abs(p.sum() - 1) < 1e-12
    # KKT: M w is the mixture of rows, and those mixed have the least margin
    pull = X.T @ p
    np.testing.assert_allclose(M * w / np.linalg.norm(M * w),
                               pull / np.linalg.norm(pull), atol=1e-9)  # fmt: skip
    assert (p * (margins - margins.min())).max() < 1e-9 * margins.min()
    np.testing.assert_allclose(fixed_point_map(PROBLEM, c), p, atol=1e-12)


def test_weights_on_the_boundary_of_the_simplex():
    rows = X.copy()
    rows[1:, 0] = 0.0
    some = absorbed(rows)
    whole = [1.0, 0.0, 0.0, 1.0, 0.0]
    assert float(parametric_margin(some, whole).margin) > 0
    with pytest.raises(ValueError, match="M\\(c\\) is singular; feature 0"):
        parametric_margin(some, [0.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("c", "error", "said"),
    [
        ([0.5, 0.5], ValueError, "shape"),
        ([1.0, -1.0, 1.0, 1.0, 1.0], ValueError, "c must be"),
        (np.zeros(N), ValueError, "positive for some"),
        ([np.nan] * N, ValueError, "c must be"),
        ("even", TypeError, "c must be"),
    ],
)
def test_weights_that_are_no_weights(c, error, said):
    with pytest.raises(error, match=said):
        parametric_margin(PROBLEM, c)


SEVERAL = pn.LinearClassification(X, [0, 1, 2, 0, 1], loss=pn.losses.Logistic())


@pytest.mark.parametrize("build", [
    lambda problem, batching: adam_proxy(problem, batching),
    lambda problem, batching: adam_step(problem, Adam(), batching),
    lambda problem, batching: parametric_margin(problem, np.ones(N), batching),
], ids=["adam_proxy", "adam_step", "parametric_margin"])  # fmt: skip
def test_bad_data_and_batches(build):
    with pytest.raises(ValueError, match="two classes"):
        build(SEVERAL, Cyclic(1))
    with pytest.raises(TypeError, match="problem"):
        build(X, Cyclic(1))
    with pytest.raises(TypeError, match="batching"):
        build(PROBLEM, 1)
    with pytest.raises(ValueError, match="batch size must be at most"):
        build(PROBLEM, Cyclic(N + 1))
    for whole in (FullBatch(), Cyclic(N), Shuffled(N)):
        with pytest.raises(ValueError, match="leave samples out"):
            build(PROBLEM, whole)
    build(PROBLEM, WithReplacement(N + 1))  # samples may repeat: no full batch


def test_bad_decays_and_counts():
    with pytest.raises(ValueError, match="b2 must be above 0"):
        adam_step(PROBLEM, Adam(0.0, 0.0))
    with pytest.raises(ValueError, match="b2"):
        Adam(0.9, 1.0)
    with pytest.raises(TypeError, match="optimizer"):
        adam_step(PROBLEM, SignDescent())
    for growth in (-1e-3, growth_limit(0.9, 0.95), np.nan):
        with pytest.raises(ValueError, match="growth"):
            adam_step(PROBLEM, Adam(0.9, 0.95), growth=growth)
    with pytest.raises(ValueError, match="draws"):
        adam_step(PROBLEM, Adam(), Shuffled(2), draws=0)
    with pytest.raises(TypeError, match="draws"):
        adam_step(PROBLEM, Adam(), Shuffled(2), draws=2.5)
