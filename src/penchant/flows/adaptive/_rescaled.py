"""Gradient flow on the clock of the logarithm of the loss, by cheap steps."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Parameters, Real
from penchant.flows.adaptive._adaptive_flow import check_gradient
from penchant.flows.adaptive._integrate import log_loss_and_gradient
from penchant.flows.adaptive._preconditioner import Flat
from penchant.problems import (
    AbstractClassification,
    NetworkClassification,
    RowSpace,
    row_space,
)


class RescaledFlow(eqx.Module):
    r"""A gradient flow in loss-rescaled time, at some of its steps.

    `steps` `(r,)`; `weights` with leading axis r; `log_loss` and `log_norm` `(r,)`, of
    all parameters together. Runs of several starts have an axis of starts before that
    of records.
    """

    steps: Int[np.ndarray, " r"]
    weights: Parameters
    log_loss: Float[Array, "... r"]
    log_norm: Float[Array, "... r"]
    least: Float[Array, "... r"]
    problem: AbstractClassification

    @property
    def last(self) -> Parameters:
        """The weights at the end, of every start where there are several."""
        axis = self.log_loss.ndim - 1
        return jax.tree.map(lambda w: jnp.take(w, -1, axis=axis), self.weights)

    @property
    def separated(self) -> Bool[Array, "..."]:
        """Whether every sample is on its side at the end."""
        return self.least[..., -1] > 0

    def __repr__(self) -> str:
        lanes = f", starts={len(self.log_loss)}" if self.log_loss.ndim > 1 else ""
        return (
            f"RescaledFlow(steps={int(self.steps[-1])}{lanes}, "
            f"log_loss={float(jnp.mean(self.log_loss[..., -1])):.6g})"
        )


def rescaled_flow(
    problem: AbstractClassification,
    *,
    steps: int,
    init: Parameters | None = None,
    starts: Sequence[Parameters] | None = None,
    relative: Real = 0.02,
    cap: Real | None = None,
    record: int = 20,
) -> RescaledFlow:
    r"""Follow $\dot w=-\nabla\log\mathcal L(w)$ by Euler steps that never stall.

    $$w\leftarrow w-\min\Big(\rho\frac{\|w\|}{\|g\|},\ \frac{c}{\|w\|^{2L-2}}\Big)g,
      \qquad g=\nabla\log\mathcal L(w).$$

    The path is gradient flow's, the clock is not: log-loss falls for ever at a rate of
    order 1, where gradient descent on the loss slows down with it. The second bound
    keeps steps stable, as curvature grows like $\|w\|^{2L-2}$ in a network of degree
    $L$; it takes over once weights have their size. The first grows the smallest
    weights by a share a step. Under a fixed step size instead the phase in which
    margins even out is never reached (derived, and measured).

    Not as accurate as [`adaptive_flow`][penchant.flows.adaptive_flow], which controls
    its error, and many times faster: a step is one gradient. Its limit is the same
    where that is one point; `kkt` certifies what it reached.

    Networks of `penchant.networks` whose examples span less than their features run in
    that span ([`row_space`][penchant.problems.row_space]), which changes nothing but
    the cost.

    >>> import penchant as pn
    >>> data = pn.datasets.clusters(20, 4, 40, sigma=0.3)
    >>> problem = data.network(width=8, scale=1e-3)
    >>> run = rescaled_flow(problem, steps=600)
    >>> bool(run.separated)
    True

    Args:
        problem: Data, model and loss; with a degree of homogeneity, or 1 is taken.
        steps: How many.
        init: Where to start; None for the problem's own start.
        starts: Several starts, which run side by side in one compiled call.
        relative: $\rho$, growth of the weights' norm by a step, at most.
        cap: $c$; None for one over the mean square norm of an example (times the
            network's `input_scale` squared).
        record: Number of records, denser at the start, first and last included.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or both `init` and `starts` are given.
        ZeroGradientError: If no parameter has a gradient at a start.
    """
    check_instance(
        "problem", problem, AbstractClassification, "a LinearClassification or Network"
    )
    steps = check_count("steps", steps)
    record = check_count("record", record, least=2)
    check_number("relative", relative, above=0.0, below=1.0)
    if init is not None and starts is not None:
        raise ValueError("init and starts can't both be given.")
    if starts is not None and len(starts) == 0:
        raise ValueError("starts must hold at least one pytree of parameters; got 0.")
    if cap is None:
        cap = 1.0 / _square(problem)
    check_number("cap", cap, above=0.0, below=np.inf)
    own = problem.start if init is None else init
    given = [own] if starts is None else starts
    begin = [problem.read(w, "init" if starts is None else "starts") for w in given]
    for w in begin:
        check_gradient(problem, w)
    at = np.unique(np.round(np.geomspace(1, steps + 1, record)).astype(int)) - 1
    inside = row_space(problem) if isinstance(problem, NetworkClassification) else None
    space = problem if inside is None else inside.problem
    first = begin if inside is None else [inside.drop(w) for w in begin]
    flat = jnp.stack([space.flat(w) for w in first])
    degree = 1.0 if problem.degree is None else problem.degree
    numbers = [jnp.asarray(float(x)) for x in (relative, cap, 2.0 * degree - 2.0)]
    # as a single one where it is single: products of one lane are not batched ones
    run = _lanes if starts is not None else _one
    v, log_loss, least = run(space, flat, jnp.asarray(np.diff(at)), *numbers)
    log_norm = jnp.log(jnp.linalg.norm(v, axis=-1))
    weights = _lifted(space, inside, v, begin)
    found = (weights, log_loss, log_norm, least)
    if starts is None:
        found = jax.tree.map(lambda x: x[0], found)
    return RescaledFlow(at, *found, problem=problem)


def _square(problem: AbstractClassification) -> float:
    """The mean square norm of the examples that the first layer sees."""
    X: Any = getattr(problem, "X", None)
    if X is None:
        raise ValueError("cap must be given for a problem that has no X.")
    scale = getattr(getattr(problem, "apply", None), "input_scale", 1.0)
    return float(jnp.sum(X**2) / X.shape[0]) * float(scale) ** 2


@eqx.filter_jit
def _one(
    problem: AbstractClassification,
    starts: Float[Array, "1 p"],
    counts: Int[Array, " q"],
    relative: Array,
    cap: Array,
    power: Array,
) -> Any:
    path = _path(problem, starts[0], counts, relative, cap, power)
    return jax.tree.map(lambda x: x[None], path)


@eqx.filter_jit
def _lanes(
    problem: AbstractClassification,
    starts: Float[Array, "s p"],
    counts: Int[Array, " q"],
    relative: Array,
    cap: Array,
    power: Array,
) -> Any:
    along = lambda w: _path(problem, w, counts, relative, cap, power)
    return jax.vmap(along)(starts)


def _path(
    problem: AbstractClassification,
    start: Flat,
    counts: Int[Array, " q"],
    relative: Array,
    cap: Array,
    power: Array,
) -> Any:
    def step(_: Any, w: Flat) -> Flat:
        _, g = log_loss_and_gradient(problem, w)
        size, slope = jnp.linalg.norm(w), jnp.linalg.norm(g)
        # a gradient of 0 leaves weights where they are, without 0/0
        slope = jnp.where(slope > 0, slope, 1.0)
        return w - jnp.minimum(relative * size / slope, cap / size**power) * g

    def stretch(w: Flat, count: Array) -> Any:
        w = jax.lax.fori_loop(0, count, step, w)
        return w, (w, *seen(w))

    def seen(w: Flat) -> tuple[Array, Array]:
        tree = problem.unflat(w)
        return problem.log_loss(tree), jnp.min(problem.pair_margins(tree))

    _, path = jax.lax.scan(stretch, start, counts)
    begun = (start, *seen(start))
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), begun, path)


def _lifted(
    space: AbstractClassification,
    inside: RowSpace | None,
    v: Float[Array, "s r p"],
    begin: list[Parameters],
) -> Parameters:
    trees = jax.vmap(jax.vmap(space.unflat))(v)
    if inside is None:
        return trees
    many = jax.tree.map(lambda *w: jnp.stack(w), *begin)
    # over records, then over starts: a record is lifted by its own start
    lift = jax.vmap(jax.vmap(inside.lift, in_axes=(0, None)))
    return lift(trees, many)
