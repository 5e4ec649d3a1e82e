r"""Deterministic equivalents: what max margin and ridge are like on a typical draw.

With $n$ rows $z_i=s_i\mu+q_i$, $s_i=-1$ for flipped labels, four numbers decide: how
far the mean survives, $c=\langle\mu,\theta\rangle$, how wide the margins of new points
scatter, $v^2=\theta^\top\Sigma\theta$, the effective ridge κ and the share δ of rows
that act. A left-out row has margin $m\sim N(sc,v^2)$; put back, it acts by
$\beta=(1-m)_+/\gamma$, and the rows' sum is again θ. For κ this says
$\sum_j\lambda_j/(\lambda_j+\kappa)=n\delta$, and with

$$M=\kappa\sum_j\frac{\mu_j^2}{\lambda_j+\kappa},\quad
B_0=\kappa^2\sum_j\frac{\mu_j^2\lambda_j}{(\lambda_j+\kappa)^2},\quad
d_2=\sum_j\frac{\lambda_j^2}{(\lambda_j+\kappa)^2},\quad
P=\frac{\mathbb E[s(1-m)_+]}{\delta\kappa},$$

$c=PM$ and $v^2=P^2B_0+\mathbb E[(1-m)_+^2]\,d_2/(n\delta^2)$. Without the $(\cdot)_+$,
and δ = 1, it is least squares, in closed form, and with a ridge $t$ beside it
$\sum_j\lambda_j/(\lambda_j+\kappa)+t/\kappa=n$.
"""

import dataclasses

import numpy as np
from scipy import special

Array = np.ndarray

NEWTON = 100
"""Steps for κ, which rises to it from below."""

ROUNDS = 200
"""Newton's steps for max margin."""

CLOSE = 1e-12
"""Change in (1 - c)/v and log v at which Newton's steps end."""

SOLVED = 1e-8
"""Change at which the equations count as solved."""

ENTRIES = 4_000_000
"""Entries that are looked at together."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """Axes of `m` mixtures, alike ones together, each `(m, g)`.

    `variance`, how many axes have it, and the sum of μ² over them.
    """

    variance: Array
    count: Array
    energy: Array

    def take(self, rows: Array) -> "Axes":
        """Those of some mixtures, again and again where a number is repeated."""
        return Axes(self.variance[rows], self.count[rows], self.energy[rows])

    @property
    def trace(self) -> Array:
        """Tr Σ."""
        return (self.count * self.variance).sum(axis=1)

    @property
    def square(self) -> Array:
        """‖Σ‖_F²."""
        return (self.count * self.variance**2).sum(axis=1)

    @property
    def signal(self) -> Array:
        """‖μ‖²."""
        return self.energy.sum(axis=1)

    @property
    def aligned(self) -> Array:
        """μ'Σμ."""
        return (self.energy * self.variance).sum(axis=1)

    @property
    def dimension(self) -> Array:
        """How many axes."""
        return self.count.sum(axis=1)


def effective_ridge(
    axes: Axes, acting: Array, ridge: Array | float = 0.0, start: Array | None = None
) -> Array:
    r"""κ of $\sum_j\lambda_j/(\lambda_j+\kappa)+t/\kappa=n\delta$, `(m,)`.

    In $1/\kappa$ the left side is concave and rises from 0: Newton's steps from below
    stay below and never go back.
    """
    total = axes.trace + ridge
    lowest = acting / total
    s = lowest if start is None else np.maximum(1.0 / start, lowest)
    for _ in range(NEWTON):
        x = s[:, None] * axes.variance
        value = (axes.count * x / (1.0 + x)).sum(axis=1) + ridge * s
        slope = (axes.count * axes.variance / (1.0 + x) ** 2).sum(axis=1) + ridge
        step = (acting - value) / slope
        s = np.maximum(s + step, lowest)
        if (np.abs(step) <= 1e-14 * s).all():
            break
    return 1.0 / s


def _sums(axes: Axes, kappa: Array) -> tuple[Array, Array, Array]:
    """M, B₀ and d₂."""
    k = kappa[:, None]
    left = k / (axes.variance + k)
    M = (axes.energy * left).sum(axis=1)
    B0 = (axes.energy * axes.variance * left**2).sum(axis=1)
    d2 = (axes.count * (axes.variance / (axes.variance + k)) ** 2).sum(axis=1)
    return M, B0, d2


@dataclasses.dataclass(frozen=True)
class Typical:
    """c, v, κ and the share δ of acting rows, each `(m,)`; NaN where not solved."""

    c: Array
    v: Array
    kappa: Array
    share: Array

    @property
    def rho(self) -> Array:
        """c/v."""
        return self.c / self.v


def least_squares(
    axes: Axes, n: Array, even: Array, ridge: Array | float = 0.0
) -> Typical:
    r"""Ridge on the labels, `ridge` 0 for the interpolator of least norm.

    `even` is $e=\mathbb Es=1-2\eta$; `share` is that of positive β, which without a
    ridge are the rows that would act in max margin too.
    """
    none = (n >= axes.dimension) & (np.asarray(ridge) == 0)
    # a stand-in where there are no interpolators; what comes of it is not shown
    kappa = effective_ridge(axes, np.where(none, 0.5 * axes.dimension, n), ridge)
    kappa = np.where(none, np.nan, kappa)
    M, B0, d2 = _sums(axes, kappa)
    a = 1.0 / kappa
    p = a * even / (1.0 + a * M)
    c = p * M
    with np.errstate(invalid="ignore", divide="ignore"):
        B, V = B0 / (1.0 - d2 / n), d2 / (n - d2)
        v = np.sqrt(p**2 * B + V * (1.0 - 2.0 * c * even + c**2))
    return Typical(c, v, kappa, _acting(c, v, even))


