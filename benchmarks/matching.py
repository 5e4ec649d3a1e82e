"""Coefficients of penalties, solved against fitted as published; nets in one sweep."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import compare

FITTED = 60_000
"""Steps after which the published fit was seen to be right."""

REASONS: dict[str, str] = {}


def rows(quick: bool) -> Iterator[Row]:
    p, steps = (20_000, 600) if quick else (340_000, 6_000)
    rng = np.random.default_rng(0)
    w = rng.normal(size=p)
    terms = [
        pn.penalties.Ridge(),
        pn.penalties.L1(),
        pn.penalties.Power(3.0),
        pn.penalties.Anchored(rng.normal(size=p)),
        pn.penalties.Power(0.5, 1e-2),
    ]
    true = np.array([4e-5, 1e-5, 2e-5, 3e-5, 1e-5])
    columns = [t.gradient(jnp.asarray(w), None) for t in terms]
    g = -sum(c * b for c, b in zip(true, columns, strict=True))
    log = pn.estimators.LoggedGradient(w, g)
    B = jnp.stack(columns)
    found = compare(
        lambda: pn.estimators.match(log, w, terms).coefficients,
        lambda: fitted(B, g, steps),
        repeats=5,
    )
    assert np.allclose(found.our_result, true, rtol=1e-6)
    whole = found.peer.median * FITTED / steps
    off = float(np.max(np.abs(np.asarray(found.peer_result) / true - 1.0)))
    yield nets(100 if quick else 1_000)
    yield Row(
        name="penalties at an endpoint",
        work=f"{p:,} weights, {len(terms)} penalties, after one gradient",
        peer=f"Adam on the logarithms, {FITTED:,} steps",
        peer_figure=f"{whole:.3g} s, from {steps:,} steps",
        our_figure=found.ours.describe(),
        ratio=whole / found.ours.median,
        asked=100,
        compilation=found.ours.compilation,
        remark=f"after {steps:,} steps its worst coefficient is off by {off:.3g} times "
        "itself.",
    )


@jax.jit
def _step(B: jax.Array, g: jax.Array, carry: tuple, t: jax.Array) -> tuple:
    beta, m, v = carry
    slope = jax.grad(lambda beta: jnp.mean((g + jnp.exp(beta) @ B) ** 2))(beta)
    m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
    corrected = m / (1.0 - 0.9**t), v / (1.0 - 0.999**t)
    return beta - 0.05 * corrected[0] / (jnp.sqrt(corrected[1]) + 1e-8), m, v


def fitted(B: jax.Array, g: jax.Array, steps: int) -> jax.Array:
    """The published way: exponentials, Adam, mean squares."""
    zero = jnp.zeros(len(B))
    carry = jax.lax.fori_loop(
        0,
        steps,
        lambda t, carry: _step(B, g, carry, 1.0 + t.astype(float)),
        (zero, zero, zero),
    )
    return jnp.exp(carry[0])


GRID = {"b2": np.linspace(0.9, 0.999, 6), "step_size": np.geomspace(1e-4, 1e-2, 6)}


def nets(steps: int) -> Row:
    """The published grid of networks as lanes of one sweep, and by hand."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 10))
    y = X @ (5.0 * rng.normal(size=10)) + 0.5 * rng.normal(size=4000)
    start = {
        "U": rng.normal(size=(10, 200)) / np.sqrt(10),
        "b": np.zeros(200),
        "v": rng.normal(size=200) / np.sqrt(200),
        "c": np.zeros(()),
    }
    problem = pn.Regression(_net, start, X, y)
    rule = pn.optimizers.Adam(bias_correction=True)
    batches = pn.batching.WithReplacement(32)
    call = lambda: pn.sweep(
        problem,
        rule,
        grid=GRID,
        steps=steps,
        batching=batches,
        record=2,
        weights=False,
        progress=False,
    )
    b2, eta = (x.ravel() for x in np.meshgrid(*GRID.values(), indexing="ij"))
    lanes = jax.tree.map(lambda x: jnp.broadcast_to(x, (36, *x.shape)), problem.start)
    found = compare(
        call,
        lambda: _by_hand(lanes, jnp.asarray(X), jnp.asarray(y), b2, eta, steps),
        repeats=3,
    )
    rate = 36 * steps / found.ours.median
    return Row(
        name="networks in one sweep",
        work=f"36 networks of 2,401 parameters, {steps:,} steps of Adam on 32 samples",
        peer="lax.scan and vmap by hand",
        peer_figure=f"{36 * steps / found.peer.median:,.0f} network-steps/s",
        our_figure=f"{rate:,.0f} network-steps/s",
        ratio=found.peer.median / found.ours.median,
        asked=0.7,
        compilation=found.ours.compilation,
    )


def _net(w: dict[str, jax.Array], X: jax.Array) -> jax.Array:
    return jax.nn.relu(X @ w["U"] + w["b"]) @ w["v"] + w["c"]


@jax.jit
def _by_hand(
    lanes: dict[str, jax.Array],
    X: jax.Array,
    y: jax.Array,
    b2: jax.Array,
    eta: jax.Array,
    steps: int,
) -> jax.Array:
    """Adam on random batches, all networks side by side."""
    loss = lambda w, rows: 0.5 * jnp.mean((_net(w, X[rows]) - y[rows]) ** 2)

    def one(w: dict[str, jax.Array], b2: jax.Array, eta: jax.Array) -> jax.Array:
        zero = jax.tree.map(jnp.zeros_like, w)

        def step(t: jax.Array, carry: tuple) -> tuple:
            w, m, v = carry
            rows = jax.random.randint(jax.random.key(t), (32,), 0, X.shape[0])
            g = jax.grad(loss)(w, rows)
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * g**2, v, g)
            n = 1.0 + jnp.asarray(t, dtype=float)
            a, c = 1.0 - 0.9**n, 1.0 - b2**n
            w = jax.tree.map(
                lambda w, m, v: w - eta * m / a / (jnp.sqrt(v / c) + 1e-8), w, m, v
            )
            return w, m, v

        return loss(jax.lax.fori_loop(0, steps, step, (w, zero, zero))[0], slice(None))

    return jax.vmap(one)(lanes, b2, eta)
