"""Which norm's constrained minimiser some weights are, by Hölder's inequality."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._checks import check_instance
from penchant._types import Parameters, Tree
from penchant.norms import AbstractLp, AbstractNorm, AbstractSchatten, read
from penchant.problems import AbstractProblem, ScaledGradient


class AlignmentRow(eqx.Module):
    r"""How far weights are aligned with their gradient in one `norm`: $a_N\le1$.

    `error` is the standard error that the spread of the gradients given makes, 0 with
    one gradient.
    """

    norm: AbstractNorm
    alignment: float = eqx.field(static=True)
    error: float = eqx.field(default=0.0, static=True)

    def __repr__(self) -> str:
        error = f" ± {self.error:.1g}" if self.error else ""
        return f"{self.norm.label}: alignment {self.alignment:.4f}{error}"


def alignment(
    problem: AbstractProblem,
    w: Parameters,
    norms: Sequence[AbstractNorm | str],
    *,
    gradients: Sequence[ScaledGradient] | None = None,
) -> tuple[AlignmentRow, ...]:
    r"""$a_N=\frac{\langle w,-g\rangle}{N(w)\,N_*(g)}\le1$ for each norm $N$, in order.

    By Hölder's inequality it is 1 exactly where $-g$ is normal to the ball of $N$ at
    $w$: where the loss is convex, exactly where $w$ minimises it among weights no
    larger in $N$; elsewhere that is the first-order condition. Only directions matter,
    so that losses of $e^{-10^5}$ and weights of any size are read alike. It needs no
    separable data and speaks of the weights as they are, not of where they go; what is
    near 1 in two norms doesn't tell them apart.

    Args:
        problem: What was trained.
        w: Weights, `(d,)` or `(k, d)`, or a network's parameters.
        norms: Norms that take such weights, or their names. Of several arrays of
            parameters, ℓp norms are of all entries together, and norms of matrices
            need a `Layerwise`.
        gradients: Gradients whose mean is `g`, such as those of a run's last steps,
            where steps oscillate; None for the gradient of the whole loss at `w`. Their
            spread makes the error, by the jackknife: it is meant if they err
            independently, as means over blocks of steps do that are long against
            batches and memories.

    Returns:
        A row a norm. NaN where the weights or the gradient are 0 or not finite.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If `norms` or `gradients` is empty, or `w` of another shape.

    Source: derived here; `test_is_1_at_the_constrained_minimiser_and_only_there`
    checks it against an independent solver.

        >>> import penchant as pn, numpy as np
        >>> X, s = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([1, 1])
        >>> problem = pn.LinearClassification(X, s, loss=pn.losses.Exponential())
        >>> pn.estimators.alignment(problem, np.ones(2), [pn.norms.L2()])
        (ℓ2: alignment 1.0000,)
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    if not norms:
        raise ValueError("norms must name at least one norm; got none.")
    named = [read(norm) for norm in norms]
    if not hasattr(w, "shape"):
        alone = [norm for norm in named if isinstance(norm, AbstractSchatten)]
        if alone:
            raise ValueError(
                f"norms must take all parameters; {alone[0]!r} takes a matrix, and w "
                "is several arrays: penchant.norms.Layerwise combines norms of these."
            )
    if gradients is None:
        _check_shapes(w, jax.tree.map(np.shape, problem.start), "the parameters")
        gradients = [problem.scaled_gradient(jax.tree.map(jnp.asarray, w))]
    if not gradients:
        raise ValueError("gradients must hold at least one gradient; got none.")
    w = scaled(jax.tree.map(jnp.asarray, w))
    means = jackknife(gradients)
    _check_shapes(w, jax.tree.map(lambda g: g.shape[1:], means), "its gradients")
    products, lengths, duals = _measured(tuple(named), w, means)
    bounds = np.asarray(lengths)[:, None] * np.asarray(duals)
    values = np.full(bounds.shape, math.nan)
    np.divide(np.asarray(products)[None, :], bounds, out=values, where=bounds > 0)
    return tuple(
        AlignmentRow(norm, float(row[0]), jackknife_error(row[1:]))
        for norm, row in zip(named, values, strict=True)
    )


def _check_shapes(w: Parameters, needs: Tree, of: str) -> None:
    has = jax.tree.map(np.shape, w)
    if has != needs:
        raise ValueError(f"w must have the shapes of {of}, {needs}; got {has}.")


@eqx.filter_jit
def _measured(norms: tuple[AbstractNorm, ...], w: Parameters, g: Parameters) -> Any:
    """⟨w, −g⟩ with each of the gradients, and each norm of `w` and dual norm of `g`."""
    products = sum(
        -jnp.sum(a[None] * b, axis=tuple(range(1, b.ndim)))
        for a, b in zip(jax.tree.leaves(w), jax.tree.leaves(g), strict=True)
    )
    several = not isinstance(w, Array)
    flat = lambda x: jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(x)])
    seen = lambda norm, x: flat(x) if several and isinstance(norm, AbstractLp) else x
    lengths = jnp.stack([norm(seen(norm, w)) for norm in norms])
    duals = [jax.vmap(lambda x, n=norm: n.dual(seen(n, x)))(g) for norm in norms]
    return products, lengths, jnp.stack(duals)


def jackknife(gradients: Sequence[ScaledGradient]) -> Parameters:
    """The mean of all, and of all but one each, every one with largest entry 1.

    Stacked: the leaves have one more axis, in front.
    """
    for gradient in gradients:
        check_instance("gradients", gradient, ScaledGradient, "scaled gradients")
    logs = np.array([float(gradient.log_scale) for gradient in gradients])
    sizes = np.exp(logs - logs.max()) if np.isfinite(logs.max()) else np.ones_like(logs)
    chosen = np.ones((1, len(logs)))
    if len(logs) > 1:
        chosen = np.vstack([chosen, 1.0 - np.eye(len(logs))])
    return _means(
        jnp.asarray(chosen * sizes), [gradient.direction for gradient in gradients]
    )


@eqx.filter_jit
def _means(chosen: Array, parts: list[Parameters]) -> Parameters:
    sums = jax.tree.map(
        lambda *leaves: jnp.tensordot(chosen, jnp.stack(leaves), 1), *parts
    )
    sizes = [
        jnp.max(jnp.abs(leaf), axis=tuple(range(1, leaf.ndim)))
        for leaf in jax.tree.leaves(sums)
    ]
    largest = functools.reduce(jnp.maximum, sizes)
    largest = jnp.where(largest > 0, largest, 1.0)
    across = lambda leaf: jnp.reshape(largest, (-1, *(1,) * (leaf.ndim - 1)))
    return jax.tree.map(lambda leaf: leaf / across(leaf), sums)


def jackknife_error(values: np.ndarray) -> float:
    """The standard error by values that leave one of `b` parts out each."""
    b = len(values)
    return float(np.sqrt((b - 1) * np.var(values))) if b else 0.0


def record(tree: Parameters, i: int) -> Parameters:
    """One of many, along the leading axis."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


def scaled(tree: Parameters) -> Parameters:
    """With a largest entry of 1, so that no square leaves the range of floats."""
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))
    return jax.tree.map(lambda leaf: leaf / largest, tree) if largest > 0 else tree
