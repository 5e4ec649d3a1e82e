"""Numbers that studies expect, derived again with NumPy and SciPy alone.

Loops here are written as one would on paper: nothing of penchant trains, follows a flow
or solves for a limit. Losses far below the least float are met by a common factor, as
every rule but those with ε > 0 forgets it.
"""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, nnls

import penchant as pn
from penchant.studies.homogeneous_networks import _crossover, _limits, _qian
from penchant.studies.per_sample_adam import _batch_size, _schedules, _signum
from penchant.studies.spectral_descent import _geometries, _margins, _memories, _polars

QUICK = ("ℓ∞", "spectral")

# --- spectral descent: ten classes about random centres, cross-entropy


def centres(seed):
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(10, 25))
    y = np.repeat(np.arange(10), 50)
    return mean[y] + 0.1 * rng.normal(size=(500, 25)), y


def slope(X, y, W):
    """The gradient of the mean cross-entropy over its largest weight of a sample."""
    Z = X @ W.T
    rows = np.arange(len(y))
    away = Z - Z[rows, y][:, None]  # minus the margins
    away[rows, y] = -np.inf
    top = away.max()
    # softmax, over its own size where it has one: the true class's is 1
    P = np.exp(away - top) / (1.0 + np.exp(away).sum(axis=1, keepdims=True))
    P[rows, y] = -P.sum(axis=1)
    return P.T @ X, -top


def polar(G):
    U, s, V = np.linalg.svd(G, full_matrices=False)
    # rows of a cross-entropy's gradient add up to 0: the last direction is rounding
    kept = s > 1e-13 * s[0]
    return U[:, kept] @ V[kept]


def newton_schulz(G, steps, a=3.4445, b=-4.7750, c=2.0315):
    M = G / np.linalg.norm(G)
    for _ in range(steps):
        A = M @ M.T
        M = a * M + (b * A + c * A @ A) @ M
    return M


def cubic(G, steps):
    return newton_schulz(G, steps, 1.5, -0.5, 0.0)


def spread(G, p):
    """Steepest in the entry-wise p-norm: |g|^(q - 1) with 1/p + 1/q = 1, of norm 1."""
    D = np.sign(G) * (np.abs(G) / np.abs(G).max()) ** (1 / (p - 1))
    return D / (np.abs(D) ** p).sum() ** (1 / p)


def schatten(G, p):
    U, s, V = np.linalg.svd(G, full_matrices=False)
    return U * spread(s, p) @ V


DIRECTION = {
    "ℓ1": lambda G: np.where(np.abs(G) == np.abs(G).max(), np.sign(G), 0.0),
    "ℓ2": lambda G: G / np.linalg.norm(G),
    "ℓ∞": np.sign,
    "spectral": polar,
    "ℓ1.5": lambda G: spread(G, 1.5),
    "ℓ3": lambda G: spread(G, 3.0),
    "nuclear": lambda G: schatten(G, 1.0 + 1e-9),
    "Schatten-1.5": lambda G: schatten(G, 1.5),
    "Schatten-3": lambda G: schatten(G, 3.0),
}
NORM = {
    "ℓ1": lambda W: np.abs(W).sum(),
    "ℓ2": np.linalg.norm,
    "ℓ∞": lambda W: np.abs(W).max(),
    "spectral": lambda W: np.linalg.norm(W, 2),
    "ℓ1.5": lambda W: (np.abs(W) ** 1.5).sum() ** (1 / 1.5),
    "ℓ3": lambda W: (np.abs(W) ** 3).sum() ** (1 / 3),
    "nuclear": lambda W: np.linalg.norm(W, "nuc"),
    "Schatten-1.5": lambda W: (np.linalg.svd(W)[1] ** 1.5).sum() ** (1 / 1.5),
    "Schatten-3": lambda W: (np.linalg.svd(W)[1] ** 3).sum() ** (1 / 3),
}


