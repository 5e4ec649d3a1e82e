"""Which regulariser a run imitates at the moment: alignments over its last steps."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance
from penchant._types import Parameters
from penchant.estimators._alignment import (
    AlignmentRow,
    alignment,
    inner,
    jackknife,
    jackknife_error,
)
from penchant.norms import L1, L2, AbstractNorm, Linf, Mahalanobis, Nuclear, Spectral
from penchant.problems import ScaledGradient
from penchant.training import Trajectory, window

BLOCKS = 16
"""Parts of the window, whose spread makes the errors."""

SHORTEST, LONGEST = 256, 4096
"""Steps of a window: an epoch a block within these."""

SHARE = 8
"""A window is no longer than this part of the run, or is as short as can be."""

GRID = 81
"""Exponents at which a family's alignment is computed, evenly in 1/p."""


class Exponent(eqx.Module):
    r"""The alignment of one family of norms over its exponents.

    `curve` `(m,)` are alignments at `inverse`, $1/p$ from 0 (max) to 1 (sum). It is
    largest, `alignment`, at the effective exponent `p`; `interval` is 95 % for where
    the largest is, by the spread of the window's gradients. How well any member fits is
    what `alignment` says, not the interval.
    """

    inverse: Float[Array, " m"]
    curve: Float[Array, " m"]
    p: float = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    alignment: float = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has; $p$ by its inverse, which is finite."""
        return {
            "inverse_p": 1.0 / self.p,
            "interval": [1.0 / p for p in self.interval],
            "alignment": self.alignment,
            "curve": np.asarray(self.curve).tolist(),
        }

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"p = {self.p:.3g} ({low:.3g} to {high:.3g}), "
            f"alignment {self.alignment:.3f}"
        )


class Imitation(eqx.Module):
    r"""Alignments of a run's weights with its gradients, norm by norm.

    `rows` are those of the named norms; `own` is that of the run's own divisor, a
    weighted Euclidean norm *read off the run itself* (None for rules that divide by
    nothing): it says that steps have been even, not which norm was chosen beforehand.
    `entries` and `singular_values` are curves over all exponents, the latter for
    matrices alone. `steps` is the length of the window over which gradients were
    averaged.
    """

    rows: tuple[AlignmentRow, ...]
    own: AlignmentRow | None
    entries: Exponent
    singular_values: Exponent | None
    steps: int = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        told = lambda row: {
            "norm": row.norm.label,
            "alignment": row.alignment,
            "error": row.error,
        }
        other = self.singular_values
        return {
            "steps": self.steps,
            "rows": [told(row) for row in self.rows],
            "own": None if self.own is None else told(self.own),
            "entries": self.entries.to_dict(),
            "singular_values": None if other is None else other.to_dict(),
        }

    def __repr__(self) -> str:
        lines = [f"Imitation over {self.steps} steps:"]
        lines += [f"  {row!r}" for row in self.rows]
        if self.own is not None:
            lines.append(f"  its own divisor: {self.own!r}")
        lines.append(f"  of ℓp: {self.entries!r}")
        if self.singular_values is not None:
            lines.append(f"  of Schatten p: {self.singular_values!r}")
        return "\n".join(lines)


def imitation(
    run: Trajectory,
    norms: Sequence[AbstractNorm] | None = None,
    *,
    steps: int | None = None,
) -> Imitation:
    r"""Which regulariser the weights imitate now: `alignment` over a run's last steps.

    At any time, separable or not: $a_N=1$ exactly where the weights have the least loss
    among weights of their size in $N$ (to first order where the loss is not convex).
    Gradients are averaged over a window of steps that follow the run, each relative to
    its loss: steps that overshoot in turn, or see single batches, have gradients that
    swing about the one that matters. The run itself stays as it is.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(8, 30, seed=0).problem()
    >>> run = pn.train(
    ...     problem, pn.optimizers.SignDescent(), steps=20_000, step_size=0.001
    ... )
    >>> seen = pn.estimators.imitation(run)
    >>> max(seen.rows, key=lambda row: row.alignment).norm
    Linf()

    Args:
        run: A run of `train`.
        norms: Norms that take its weights; None for ℓ1, ℓ2, ℓ∞, and for matrices
            spectral and nuclear.
        steps: Length of the window; None for an epoch a block, 256 to 4096, and at
            most an eighth of the run.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If `norms` is empty or `steps` below 1.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    wide = _is_matrix(run.last)
    if norms is None:
        norms = (L1(), L2(), Linf(), *((Spectral(), Nuclear()) if wide else ()))
    length = _length(run) if steps is None else check_count("steps", steps)
    seen = window(run, steps=length, blocks=min(BLOCKS, length))
    gradients = [
        ScaledGradient(jax.tree.map(lambda g: g[i], seen.gradients), jnp.zeros(()))  # noqa: B023
        for i in range(len(jax.tree.leaves(seen.gradients)[0]))
    ]
    w, problem = run.last, run.rule.problem
    own = _divisor(run)
    named = alignment(problem, w, norms, gradients=gradients)
    means = jackknife(gradients)
    sizes = lambda tree: np.concatenate([
        np.abs(np.asarray(leaf)).ravel() for leaf in jax.tree.leaves(tree)
    ])
    return Imitation(
        rows=named,
        own=None
        if own is None
        else alignment(problem, w, (own,), gradients=gradients)[0],
        entries=_exponent(w, means, sizes),
        singular_values=_exponent(w, means, _singular_values) if wide else None,
        steps=seen.steps,
    )


