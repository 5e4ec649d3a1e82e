"""Coefficients of penalties: solved, against fitted by Adam as published."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from benchmarks._report import Row
from benchmarks._timing import compare_once

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
    found = compare_once(
        lambda: pn.estimators.match(log, w, terms).coefficients,
        lambda: fitted(B, g, steps),
        repeats=5,
    )
    assert np.allclose(found.our_result, true, rtol=1e-6)
    whole = found.peer.median * FITTED / steps
    off = float(np.max(np.abs(np.asarray(found.peer_result) / true - 1.0)))
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
