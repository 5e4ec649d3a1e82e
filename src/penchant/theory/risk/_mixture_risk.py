"""The risk of max margin on a mixture, before any row is drawn."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
import scipy
from scipy import special

from penchant import pages
from penchant._checks import check_count, check_instance, check_number
from penchant._plain import plain
from penchant.datasets import Mixture
from penchant.datasets.noises import Gaussian
from penchant.theory._prediction import Assumption, Verdict
from penchant.theory.risk._equivalent import (
    ENTRIES,
    Axes,
    Typical,
    least_squares,
    max_margin,
)
from penchant.training.executors import AbstractExecutor, Cells, in_boxes

Array = np.ndarray
Number = Any
"""A float, or an array with one a mixture."""

FEW = 9
"""Numbers of flips at which risks are worked out; between them they are smooth."""

NODES = 9
"""Nodes of Gauss and Hermite for what all rows share."""

BOX = 4096
"""Mixtures that are worked out together, a task of an executor."""

FEWEST = 10
"""Rows below which a typical draw is not said to be near the limit of many."""


class MixtureRisk(eqx.Module):
    r"""What max margin makes of $n$ rows of a mixture, foretold from its parameters.

    `rho` is the typical $\rho=\langle\mu,\theta\rangle/\sqrt{\theta^\top\Sigma\theta}$
    of the max-margin classifier and `log_risk` $=\log\Phi(-\rho)$; a mean of risks over
    draws is above that, by Jensen. `interpolating` and `averaging` are ρ of the
    interpolator of least norm and of the mean of the rows, which is where one step of
    gradient descent from 0 stands; `best_ridge` is the largest ρ on the path between
    the two, what stopping early, or a ridge, could reach. `support` is the share of
    rows that are support vectors, `all_support` the probability that all are, where
    max margin *is* least squares. `effective_ridge` is κ of the interpolator.

    Of several mixtures each is an array with one a mixture. NaN where there is none:
    interpolators need $n<d$, and max margin a typical draw that is separable.

    Foretold are typical values of many rows: errors are of relative order $1/n$ (2 % at
    40 rows of a steep spectrum, .1 % where all rows are support vectors). Flipped
    labels are drawn, so ρ is averaged over their number.
    """

    rho: Number
    log_risk: Number
    all_support: Number
    support: Number
    interpolating: Number
    averaging: Number
    best_ridge: Number
    effective_ridge: Number
    n: Number
    assumptions: tuple[Assumption, ...]
    source: str = eqx.field(static=True)

    @property
    def holds(self) -> bool:
        """Whether no assumption is known to fail."""
        return all(a.verdict is not Verdict.FAILS for a in self.assumptions)

    @property
    def statement(self) -> str:
        """The prediction in a sentence, for one mixture."""
        if np.ndim(self.rho):
            return f"{np.size(self.rho)} mixtures."
        if np.isnan(self.rho):
            return (
                "Typical draws are not separable: there is no max margin to foretell."
            )
        same = (
            "and is least squares"
            if self.all_support > 0.5
            else f"with {self.support:.0%} of the rows as support vectors"
        )
        return (
            f"Max margin errs on {_share(self.log_risk)} of new points {same} "
            f"(probability {self.all_support:.2g}); averaging errs on "
            f"{_share(special.log_ndtr(-self.averaging))}, the best ridge on "
            f"{_share(special.log_ndtr(-self.best_ridge))}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON has."""
        names = (f.name for f in dataclasses.fields(self))
        names = [x for x in names if x not in {"assumptions", "source"}]
        numbers = {name: np.asarray(getattr(self, name)).tolist() for name in names}
        return plain({
            **numbers,
            "source": self.source,
            "assumptions": [
                {"statement": a.statement, "verdict": a.verdict.value, "why": a.why}
                for a in self.assumptions
            ],
        })

    def _repr_html_(self) -> str:
        first, _, rest = repr(self).partition("\n")
        return pages.card(first, self.statement, rest)

    def __repr__(self) -> str:
        if np.ndim(self.rho):
            return f"MixtureRisk({np.size(self.rho)} mixtures; {self.source})"
        lines = [
            f"MixtureRisk(ρ={self.rho:.4g}, log risk {self.log_risk:.4g}, support "
            f"{self.support:.1%}, all of it {self.all_support:.3g}; {self.source})",
            f"  {self.statement}",
            *(f"  {assumption!r}" for assumption in self.assumptions),
        ]
        return "\n".join(lines)