def descend(seed, direction, first, steps, b1=0.0, a=0.5, at=()):
    """Least margins and weights of steps first·t^-a along a momentum's direction."""
    X, y = centres(seed)
    W, M, frame, found = np.zeros((10, 25)), np.zeros((10, 25)), 0.0, {}
    for t in range(1, steps + 1):
        G, depth = slope(X, y, W)
        # M is in units of e^-frame, which follows the loss
        M = b1 * M * np.exp(depth - frame) + (1.0 - b1) * G
        frame = depth
        W = W - first * t**-a * direction(M)
        if t in at:
            found[t] = slope(X, y, W)[1], W
    return found


@pytest.mark.parametrize(
    "label",
    [
        pytest.param(label, marks=() if label in QUICK else pytest.mark.slow)
        for label in _geometries.GEOMETRIES
    ],
)
def test_shares_of_steepest_descent(label):
    first, margin, wanted = _geometries.GEOMETRIES[label]
    at = (100, 1000, 10_000)[: 2 if label in QUICK else 3]
    found = descend(0, DIRECTION[label], first, at[-1], at=at)
    for t, value in zip(at, wanted, strict=False):
        least, W = found[t]
        # the nuclear norm's step is one singular pair: rounding decides in near-ties
        close = 2e-3 if label == "nuclear" else 6e-4
        assert least / NORM[label](W) / margin == pytest.approx(value, abs=close)


@pytest.mark.slow
@pytest.mark.parametrize("name", _margins.METHODS)
def test_methods_over_seeds(name):
    method = _margins.METHODS[name]
    b1 = 0.9 if method.rule is not None else 0.0
    shares, cosines = [], []
    for seed in range(5):
        found = descend(
            seed, DIRECTION[method.own], method.first, 10_000, b1, at=(10_000,)
        )
        least, W = found[10_000]
        best = {
            label: pn.max_margin(
                pn.LinearClassification(*centres(seed), loss=pn.losses.Logistic()),
                norm,
                tol=1e-6,
            )
            for label, norm in {
                "ℓ∞": pn.norms.Linf(),
                "ℓ2": pn.norms.L2(),
                "spectral": pn.norms.Spectral(),
            }.items()
        }
        shares.append([
            least / NORM[label](W) / float(b.margin) for label, b in best.items()
        ])
        cosines.append([
            np.vdot(W, b.weights) / np.linalg.norm(W) / np.linalg.norm(b.weights)
            for b in best.values()
        ])
    own = np.array(shares)[:, list(best).index(method.own)]
    assert [own.mean(), own.min(), own.max()] == pytest.approx(method.share, abs=6e-4)
    assert np.mean(shares, axis=0) == pytest.approx(method.others, abs=6e-4)
    # margins known to 1e-6 leave the ℓ∞ and the spectral optimum, which are flat, 5e-3
    assert np.mean(cosines, axis=0) == pytest.approx(method.cosines, abs=5e-3)
    assert np.mean(cosines, axis=0)[1] == pytest.approx(method.cosines[1], abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, (_, _, wanted) in _polars.POLARS.items() if wanted]
)
def test_shares_by_polar_factor(name):
    _, _, wanted = _polars.POLARS[name]
    X, _ = centres(0)
    first = 0.1 / (2**0.5 * np.linalg.norm(X, axis=1).max())
    family, *steps = name.split()
    if family == "exact":
        direction = polar
    else:
        maps = {"cubic": cubic, "Newton–Schulz": newton_schulz}
        direction = lambda G: maps[family](G, int(steps[0]))
    found = descend(0, direction, first, 100_000, a=0.0, at=(100_000,))
    least, W = found[100_000]
    for label, value in zip(("spectral", "ℓ2"), wanted, strict=True):
        share = least / NORM[label](W) / _geometries.GEOMETRIES[label][1]
        assert share == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize(
    ("b2", "wanted"),
    [
        pytest.param(*case, marks=pytest.mark.slow if i else ())
        for i, case in enumerate(_memories.MEMORIES.full.adam)
    ],
)
def test_shares_of_adam(b2, wanted):
    X, y = centres(0)
    W, M, V, frame = np.zeros((10, 25)), np.zeros((10, 25)), np.zeros((10, 25)), 0.0
    for t in range(1, 10_001):
        G, depth = slope(X, y, W)
        M = 0.9 * M * np.exp(depth - frame) + 0.1 * G
        V = b2 * V * np.exp(2.0 * (depth - frame)) + (1.0 - b2) * G**2
        frame = depth
        step = M / (1.0 - 0.9**t) / np.sqrt(V / (1.0 - b2**t))
        W = W - 0.1 * t**-0.5 * step
    share = slope(X, y, W)[1] / np.abs(W).max() / _geometries.GEOMETRIES["ℓ∞"][1]
    assert share == pytest.approx(wanted, abs=6e-4)