def _length(run: Trajectory) -> int:
    rule = run.rule
    epoch = rule.batching.steps_per_epoch(rule.problem.samples)
    wanted = min(max(BLOCKS * epoch, SHORTEST), LONGEST)
    return max(BLOCKS, min(wanted, int(run.steps[-1]) // SHARE))


def _is_matrix(w: Parameters) -> bool:
    leaves = jax.tree.leaves(w)
    return len(leaves) == 1 and leaves[0].ndim == 2 and min(leaves[0].shape) > 1


def _singular_values(w: Parameters) -> np.ndarray:
    (W,) = jax.tree.leaves(w)
    return np.linalg.svd(np.asarray(W), compute_uv=False)


def _divisor(run: Trajectory) -> Mahalanobis | None:
    """What the run's rule divides by now, as weights of a norm; None without any."""
    second = run.rule.optimizer.character().second
    log_v = run.rule.optimizer.log_second(run.state.optimizer)
    w = run.last
    if second is None or log_v is None or not isinstance(w, jax.Array):
        return None
    if not isinstance(log_v, jax.Array) or log_v.shape != w.shape or w.ndim > 2:
        return None
    below = np.asarray(second.log_below(log_v), dtype=float)
    if w.ndim == 2 and w.shape[0] == w.shape[1]:
        return None  # a square array of weights would be read as a matrix
    # entries that never had a gradient are still 0, and count for nothing
    below = np.where(np.isneginf(below), 0.0, below - below.max())
    with np.errstate(under="ignore"):
        M = np.exp(np.maximum(below, -600.0))
    return Mahalanobis(jnp.asarray(M)) if np.isfinite(M).all() else None


def _exponent(w: Parameters, means: list[Parameters], sizes: Any) -> Exponent:
    inverse = np.linspace(0.0, 1.0, GRID)
    lengths = _norms(sizes(w), inverse)
    curves = np.array([
        inner(w, g) / (lengths * _norms(sizes(g), 1.0 - inverse)) for g in means
    ])
    tops = np.array([_top(inverse, curve) for curve in curves])
    at = float(tops[0])
    spread = 1.96 * jackknife_error(tops[1:])
    low, high = min(at + spread, 1.0), max(at - spread, 0.0)
    as_p = lambda s: math.inf if s <= 0 else 1.0 / s
    return Exponent(
        inverse=jnp.asarray(inverse),
        curve=jnp.asarray(curves[0]),
        p=as_p(at),
        interval=(as_p(low), as_p(high)),
        alignment=float(np.interp(at, inverse, curves[0])),
    )


def _norms(x: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    r"""$\|x\|_p$ for each $1/p$, of sizes that are $\ge0$."""
    largest = x.max(initial=0.0)
    if not largest > 0:
        return np.full(len(inverse), math.nan)
    logs = np.log(np.maximum(x / largest, 1e-300))
    out = np.ones(len(inverse))
    for i, s in enumerate(inverse):
        if s > 0:
            # in logs, as x^p leaves the range of floats for large p
            out[i] = np.exp(s * np.logaddexp.reduce(logs / s))
    return largest * out


def _top(x: np.ndarray, y: np.ndarray) -> float:
    """Where the parabola through the largest value and its neighbours is largest."""
    if not np.isfinite(y).all():
        return math.nan
    i = int(np.argmax(y))
    if i in (0, len(y) - 1):
        return float(x[i])
    below, here, above = y[i - 1 : i + 2]
    bend = below - 2.0 * here + above
    shift = 0.0 if bend == 0 else 0.5 * (below - above) / bend
    return float(x[i] + shift * (x[1] - x[0]))
