"""Which solution given weights are, whoever trained them."""

import math
from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from penchant import pages
from penchant._checks import check_instance
from penchant._plain import plain
from penchant._types import Weights
from penchant.diagnosis._result import AbstractRow, AbstractTable, columns
from penchant.diagnosis.linear._catalogue import Catalogue, usual_norms
from penchant.diagnosis.linear._measure import cosine
from penchant.diagnosis.linear._verdict import NEAR, REACHED, not_told_apart
from penchant.estimators import alignment
from penchant.margins import NotSeparableError, UndecidedError, certify, is_unique
from penchant.norms import AbstractNorm, read as read_norm
from penchant.pages import percent
from penchant.problems import LinearClassification, read_head, sort_out
from penchant.problems.losses import AbstractLoss


class ExaminedRow(AbstractRow):
    r"""One norm: `reached` of the `best` margin there is, certified to `upper`.

    `ratio` is reached / best, and the true share lies in `[lowest_ratio, ratio]`; all
    are None where no weights separate the data. `cosine` is with the optimum where
    that is unique. `alignment` is $a_N\le1$ of
    [`alignment`][penchant.estimators.alignment].
    """

    norm: AbstractNorm
    label: str = eqx.field(static=True)
    reached: float = eqx.field(static=True)
    best: float | None = eqx.field(static=True)
    upper: float | None = eqx.field(static=True)
    cosine: float | None = eqx.field(static=True)
    alignment: float = eqx.field(static=True)

    @property
    def ratio(self) -> float | None:
        """Of the margin reached to the best one found."""
        return None if self.best is None else self.reached / self.best

    @property
    def lowest_ratio(self) -> float | None:
        """What is certain: of the margin reached to the bound no weights beat."""
        return None if self.upper is None else self.reached / self.upper

    def to_dict(self) -> dict[str, Any]:
        return {
            "norm": self.label,
            "reached": self.reached,
            "best": self.best,
            "upper_bound": self.upper,
            "ratio": self.ratio,
            "lowest_ratio": self.lowest_ratio,
            "cosine": self.cosine,
            "alignment": self.alignment,
        }


class ExaminedTable(AbstractTable[ExaminedRow]):
    """A row a norm: `table["ℓ2"]`, `table[norm]`, or iterate."""

    rows: tuple[ExaminedRow, ...]

    def __repr__(self) -> str:
        head = ("norm", "share", "reached", "largest", "cosine", "alignment")
        return columns([head, *(_cells(row) for row in self.rows)])


def _cells(row: ExaminedRow) -> tuple[str, ...]:
    best = "–" if row.best is None else f"{row.best:.6g}"
    if row.upper is not None and row.best and row.upper > row.best * 1.0001:
        best += f"…{row.upper:.4g}"
    separated = row.ratio is not None and row.ratio > 0
    return (
        row.label,
        percent(row.ratio or 0.0) if separated else "–",
        f"{row.reached:.6g}" if separated else "–",
        best,
        "–" if row.cosine is None or not separated else f"{row.cosine:z.4f}",
        "–" if math.isnan(row.alignment) else f"{row.alignment:z.4f}",
    )


class Examination(eqx.Module):
    """Which solution given weights are: margins and alignments norm by norm.

    `headline` and `explanation` say it in words. `table` has a row a norm. `winner` is
    the norm whose margin the weights maximise, None where none is near, or several are.
    `misclassified` counts samples on the wrong side, `separable` says whether any
    weights have all right (None: not decided), `notes` what was done to the weights.

    Margins need no loss and speak of the limit of long training. Alignments speak of
    the weights as they are, for the problem's loss *without* a penalty and at their own
    length; weights that were trained on another loss have another alignment.
    """

    headline: str = eqx.field(static=True)
    explanation: str = eqx.field(static=True)
    table: ExaminedTable
    winner: AbstractNorm | None
    separable: bool | None = eqx.field(static=True)
    misclassified: int = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    problem: LinearClassification
    weights: Weights

    @property
    def verdict(self) -> str:
        """Headline and explanation."""
        return f"{self.headline} {self.explanation}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, in types that JSON has."""
        return plain({
            "format": 1,
            "headline": self.headline,
            "explanation": self.explanation,
            "winner": None if self.winner is None else self.winner.label,
            "separable": self.separable,
            "misclassified": self.misclassified,
            "samples": self.problem.samples,
            "loss": repr(self.problem.loss),
            "table": [row.to_dict() for row in self.table],
            "notes": list(self.notes),
        })

    def plot(self, **options: Any) -> Any:
        """Bars of the share of each norm's largest margin; of alignments without one.

        Args:
            **options: `size` in inches or `ax`, as both bars of `plotting` take them.
        """
        from penchant import plotting

        rows = self.table.rows
        shares = [row.ratio for row in rows if row.ratio is not None]
        labels = [row.label for row in rows]
        if len(shares) == len(rows) and max(shares) > 0:
            lowest = [row.lowest_ratio or 0.0 for row in rows]
            return plotting.ratio_bars(labels, shares, lowest, **options)
        values = [0.0 if math.isnan(row.alignment) else row.alignment for row in rows]
        return plotting.alignment_bars(labels, values, [0.0] * len(rows), **options)

    def _repr_html_(self) -> str:
        return pages.card(self.headline, self.explanation, repr(self.table), self.plot)

    def __repr__(self) -> str:
        lines = [f"Examination: {self.headline}", f"  {self.explanation}", ""]
        lines += [f"  {line}" for line in repr(self.table).split("\n")]
        return "\n".join([*lines, *(f"  ({note})" for note in self.notes)])