def inverse_root(A, power):
    """A^-power of a positive semi-definite matrix, 0 where it is 0."""
    values, vectors = np.linalg.eigh(A)
    kept = values > 1e-12 * values.max()
    roots = np.where(kept, np.where(kept, values, 1.0) ** -power, 0.0)
    return vectors * roots @ vectors.T


@pytest.mark.slow
@pytest.mark.parametrize(("b2", "wanted"), _memories.MEMORIES.full.shampoo)
def test_shares_of_shampoo(b2, wanted):
    X, y = centres(0)
    W, L, R, frame = np.zeros((10, 25)), np.zeros((10, 10)), np.zeros((25, 25)), 0.0
    for t in range(1, 10_001):
        G, depth = slope(X, y, W)
        older = b2 * np.exp(2.0 * (depth - frame))
        L = older * L + (1.0 - b2) * G @ G.T
        R = older * R + (1.0 - b2) * G.T @ G
        frame = depth
        W = W - 0.05 * t**-0.5 * inverse_root(L, 0.25) @ G @ inverse_root(R, 0.25)
    least, gamma = slope(X, y, W)[1], _geometries.GEOMETRIES["spectral"][1]
    assert least / np.linalg.norm(W, 2) / gamma == pytest.approx(wanted, abs=2e-3)


# --- Adam and Signum on parts of the data: ten Gaussian samples, labels absorbed


def rows():
    return np.random.default_rng(0).normal(size=(10, 50))


def cosine(u, v):
    return u @ v / np.linalg.norm(u) / np.linalg.norm(v)


def margin_optimum(X, weight):
    """The least Σ weight_j w_j² with X w ≥ 1, and the multipliers, by NNLS."""
    scaled = X / np.sqrt(weight)
    # the dual of min ½‖u‖² with A u ≥ 1 is nnls of [Aᵀ; 1ᵀ] to (0, 1)
    tall = np.vstack([scaled.T, np.ones(len(X))])
    dual, _ = nnls(tall, np.append(np.zeros(X.shape[1]), 1.0))
    return X.T @ dual / weight, dual / dual.sum()


def fixed_point(X, noise):
    """Of the map from weights of samples to the multipliers of their margin problem.

    The second moment of a batch is the mean squared and `noise` times the variance of
    a sample's gradient about it.
    """
    c = np.full(len(X), 1.0 / len(X))
    for _ in range(200):
        g = c[:, None] * X
        mean = g.mean(axis=0)
        v = mean**2 + noise * ((g - mean) ** 2).mean(axis=0)
        w, after = margin_optimum(X, np.sqrt(v))
        if np.abs(after - c).sum() < 1e-13:
            return w
        c = after if noise > 0.5 else 0.5 * (c + after)
    raise RuntimeError("the map was not seen to settle")