def _share(log: float) -> str:
    """A risk in words, however small."""
    if log > -10.0:
        return f"{np.exp(log):.2%}"
    return f"10^{log / np.log(10.0):.1f}"


def mixture_risk(mixture: Mixture, n: int) -> MixtureRisk:
    r"""The risk of max margin on `n` rows of a mixture, and whether all are supports.

    By deterministic equivalents for any spectrum, with flipped labels, any ratio of $n$
    to $d$, separable or interpolating; derived here, in the model of
    `cao2021mixtures`, whose bounds have unknown constants
    ([`exponents`][penchant.theory.risk.exponents]). Where every row is a support vector
    it is the closed form $\rho^2=M^2/(B+\kappa^2V)$; to leading order
    $n\|\mu\|^4/(n\|\mu\|_\Sigma^2+\|\Sigma\|_F^2)$.

    All rows are support vectors with probability near $\mathbb E\,\Phi(\cdot)^n$ of the
    margin of a left-out row, averaged over what all rows share, as if rows were
    independent beyond it; for μ = 0 and $\Sigma=I$ that is
    $\Phi(\sqrt{(d-n)/n})^n$, and happens from
    $d\approx2n\log n$ (`hsu2021proliferation`).

    >>> import numpy as np
    >>> import penchant as pn
    >>> mean = np.zeros(2000)
    >>> mean[0] = 4.0
    >>> told = pn.theory.mixture_risk(pn.datasets.Mixture(mean, 1.0), 40)
    >>> round(told.rho, 3)  # 1.949 ± .0044 over 200 draws
    1.95
    >>> told.all_support > 0.999
    True

    Args:
        mixture: Whose risk; noise that is not Gaussian counts by its covariance.
        n: How many rows to train on.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If `n` is below 2.
    """
    check_instance("mixture", mixture, Mixture, "a datasets.Mixture")
    n = check_count("n", n, least=2)
    told = foretell(axes_of([mixture]), np.array([float(n)]), np.array([mixture.flip]))
    one = {name: float(values[0]) for name, values in told.items()}
    return MixtureRisk(
        **one,
        n=n,
        assumptions=_assumptions(mixture, n, one),
        source="derived here, after cao2021mixtures",
    )


def mixture_risks(
    mixtures: Sequence[Mixture], n: Any, *, executor: AbstractExecutor | None = None
) -> MixtureRisk:
    """Of many mixtures at once: a [`MixtureRisk`][penchant.theory.risk.MixtureRisk] of arrays.

    Isotropic mixtures cost no more for a large dimension. Assumptions are those of one
    mixture each, and not listed.

    >>> import penchant as pn
    >>> many = [pn.datasets.Mixture.rare_weak(500, 5, g) for g in (0.5, 1.0, 2.0)]
    >>> pn.theory.risk.mixture_risks(many, 20).rho.round(2)
    array([0.24, 0.89, 2.92])

    Args:
        mixtures: One or more; their dimensions may differ.
        n: How many rows to train on, a number, or one a mixture.
        executor: Where they are worked out, such as `executors.Ray()`; None for this
            process. The numbers have the same bits.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is no mixture, or `n` is below 2.
        RuntimeError: If mixtures failed as often as the executor tries.
    """  # noqa: E501
    check_instance("mixtures", mixtures, Sequence, "a list of mixtures")
    if not mixtures:
        raise ValueError("mixtures must be one or more; got none.")
    for mixture in mixtures:
        check_instance("mixtures", mixture, Mixture, "a list of datasets.Mixture")
    check_number("n", n, least=2.0, finite=True)
    rows = np.broadcast_to(np.asarray(n, dtype=float), (len(mixtures),))
    flips = np.array([mixture.flip for mixture in mixtures])
    told = foretell_in_boxes(executor, axes_of(mixtures), rows, flips)
    return MixtureRisk(
        **told, n=rows, assumptions=(), source="derived here, after cao2021mixtures"
    )