def examine(
    problem: LinearClassification | object,
    *given: object,
    weights: object | None = None,
    loss: AbstractLoss | str | None = None,
    bias: bool | None = None,
    norms: Iterable[AbstractNorm | str] | None = None,
) -> Examination:
    """Which solution did *my* training pick: weights from anywhere, norm by norm.

    Takes the weights of a linear classifier, or of the last layer of a network with its
    features as data, and holds them against the largest margin in every usual norm,
    with certificates, and against the condition of being the least-loss weights of
    their size. No run is needed, and none is made.

    >>> import numpy as np, penchant as pn
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(6, 20)), np.array([1, -1] * 3)
    >>> best = pn.max_margin(pn.problems.read(X, y), "l2").weights
    >>> seen = pn.examine(X, y, 7.0 * np.asarray(best))
    >>> seen.winner, seen.misclassified
    (L2(), 0)

    Args:
        problem: A problem or a `Dataset`; or examples `X`, with `y` after them.
        *given: Labels where examples came first, then the weights.
        weights: As [`problems.read_head`][penchant.problems.read_head] takes them: an
            array `(d,)`, `(k, d)` or `(d, k)`, a pair with a bias, a layer of torch or
            Keras, an estimator of scikit-learn, a state dict.
        loss: Of examples or a `Dataset`: that of the training, for the alignment.
        bias: Of examples or a `Dataset`; None takes a bias where the weights have one.
        norms: Norms or their names; None for ℓ1, ℓ2, ℓ∞, and for several classes
            spectral and nuclear.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the weights have another shape, are 0 or not finite.
    """
    found, rest = sort_out(problem, given)
    layers = [*rest, *([] if weights is None else [weights])]
    if len(layers) != 1:
        raise TypeError(f"weights must be given once; got {len(layers)} of them.")
    head = read_head(layers[0])
    if found is problem:
        sort_out(problem, given, loss=loss, bias=bool(bias))  # refuses what it has
    else:
        wanted = head.bias is not None if bias is None else bias
        found, _ = sort_out(problem, given, loss=loss, bias=wanted)
    check_instance("problem", found, LinearClassification, "a LinearClassification")
    w, notes = head.weights(found)
    chosen = usual_norms(found) if norms is None else tuple(map(read_norm, norms))
    rows, separable = _rows(found, w, chosen)
    wrong = int(jnp.sum(found.margins(w) <= 0))
    winner, headline = _headline(rows, wrong, found.samples, separable)
    return Examination(
        headline=headline,
        explanation=_explanation(rows),
        table=ExaminedTable(rows),
        winner=winner,
        separable=separable,
        misclassified=wrong,
        notes=notes,
        problem=found,
        weights=w,
    )


def _rows(
    problem: LinearClassification, w: Weights, norms: tuple[AbstractNorm, ...]
) -> tuple[tuple[ExaminedRow, ...], bool | None]:
    catalogue = Catalogue(problem)
    separable: bool | None = None
    rows = []
    for norm, aligned in zip(norms, alignment(problem, w, norms), strict=True):
        seen = certify(problem, w, norm)
        reached, best, upper, angle = float(seen.margin), None, None, None
        if separable is not False:
            if reached > 0:
                catalogue.separating = w  # an answer where no solver has one
            try:
                most = catalogue.best(norm)
            except NotSeparableError:
                separable = False
            except UndecidedError:
                pass  # the row stays without a best margin, `separable` open
            else:
                best = max(float(most.margin), reached)
                upper = max(min(float(most.upper_bound), float(seen.upper_bound)), best)
                separable = True if best > 0 else separable
                if is_unique(problem, most):
                    angle = cosine(w, most.weights)
        known = best is not None and best > 0
        rows.append(
            ExaminedRow(
                norm=norm,
                label=norm.label,
                reached=reached,
                best=best if known else None,
                upper=upper if known else None,
                cosine=angle,
                alignment=float(aligned.alignment),
            )
        )
    return tuple(rows), separable


def _headline(
    rows: tuple[ExaminedRow, ...], wrong: int, samples: int, separable: bool | None
) -> tuple[AbstractNorm | None, str]:
    if wrong:
        why = {
            True: "though weights exist that have all right",
            False: "and no weights have all right",
            None: "and whether any weights have all right is not decided",
        }[separable]
        return None, (
            f"These weights have {wrong} of {samples} samples on the wrong side, {why}:"
            " they have no margin."
        )
    ranked = sorted(rows, key=lambda row: -(row.ratio or 0.0))
    first, others = ranked[0], ranked[1:]
    share = first.ratio or 0.0
    close = not_told_apart(first, ranked, lambda row: row.ratio or 0.0)
    if share < NEAR or (share < REACHED and close):
        return None, (
            "These weights are near no norm's largest margin: the closest is "
            f"{first.label}, of which they have {percent(share)}."
        )
    text = (
        f"These weights are {'' if share >= REACHED else 'on the way to '}the "
        f"{first.label} solution: they have {percent(share)} of the largest "
        f"{first.label} margin there is"
    )
    if close:
        listing = " and ".join(f"{r.label} ({percent(r.ratio or 0)})" for r in close)
        return None, f"{text}. {listing} can't be told apart from it here."
    if others:
        text += f", and at most {percent(others[0].ratio or 0.0)} in other norms"
    return first.norm, f"{text}."


def _explanation(rows: tuple[ExaminedRow, ...]) -> str:
    told = [row for row in rows if not math.isnan(row.alignment)]
    if not told:
        return "The gradient is 0 there, so alignments say nothing."
    ranked = sorted(told, key=lambda row: -row.alignment)
    listing = ", ".join(f"{row.label} {row.alignment:z.3f}" for row in ranked)
    return (
        f"Their alignment with the gradient is {listing}; it is 1 exactly where "
        "weights have the least loss of all of their size in that norm."
    )
