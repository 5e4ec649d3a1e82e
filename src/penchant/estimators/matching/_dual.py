"""Which potential a run to interpolation followed, from its accumulated gradients."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._checks import check_instance
from penchant._types import Parameters, Tree
from penchant.estimators.matching._least_squares import (
    Solution,
    factor_of,
    solve,
)
from penchant.estimators.matching._match import Match, collinear, no_gradient
from penchant.estimators.matching._penalty_list import Given, listed
from penchant.estimators.matching._profile import profile
from penchant.estimators.matching._run import LoggedRun
from penchant.estimators.penalties import AbstractPenalty, Free
from penchant.training import Trajectory, replay

Predictor = Callable[[Parameters], Any]
"""Parameters to the coordinates in which the model is linear."""

BLOCK = 2048
"""Steps that are made again at a time."""


def match_dual(
    run: Trajectory | LoggedRun,
    potentials: Given | AbstractPenalty | Free | Callable[..., Any],
    *,
    predictor: Predictor | None = None,
) -> Match:
    r"""Which potential a run descended in: where it interpolates, and gradients are 0.

    Mirror descent in the coordinates $w$ in which a model is linear has
    $\nabla\psi(w_T)-\nabla\psi(w_0)=-\sum_t\eta_t\nabla_w\mathcal L(w_t)$: the right
    side is summed along the run, the left one is linear in the coefficients of
    potentials. At an interpolating end, where every penalty has coefficient 0, this
    still says which norm the solution is least in.

    For gradient flow on $w=u^2-v^2$ from $u=v=\alpha$ it finds
    [`Hypentropy`][penchant.estimators.penalties.Hypentropy] of width $2\alpha^2$ with
    coefficient ¼; for finite steps up to a part of the order of $\eta$.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> model = lambda w, X: X @ w
    >>> loss = pn.Regression(model, jnp.zeros(3), jnp.ones((1, 3)), [1.0])
    >>> rule = pn.optimizers.GradientDescent()
    >>> run = pn.train(loss, rule, steps=200, step_size=0.1)
    >>> says = pn.estimators.match_dual(run, [pn.penalties.Ridge()])
    >>> says.coefficients.round(9).tolist()
    [1.0]

    Args:
        run: A run of `train`, or a `LoggedRun` with its gradients.
        potentials: Penalties, or functions of the coordinates; one may be `Free`.
        predictor: `predictor(params)`, the coordinates, `(d,)` or any array; None
            where the parameters are the coordinates themselves. Gradients in them are
            $(JJ^\top)^{-1}J\nabla\mathcal L$ with its Jacobian $J$, of full row rank.

    Returns:
        A `Match` whose error is a standard error over coordinates.

    Raises:
        TypeError: If an argument is of the wrong kind, or a `LoggedRun` has no
            gradients.
        ValueError: If there is no potential.
    """
    check_instance(
        "run",
        run,
        (Trajectory, LoggedRun),
        "a Trajectory of penchant.train, or a LoggedRun",
    )
    wanted = listed(potentials)
    start, end, pull = _accumulated(run, predictor or _itself)
    columns = lambda chosen: _differences(chosen, start, end)
    target = np.asarray(pull)
    shape = None
    if wanted.free is not None:
        shape = profile(
            wanted.free,
            lambda s: (np.asarray(columns(wanted.at(s))).T, target, None),
            wanted.place,
        )
    chosen = wanted.at(None if shape is None else shape.value)
    terms = np.asarray(columns(chosen)).T
    solution = solve(factor_of(terms, target))
    unknowns = len(chosen) + (shape is not None)
    degrees = len(target) - unknowns
    error = np.full(len(chosen), math.inf)
    if degrees > 0:
        spread = solution.left / math.sqrt(degrees)
        error = np.where(np.isfinite(solution.vif), spread * solution.bounds, np.inf)
    ok, reason = _judged(solution, wanted.labels, len(target), unknowns)
    x = solution.coefficients
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x))
    told = "; ".join(p.convention for p in chosen)
    return Match(
        labels=wanted.labels,
        coefficients=x,
        error=error,
        error_kind="standard error over coordinates",
        r2=solution.r2,
        cosine=math.sqrt(max(solution.r2, 0.0)) if solution.size > 0 else math.nan,
        gap=math.nan,
        gap_measured=False,
        vif=solution.vif,
        cosines=solution.cosines,
        identifiable=ok,
        reason=reason,
        conventions=(
            f"the target is −Σ step size · gradient; potentials are λ times {told}"
        ),
        log_coefficients=logs,
        equations=len(target),
        shape=shape,
    )


def _itself(params: Parameters) -> Any:
    return params


def _flat(tree: Tree) -> Array:
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])


def _accumulated(run: Trajectory | LoggedRun, predictor: Predictor) -> Any:
    """Coordinates at the start and at the end, and minus the sum of their gradients."""
    if isinstance(run, LoggedRun):
        if run.gradients is None:
            raise TypeError("run must have gradients: they are what is summed up.")
        before = jax.tree.map(lambda x: x[:-1], run.weights)
        total = _pull(predictor, before, run.gradients, jnp.asarray(run.step_sizes))
        first = jax.tree.map(lambda x: x[0], run.weights)
        last = jax.tree.map(lambda x: x[-1], run.weights)
        return predictor(first), predictor(last), total
    made, at = int(run.state.step), 0
    total, last = None, run.initial
    while at < made:
        part = replay(run, steps=min(BLOCK, made - at), first=at)
        before = jax.tree.map(lambda x: x[:-1], part.weights)
        pulled = _pull(predictor, before, part.gradients, part.step_sizes)
        total = pulled if total is None else total + pulled
        last = jax.tree.map(lambda x: x[-1], part.weights)
        at += part.steps
    return predictor(run.initial), predictor(last), total


@eqx.filter_jit
def _pull(
    predictor: Predictor, weights: Parameters, gradients: Parameters, etas: Array
) -> Array:
    def one(total: Array, seen: Tree) -> Tree:
        w, g, eta = seen
        return total - eta * _in_coordinates(predictor, w, g), None

    first = jax.tree.map(lambda x: x[0], weights)
    size = _flat(predictor(first)).shape[0]
    return jax.lax.scan(one, jnp.zeros(size), (weights, gradients, etas))[0]


def _in_coordinates(predictor: Predictor, w: Parameters, g: Parameters) -> Array:
    """The gradient in the coordinates: J'x = g by least squares over the parameters."""
    if predictor is _itself:
        return _flat(g)
    coordinates = lambda w: _flat(predictor(w))
    rows = jax.jacrev(coordinates)(w)
    J = jnp.concatenate(
        [jnp.reshape(x, (x.shape[0], -1)) for x in jax.tree.leaves(rows)], axis=1
    )
    return jnp.linalg.solve(J @ J.T, J @ _flat(g))


@eqx.filter_jit
def _differences(
    potentials: tuple[AbstractPenalty, ...], start: Tree, end: Tree
) -> Array:
    return jnp.stack([
        _flat(p.gradient(end, None)) - _flat(p.gradient(start, None))
        for p in potentials
    ])


def _judged(
    solution: Solution, labels: tuple[str, ...], equations: int, unknowns: int
) -> tuple[bool, str]:
    if not solution.size > 0:
        return False, "the run has no gradients to sum up."
    if equations < unknowns:
        return False, f"{equations} coordinates don't fix {unknowns} numbers."
    why = no_gradient(solution, labels) or collinear(solution, labels)
    if why is not None:
        return False, why
    if solution.r2 < 0.5:
        return False, (
            f"these potentials leave {solution.ratio:.2g} of what gradients add up to: "
            "the run did not descend in any of them."
        )
    return True, f"{equations} coordinates for {unknowns} numbers."