def axes_of(mixtures: Sequence[Mixture]) -> Axes:
    """Their axes, isotropic ones in one group, the others one by one."""
    flat = all(not np.ndim(m.spectrum) or np.ptp(m.spectrum) == 0 for m in mixtures)
    width = 1 if flat else max(m.dimension for m in mixtures)
    shape = (len(mixtures), width)
    variance, count, energy = np.ones(shape), np.zeros(shape), np.zeros(shape)
    for i, m in enumerate(mixtures):
        if flat:
            variance[i], count[i] = np.ravel(m.spectrum)[0], m.dimension
            energy[i] = np.square(m.mean).sum()  # BLAS would wake threads for it
        else:
            d = m.dimension
            variance[i, :d], count[i, :d], energy[i, :d] = m.variances, 1.0, m.mean**2
    return Axes(variance, count, energy)


def foretell_in_boxes(
    executor: AbstractExecutor | None, axes: Axes, n: Array, flip: Array
) -> dict[str, Array]:
    """`foretell`, some mixtures a task."""
    size = max(1, min(BOX, ENTRIES // axes.variance.shape[1]))
    shared = (axes, n, flip)
    parts = in_boxes(executor, _foretold, shared, cells=len(n), size=size)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _foretold(shared: tuple[Axes, Array, Array], cells: Cells) -> dict[str, Array]:
    axes, n, flip = shared
    rows = np.arange(cells.first, cells.stop)
    return foretell(axes.take(rows), n[rows], flip[rows])


def foretell(axes: Axes, n: Array, flip: Array) -> dict[str, Array]:
    """All numbers of a `MixtureRisk`, `(m,)` each."""
    even = 1.0 - 2.0 * flip
    with np.errstate(invalid="ignore", divide="ignore"):
        plain_ = least_squares(axes, n, even)
        averaging = np.sqrt(n) * even * axes.signal
        averaging /= np.sqrt(n * even**2 * axes.aligned + axes.square)
    told = {
        "interpolating": plain_.rho,
        "averaging": averaging,
        "best_ridge": _best_ridge(axes, n, even),
        "effective_ridge": plain_.kappa,
    }
    told["rho"], told["support"] = _over_flips(axes, n, flip, max_margin)
    if flip.any():
        told["interpolating"], _ = _over_flips(axes, n, flip, least_squares)
    told["log_risk"] = special.log_ndtr(-told["rho"])
    told["all_support"] = _all_support(axes, n, flip, plain_)
    return told


def _best_ridge(axes: Axes, n: Array, even: Array) -> Array:
    """The largest ρ over ridges, by a grid of 61 that spans what matters."""
    best = np.full(len(n), -np.inf)
    with np.errstate(invalid="ignore"):
        for share in np.concatenate([[0.0], np.geomspace(1e-4, 1e6, 60)]):
            rho = least_squares(axes, n, even, share * axes.trace).rho
            best = np.fmax(best, rho)
    return best


def _flips(n: float, flip: float) -> tuple[Array, Array]:
    """Numbers of flips that happen, and their probabilities."""
    low, high = scipy.stats.binom.ppf([1e-9, 1.0 - 1e-9], n, flip)
    k = np.arange(max(low, 0.0), high + 1.0)
    p = scipy.stats.binom.pmf(k, n, flip)
    return k, p / p.sum()


def _over_flips(axes: Axes, n: Array, flip: Array, solve: Any) -> tuple[Array, Array]:
    """ρ and the share of acting rows, averaged over how many labels are flipped."""
    rho, share = np.empty(len(n)), np.empty(len(n))
    sure = flip == 0
    if sure.any():
        found: Typical = solve(axes.take(sure), n[sure], np.ones(int(sure.sum())))
        rho[sure], share[sure] = found.rho, found.share
    open_ = np.flatnonzero(~sure)
    if not len(open_):
        return rho, share
    laws = [_flips(n[i], flip[i]) for i in open_]
    knots = [_knots(k) for k, _ in laws]
    owner = np.repeat(open_, [len(k) for k in knots])
    even = 1.0 - 2.0 * np.concatenate(knots) / n[owner]
    found = solve(axes.take(owner), n[owner], even)
    for i, (k, p), at in zip(open_, laws, knots, strict=True):
        mine = owner == i
        rho[i] = p @ _between(k, at, found.rho[mine])
        share[i] = p @ _between(k, at, found.share[mine])
    return rho, share


def _knots(k: Array) -> Array:
    """At most 9 of the numbers, denser at the ends."""
    if len(k) <= FEW:
        return k
    x = 0.5 - 0.5 * np.cos(np.pi * np.arange(FEW) / (FEW - 1))
    return np.unique(np.round(k[0] + x * (k[-1] - k[0])))


def _between(k: Array, at: Array, values: Array) -> Array:
    from scipy.interpolate import PchipInterpolator

    if len(at) < 2 or len(at) == len(k):
        return values
    return PchipInterpolator(at, values)(k)


def _all_support(axes: Axes, n: Array, flip: Array, plain_: Typical) -> Array:
    r"""The probability that all of $K^{-1}\mathbf1$ is positive.

    Row i's is if the margin of it on the interpolator of the others is below 1. Given
    what the rows share, $b=\mathbf1^\top A^{-1}Q\mu\sim N(0,a^2B/n)$ of the whole and
    its share over flipped rows, that margin is normal.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(NODES)
    weight = weight / weight.sum()
    first, second = np.repeat(z, NODES), np.tile(z, NODES)
    w = np.repeat(weight, NODES) * np.tile(weight, NODES)
    out = np.empty(len(n))
    kappa = plain_.kappa
    k_ = kappa[:, None]
    left = k_ / (axes.variance + k_)
    M = (axes.energy * left).sum(axis=1)
    d2 = (axes.count * (axes.variance / (axes.variance + k_)) ** 2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        B = (axes.energy * axes.variance * left**2).sum(axis=1) / (1.0 - d2 / n)
        V = d2 / (n - d2)
        for i in range(len(n)):
            k, p = _flips(n[i], flip[i]) if flip[i] else (np.zeros(1), np.ones(1))
            e = 1.0 - 2.0 * k[:, None] / n[i]
            a = 1.0 / kappa[i]
            deviation = a * np.sqrt(B[i] / n[i])
            b_s = deviation * first
            b_1 = deviation * (e * first + np.sqrt(np.maximum(1 - e**2, 0)) * second)
            # p(1 + b_s) = a(e - c) and c(1 + b_s) = b_1 + pM
            lift = 1.0 + b_s
            c = (b_1 * lift + a * e * M[i]) / (lift**2 + a * M[i])
            P = a * (e - c) / lift
            v = np.sqrt(P**2 * B[i] + V[i] * (1.0 - 2.0 * c * e + c**2))
            log = (n[i] - k[:, None]) * special.log_ndtr((1.0 - c) / v)
            log = log + k[:, None] * special.log_ndtr((1.0 + c) / v)
            out[i] = p @ (np.exp(log) @ w)
    return np.where(n < axes.dimension, out, 0.0)


def _assumptions(mixture: Mixture, n: int, told: dict[str, float]) -> tuple[Any, ...]:
    d, noise = mixture.dimension, mixture.noise
    holds, fails, unknown = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN
    normal = isinstance(noise, Gaussian)
    enough = n >= FEWEST
    inside = n < d
    exists = not np.isnan(told["rho"])
    return (
        Assumption(
            "noise is Gaussian",
            holds if normal else unknown,
            "it is"
            if normal
            else f"{noise!r} counts by its covariance, and Φ by a "
            "central limit: good for μ spread over many coordinates",
        ),
        Assumption(
            "rows are many, and what is typical is the limit of many",
            holds if enough else unknown,
            f"n = {n}; errors are of relative order 1/n",
        ),
        Assumption(
            "typical draws are separable",
            holds if exists else fails,
            "the equations of max margin have a solution"
            if exists
            else "they have none",
        ),
        Assumption(
            "given what all rows share they support independently",
            unknown if inside else fails,
            "all_support rests on it: measured within .05 on isotropic, two-level and "
            "polynomial spectra"
            if inside
            else f"n = {n} rows are not fewer than d = {d} features, and least squares "
            "does not interpolate",
        ),
    )
