import abc
import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from penchant import pages
from penchant._arrays import numbers
from penchant._checks import check_count, check_instance, check_number
from penchant._pretty import pretty
from penchant._threads import one_blas_thread
from penchant._types import Numbers, PerSample, Scalar, Weights
from penchant.margins._certificate import softmaxes, unit_margin, upper_bound
from penchant.margins._separability import (
    SEPARABLE,
    NotSeparableError,
    UndecidedError,
)
from penchant.margins._solvers.conjugates import Smooth
from penchant.margins._solvers.first_order import first_order
from penchant.margins._solvers.gram import by_gram
from penchant.margins._solvers.interior_point import Bounds, interior_point
from penchant.margins._solvers.min_norm import min_norm
from penchant.margins._solvers.plan import (
    Plan,
    family,
    has_plan,
    row_basis,
    sees_rows_only,
    system_size,
)
from penchant.margins._solvers.ridge_path import separating
from penchant.margins._solvers.rows import PairRows
from penchant.margins._solvers.separate import separability, separates
from penchant.margins._solvers.steepest import by_steepest_steps
from penchant.margins._solvers.vertex import vertex
from penchant.margins._solvers.working_set import working_set
from penchant.norms import (
    AbstractLp,
    AbstractNorm,
    AbstractSchatten,
    Mahalanobis,
    read,
)
from penchant.problems import LinearClassification, of_dataset

LARGEST_SYSTEM = 3000
"""Rows of a Newton system up to which the interior-point method is the default."""

LARGEST_POLYHEDRAL = 5000
"""The same in the sum and max norms, to which first-order methods creep up."""

SEVERAL_THREADS = 1500
"""Rows of a Newton system above which factorisations are dealt to several threads."""

SEVERAL_THREADS_GRAM = 10**9
"""Products in a Gram matrix above which they are dealt to several threads."""

PACES = (1.3, 1.5, 1.15)
"""Paces at which large exponents are approached, one after another while they fail."""

ACCEPTED = 1e-7
"""A gap with which another pace is not tried."""

SUPPORT = 1e-6
"""Dual weights above this share of the largest belong to support vectors."""


class LooseMarginWarning(UserWarning):
    """A maximum margin is returned with a wider gap than is promised."""


class MaxMargin(eqx.Module):
    r"""The largest margin in a norm, $\gamma=\max_{\|w\|\le1}\min_iq_i(w)$, certified.

    `margin` is that of `weights` (of unit norm), so a lower bound; `upper_bound` is
    what the dual weights prove, $\|\sum_{ic}q_{ic}a_{ic}\|_*\ge\gamma$, and `gap` is
    1 - margin / upper_bound. `dual` `(n,)` are the dual weights of the samples, on the
    simplex; `pairs` `(n, c)` those of sample and opponent that they sum. `support`
    marks the support vectors: samples with more than $10^{-6}$ of the largest weight
    (an interior-point method leaves every other one a trace). Euclidean margins of two
    classes with fewer samples than features have dual weights that are exactly 0 off
    the support, and all others count.

    In the sum, max, nuclear and spectral norms other weights may have the same margin;
    compare margins there, not directions.
    """

    weights: Weights
    margin: Scalar
    upper_bound: Scalar
    gap: Scalar
    dual: PerSample
    pairs: Float[Array, "n c"]
    support: Bool[Array, " n"]
    norm: AbstractNorm
    method: str = eqx.field(static=True)

    def plot(self, **options: Any) -> Any:
        """The dual weights of the samples in falling order: how many carry the margin.

        Args:
            **options: `size` in inches or `ax`, as `plotting.curves` takes them.
        """
        from penchant import plotting

        heaviest = np.sort(np.asarray(self.dual))[::-1]
        return plotting.curves(
            {self.norm.label: (np.arange(1, len(heaviest) + 1), heaviest)},
            xlabel="samples, the heaviest first",
            ylabel="dual weight",
            logx=False,
            dots=True,
            **options,
        )

    def _repr_html_(self) -> str:
        text = (
            f"No weights of norm 1 in {self.norm.label} have a margin above "
            f"{float(self.upper_bound):.6g}, and these have {float(self.margin):.6g}; "
            f"{int(self.support.sum())} samples decide it."
        )
        return pages.card(repr(self), text, draw=self.plot)

    def __repr__(self) -> str:
        return (
            f"MaxMargin({self.norm.label}: margin={float(self.margin):.9g}, "
            f"gap={float(self.gap):.1e}, support={int(self.support.sum())}, "
            f"by {self.method})"
        )


