"""What a rule divides by, on the slow clock: S(v), and what v follows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from penchant.flows.slow._manifold import Manifold
from penchant.norms import L2
from penchant.optimizers import AbstractOptimizer, Blocks, Divisor

Flat = Float[Array, " p"]


class Metric(eqx.Module):
    r"""$S(v)$ and $V(\Sigma)$ of a rule, from its character.

    `gain` multiplies steps: $1/(1-\mu)$ of momentum that sums. `decay` is the decoupled
    weight decay, `b1` that of the first moment.
    """

    second: Divisor | None
    gain: float = eqx.field(static=True)
    b1: float = eqx.field(static=True)
    decay: float = eqx.field(static=True)

    @classmethod
    def of(cls, optimizer: AbstractOptimizer) -> "Metric":
        """That of a rule.

        Raises:
            TypeError: If no slow flow here describes the rule.
        """
        what = optimizer.character()
        second = what.second
        decay = float(np.asarray(what.decay)) if what.decays else 0.0
        plain = second is None and what.steepest and what.normalised is False
        euclidean = plain and what.steps is not None and what.steps.same(L2())
        mean = second is not None and second.kind == "mean"
        if not (euclidean or mean):
            raise TypeError(
                "optimizer must be gradient descent, or divide by a running mean of "
                "squares, for a slow flow; got "
                f"{type(optimizer).__name__}: {what!r}."
            )
        summed = what.first is not None and what.first.kind == "sum"
        gain = 1.0 / (1.0 - what.b1) if summed else 1.0
        return cls(second, gain, what.b1, decay)

    @property
    def kind(self) -> str:
        """What the second moment is of: "none", or as `Divisor.over` says."""
        return "none" if self.second is None else self.second.over

    @property
    def exponent(self) -> float:
        r"""$\lambda$ of $v^\lambda$; 0 where nothing divides."""
        return 0.0 if self.second is None else float(np.asarray(self.second.exponent))

    @property
    def eps(self) -> float:
        r"""$\varepsilon$, where it stands."""
        return 0.0 if self.second is None else float(np.asarray(self.second.eps))

    def follows(self, manifold: Manifold, x: Flat, noise: Array) -> Array:
        r"""$V(\alpha H)$: what the second moment tends to."""
        if self.second is None:
            return jnp.zeros(0)
        if self.kind == "factors":
            return self._factors(manifold, x) * noise
        return self.spread(manifold, noise * manifold.diagonal(x))

    def spread(self, manifold: Manifold, h: Flat) -> Flat:
        """A diagonal as the rule sees it: means over its blocks."""
        if self.kind != "blocks":
            return h
        assert self.second is not None
        blocks = self.second.blocks or Blocks()
        problem = manifold.problem
        means = blocks.means(problem.unflat(h))
        return problem.flat(blocks.spread(means, problem.start))

    def S(self, manifold: Manifold, v: Array, like: Flat) -> Array:
        """What multiplies the gradient: a diagonal, or for factors a matrix."""
        if self.second is None:
            return jnp.full_like(like, self.gain)
        if self.kind == "factors":
            return self._kronecker(manifold, v)
        p, eps = jnp.asarray(self.second.exponent), jnp.asarray(self.second.eps)
        v = jnp.maximum(v, 1e-300)
        below = (v + eps) ** p if self.second.eps_inside else v**p + eps
        return self.gain / below

    def lyapunov(self, alpha_h: np.ndarray, v: np.ndarray) -> float | None:
        r"""$E=\sum_j\alpha H_{jj}s(v_j)+\Phi(v_j)$ with $\Phi'=-vs'$; None for factors.

        $\Phi(v)=-vs(v)+\int_0^vs$. Without $\varepsilon$, with $s=v^{-\lambda}$, it is
        $\alpha H_{jj}v_j^{-\lambda}+\frac\lambda{1-\lambda}v_j^{1-\lambda}$. On blocks
        $v$ is the same for all of a block, and the sum is over entries.
        """
        if self.kind == "factors":
            return None
        if self.second is None:
            return float(alpha_h.sum())
        p, eps = self.exponent, self.eps
        v = np.maximum(v, 1e-300)
        if self.second.eps_inside:
            s = (v + eps) ** -p
            area = ((v + eps) ** (1 - p) - eps ** (1 - p)) / (1 - p)
        elif eps == 0:
            s, area = v**-p, v ** (1 - p) / (1 - p)
        elif p == 0.5:
            root = np.sqrt(v)
            s, area = 1 / (root + eps), 2 * (root - eps * np.log1p(root / eps))
        elif p == 0:
            s, area = np.full_like(v, 1 / (1 + eps)), v / (1 + eps)
        else:
            s = 1 / (v**p + eps)
            area = v / eps * scipy.special.hyp2f1(1.0, 1 / p, 1 + 1 / p, -(v**p) / eps)
        return float(np.sum(alpha_h * s - v * s + area))

    def _factors(self, manifold: Manifold, x: Flat) -> Array:
        """E GG' and E G'G for gradients of covariance H, of every array in turn."""
        J = manifold.normals(x)[0]
        parts = []
        for rows in _arrays(manifold, J):
            parts.append(jnp.einsum("mab,mcb->ac", rows, rows).ravel())
            parts.append(jnp.einsum("mab,mac->bc", rows, rows).ravel())
        return jnp.concatenate(parts)

    def _kronecker(self, manifold: Manifold, v: Array) -> Array:
        assert self.second is not None
        p, eps = jnp.asarray(self.second.exponent), jnp.asarray(self.second.eps)

        def power(M: Array) -> Array:
            values, U = jnp.linalg.eigh(M)
            values = jnp.maximum(values, 1e-14 * values[-1]) + eps
            return (U * values[None, :] ** -p) @ U.T

        blocks, at = [], 0
        for a, b in _shapes(manifold):
            L = v[at : at + a * a].reshape(a, a)
            at += a * a
            R = v[at : at + b * b].reshape(b, b)
            at += b * b
            blocks.append(jnp.kron(power(L), power(R)))
        return self.gain * jax.scipy.linalg.block_diag(*blocks)


def _shapes(manifold: Manifold) -> list[tuple[int, int]]:
    """Every array as a matrix; vectors have one column."""
    leaves = jax.tree.leaves(manifold.problem.start)
    return [
        (x.shape[0], x.size // x.shape[0]) if x.ndim >= 2 else (x.size, 1)
        for x in leaves
    ]


def _arrays(manifold: Manifold, J: Array) -> list[Array]:
    cut, at = [], 0
    for a, b in _shapes(manifold):
        cut.append(J[:, at : at + a * b].reshape(-1, a, b))
        at += a * b
    return cut
