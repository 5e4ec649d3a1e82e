r"""Shortest steps that lift margins: $\min\|x\|$ such that $Jx\ge r$, on the host."""

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.margins._solvers.min_norm import pivot

Array = NDArray[np.float64]


RIDGE = 1e-10
"""Relative ridge of a Gram matrix that is singular."""

FELT = 1e-6
"""A miss of what is asked, relative to it, from which the ridge counts as felt."""


class NoStepError(RuntimeError):
    """No step lifts every margin: their gradients oppose one another."""


def shortest(J: Array, r: Array, guess: NDArray[np.bool_]) -> tuple[Array, Array]:
    r"""Euclidean: $x=J^\top\lambda$ with $\lambda\ge0$; returns `x` and `lambda`.

    Block pivoting on the Gram matrix from a guess of the support; where rows are
    dependent, with a ridge that is not felt, or else non-negative least squares.

    Raises:
        NoStepError: If no `x` has `J x >= r`.
    """
    scale = np.abs(r).max()
    K = J @ J.T
    dual = pivot(K, guess.copy(), r / scale)
    if dual is None:
        # rows that depend on one another: a ridge decides how they share
        K[np.diag_indices_from(K)] *= 1.0 + RIDGE
        dual = pivot(K, guess.copy(), r / scale)
        if dual is not None and (K @ dual - J @ (dual @ J)).max() > FELT:
            dual = None
    dual = _by_least_squares(J, r) if dual is None else scale * dual
    return dual @ J, dual


def _by_least_squares(J: Array, r: Array) -> Array:
    # least distance programming (Lawson and Hanson): with u >= 0 minimising
    # |J'u|^2 + (1 - r'u)^2, the step is x = J'u / (1 - r'u)
    m, p = J.shape
    # an orthogonal factor changes no length: p rows become m
    R = np.asarray(np.linalg.qr(J.T, mode="r")) if p > m else J.T
    scale = np.abs(R).max(initial=0.0) or 1.0
    E = np.vstack([R / scale, r[None] / scale])
    f = np.zeros(len(E))
    f[-1] = 1.0
    u, _ = scipy.optimize.nnls(E, f, maxiter=50 * m + 100)
    u = u / scale
    room = 1.0 - r @ u
    if not room > 1e-12:
        raise NoStepError("no step lifts every margin at once")
    return u / room


def least_max(J: Array, r: Array) -> tuple[Array, Array]:
    r"""The same in the max norm, a linear program; `x` and the dual `lambda`.

    Raises:
        NoStepError: If no `x` has `J x >= r`.
    """
    m, p = J.shape
    # x = u - v with 0 <= u, v <= t is the same as |x| <= t: bounds move with t
    A = np.block([[-J, np.zeros((m, 1))], [np.eye(p), -np.ones((p, 1))]])
    A = np.vstack([A, np.hstack([-np.eye(p), -np.ones((p, 1))])])
    b = np.concatenate([-r, np.zeros(2 * p)])
    cost = np.zeros(p + 1)
    cost[-1] = 1.0
    found = scipy.optimize.linprog(
        cost,
        A_ub=scipy.sparse.csr_matrix(A),
        b_ub=b,
        bounds=(None, None),
        method="highs",
    )
    if found.x is None:
        raise NoStepError("no step lifts every margin at once")
    x, dual = found.x[:p], np.maximum(-found.ineqlin.marginals[:m], 0.0)
    return _with_short_rest(J, r, x, dual), dual


def _with_short_rest(J: Array, r: Array, x: Array, dual: Array) -> Array:
    """Of all solutions the one whose undetermined entries are shortest.

    Entries along which the multipliers pull sit at their bound; a vertex puts the
    others at a bound too, for no reason, and elsewhere at the next call.
    """
    pull = dual @ J
    free = np.abs(pull) <= 1e-9 * np.abs(pull).max()
    if not free.any():
        return x
    largest = np.abs(x).max()
    calm = np.where(free, 0.0, x)
    missing = r - J @ calm
    short = missing > 1e-12 * np.abs(r).max()
    if short.any():
        try:
            rest, _ = shortest(J[:, free], missing, short)
        except NoStepError:
            return x
        if np.abs(rest).max() > largest:
            return x
        calm[free] = rest
    return calm