class Attempt(NamedTuple):
    r"""What a solver found: weights, dual weights, and by which method.

    `weights` are of the problem's shape and any length. `pairs` `(n, c)` are
    non-negative dual weights of sample and opponent, 0 where there is no opponent, in
    any scale; None for a softmax of the weights' own margins.
    """

    weights: Any
    pairs: Any
    method: str


class AbstractSolver(eqx.Module):
    """A way to compute maximum margins.

    What `solve` returns is taken for an attempt and no more: margin and bound are
    computed afresh from it on the problem itself, so a solver that errs is found out.
    """

    @abc.abstractmethod
    def solve(
        self, problem: LinearClassification, norm: AbstractNorm, tol: float
    ) -> Attempt:
        """Weights of nearly the largest margin in a norm, to a gap of about `tol`."""

    def __repr__(self) -> str:
        return pretty(self)


class Exact(AbstractSolver):
    """Interior-point method, working sets, quadratic and linear programs, on the host.

    To a gap of $10^{-9}$ in tens of Newton steps; a step costs a factorisation in the
    number of weights, which is sensible up to some thousands. For the norms of
    `penchant.norms`; others go by `FirstOrder()`.
    """

    def solve(
        self, problem: LinearClassification, norm: AbstractNorm, tol: float
    ) -> Attempt:
        if not has_plan(norm):
            raise TypeError(
                "solver: Exact() knows the norms of penchant.norms, lp, Schatten and "
                f"Mahalanobis; got {norm!r}, for which there is FirstOrder()."
            )
        # rows of 1e20 overflow on the way; what is not finite betters no bound
        with (
            _blas_threads(system_size(problem, norm)),
            np.errstate(over="ignore", invalid="ignore", divide="ignore"),
        ):
            return Attempt(*_by_exact(problem, norm, tol))


class FirstOrder(AbstractSolver):
    """Primal--dual first-order method: any size, and on a GPU where there is one.

    Args:
        steps: At most so many steps. A gap of $10^{-3}$ takes hundreds to some
            thousands; the gap reached is always stated.
        start: Weights to start from, such as the optimum in another norm. Where a
            quarter of the steps from 0 has not separated, the path of a shrinking ridge
            is followed, and steps go on from what it ends at if that does. Norms that
            know no projection start at 0 whatever is given.
    """

    steps: int = eqx.field(default=40_000, static=True)
    start: Numbers | None = None

    def __check_init__(self):
        check_count("steps", self.steps)

    def solve(
        self, problem: LinearClassification, norm: AbstractNorm, tol: float
    ) -> Attempt:
        start = None if self.start is None else _read_start(problem, self.start)
        if norm.projects:
            return Attempt(*_by_first_order(problem, norm, tol, self.steps, start))
        W, q = by_steepest_steps(problem, norm, steps=self.steps, tol=tol)
        return Attempt(W, q, "steepest steps")


def promised_gap(norm: AbstractNorm) -> float:
    """The relative gap that `max_margin` promises: 1e-6 where p is 1, 2 or inf."""
    if isinstance(norm, Mahalanobis):
        return 1e-6
    p = getattr(norm, "p", 0.0)
    return 1e-6 if p in (1.0, 2.0, math.inf) else 1e-4