def max_margin(axes: Axes, n: Array, even: Array) -> Typical:
    """Max margin, by rounds from the solution of least squares.

    NaN where they don't settle: no separating weights exist for typical draws, or
    nearly so.
    """
    m = len(n)
    width = max(axes.variance.shape[1], 1)
    if m > 1 and m * width > ENTRIES:
        most = max(1, ENTRIES // width)
        blocks = [np.arange(i, min(i + most, m)) for i in range(0, m, most)]
        solved = [max_margin(axes.take(i), n[i], even[i]) for i in blocks]
        parts = zip(*map(dataclasses.astuple, solved), strict=True)
        return Typical(*map(np.concatenate, parts))
    # without an interpolator start from ridge
    ridge = np.where(n < axes.dimension, 0.0, axes.trace)
    start = least_squares(axes, n, even, ridge)
    x = np.stack([(1.0 - start.c) / start.v, np.log(start.v)])
    rest, kappa, share = _residual(axes, n, even, x, start.kappa)
    open_ = np.flatnonzero(~(np.abs(rest).max(axis=0) <= CLOSE))
    pace = np.ones(m)
    for _ in range(ROUNDS):
        if not len(open_):
            break
        here = (axes if len(open_) == m else axes.take(open_), n[open_], even[open_])
        at, k = x[:, open_], kappa[open_]
        step = pace[open_] * _newton(here, at, rest[:, open_], k)
        tried, new_k, new_share = _residual(*here, at + step, k)
        size = lambda r: np.hypot(r[0], r[1])
        better = size(tried) < size(rest[:, open_])
        good = open_[better]
        x[:, good] = (at + step)[:, better]
        rest[:, good] = tried[:, better]
        kappa[good], share[good] = new_k[better], new_share[better]
        pace[good] = np.minimum(1.0, 2.0 * pace[good])
        pace[open_[~better]] *= 0.5
        done = (np.abs(rest[:, open_]).max(axis=0) <= CLOSE) | (pace[open_] < 1e-6)
        open_ = open_[~done]
    v = np.exp(x[1])
    c = 1.0 - x[0] * v
    wrong = ~(np.abs(rest).max(axis=0) <= SOLVED)
    # more acting rows than features: rounds stand at a wall that no draw has
    wrong |= n * share >= axes.dimension * (1.0 - 1e-8)
    for found in (c, v, kappa, share):
        found[wrong] = np.nan
    return Typical(c, v, kappa, share)


Here = tuple[Axes, Array, Array]


def _residual(
    axes: Axes, n: Array, even: Array, x: Array, kappa: Array
) -> tuple[Array, Array, Array]:
    r"""What a round changes at x = ((1 - c)/v, log v), and κ and δ there.

    With a strong signal c is close to 1, and it is 1 - c that decides who acts; a round
    then answers a change of c by $-M/\kappa$ times it, which is divided out.
    """
    with np.errstate(all="ignore"):
        v = np.exp(x[1])
        c = 1.0 - x[0] * v
        moved, new_v, kappa, share = _round(axes, n, even, c, v, kappa)
        return np.stack([moved / v, np.log(new_v) - x[1]]), kappa, share


def _newton(here: Here, x: Array, rest: Array, kappa: Array) -> Array:
    """Newton's step, by differences, at most a unit long; a round's where singular."""
    h = 1e-6
    along = [
        (_residual(*here, x + h * unit[:, None], kappa)[0] - rest) / h
        for unit in np.eye(2)
    ]
    (a, c), (b, d) = along
    with np.errstate(all="ignore"):
        determinant = a * d - b * c
        step = np.stack([b * rest[1] - d * rest[0], c * rest[0] - a * rest[1]])
        step = step / determinant
        step = np.where(np.isfinite(step).all(axis=0), step, 0.25 * rest)
        return step / np.maximum(1.0, np.hypot(step[0], step[1]))


def _round(
    axes: Axes, n: Array, even: Array, c: Array, v: Array, kappa: Array
) -> tuple[Array, Array, Array, Array]:
    good, bad = 0.5 * (1.0 + even), 0.5 * (1.0 - even)
    share = _acting(c, v, even)
    first, second = _hinge(1.0 - c, v)
    turned, turned_second = _hinge(1.0 + c, v)
    acting = np.minimum(n * share, axes.dimension * (1.0 - 1e-9))
    kappa = effective_ridge(axes, acting, start=kappa)
    M, B0, d2 = _sums(axes, kappa)
    P = (good * first - bad * turned) / (share * kappa)
    square = good * second + bad * turned_second
    new_v = np.sqrt(P**2 * B0 + square * d2 / (n * share**2))
    return (P * M - c) / (1.0 + M / kappa), new_v, kappa, share


def _acting(c: Array, v: Array, even: Array) -> Array:
    """The probability that a margin of a left-out row is below 1."""
    good = special.ndtr((1.0 - c) / v)
    return 0.5 * (1.0 + even) * good + 0.5 * (1.0 - even) * special.ndtr((1.0 + c) / v)


def _hinge(a: Array, v: Array) -> tuple[Array, Array]:
    """E(a + vg)_+ and E(a + vg)_+² for standard normal g."""
    x = a / v
    density = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi)
    below = special.ndtr(x)
    return a * below + v * density, (a**2 + v**2) * below + a * v * density
