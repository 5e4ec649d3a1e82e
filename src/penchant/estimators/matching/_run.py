"""Which penalties acted along a run, from its steps."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._types import Numbers, Parameters, Tree
from penchant.estimators.matching._least_squares import (
    Solution,
    factor_of_gram,
    solve,
)
from penchant.estimators.matching._match import (
    Match,
    collinear,
    no_gradient,
)
from penchant.estimators.matching._penalty_list import (
    Given,
    conventions,
    listed,
)
from penchant.estimators.matching._residuals import (
    AbstractResidual,
    FlowReference,
    Replay,
    Rows,
    Steps,
    Velocity,
)
from penchant.estimators.penalties import AbstractPenalty
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem
from penchant.training import Trajectory, replay

LONGEST = 4096
"""Steps of a run that are made again unless told otherwise."""

ENTRIES = 20_000_000
"""Entries of weights that are kept at most: 160 MB of them, and of gradients."""

PASSES = 30
"""Of Gauss and Newton, at most."""

SHORTEST = 1e-3
"""Part of a step of theirs below which none is tried."""

SETTLED = 1e-10
"""Change of a coefficient, relative to its size or error, that ends them."""

EPS = 2.2e-16


class LoggedRun(eqx.Module):
    r"""Steps of a run as anybody may have logged them, one after the other.

    `weights` have a leading axis of `t + 1`: before every step, and after the last.
    `gradients` `(t, ...)` are those that the steps saw, of the loss *without* the
    penalty, at the weights before each; None where none were logged. They have to start
    at the first step if the rule has a memory, since that is filled from 0.

    >>> import numpy as np
    >>> import penchant as pn
    >>> w, steps = np.array([1.0, -2.0]), [np.array([1.0, -2.0])]
    >>> for _ in range(3):
    ...     w = w - 0.1 * (np.array([0.5, 0.5]) + 0.03 * w)
    ...     steps.append(w)
    >>> log = pn.estimators.LoggedRun(steps, np.full((3, 2), 0.5), 0.1)
    >>> says = pn.estimators.match_run(log, [pn.penalties.Ridge()])
    >>> says.coefficients.round(9).tolist()
    [0.03]

    Args:
        weights: `(t + 1, ...)`, a pytree of arrays such as a dict, or a list of
            `t + 1` arrays.
        gradients: `(t, ...)`, likewise; None if there are none.
        step_size: A number, or `(t,)` of them.
        optimizer: The rule, without the penalty; a name, as `train` takes it.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If lengths disagree, or entries are NaN or infinite.
    """

    weights: Parameters
    gradients: Parameters | None
    step_sizes: Float[np.ndarray, " t"]
    optimizer: AbstractOptimizer

    def __init__(
        self,
        weights: Tree,
        gradients: Tree | None,
        step_size: Numbers,
        optimizer: AbstractOptimizer | str | object = optimizers.GradientDescent(),
    ):
        self.weights = _stacked("weights", weights)
        shapes = [x.shape for x in jax.tree.leaves(self.weights)]
        count = {shape[0] for shape in shapes}
        if len(count) != 1 or min(count) < 2:
            raise ValueError(
                "weights must have those before every step and after the last, two at "
                f"least, along axis 0 of every array; got shapes {shapes}."
            )
        steps = shapes[0][0] - 1
        self.gradients = None
        if gradients is not None:
            self.gradients = _stacked("gradients", gradients)
            seen = jax.tree.map(np.shape, self.gradients)
            wanted = jax.tree.map(lambda x: (steps, *x.shape[1:]), self.weights)
            if seen != wanted:
                raise ValueError(
                    f"gradients must be one for each of {steps} steps, of shapes "
                    f"{wanted}; got {seen}. Weights have one more: those after the "
                    "last step."
                )
        sizes = np.asarray(step_size, dtype=float)
        if sizes.shape not in {(), (steps,)} or not (sizes > 0).all():
            raise ValueError(
                f"step_size must be a positive number or {steps} of them; got "
                f"{'shape ' + str(sizes.shape) if sizes.ndim else sizes}."
            )
        self.step_sizes = np.broadcast_to(sizes, (steps,)).copy()
        self.optimizer = optimizers.read(optimizer)

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.step_sizes)

    def __repr__(self) -> str:
        size = sum(x[0].size for x in jax.tree.leaves(self.weights))
        return f"LoggedRun({self.optimizer!r}, steps={self.steps}, p={size})"


def _stacked(name: str, tree: Tree) -> Parameters:
    if isinstance(tree, list) and not any(isinstance(x, (dict, tuple)) for x in tree):
        same = {np.shape(x) for x in tree}
        if len(same) == 1:
            tree = np.stack([np.asarray(x, dtype=float) for x in tree])
    try:
        arrays = jax.tree.map(lambda x: np.asarray(x, dtype=float), tree)
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} must be arrays of numbers; got {type(tree).__name__}."
        ) from None
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(arrays)):
        raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
    return jax.tree.map(jnp.asarray, arrays)


def match_run(
    run: Trajectory | LoggedRun,
    penalties: Given | AbstractPenalty | Callable[..., Any],
    *,
    problem: AbstractProblem | None = None,
    residual: AbstractResidual | None = None,
    steps: int | None = None,
    weighted: bool = False,
) -> Match:
    r"""Which penalties acted along a run: coefficients from every step it made.

    A minimiser is not needed: each step says what moved the weights besides the loss.
    Errors are standard errors, clustered by step (a sandwich): they hold where what is
    left is independent from step to step, as batches' noise is. What is left of a run
    without noise is not noise but what the penalties don't describe; its error is
    then only a size.

    Three residuals see different things, and None takes the one that fits:
    [`Replay`][penchant.estimators.Replay] where a penalty was written into training,
    that is where `problem` is given or the rule has decoupled decay;
    [`FlowReference`][penchant.estimators.FlowReference] for plain gradient descent
    on all samples, [`Velocity`][penchant.estimators.Velocity] for other rules, for
    what finite steps and memory add.

    >>> import jax.numpy as jnp
    >>> import penchant as pn
    >>> loss = pn.Regression(lambda w, X: X @ w, jnp.ones(2), jnp.eye(2), [1.0, 2.0])
    >>> both = pn.penalties.Penalised(loss, [pn.penalties.Ridge()], [0.3])
    >>> adam = pn.optimizers.Adam()
    >>> run = pn.train(both, adam, steps=50, step_size=0.01)
    >>> pn.estimators.match_run(run, [pn.penalties.Ridge()], problem=loss)[
    ...     "Ridge"
    ... ].__round__(6)
    0.3

    Args:
        run: A run of `train`, or a `LoggedRun`.
        penalties: Of `penchant.penalties`, or functions of the weights.
        problem: The loss *without* the penalty; None for the run's own. A decoupled
            decay of the rule counts as penalty.
        residual: What is explained; None for the one that fits.
        steps: How many steps are read, from the start; None for 4096, or as many as
            fit into memory.
        weighted: Let weights count by the inverse of what is left of their equations:
            smaller errors where noise differs from weight to weight.

    Raises:
        TypeError: If an argument is of the wrong kind, or the residual needs a loss
            and there is none.
        ValueError: If shapes or lengths disagree, a penalty has a free shape, or there
            are too few steps.
    """
    check_instance(
        "run",
        run,
        (Trajectory, LoggedRun),
        "a Trajectory of penchant.train, or a LoggedRun",
    )
    wanted = listed(penalties)
    if wanted.free is not None:
        raise ValueError(
            "penalties: a free shape is fitted at an endpoint (match) or along dual "
            "coordinates (match_dual); along a run give it a value."
        )
    chosen = wanted.at(None)
    if residual is not None:
        check_instance(
            "residual", residual, AbstractResidual, "Replay, Velocity or FlowReference"
        )
    seen, optimizer, loss, way = _prepared(run, problem, residual, steps)
    rows = lambda x, scale=None: _rows(way, seen, optimizer, chosen, loss, x, scale)
    x, found, passes = _fitted(rows, len(chosen), way.linear(optimizer))
    if weighted:
        count = max(found.grams.shape[0], 1)
        variance = np.asarray(found.squares) / count
        floor = max(float(variance.max()), 1e-300) * 1e-12
        scale = jnp.asarray(float(np.median(variance)) or 1.0) / jnp.asarray(
            np.maximum(variance, floor)
        )
        x, found, passes = _fitted(
            lambda x: rows(x, scale), len(chosen), way.linear(optimizer), x
        )
    return _result(
        np.asarray(found.grams), x, wanted.labels, chosen, loss, way, seen, passes
    )


def _prepared(
    run: Trajectory | LoggedRun,
    problem: AbstractProblem | None,
    residual: AbstractResidual | None,
    steps: int | None,
) -> tuple[Steps, AbstractOptimizer, AbstractProblem | None, AbstractResidual]:
    if problem is not None:
        check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    if isinstance(run, LoggedRun):
        return _of_log(run, problem, residual, steps)
    rule = run.rule
    size = rule.problem.parameters
    made = int(run.state.step)
    most = max(min(made, LONGEST, ENTRIES // max(size, 1)), 1)
    count = most if steps is None else check_count("steps", steps)
    decays = rule.optimizer.character().decays
    own = problem is None or _same(problem, rule.problem)
    if residual is None:
        residual = _fitting(run, own, decays)
    if isinstance(residual, Replay) and residual.decoupled is None:
        residual = Replay(decoupled=own and decays, whole=residual.whole)
    loss = rule.problem if problem is None else problem
    again = replay(run, steps=count, problem=loss)
    seen = Steps(again.weights, again.gradients, again.step_sizes)
    _check_length(seen, residual)
    return (
        _without_start(seen, residual, rule.optimizer),
        rule.optimizer,
        loss,
        residual,
    )


def _same(problem: AbstractProblem, own: AbstractProblem) -> bool:
    if problem is own:
        return True
    return type(problem) is type(own) and bool(eqx.tree_equal(problem, own))


def _fitting(run: Trajectory, own: bool, decays: bool) -> AbstractResidual:
    """The residual that sees something: others are 0 but for rounding, or noise."""
    rule = run.rule
    if decays or not own:
        return Replay()
    what = rule.optimizer.character()
    plain = what.steepest and what.normalised is False and what.first is None
    if plain and rule.batching.covers(rule.problem.samples):
        return FlowReference()
    return Velocity()


def _of_log(
    run: LoggedRun,
    problem: AbstractProblem | None,
    residual: AbstractResidual | None,
    steps: int | None,
) -> tuple[Steps, AbstractOptimizer, AbstractProblem | None, AbstractResidual]:
    residual = Replay() if residual is None else residual
    count = run.steps if steps is None else min(check_count("steps", steps), run.steps)
    gradients = run.gradients
    if isinstance(residual, Replay):
        decoupled = residual.decoupled
        if decoupled is None:
            decoupled = run.optimizer.character().decays
        residual = Replay(decoupled, residual.whole or gradients is None)
    if problem is None and not (isinstance(residual, Replay) and not residual.whole):
        raise TypeError(
            "problem must be given where gradients were not logged, or where the "
            "residual takes them at other weights."
        )
    if gradients is None:
        gradients = jax.tree.map(lambda x: jnp.zeros_like(x[1:]), run.weights)
    if problem is not None:
        problem.read(jax.tree.map(lambda x: x[0], run.weights), "weights")
    seen = Steps(
        jax.tree.map(lambda x: x[: count + 1], run.weights),
        jax.tree.map(lambda x: x[:count], gradients),
        jnp.asarray(run.step_sizes[:count]),
    )
    _check_length(seen, residual)
    return (
        _without_start(seen, residual, run.optimizer),
        run.optimizer,
        problem,
        residual,
    )


def _check_length(seen: Steps, residual: AbstractResidual) -> None:
    least = 3 if isinstance(residual, Velocity) else 1
    if len(seen.step_sizes) < least:
        raise ValueError(
            f"steps must be at least {least} for {residual!r}; got "
            f"{len(seen.step_sizes)}."
        )


def _without_start(
    seen: Steps, residual: AbstractResidual, optimizer: AbstractOptimizer
) -> Steps:
    """Leave out what a memory needs to fill, where only settled ones are understood."""
    if not isinstance(residual, Velocity):
        return seen
    count = len(seen.step_sizes)
    if residual.burn_in is None:
        what = optimizer.character()
        decays = [what.b1]
        if what.second is not None and what.second.kind == "mean":
            decays.append(float(np.asarray(what.second.decay)))
        memory = 1.0 / (1.0 - max(decays))
        skip = 0 if memory <= 1.0 else min(math.ceil(10.0 * memory), count // 2)
    else:
        skip = min(residual.burn_in, count - 3)
    return Steps(
        jax.tree.map(lambda x: x[skip:], seen.weights),
        jax.tree.map(lambda x: x[skip:], seen.gradients),
        seen.step_sizes[skip:],
    )


@eqx.filter_jit
def _rows(
    way: AbstractResidual,
    seen: Steps,
    optimizer: AbstractOptimizer,
    penalties: tuple[AbstractPenalty, ...],
    problem: AbstractProblem | None,
    x: Array,
    scale: Array | None,
) -> Rows:
    return way.rows(seen, optimizer, penalties, problem, x, scale)


def _fitted(
    rows: Callable[[Any], Rows], k: int, linear: bool, start: np.ndarray | None = None
) -> tuple[np.ndarray, Rows, int]:
    """Coefficients at which nothing more is to be added, and the equations there.

    Gauss and Newton's steps, halved while they make it worse: a rule's first steps are
    signs, and turn with the coefficients.
    """
    x, count = np.zeros(k) if start is None else start, 0
    found = rows(jnp.asarray(x))
    while count < PASSES:
        count += 1
        solution = solve(factor_of_gram(np.asarray(found.grams).sum(axis=0)))
        change, cost = solution.coefficients, _cost(found)
        if not np.isfinite(change).all():
            return x, found, PASSES
        noise = solution.left * np.where(
            np.isfinite(solution.bounds), solution.bounds, 0.0
        )
        if count > 1 and (np.abs(change) <= SETTLED * (np.abs(x) + noise)).all():
            return x, found, count
        part = 1.0
        tried = rows(jnp.asarray(x + change))
        while not linear and not _cost(tried) <= cost and part > SHORTEST:
            part *= 0.5
            tried = rows(jnp.asarray(x + part * change))
        if not linear and count > 1 and not _cost(tried) < cost:
            return x, found, count  # rounding is all that is left to lower
        x, found = x + part * change, tried
        if linear:
            return x, found, count
    return x, found, count


def _cost(found: Rows) -> float:
    return float(np.asarray(found.grams)[:, -1, -1].sum())


def _result(
    grams: np.ndarray,
    x: np.ndarray,
    labels: tuple[str, ...],
    penalties: tuple[AbstractPenalty, ...],
    problem: AbstractProblem | None,
    way: AbstractResidual,
    seen: Steps,
    passes: int,
) -> Match:
    # equations are linear about x: B λ = r + B x, with r what is left there
    k = len(labels)
    shift = np.eye(k + 1)
    shift[:k, k] = x
    total = shift.T @ grams.sum(axis=0) @ shift
    solution = solve(factor_of_gram(total))
    # what is left of nothing is the rounding of w' - w over the step size
    rounding = _rounding(seen)
    left = math.sqrt(max(float(grams[:, k, k].sum()), 0.0))
    error = _sandwich(grams, solution, x, rounding)
    ok, reason = _judged(labels, solution, grams, seen, rounding, error)
    ratio = min(left / solution.size, 1.0) if solution.size > 0 else math.nan
    r2 = 1.0 - ratio**2
    with np.errstate(divide="ignore"):
        logs = np.log(np.abs(x))
    p = sum(leaf[0].size for leaf in jax.tree.leaves(seen.weights))
    notes = (f"The target is {way.about}.",)
    mismatch = _mismatch(seen, way, solution)
    if mismatch is not None:
        ok, reason = False, mismatch
    if passes >= PASSES:
        ok, reason = (
            False,
            (
                f"the equations did not settle in {PASSES} passes: coefficients are "
                "too large for the rule to be made linear in them."
            ),
        )
    return Match(
        labels=labels,
        coefficients=x,
        error=error,
        error_kind="standard error, clustered by step",
        r2=r2,
        cosine=math.sqrt(max(r2, 0.0)) if solution.size > 0 else math.nan,
        gap=ratio,
        gap_measured=False,
        vif=solution.vif,
        cosines=solution.cosines,
        identifiable=ok,
        reason=reason,
        conventions=conventions(problem, penalties),
        log_coefficients=logs,
        equations=int(grams.shape[0] * p),
        clusters=int(grams.shape[0]),
        notes=notes,
    )


def _rounding(seen: Steps) -> float:
    """The norm of what rounding alone leaves of all steps."""
    squares = sum(
        float(
            jnp.sum(
                jnp.sum(jnp.reshape(x[1:], (x.shape[0] - 1, -1)) ** 2, axis=1)
                / seen.step_sizes**2
            )
        )
        for x in jax.tree.leaves(seen.weights)
    )
    return 4.0 * EPS * math.sqrt(squares)


def _sandwich(
    grams: np.ndarray, solution: Solution, x: np.ndarray, rounding: float
) -> np.ndarray:
    """Standard errors that let equations of one step be as dependent as they like."""
    k = len(x)
    scores = grams[:, :k, k]  # B' times what is left
    meat = scores.T @ scores
    count = len(grams)
    factor = count / max(count - k, 1)
    spread = np.diagonal(solution.inverse @ meat @ solution.inverse) * factor
    error = np.sqrt(np.maximum(spread, 0.0))
    bounds = np.where(np.isfinite(solution.bounds), solution.bounds, np.inf)
    # no error is said to be below what rounding leaves
    error = np.maximum(error, rounding * bounds / math.sqrt(max(count, 1)))
    return np.where(np.isfinite(solution.vif), error, np.inf)


def _judged(
    labels: tuple[str, ...],
    solution: Solution,
    grams: np.ndarray,
    seen: Steps,
    rounding: float,
    error: np.ndarray,
) -> tuple[bool, str]:
    p = sum(leaf[0].size for leaf in jax.tree.leaves(seen.weights))
    equations, unknowns = len(grams) * p, len(labels)
    if equations < unknowns:
        return False, f"{equations} equations don't fix {unknowns} coefficients."
    why = no_gradient(solution, labels) or collinear(solution, labels)
    if why is not None:
        return False, why
    if solution.size <= rounding:
        return True, (
            "the steps are the loss's own up to rounding: no penalty acted, and the "
            "coefficients are 0 within their errors."
        )
    # a coefficient that alone would make the target has this size
    reach = error * solution.lengths / solution.size
    worst = int(np.argmax(reach))
    if not reach[worst] < 1.0:
        return False, (
            f"the error of {labels[worst]} is {reach[worst]:.2g} times the coefficient "
            "with which it alone would make what is to be explained."
        )
    return True, f"{equations:,} equations of {len(grams):,} steps for {unknowns}."


def _mismatch(seen: Steps, way: AbstractResidual, solution: Solution) -> str | None:
    """Steps that are a constant times the gradients logged: another convention."""
    if not isinstance(way, Replay) or way.decoupled or way.whole:
        return None
    flat = lambda tree: np.concatenate(
        [np.asarray(x).reshape(x.shape[0], -1) for x in jax.tree.leaves(tree)], axis=1
    )
    w, g = flat(seen.weights), flat(seen.gradients)
    v = -(w[1:] - w[:-1]) / np.asarray(seen.step_sizes)[:, None]
    vg, gg, vv = (float(np.sum(a * b)) for a, b in ((v, g), (g, g), (v, v)))
    if not (gg > 0 and vv > 0) or vg < 0.9999 * math.sqrt(gg * vv):
        return None
    factor = vg / gg
    if 0.5 < factor < 2.0:
        return None
    return (
        f"steps are {factor:.4g} times the gradients, in the same direction: a sum in "
        "place of a mean (the factor is then the number of samples), another step "
        "size, or a rule with another convention."
    )