def max_margin(
    problem: LinearClassification | object,
    norm: AbstractNorm | str,
    *,
    tol: float = 1e-9,
    solver: AbstractSolver | None = None,
) -> MaxMargin:
    r"""The largest margin $\max_{\|w\|\le1}\min_iq_i(w)$, with a duality certificate.

    >>> import penchant as pn
    >>> X = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    >>> problem = pn.LinearClassification(
    ...     X, jnp.array([1, 1]), loss=pn.losses.Exponential()
    ... )
    >>> round(float(pn.max_margin(problem, pn.norms.L2()).margin), 6)  # 3 / sqrt(2)
    2.12132

    Args:
        problem: Separable data, a problem or a `Dataset`.
        norm: Any norm, or its name; one of your own is computed to the first order.
        tol: Relative gap to stop at. A result may have a wider one; it is in `gap`.
        solver: `Exact()`, `FirstOrder()`, or one of your own; None takes
            `FirstOrder()` for more than some thousands of weights and for norms that
            `Exact()` does not know, else `Exact()`.

    Raises:
        NotSeparableError: If no weights classify every sample, with the proof.
        UndecidedError: If neither this nor the contrary could be proved.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `tol` is not in (0, 1), or the norm does not fit the weights.

    Warns:
        LooseMarginWarning: If the gap is wider than 1e-6 for p in {1, 2, inf} and
            Mahalanobis norms, or 1e-4 for other p, and wider than the `tol` asked for.
    """
    best = find_max_margin(problem, norm, tol=tol, solver=solver)
    gap = float(best.gap)
    if gap > max(tol, promised_gap(best.norm)):
        warnings.warn(
            f"The {best.norm.label} maximum margin is only known to lie in "
            f"[{float(best.margin):.6g}, {float(best.upper_bound):.6g}], a relative "
            f"gap of {gap:.1e}.",
            LooseMarginWarning,
            stacklevel=2,
        )
    return best


def find_max_margin(
    problem: LinearClassification | object,
    norm: AbstractNorm | str,
    *,
    tol: float = 1e-9,
    solver: AbstractSolver | None = None,
) -> MaxMargin:
    """[`max_margin`][penchant.max_margin] that never warns, for those who read `gap`.

    Warnings belong to the process, so that what several threads compute says nothing.

    Args:
        problem: Separable data, a problem or a `Dataset`.
        norm: Any norm, or its name.
        tol: Relative gap to stop at.
        solver: `Exact()`, `FirstOrder()`, or one of your own; None for the default.

    Raises:
        NotSeparableError: If no weights classify every sample, with the proof.
        UndecidedError: If neither this nor the contrary could be proved.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `tol` is not in (0, 1), or the norm does not fit the weights.
    """
    problem = of_dataset(problem)
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    assert isinstance(problem, LinearClassification)
    norm = read(norm)
    check_number("tol", tol, above=0.0, below=1.0)
    if solver is None or isinstance(solver, Exact):
        quick = _among_samples(problem, norm, tol)
        if quick is not None:
            return quick
    norm(jnp.zeros(problem.weight_shape))  # a norm that doesn't fit says so here
    if solver is None:
        solver = Exact() if is_exact(problem, norm) else FirstOrder()
    else:
        check_instance("solver", solver, AbstractSolver, "Exact() or FirstOrder()")
    found = solver.solve(problem, norm, tol)
    W = _read_weights(problem, found.weights)
    q = found.pairs
    if q is None:
        (q,) = softmaxes(problem, (norm,), W)
    return _certified(problem, norm, Attempt(W, q, found.method), tol, solver)


def newton_rows(problem: LinearClassification, norm: AbstractNorm | str) -> float:
    """Rows of the system that decides whether the exact method is the default.

    Infinite where there is no exact method, 0 where it needs no such system.

    Args:
        problem: Its sizes count alone.
        norm: A norm, or its name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is no norm of that name.
    """
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    norm = read(norm)
    if not has_plan(norm):
        return math.inf
    if _is_binary_quadratic(problem, norm):
        return 0.0
    return system_size(problem, norm)


