"""The penalty that stopping early amounts to, for least squares."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Float

from penchant._arrays import numbers
from penchant._checks import check_count, check_number
from penchant._types import Numbers


def early_stopping(
    curvature: Numbers, *, steps: int, step_size: float
) -> Float[np.ndarray, "..."]:
    r"""$q_i(t)=\dfrac{s_i}{(1-\eta s_i)^{-t}-1}$, what `t` steps of descent amount to.

    Gradient descent from 0 on a quadratic of eigenvalues $s_i$ is after `t` steps
    the minimiser of $\mathcal L+\frac12\theta^\top Q_t\theta$, with eigenvalues
    $q_i$ in the same basis (`ali2019continuous`); from $\theta_0$, of
    $\mathcal L+\frac12(\theta-\theta_0)^\top Q_t(\theta-\theta_0)$. It is a ridge of
    coefficient $1/(\eta t)$ only where $\eta ts_i\ll1$. Computed as
    $s/\operatorname{expm1}(-t\log1p(-\eta s))$, which keeps its digits at both ends.

    >>> import penchant as pn
    >>> pn.estimators.early_stopping([1.0, 0.0], steps=200, step_size=0.01).round(4)
    array([0.1547, 0.5   ])

    Args:
        curvature: Eigenvalues $s_i\ge0$ of the loss's Hessian.
        steps: $t\ge1$.
        step_size: $\eta>0$ with $\eta s_i<1$.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is out of range.
    """
    s = numbers("curvature", curvature)
    check_number("curvature", s, least=0.0, finite=True)
    t = check_count("steps", steps)
    check_number("step_size", step_size, above=0.0, finite=True)
    eta = float(step_size)
    if s.size and eta * float(s.max()) >= 1.0:
        raise ValueError(
            "step_size times the largest curvature must be below 1; got "
            f"{eta * float(s.max()):.3g}."
        )
    some = s > 0
    with np.errstate(over="ignore"):
        below = np.expm1(-t * np.log1p(-eta * np.where(some, s, 0.0)))
    return np.where(some, s / np.where(some, below, 1.0), 1.0 / (eta * t))


def early_stopping_matrix(
    A: Numbers,
    *,
    steps: int,
    step_size: float,
    preconditioner: Numbers | None = None,
) -> Float[np.ndarray, "p p"]:
    r"""$Q_t=V\operatorname{diag}(q_i(t))V^\top$ for a Hessian $A=VSV^\top$.

    With a fixed preconditioner, $\theta\leftarrow\theta-\eta D^{-1}g$, it is
    $D^{1/2}q_t(D^{-1/2}AD^{-1/2})D^{1/2}$: a ridge weighted with $D$ at first. Adam,
    whose divisor moves, has no such form.

    Args:
        A: `(p, p)`, symmetric and positive semi-definite.
        steps: $t$.
        step_size: $\eta$.
        preconditioner: `(p,)`, the diagonal of $D>0$, which *divides* the gradient.

    Raises:
        ValueError: If a shape is wrong, or as for `early_stopping`.
    """
    A = numbers("A", A)
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(f"A must be a square matrix; got shape {A.shape}.")
    root = np.ones(len(A))
    if preconditioner is not None:
        d = numbers("preconditioner", preconditioner)
        check_number("preconditioner", d, above=0.0, finite=True)
        if d.shape != (len(A),):
            raise ValueError(
                f"preconditioner must have shape ({len(A)},); got {d.shape}."
            )
        root = np.sqrt(d)
    s, V = np.linalg.eigh(0.5 * (A + A.T) / np.outer(root, root))
    # eigenvalues of a semi-definite matrix are no less than 0 but for rounding
    s = np.where(s < 1e-14 * max(float(s.max()), 0.0), 0.0, s)
    q = early_stopping(s, steps=steps, step_size=step_size)
    return root[:, None] * ((V * q) @ V.T) * root[None, :]


class FullMatrix(eqx.Module):
    r"""A symmetric $Q$ with $Q\theta_m=-g_m$ at several endpoints.

    `rank` of the `unknowns` $p(p+1)/2$ are fixed by the endpoints; where that is all of
    them, `unique`. Otherwise `matrix` is the one of least length among those that fit.
    `residual` is what is left of the gradients, relative to them.
    """

    matrix: Float[np.ndarray, "p p"]
    rank: int = eqx.field(static=True)
    unknowns: int = eqx.field(static=True)
    residual: float = eqx.field(static=True)
    endpoints: int = eqx.field(static=True)

    @property
    def unique(self) -> bool:
        """Whether the endpoints fix the matrix."""
        return self.rank == self.unknowns

    def __repr__(self) -> str:
        p = len(self.matrix)
        word = "fixed" if self.unique else f"NOT fixed: {p} endpoints are needed"
        return (
            f"FullMatrix of {p} × {p}: {self.rank} of {self.unknowns} unknowns by "
            f"{self.endpoints} endpoints, {word}; residual {self.residual:.2g}"
        )


def match_matrix(
    weights: Numbers, gradients: Numbers, *, anchor: Numbers | None = None
) -> FullMatrix:
    r"""The quadratic penalty $\frac12\theta^\top Q\theta$ of endpoints that share it.

    Endpoints of one data matrix and one number of steps with *different targets* have
    one $Q_t$: each gives `p` equations $Q\theta_m=-g_m$ for the $p(p+1)/2$ entries. The
    rank after `M` of them is $Mp-M(M-1)/2$, so that $M=p$ are needed and in general
    enough. Resampled *rows* change the data matrix and with it $Q_t$: that recovers
    nothing in particular; resample residuals.

    Args:
        weights: `(M, p)` endpoints.
        gradients: `(M, p)` gradients of the loss there, each of its own targets.
        anchor: `(p,)`, where training started; None for 0.

    Raises:
        ValueError: If shapes disagree or entries are not finite.
    """
    theta, g = numbers("weights", weights), numbers("gradients", gradients)
    if theta.ndim != 2 or theta.shape != g.shape:
        raise ValueError(
            "weights and gradients must be of one shape (M, p); got "
            f"{theta.shape} and {g.shape}."
        )
    if anchor is not None:
        theta = theta - numbers("anchor", anchor)[None, :]
    if not (np.isfinite(theta).all() and np.isfinite(g).all()):
        raise ValueError("weights and gradients must be finite.")
    count, p = theta.shape
    i, j = np.triu_indices(p)
    # unknown q_ij (i <= j) has θ_j in equation i, and θ_i in equation j
    system = np.zeros((count, p, len(i)))
    column = np.arange(len(i))
    system[:, i, column] += theta[:, j]
    off = i != j
    system[:, j[off], column[off]] += theta[:, i[off]]
    rows, target = system.reshape(count * p, -1), -g.reshape(-1)
    lengths = np.linalg.norm(theta, axis=1)
    scale = np.repeat(np.where(lengths > 0, lengths, 1.0), p)
    found, _, rank, _ = np.linalg.lstsq(
        rows / scale[:, None], target / scale, rcond=1e-10
    )
    Q = np.zeros((p, p))
    Q[i, j] = found
    Q[j, i] = found
    size = float(np.linalg.norm(g))
    left = float(np.linalg.norm(theta @ Q + g))
    return FullMatrix(
        matrix=Q,
        rank=int(rank),
        unknowns=len(i),
        residual=left / size if size > 0 else math.nan,
        endpoints=count,
    )