def max_margins(X):
    """The ℓ2 and the ℓ∞ max margin directions, by NNLS and by a linear program."""
    from scipy.optimize import linprog

    w, _ = margin_optimum(X, np.ones(X.shape[1]))
    n, d = X.shape
    found = linprog(
        np.append(np.zeros(d), -1.0),
        A_ub=np.hstack([-X, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        bounds=[(-1.0, 1.0)] * d + [(None, None)],
    )
    return w, found.x[:d], found.x[d]


@pytest.mark.parametrize(
    ("order", "b"),
    [(order, b) for order, table in _batch_size.KNOWN.items() for b in table],
)
def test_limits_by_batch_size(order, b):
    X = rows()
    noise = 1.0 / b if order == "with replacement" else (10 - b) / (b * 9)
    w = fixed_point(X, noise)
    wanted = _batch_size.KNOWN[order][b]
    digits = 6e-4 if b >= 50 else 6e-5
    l2, linf, _ = max_margins(X)
    assert [cosine(w, l2), cosine(w, linf)] == pytest.approx(wanted, abs=digits)


@pytest.mark.parametrize("b2", [0.95, pytest.param(0.99, marks=pytest.mark.slow)])
def test_the_most_margin_a_step(b2):
    X = rows()
    w, m, v, frame = np.zeros(50), np.zeros(50), np.zeros(50), 0.0
    steps, half = int(2000 / (1 - b2)), None
    for t in range(steps):
        x = X[t % 10]
        depth = x @ w
        # what no float has is 0: a sample of a margin far above the others
        m, v = 0.9 * m, b2 * v
        if depth < frame - 300.0 or t == 0:
            m, v = m * np.exp(depth - frame), v * np.exp(2.0 * (depth - frame))
            frame = depth
        g = -x * np.exp(frame - depth)
        m, v = m + 0.1 * g, v + (1.0 - b2) * g**2
        w = w - m / np.sqrt(v)
        largest = np.log(np.sqrt(v.max()))
        m, v, frame = m * np.exp(-largest), v * np.exp(-2 * largest), frame - largest
        if t == steps // 2:
            half = (X @ w).min()
    grown = ((X @ w).min() - half) / (steps - steps // 2)
    assert grown == pytest.approx(_schedules.SPEED[b2], rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("order", ["in turn", "with replacement"])
def test_gaps_of_signum(order, beta):
    X, rng = rows(), np.random.default_rng(1)
    _, _, gamma = max_margins(X)
    steps = 300_000
    step_size = min(2e-4, 0.5 * (1 - beta) / np.abs(X).sum(axis=1).max())
    w, m, at = np.zeros(50), np.zeros(50), None
    drawn = rng.integers(10, size=steps)
    for t in range(steps):
        x = X[t % 10 if order == "in turn" else drawn[t]]
        m = beta * m - (1.0 - beta) * np.exp(-x @ w) * x
        w = w - step_size * np.sign(m)
        if t + 1 == steps // 2:
            at = w
    moved = w - at
    gap = 1.0 - (X @ moved).min() / np.abs(moved).max() / gamma
    value, digits = _signum.KNOWN[order, beta]
    assert gap == pytest.approx(value, abs=digits)


# --- homogeneous models: eight Gaussian samples in three dimensions


def eight():
    X = np.random.default_rng(0).normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    return X * np.sign(X[:, 0])[:, None]


def test_residual_of_gradient_descents_flow():
    X = eight()

    def flow(_, w):
        """Of w in minus the log of the sum of losses: its slope is 1."""
        z = -X @ w
        p = np.exp(z - z.max())
        down = X.T @ (p / p.sum())
        return down / (down @ down)

    start = -np.log(8.0)
    end = solve_ivp(flow, (start, 1000.0), np.zeros(3), rtol=1e-10, atol=1e-12)
    w = end.y[:, -1]
    down = flow(0.0, w)
    residual = np.linalg.norm(w / np.linalg.norm(w) - down / np.linalg.norm(down))
    assert residual == pytest.approx(_limits.RESIDUAL, rel=1e-3)


def test_margin_of_the_squared_relu_network():
    X = np.random.default_rng(0).normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    y = np.sign(X[:, 0])
    start = 0.5 * np.random.default_rng(1).normal(size=20)

    def margins(w):
        hidden, out = w[:15].reshape(5, 3), w[15:]
        return y * (np.maximum(X @ hidden.T, 0.0) ** 2 @ out)

    def gradient(w, weight):
        """Of Σ weight_i margin_i."""
        hidden, out = w[:15].reshape(5, 3), w[15:]
        Z = np.maximum(X @ hidden.T, 0.0)
        slopes = 2.0 * (weight * y)[:, None] * Z * out
        return np.concatenate([(slopes.T @ X).ravel(), Z.T**2 @ (weight * y)])

    def flow(_, w):
        z = -margins(w)
        p = np.exp(z - z.max())
        down = gradient(w, p / p.sum())
        return down / (down @ down)

    first = -np.log(np.exp(-margins(start)).sum())
    w = solve_ivp(flow, (first, 200.0), start, rtol=1e-8, atol=1e-10).y[:, -1]
    # the flow's direction turns for ever more slowly: the margin itself, from there
    w = w / np.linalg.norm(w)
    bounds = {
        "type": "ineq",
        "fun": lambda z: margins(z[:20]) - z[20],
        "jac": lambda z: np.column_stack([
            [gradient(z[:20], e) for e in np.eye(8)],
            -np.ones(8),
        ]),
    }
    ball = {
        "type": "ineq",
        "fun": lambda z: 1.0 - z[:20] @ z[:20],
        "jac": lambda z: np.append(-2.0 * z[:20], 0.0),
    }
    best = minimize(
        lambda z: -z[20],
        np.append(w, margins(w).min()),
        jac=lambda z: np.append(np.zeros(20), -1.0),
        constraints=[bounds, ball],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert best.x[20] == pytest.approx(_limits.SQUARED_RELU, abs=1e-6)


@pytest.mark.parametrize("step_size", _qian.LIMITS)
def test_adagrad_on_two_samples(step_size):
    angles = np.array([np.pi / 8, np.pi / 20])
    X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    away = lambda w: np.linalg.norm(
        w / np.linalg.norm(w) - optimum / np.linalg.norm(optimum)
    )
    optimum, _ = margin_optimum(X, np.ones(2))
    w, v, found = np.zeros(2), np.zeros(2), []
    for t in range(100_000):
        if t + 1 in (10, 100, 1000, 10_000, 100_000):
            found.append(away(w))
        g = -X.T @ np.exp(-X @ w) / 2.0
        v = v + g**2
        w = w - step_size * g / np.sqrt(2.5e-9 + v)
    known = _qian.DISTANCES[step_size][:5]
    assert found[: len(known)] == pytest.approx(known, abs=1e-5)
    # gradients go on like 1/t: from here on their squares add up to t times the last
    limit, _ = margin_optimum(X, np.sqrt(2.5e-9 + v + 100_000 * g**2))
    assert away(limit) == pytest.approx(_qian.LIMITS[step_size], abs=1e-5)


def rmsprop(b2, eps, steps):
    """Log-losses of the sum, and shares of ε in what divides, at every step."""
    X, w, log_v = eight(), np.zeros(3), np.full(3, -np.inf)
    losses, shares = [], []
    log_eps = np.log(eps) if eps else -np.inf
    for _ in range(steps):
        z = -X @ w
        total = z.max() + np.log(np.exp(z - z.max()).sum())
        down = X.T @ np.exp(z - total)
        log_g = np.log(np.abs(down)) + total
        log_v = np.logaddexp(np.log(b2) + log_v, np.log(1.0 - b2) + 2.0 * log_g)
        divisor = np.logaddexp(log_eps, log_v)
        g = np.exp(log_g - log_g.max())
        shares.append((g * np.exp(log_eps - divisor)).sum() / g.sum())
        w = w + 0.01 * np.sign(down) * np.exp(log_g - 0.5 * divisor)
        losses.append(total)
    return np.array(losses), np.array(shares)


def test_growth_of_rmsprop():
    losses, _ = rmsprop(0.99, 0.0, 20_000)
    growth = (losses[9_999] - losses[-1]) / 10_000
    assert growth == pytest.approx(_crossover.GROWTH[0.99], rel=1e-4)


@pytest.mark.parametrize(
    ("b2", "eps"), list(itertools.product((0.9, 0.99), (1e-8, 1e-16, 1e-32)))
)
def test_steps_at_which_eps_takes_over(b2, eps):
    known = _crossover.CROSSOVERS[b2][eps]
    _, shares = rmsprop(b2, eps, int(1.1 * known))
    assert 1 + int(np.argmax(shares >= 0.5)) == known