def is_exact(problem: LinearClassification, norm: AbstractNorm | str) -> bool:
    """Whether `max_margin` takes the exact method by default: its system is small.

    Args:
        problem: Its sizes count alone.
        norm: A norm, or its name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is no norm of that name.
    """
    norm = read(norm)
    polyhedral = isinstance(norm, AbstractLp) and float(norm.p) in {1.0, math.inf}
    most = LARGEST_POLYHEDRAL if polyhedral else LARGEST_SYSTEM
    return newton_rows(problem, norm) <= most


def _among_samples(
    problem: LinearClassification, norm: AbstractNorm, tol: float
) -> MaxMargin | None:
    """Euclidean margins of two classes by the Gram matrix; None where others must."""
    if not (problem.binary and has_plan(norm)):
        return None
    kind, p, _ = family(norm, True)
    if kind != "entrywise" or p != 2.0:
        return None
    X, y = np.asarray(problem.X), np.asarray(problem.y, dtype=float)
    n, d = X.shape
    small = n * n * d < SEVERAL_THREADS_GRAM
    with one_blas_thread() if small else contextlib.nullcontext():
        found = by_gram(X, y, tol=tol)
    if found is None:
        return None
    dual = found.beta / found.beta.sum()
    return MaxMargin(
        weights=jnp.asarray(found.weights),
        margin=jnp.asarray(found.margin),
        upper_bound=jnp.asarray(found.upper),
        gap=jnp.asarray(found.gap),
        dual=jnp.asarray(dual),
        pairs=jnp.asarray(dual[:, None]),
        support=jnp.asarray(dual > 0.0),
        norm=norm,
        method="Gram matrix",
    )


def _read_weights(problem: LinearClassification, weights: Numbers) -> Weights:
    """A solver's weights, checked."""
    W = jnp.asarray(weights, dtype=float)
    if W.shape != problem.weight_shape or not bool(jnp.all(jnp.isfinite(W))):
        raise ValueError(
            f"solver must return finite weights of shape {problem.weight_shape}; got "
            f"shape {W.shape}{'' if jnp.isfinite(W).all() else ', not finite'}."
        )
    return W


@contextlib.contextmanager
def _blas_threads(size: int) -> Iterator[None]:
    """One thread for small systems, where threads wait for each other longer than work.

    On a machine with other work to do it is several times faster; on a quiet one, no
    slower.
    """
    with contextlib.nullcontext() if size > SEVERAL_THREADS else one_blas_thread():
        yield


class _Best:
    """The best of several attempts, measured on the problem in its own units."""

    def __init__(self, problem: LinearClassification, norm: AbstractNorm, tol: float):
        self.problem, self.norm, self.tol = problem, norm, tol
        self.rows = PairRows.of(problem)
        self.lower, self.upper = -math.inf, math.inf
        self.W = np.zeros(problem.weight_shape)
        self.q = np.where(self.rows.real, 1.0 / self.rows.count, 0.0)

    def offer_weights(self, W: Numbers) -> bool:
        if not np.isfinite(np.asarray(W)).all():
            return False
        W, margin = unit_margin(self.rows, self.norm, W)
        better = margin > self.lower
        if better:
            self.W, self.lower = W, margin
        return better

    def offer_pairs(self, q: Numbers) -> None:
        q = np.maximum(np.asarray(q, dtype=float), 0.0)
        if not (np.isfinite(q).all() and 0.0 < q.sum() < math.inf):
            return  # they bound nothing; the bound at hand stands, and its gap says so
        q = _sparsest(self.problem, self.norm, q, self.lower, self.tol)
        upper = upper_bound(self.rows, self.norm, q, fine=max(1e-14, 1e-5 * self.tol))
        if upper < self.upper:
            self.q, self.upper = q, upper

    @property
    def separates(self) -> bool:
        """Whether the weights' margin is positive for certain."""
        return self.lower > 0 and separates(self.rows, self.W)

    @property
    def gap(self) -> float:
        return 1.0 - self.lower / self.upper if self.upper > 0 else math.inf


