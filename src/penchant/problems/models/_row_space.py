import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._types import Parameters, Real
from penchant.problems.classification import NetworkClassification
from penchant.problems.models._base import AbstractNetwork


class RowSpace(eqx.Module):
    r"""A network's problem in the coordinates of the space that its examples span.

    The first layer's rows $w_j$ meet examples by inner products only. With an
    orthonormal basis $Q$ of their span, $(d,r)$, examples become $(xQ,0)$ and rows
    $(w_jQ,\rho_j)$, $\rho_j$ the length of what of $w_j$ is outside. A gradient never
    turns that part; a norm of $w_j$, as pReLU has, keeps it. So training there is
    the same, exactly, at $r+1\le n+1$ features in place of $d$.
    """

    problem: NetworkClassification
    basis: Float[Array, "d r"]

    def drop(self, w: Parameters) -> Parameters:
        """Parameters in these coordinates."""
        return _drop(w, self.basis)

    def lift(self, w: Parameters, start: Parameters) -> Parameters:
        """Parameters as they were, of a run that began at `start`."""
        W, first = w[0]["W"], start[0]["W"]
        outside = first - (first @ self.basis) @ self.basis.T
        length = jnp.linalg.norm(outside, axis=1, keepdims=True)
        unit = outside / jnp.where(length > 0, length, 1.0)
        W = W[:, :-1] @ self.basis.T + W[:, -1:] * unit
        return [{**w[0], "W": W}, *w[1:]]


def row_space(problem: NetworkClassification, tol: Real = 1e-12) -> RowSpace | None:
    """The problem in the space of its examples; None where that saves nothing.

    Only networks of `penchant.networks` tell which matrix meets the examples.

    Args:
        problem: Any network's.
        tol: Singular values of the examples below that share of the largest are 0.
    """
    network, X = problem.apply, np.asarray(problem.X)
    if not isinstance(network, AbstractNetwork) or X.ndim != 2:
        return None
    if min(X.shape) + 1 >= X.shape[1]:
        return None
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    Q = Vt[s > tol * s[0]].T
    narrow = network.narrowed(Q.shape[1] + 1)
    if narrow is None:
        return None
    Z = np.concatenate([X @ Q, np.zeros((len(X), 1))], axis=1)
    inner = problem.over(narrow, _drop(problem.start, jnp.asarray(Q)), jnp.asarray(Z))
    return RowSpace(inner, jnp.asarray(Q))


def _drop(w: Parameters, Q: Float[Array, "d r"]) -> Parameters:
    W = w[0]["W"]
    inside = W @ Q
    outside = jnp.linalg.norm(W - inside @ Q.T, axis=1)
    return [{**w[0], "W": jnp.concatenate([inside, outside[:, None]], axis=1)}, *w[1:]]
