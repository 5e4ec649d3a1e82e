"""The estimator as published, for comparison: Adam on the logarithms."""

import jax
import jax.numpy as jnp
import numpy as np


def fitted(
    columns: np.ndarray, target: np.ndarray, *, steps: int, rate: float
) -> np.ndarray:
    r"""$\lambda=e^\beta$ after so many steps of Adam on the mean square left.

    From $\beta=0$, with all samples at every step; the square is one of the columns'
    products alone, so that a step costs the same for any number of weights.

    Args:
        columns: `(..., p, k)`, one endpoint a leading entry.
        target: `(..., p)`.
        steps: How many.
        rate: Of Adam.
    """
    B, r = np.asarray(columns), np.asarray(target)
    p = B.shape[-2]
    G = jnp.asarray(np.einsum("...pk,...pl->...kl", B, B) / p)
    c = jnp.asarray(np.einsum("...pk,...p->...k", B, r) / p)
    return np.asarray(_fitted(G, c, jnp.asarray(steps), jnp.asarray(rate)))


@jax.jit
def _fitted(G: jax.Array, c: jax.Array, steps: jax.Array, rate: jax.Array) -> jax.Array:
    def step(t: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        beta, m, v = carry
        x = jnp.exp(beta)
        # d/dβ of λ'Gλ - 2c'λ, by λ = e^β
        g = 2.0 * x * (jnp.einsum("...kl,...l->...k", G, x) - c)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        n = jnp.asarray(t + 1, dtype=float)
        mean, root = m / (1.0 - 0.9**n), jnp.sqrt(v / (1.0 - 0.999**n))
        return beta - rate * mean / (root + 1e-8), m, v

    zero = jnp.zeros_like(c)
    return jnp.exp(jax.lax.fori_loop(0, steps, step, (zero, zero, zero))[0])