def _certified(
    problem: LinearClassification,
    norm: AbstractNorm,
    found: Attempt,
    tol: float,
    solver: AbstractSolver,
) -> MaxMargin:
    """Bounds from weights and dual weights, computed afresh on the problem itself."""
    best, method = _Best(problem, norm, tol), found.method
    best.offer_weights(found.weights)
    best.offer_pairs(found.pairs)
    loose = max(tol, promised_gap(norm))
    if not best.separates:
        with _blas_threads(system_size(problem, norm)):
            answer = separability(best.rows, best.W, best.q)
        if answer.q is not None:
            raise NotSeparableError(best.rows, answer.q, best.lower, answer.how)
        if answer.W is None:
            raise UndecidedError(
                best.rows,
                best.q,
                best.lower,
                upper=best.upper,
                scale=_scale(problem, norm),
                label=norm.label,
            )
        best.lower = -math.inf  # a sign that rounding may have made
        best.offer_weights(answer.W)
        method += " and exact separation"
    if best.gap > loose and isinstance(solver, Exact):
        with _blas_threads(system_size(problem, norm)):
            for again in _again(problem, norm, tol):
                if best.offer_weights(again.weights):
                    method = again.method
                best.offer_pairs(again.pairs)
                if best.gap <= loose:
                    break
    dual = best.q.sum(axis=1)
    return MaxMargin(
        weights=jnp.asarray(best.W),
        margin=jnp.asarray(best.lower),
        upper_bound=jnp.asarray(best.upper),
        gap=jnp.asarray(best.gap),
        dual=jnp.asarray(dual),
        pairs=jnp.asarray(best.q),
        support=jnp.asarray(dual > SUPPORT * dual.max()),
        norm=norm,
        method=method,
    )


def _sparsest(
    problem: LinearClassification,
    norm: AbstractNorm,
    q: np.ndarray,
    margin: float,
    tol: float,
) -> np.ndarray:
    """Dual weights without those that only rounding or a barrier left positive.

    The bound they prove may loosen by half, or up to `tol`, and no more.
    """
    q = np.maximum(q, 0.0)
    q = q / q.sum()
    bound = lambda q: float(norm.dual(problem.pull(jnp.asarray(q))))
    most = max(margin / (1.0 - tol), 1.5 * bound(q) - 0.5 * max(margin, 0.0))
    for share in (1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 1e-12):
        trial = np.where(q > share * q.max(), q, 0.0)
        trial = trial / trial.sum()
        if bound(trial) <= most:
            return trial
    return q


def _is_binary_quadratic(problem: LinearClassification, norm: AbstractNorm) -> bool:
    euclidean = getattr(norm, "p", None) == 2.0
    diagonal = isinstance(norm, Mahalanobis) and norm.vectors is None
    # a vector is one column: its Schatten norms are all Euclidean
    column = isinstance(norm, AbstractSchatten)
    return problem.binary and (euclidean or diagonal or column)


def _by_first_order(
    problem: LinearClassification,
    norm: AbstractNorm,
    tol: float,
    steps: int,
    start: np.ndarray | None,
) -> tuple[Any, Any, str]:
    floor = SEPARABLE * _scale(problem, norm)
    basis = None
    if sees_rows_only(norm, problem.binary):
        basis = row_basis(np.asarray(problem.X))
    if basis is not None:
        problem = eqx.tree_at(lambda p: p.X, problem, problem.X @ basis)

    def at(W: Any) -> Any:
        if W is None:
            return None
        (q,) = softmaxes(problem, (norm,), W)
        return jnp.asarray(W), jnp.asarray(q)

    if start is not None and basis is not None:
        start = start @ basis
    W, q, _, _ = first_order(
        problem,
        norm,
        steps=steps,
        tol=tol,
        floor=floor,
        start=at(start),
        rescue=lambda: at(separating(problem)),
    )
    return W if basis is None else W @ basis.T, q, "first-order method"


