"""Which regulariser a run imitates at the moment: alignments over its next steps."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from penchant._checks import check_count, check_instance
from penchant._plain import plain
from penchant._types import Parameters
from penchant.estimators._alignment import (
    AlignmentRow,
    alignment,
    jackknife,
    jackknife_error,
    record,
    scaled,
)
from penchant.norms import (
    L1,
    L2,
    AbstractNorm,
    Linf,
    Mahalanobis,
    Nuclear,
    Spectral,
)
from penchant.optimizers import accumulated_norm
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

ROUNDING = 1e-12
"""Alignments that differ by less are the same."""


class Exponent(eqx.Module):
    r"""The alignment of one family of norms over its exponents.

    `curve` `(m,)` are alignments at `inverse`, $1/p$ from 0 (max) to 1 (sum). It is
    largest, `alignment`, at the effective exponent `p`; `interval` is 95 % for where
    the largest is, by the spread of the window's gradients, and holds all exponents
    that differ from it by rounding alone: all there are, for one feature. How well any
    member fits is what `alignment` says, not the interval. NaN where the weights or
    the gradients are 0.
    """

    inverse: Float[np.ndarray, " m"]
    curve: Float[np.ndarray, " m"]
    p: float = eqx.field(static=True)
    interval: tuple[float, float] = eqx.field(static=True)
    alignment: float = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has; $p$ by its inverse, which is finite."""
        return plain({
            "inverse_p": 1.0 / self.p,
            "interval": [1.0 / p for p in self.interval],
            "alignment": self.alignment,
            "curve": list(self.curve),
        })

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
    nothing, or not entry by entry): it says that steps have been even, not which norm
    was chosen beforehand. `entries` and `singular_values` are curves over all
    exponents, the latter for matrices alone. `steps` is the length of the window over
    which gradients were averaged.
    """

    rows: tuple[AlignmentRow, ...]
    own: AlignmentRow | None
    entries: Exponent
    singular_values: Exponent | None
    steps: int = eqx.field(static=True)

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        told = lambda row: plain({
            "norm": row.norm.label,
            "alignment": row.alignment,
            "error": row.error,
        })
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
    norms: Sequence[AbstractNorm | str] | None = None,
    *,
    steps: int | None = None,
) -> Imitation:
    r"""Which regulariser the weights imitate now: `alignment` over a run's next steps.

    At any time, separable or not: $a_N=1$ exactly where the weights have the least loss
    among weights of their size in $N$ (to first order where the loss is not convex).
    Gradients are averaged over a window of steps that follow the run, those of
    classifiers relative to their loss: steps that overshoot in turn, or see single
    batches, have gradients that swing about the one that matters. The run itself stays
    as it is.

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
        norms: Norms that take its weights, or their names; None for ℓ1, ℓ2, ℓ∞ of
            all parameters, and for matrices spectral and nuclear.
        steps: Length of the window; None for an epoch a block, 256 to 4096, and at
            most an eighth of the run.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If `norms` is empty or `steps` below 1.
    """
    check_instance("run", run, Trajectory, "a Trajectory of penchant.train")
    length = _length(run) if steps is None else check_count("steps", steps)
    seen = window(run, steps=length, blocks=min(BLOCKS, length))
    w, problem = scaled(run.last), run.rule.problem
    gradients = _parts(seen.gradients)
    # entry by entry it makes no difference which leaf an entry is of
    v = problem.flat(w)
    flat = _parts(jax.vmap(problem.flat)(seen.gradients))
    wide = _is_matrix(w)
    own = _divisor(run)
    last = () if own is None else (own,)
    if norms is not None or wide:
        named = (L1(), L2(), Linf(), Spectral(), Nuclear()) if norms is None else norms
        rows = alignment(problem, w, named, gradients=gradients)
        rows += alignment(problem, v, last, gradients=flat) if last else ()
    else:
        rows = alignment(problem, v, (L1(), L2(), Linf(), *last), gradients=flat)
    rows, last = (rows, None) if own is None else (rows[:-1], rows[-1])
    means = jackknife(gradients)
    mean = np.asarray(jax.vmap(problem.flat)(means))
    products = -mean @ np.asarray(v)
    entries = _exponent(products, np.asarray(v), mean)
    singular = None
    if wide:
        values = functools.partial(jnp.linalg.svd, compute_uv=False)
        matrices = [np.asarray(values(jax.tree.leaves(x)[0])) for x in (w, means)]
        singular = _exponent(products, *matrices)
    return Imitation(
        rows=rows,
        own=last,
        entries=entries,
        singular_values=singular,
        steps=seen.steps,
    )


def _parts(stacked: Parameters) -> list[ScaledGradient]:
    plain = jax.tree.map(np.asarray, stacked)
    count = len(jax.tree.leaves(plain)[0])
    one = jnp.zeros(())
    return [ScaledGradient(record(plain, i), one) for i in range(count)]


def _length(run: Trajectory) -> int:
    rule = run.rule
    epoch = rule.batching.steps_per_epoch(rule.problem.samples)
    wanted = min(max(BLOCKS * epoch, SHORTEST), LONGEST)
    return max(BLOCKS, min(wanted, int(run.steps[-1]) // SHARE))


def _is_matrix(w: Parameters) -> bool:
    leaves = jax.tree.leaves(w)
    return len(leaves) == 1 and leaves[0].ndim == 2 and min(leaves[0].shape) > 1


def _divisor(run: Trajectory) -> Mahalanobis | None:
    """What the rule divides by now, over all parameters; None without any."""
    second = run.rule.optimizer.character().second
    log_v = run.rule.optimizer.log_second(run.state.optimizer)
    if second is None or log_v is None:
        return None
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(run.last)]
    if [jnp.shape(leaf) for leaf in jax.tree.leaves(log_v)] != shapes:
        return None
    log_below = second.log_below(run.rule.problem.flat(log_v))
    if not bool(jnp.isfinite(jnp.max(log_below))):
        return None  # nothing has had a gradient
    return accumulated_norm(log_below)


def _exponent(products: np.ndarray, x: np.ndarray, g: np.ndarray) -> Exponent:
    """The curve of weights `x` `(m,)` against the means `g` `(b + 1, m)`."""
    inverse = np.linspace(0.0, 1.0, GRID)
    rows = np.abs(np.vstack([x[None, :], g]))
    a = np.log(rows, out=np.full(rows.shape, -np.inf), where=rows > 0)
    bounds = np.exp(_log_norms(a[:1], inverse) + _log_norms(a[1:], 1.0 - inverse))
    curves = np.full(bounds.shape, math.nan)
    np.divide(products[:, None], bounds, out=curves, where=bounds > 0)
    tops = np.array([_top(inverse, curve) for curve in curves])
    at, curve = float(tops[0]), curves[0]
    spread = 1.96 * jackknife_error(tops[1:])
    low, high = max(at - spread, 0.0), min(at + spread, 1.0)
    alike = inverse[curve >= np.max(curve) - ROUNDING]
    if alike.size > 1:
        low, high = min(low, float(alike[0])), max(high, float(alike[-1]))
    as_p = lambda s: math.inf if s <= 0 else 1.0 / s
    best = math.nan
    if math.isfinite(at):
        top = np.array([min(max(at, 0.0), 1.0)])
        bound = np.exp(_log_norms(a[:1], top) + _log_norms(a[1:2], 1.0 - top))
        best = float(products[0] / bound[0, 0])
    return Exponent(
        inverse=inverse,
        curve=curve,
        p=as_p(at),
        interval=(as_p(high), as_p(low)),
        alignment=best,
    )


def _log_norms(a: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    r"""$\log\|e^{a_i}\|_{1/s}$ for rows `a` `(b, m)` and each $s$ of `inverse`.

    All exponents at once in NumPy: as many norms of `penchant.norms` would be traced
    and compiled one by one. A test holds the curve against them.
    """
    top = np.max(a, axis=1, keepdims=True, initial=-np.inf)
    below = np.where(np.isfinite(top), a - np.where(np.isfinite(top), top, 0.0), a)
    logs = np.broadcast_to(top, (len(a), len(inverse))).copy()
    for j, s in enumerate(inverse):
        if s > 0:
            total = np.sum(np.exp(below / s), axis=1)  # at least 1, or 0 in all
            logs[:, j] += s * np.log(np.maximum(total, 1.0))
    return logs


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
