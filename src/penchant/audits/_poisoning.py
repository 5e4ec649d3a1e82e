"""Which examples undo the bias to few poles: shares, and the limits without them."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy

from penchant._checks import check_instance
from penchant._plain import plain
from penchant.flows.state_space import flow
from penchant.problems.models import ssm
from penchant.theory.state_space import Excitation, excitation

MOST = 40
"""Examples up to which limits without each of them are computed unasked."""


def poison_scores(
    problem: ssm.SequenceRegression, w: ssm.AbstractSequenceModel | None = None
) -> np.ndarray:
    r"""Each example's share of what moves all poles at one speed, `(n,)`.

    $|\delta_i\xi_ix_{i,\kappa-1}|$ over its sum: the terms of $\gamma^{(0)}$, which
    destroys the bias to few poles (`slutzky2025poisoned`). Of a model that is not
    linear the slope in its memory takes the place of $x_{i,\kappa-1}$
    ([`memory_pulls`][penchant.ssm.memory_pulls]). All 0 where no example pulls at lag
    1, as on baseline sequences; else the sum is 1.

    A score says what acts at these weights, not that the limit suffers: special
    examples help as often as they hurt, which
    [`leave_one_out`][penchant.audits.leave_one_out] decides.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0], [1.0], [1.0])
    >>> X = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    >>> problem = pn.ssm.regression(teacher, X, a=[0.5, 0.1])
    >>> pn.audits.poison_scores(problem, problem.start).tolist()
    [0.0, 1.0]

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns.
        w: The model at which they are taken, the problem's start if None.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If weights are not finite.
    """
    check_instance(
        "problem", problem, ssm.SequenceRegression, "what ssm.regression returns"
    )
    at: Any = problem.start if w is None else problem.read(w, "w")
    if isinstance(at, ssm.AbstractStateSpace):
        if problem.length < 2:
            return np.zeros(problem.samples)
        pull = problem.residuals(at) * problem.slopes(at) * problem.lags[:, 1]
    else:
        pull = ssm.memory_pulls(problem, at)
    sizes = np.abs(np.asarray(pull))
    largest = sizes.max()
    if largest == 0:
        return sizes
    sizes = sizes / largest  # the sum of what is tiny keeps its digits
    return sizes / sizes.sum()


class LeaveOneOut(eqx.Module):
    r"""The limit of gradient flow without each example: what an example really does.

    `error` `(n,)` is the extrapolation error over 40 lags of the limit without example
    i (NaN where that flow did not settle), `base` that with all. `change` is
    $\ln(\text{base}/\text{error})$: above 0 where leaving the example out helps, an
    example that hurts. `scores` are [`poison_scores`][penchant.audits.poison_scores] at
    the start, `agreement` Spearman's rank correlation of the two over the examples
    (NaN where either is constant), and `steps` the flows' steps in all.
    """

    error: np.ndarray
    base: float = eqx.field(static=True)
    scores: np.ndarray
    agreement: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    @property
    def change(self) -> np.ndarray:
        r"""$\ln(\text{base}/\text{error})$, `(n,)`; above 0 the example hurts."""
        with np.errstate(divide="ignore"):
            return np.log(self.base) - np.log(self.error)

    def __repr__(self) -> str:
        change = np.nan_to_num(self.change, nan=-np.inf)
        worst = int(np.argmax(change))
        best = int(np.argmin(np.nan_to_num(self.change, nan=np.inf)))
        return (
            f"LeaveOneOut({len(self.error)} examples, error of the limit "
            f"{self.base:.4g}: without example {worst} {self.error[worst]:.4g}, "
            f"without example {best} {self.error[best]:.4g}; rank "
            f"correlation with the scores {self.agreement:.2f})"
        )


def leave_one_out(problem: ssm.SequenceRegression) -> LeaveOneOut:
    r"""Limits of gradient flow without each example, the truth that scores estimate.

    One flow an example: seconds for small sets, exact in that no first-order guess is
    made.

    >>> import penchant as pn
    >>> teacher = pn.ssm.StateSpace([1.0, 0.0], [1.0, 2.0], [1.0, 1.0])
    >>> X = [[1.0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1.0, 0]]
    >>> a = [1e-3, 1e-3 - 1e-8, 5e-4]
    >>> problem = pn.ssm.regression(teacher, X, a=a, trained="a")
    >>> found = pn.audits.leave_one_out(problem)
    >>> bool(found.error[1] < 0.1 * found.base)
    True

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns, with two examples
            or more and a linear teacher.

    Raises:
        TypeError: If the problem is of another kind, or has no linear teacher.
        ValueError: If there is one example only.
    """
    check_instance(
        "problem", problem, ssm.SequenceRegression, "what ssm.regression returns"
    )
    if not isinstance(problem.teacher, ssm.AbstractStateSpace):
        raise TypeError(
            "problem must have a linear teacher: without one no error beyond the data "
            "is known."
        )
    if problem.samples < 2:
        raise ValueError("problem must have two examples or more; got one.")
    base = flow(problem)
    errors, steps = [], base.steps
    for i in range(problem.samples):
        rest = taken(problem, np.delete(np.arange(problem.samples), i))
        if not bool(jnp.any(rest.X != 0)):
            errors.append(np.nan)
            continue
        went = flow(rest)
        steps += went.steps
        errors.append(went.limit_error if went.settled else np.nan)
    scores = poison_scores(problem)
    error = np.array(errors)
    return LeaveOneOut(
        error=error,
        base=base.limit_error,
        scores=scores,
        agreement=_agreement(scores, error),
        steps=steps,
    )


def _agreement(scores: np.ndarray, error: np.ndarray) -> float:
    keep = np.isfinite(error)
    if keep.sum() < 3 or np.ptp(scores[keep]) == 0 or np.ptp(error[keep]) == 0:
        return math.nan
    found: Any = scipy.stats.spearmanr(scores[keep], -error[keep])
    return float(found.statistic)


def taken(problem: ssm.SequenceRegression, rows: np.ndarray) -> ssm.SequenceRegression:
    """The problem with some of its examples."""
    data = jax.tree.map(lambda x: x[rows], problem.data)
    return eqx.tree_at(lambda p: p.data, problem, data)


class SequenceAudit(eqx.Module):
    """What a data set of sequences excites, and which examples may poison it.

    `scores` `(n,)` are shares of what moves all poles at one speed (None without
    labels), `order` the examples from the highest. `late` `(n,)` is each example's
    share of all energy at lag 1, which needs no labels.
    """

    excitation: Excitation
    late: np.ndarray
    scores: np.ndarray | None
    name: str = eqx.field(static=True)

    @property
    def order(self) -> np.ndarray:
        """The examples, those of most weight at lag 1 first."""
        return np.argsort(-(self.late if self.scores is None else self.scores))

    @property
    def headline(self) -> str:
        """The finding in a sentence."""
        seen = self.excitation
        k = len(seen.energy)
        if seen.rank == 0:
            return "Every input is 0: the data excite nothing."
        if k == 1:
            return "Sequences of length 1 have no lag 1, and no pole to move."
        if seen.lag_one == 0:
            return (
                "No input has energy at lag 1: only the bias to few poles acts on them "
                "at the start."
            )
        by = self.late if self.scores is None else self.scores
        if not by.any():
            return (
                "Inputs have energy at lag 1, and no residual pulls there at the start."
            )
        few = int(np.searchsorted(np.cumsum(np.sort(by)[::-1]), 0.9) + 1)
        free = "1 direction" if seen.free == 1 else f"{seen.free} directions"
        decided = "decide" if seen.free == 0 else f"leave {free} of"
        hold = "hold" if few > 1 else "holds"
        return (
            f"{few} of {len(by)} examples {hold} 90 % of what moves all poles at one "
            f"speed; the data {decided} the {k} lags."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        return plain({
            "data": self.name,
            "headline": self.headline,
            "excitation": self.excitation.to_dict(),
            "late": self.late.tolist(),
            "scores": None if self.scores is None else self.scores.tolist(),
        })

    def __repr__(self) -> str:
        seen = self.excitation
        lines = [f"SequenceAudit({self.headline})", f"  {seen!r}"]
        total = max(float(seen.energy.sum()), 1e-300)
        parts = [f"{l}: {e / total:.1%}" for l, e in enumerate(seen.energy[:8])]
        lines.append("  energy by lag " + ", ".join(parts))
        by = self.late if self.scores is None else self.scores
        if by.any():
            top = ", ".join(f"{i} ({by[i]:.1%})" for i in self.order[:5])
            kind = "energy at lag 1" if self.scores is None else "pull at lag 1"
            lines.append(f"  examples of most {kind}: {top}")
        lines.append(
            "  A high share says what acts, not that it harms: with a teacher "
            "audits.leave_one_out decides."
        )
        return "\n".join(lines)


def audit_sequences(
    X: Any, y: Any = None, *, scale: float = 1e-3, name: str = "the data"
) -> SequenceAudit:
    r"""The audit of sequences without a teacher: excitation, and shares at lag 1.

    With labels `y` scores are those of a model whose poles and gains are small, so that
    its residuals are the labels: the start of a training run. Every example's share is
    then $|y_ix_{i,\kappa-1}|$ over the sum, whatever the number of states.

    >>> import penchant as pn
    >>> X = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.0]]
    >>> pn.audits.audit_sequences(X, [1.0, 1.0, 0.5]).headline
    '1 of 3 examples holds 90 % of what moves all poles at one speed; the data leave 1 direction of the 3 lags.'

    Args:
        X: `(n, κ)` sequences in time order, the newest input last.
        y: `(n,)` labels; None to go by energy alone.
        scale: Poles of the small model.
        name: What the data are called.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If shapes disagree, or an entry is NaN or infinite.
    """  # noqa: E501
    seen = excitation(X)
    lags = np.asarray(X, dtype=float)[:, ::-1]
    late = lags[:, 1] ** 2 if lags.shape[1] > 1 else np.zeros(len(lags))
    late = late / late.sum() if late.any() else late
    scores = None
    if y is not None and seen.rank > 0:
        model = ssm.regression(None, X, y=y, a=[scale], b=[scale], c=[scale])
        scores = poison_scores(model)
    return SequenceAudit(seen, late, scores, name)