def _read_start(problem: LinearClassification, start: Numbers) -> np.ndarray:
    W = numbers("start", start)
    shape = problem.weight_shape
    if W.shape != shape or not np.isfinite(W).all() or not W.any():
        raise ValueError(
            f"start must be finite weights of shape {shape}, not all 0; got "
            f"{W.shape if W.shape != shape else 'others'}."
        )
    return W


def _scale(problem: LinearClassification, norm: AbstractNorm) -> float:
    """The largest dual norm among the eight rows of largest entries: the data's."""
    X, y = np.asarray(problem.X), np.asarray(problem.y)
    longest = np.argsort(-np.abs(X).sum(axis=1))[:8]
    rows = X[longest]
    if not problem.binary:
        rows = np.zeros((len(longest), *problem.weight_shape))
        place = np.arange(len(longest))
        rows[place, y[longest]] = X[longest]
        rows[place, (y[longest] + 1) % problem.classes] = -X[longest]
    duals = np.asarray(jax.vmap(norm.dual)(jnp.asarray(rows)))
    return float(np.max(duals, where=np.isfinite(duals), initial=0.0))  # a seminorm's


def _again(
    problem: LinearClassification, norm: AbstractNorm, tol: float
) -> Iterator[Attempt]:
    """Attempts at data that are separable, though a method lost sight of it."""
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            again = _by_exact(problem, norm, tol, stop_at=0.0)
    except OverflowError:
        return  # margins of 1e-300 have no square; the bounds at hand stand
    yield Attempt(*again)


def _by_exact(
    problem: LinearClassification,
    norm: AbstractNorm,
    tol: float,
    stop_at: float = SEPARABLE,
) -> tuple[Any, Any, str]:
    rows = PairRows.of(problem)
    scale = np.abs(rows.X).max()
    if scale == 0:  # all rows are zero: any weights have margin 0
        uniform = np.where(rows.real, 1.0 / rows.count, 0.0)
        return np.zeros(rows.weight_shape), uniform, "inspection"
    plan = Plan(rows.with_features(rows.X / scale), norm)
    tol = 0.5 * tol  # a little is lost in rounding on the way back
    floor = 0.5 * stop_at * plan.scale()
    plan.refuse_unbounded()
    if plan.binary_quadratic:
        best = min_norm(plan.rows, tol=tol, floor=floor)
        if best is not None:
            return plan.back(best.W), best.q, "quadratic program"
    solve = functools.partial(_interior, plan, tol=tol, floor=floor)
    first = max(4 * math.prod(plan.rows.weight_shape), 500)
    if len(plan.rows.X) > 5 * first:
        best = working_set(
            plan.rows, solve, plan.norm, first=first, tol=tol, floor=floor
        )
        method = "interior point on a working set"
    else:
        best, method = solve(plan.rows), "interior point"
    if best.gap > tol and plan.polyhedral and best.upper > floor:
        vertex(plan.rows, best, sum_norm=plan.p == 1.0, tol=tol)
        method += " and linear program"
    return plan.back(best.W), plan.cancel(best.q), method


def _interior(plan: Plan, rows: PairRows, *, tol: float, floor: float) -> Bounds:
    best: Bounds | None = None
    for growth in PACES:
        conjugate, of_weights = plan.conjugate(growth)
        found = interior_point(
            rows,
            conjugate,
            plan.norm,
            plan.dual,
            of_weights=of_weights,
            tol=tol,
            floor=floor,
        )
        if best is None:
            best = found
        best.offer(found.W, found.lower, found.q, found.upper)
        done = best.gap <= max(tol, ACCEPTED) or best.upper <= floor
        if done or not isinstance(conjugate, Smooth):
            break
    assert best is not None
    return best
