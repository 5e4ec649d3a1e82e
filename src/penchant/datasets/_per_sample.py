"""Data on which batch size decides what Adam finds: those of `baek2026persample`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy

from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real
from penchant.datasets._dataset import Dataset

PAPER_SIGNS = ((1, 1, 1, 1), (1, 1, 1, -1), (1, 1, -1, -1), (1, -1, 1, -1))
"""Signs of four rows, recalled as those of Figure 2 of `baek2026persample`."""


def scaled_rademacher(
    n: int = 10,
    d: int = 50,
    *,
    signs: Any = None,
    scales: Any = None,
    seed: int = 0,
) -> Dataset:
    r"""Rows $x_i=a_i\sigma_i$ with signs $\sigma_i\in\{\pm1\}^d$ and scales $a_i$.

    Within a row all entries have one size. One-sample Adam then weighs every
    coordinate alike and finds the $\ell_2$ max margin, where full-batch Adam finds the
    $\ell_\infty$ one. Labels are absorbed. Random signs whose rows are linearly
    dependent are drawn again, so that random data are separable; given ones need not
    be.

    >>> scaled_rademacher(signs=PAPER_SIGNS).X[1]
    array([ 2.,  2.,  2., -2.])

    Args:
        n: Number of rows, at most `d`. Not used with `signs`.
        d: Number of features. Not used with `signs`.
        signs: $(\sigma_1,\dots,\sigma_n)$, `(n, d)`, all -1 or +1; None for random
            ones. `PAPER_SIGNS` are four rows recalled as the paper's, not checked
            against it; their $\ell_\infty$ optimum is a face, $(1,1,s,1-s)$.
        scales: $(a_1,\dots,a_n)$, positive; None for $1,\dots,n$.
        seed: Of `numpy.random.default_rng`.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If `n` exceeds `d`, signs are not $\pm1$, or scales not positive.
    """
    if signs is None:
        n, d = check_count("n", n), check_count("d", d)
        seed = check_count("seed", seed, least=0)
        if n > d:
            raise ValueError(f"n must be at most d = {d}; got {n}.")
        name = f"scaled_rademacher(n={n}, d={d}, seed={seed})"
        sigma = _independent_signs(n, d, seed)
    else:
        check_number("signs", signs)
        sigma = np.asarray(signs, dtype=float)
        if sigma.ndim != 2 or not (np.abs(sigma) == 1).all() or 0 in sigma.shape:
            raise ValueError(
                f"signs must be an (n, d) array of -1 and +1; got shape {sigma.shape}, "
                f"values {np.unique(sigma)[:8].tolist()}."
            )
        name = f"scaled_rademacher(signs={sigma.shape})"
    if scales is None:
        a = np.arange(1.0, len(sigma) + 1.0)
    else:
        check_number("scales", scales, above=0.0, below=np.inf)
        a = np.asarray(scales, dtype=float)
        if a.shape != (len(sigma),):
            raise ValueError(
                f"scales must have shape ({len(sigma)},), one a row; got {a.shape}."
            )
    return _absorbed(a[:, None] * sigma, name)


def _independent_signs(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        sigma = rng.choice([-1.0, 1.0], size=(n, d))
        if np.linalg.matrix_rank(sigma) == n:
            return sigma
    raise ValueError(
        f"1000 draws of {n} rows of {d} signs were linearly dependent; choose n below "
        "d."
    )


def shifted_diagonal(
    diagonal: Sequence[Real] = (1.0, 2.0, 3.0, 4.0, 5.0), shift: Real = 0.1
) -> Dataset:
    r"""Rows $x_i=a_ie_i+\delta\sum_{j\ne i}e_j$: one-sample Adam goes to $\ell_\infty$.

    With $0<\delta\le a_1<\dots<a_d$ the least sample alone decides: weights $c=e_1$
    are a fixed point and the limit is $\mathrm{sign}(x_1)=\mathbf 1$, whatever the
    decays. Labels are absorbed.

    >>> shifted_diagonal([1, 2], 0.5).X
    array([[1. , 0.5],
           [0.5, 2. ]])

    Args:
        diagonal: $a_1<\dots<a_d$, positive.
        shift: $\delta>0$, at most $a_1$.

    Raises:
        TypeError: If an argument is no number, or no sequence of numbers.
        ValueError: If entries are not positive and increasing, or `shift` is too
            large.
    """
    check_number("diagonal", diagonal, above=0.0, below=np.inf)
    a = np.asarray(diagonal, dtype=float)
    if a.ndim != 1 or a.size == 0 or not (np.diff(a) > 0).all():
        raise ValueError(f"diagonal must be increasing numbers; got {diagonal!r}.")
    check_number("shift", shift, above=0.0, most=float(a[0]))
    X = np.full((a.size, a.size), float(shift))
    np.fill_diagonal(X, a)
    return _absorbed(X, f"shifted_diagonal({a.tolist()}, shift={float(shift):g})")


def bistable(p: Real = 6.0, q: Real = 2.0, r: Real = 1.0) -> Dataset:
    r"""Two rows $(p,q,r)$, $(q,p,-r)$ on which one-sample Adam may have two limits.

    The $\ell_2$ and $\ell_\infty$ max margins are both at $(1,1,0)$, and full batches
    go there. With one sample a step that limit is unstable for
    $|r|<r_c=\sqrt2\,pq(p-q)^2/(p^2+q^2)^{3/2}$ (`pitchfork`, derived for
    $\beta_2\to1$): training then ends at one of two mirror images, and the start
    decides.

    Above $r_c$ the middle one is stable, and alone where $p$ and $q$ are within a
    factor of 3 of each other. Beyond that factor the pitchfork is subcritical: up to
    $r_f>r_c$ (`fold`) the two mirror images are stable as well, three limits in all.
    Labels are absorbed.

    >>> bistable().X
    array([[ 6.,  2.,  1.],
           [ 2.,  6., -1.]])
    >>> round(pitchfork(6, 2), 5), round(fold(6, 2), 5)
    (1.07331, 1.07331)
    >>> round(pitchfork(8, 2), 4), round(fold(8, 2), 4)
    (1.4527, 1.5268)

    Args:
        p: Positive.
        q: Positive.
        r: Any number.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If `p` or `q` is not positive, or `r` not finite.
    """
    _check_sides(p, q)
    check_number("r", r, above=-np.inf, below=np.inf)
    X = np.array([[p, q, r], [q, p, -r]], dtype=float)
    return _absorbed(X, f"bistable({float(p):g}, {float(q):g}, {float(r):g})")


def pitchfork(p: Real, q: Real) -> float:
    r"""$r_c=\sqrt2\,pq(p-q)^2/(p^2+q^2)^{3/2}$: `bistable`'s middle limit turns.

    It is unstable for smaller $|r|$, and stable for larger ones.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is not positive.
    """
    _check_sides(p, q)
    return float(np.sqrt(2.0) * p * q * (p - q) ** 2 / (p**2 + q**2) ** 1.5)


def fold(p: Real, q: Real) -> float:
    r"""$r_f\ge r_c$: up to here `bistable` data have limits beside the middle one.

    At sample weights $1:t$ both samples gain the same where $|r|=R(t)$. With
    $u=t+1/t\ge2$, $\kappa=p/q$ and $Q^2=\kappa^2u^2+(\kappa^2-1)^2$,

    $$R^2=\frac{(p-q)^2}2\;\frac u{u-2}
      \Bigl(1+\frac{\kappa(1+\kappa^2)u}{Q^2}-\frac{\kappa u+\kappa^2+1}Q\Bigr),$$

    which is $r_c^2$ at $u=2$ and 0 far away. Its slope at $u=2$ has the sign of
    $(3\kappa-1)(\kappa-3)$: within a factor of 3 it falls from there, and $r_f=r_c$;
    beyond, it rises first, and $r_f=\max R$. For $\beta_2\to1$, one sample a step.

    Raises:
        TypeError: If an argument is no number.
        ValueError: If one is not positive.
    """
    _check_sides(p, q)
    k, least = float(p) / float(q), pitchfork(p, q)
    if (3.0 * k - 1.0) * (k - 3.0) <= 0.0:
        return least

    def height(log_excess: float) -> float:  # R² at u = 2 + exp(log_excess)
        excess = np.exp(log_excess)
        u = 2.0 + excess
        Q = np.sqrt(k**2 * u**2 + (k**2 - 1.0) ** 2)
        bent = 1.0 + k * (1.0 + k**2) * u / Q**2 - (k * u + k**2 + 1.0) / Q
        return float((p - q) ** 2 / 2.0 * u / excess * bent)

    # one maximum, between rounding at the left and max(k, 1/k)² at the right
    s = np.linspace(np.log(1e-5), 2.0 * abs(np.log(k)) + 3.0, 400)
    best = s[np.argmax([height(x) for x in s])]
    step = s[1] - s[0]
    top = scipy.optimize.minimize_scalar(
        lambda x: -height(x), bounds=(best - step, best + step), method="bounded"
    )
    return max(least, float(np.sqrt(-top.fun)))


def _check_sides(p: Any, q: Numbers) -> None:
    check_number("p", p, above=0.0, below=np.inf)
    check_number("q", q, above=0.0, below=np.inf)


def _absorbed(X: np.ndarray, name: str) -> Dataset:
    return Dataset(
        X=X,
        y=np.ones(len(X), dtype=np.int64),
        features=tuple(f"x{j}" for j in range(X.shape[1])),
        classes=(),
        name=name,
    )
