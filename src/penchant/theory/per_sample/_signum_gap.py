"""What is certain of Signum with batches: a bound of what it may miss."""

import math

import equinox as eqx
import numpy as np

from penchant._checks import check_instance, check_number
from penchant._types import Real
from penchant.margins import max_margin
from penchant.norms import Linf
from penchant.problems import LinearClassification
from penchant.theory.per_sample._mean_step import signed_rows
from penchant.training.batching import (
    AbstractBatching,
    FullBatch,
    Shuffled,
    WithReplacement,
)


class SignumGap(eqx.Module):
    r"""What Signum with batches may miss of the largest $\ell_\infty$ margin.

    `bound` is in units of margin, `best` the largest margin $\gamma_\infty$, `share`
    the part of it that is guaranteed, 1 - bound / best. `vacuous` where that is none.
    """

    bound: float = eqx.field(static=True)
    best: float = eqx.field(static=True)

    @property
    def share(self) -> float:
        """The part of the largest margin that is certain, in [0, 1]."""
        return max(0.0, 1.0 - self.bound / self.best)

    @property
    def vacuous(self) -> bool:
        """Whether the bound leaves nothing."""
        return self.bound >= self.best

    def __repr__(self) -> str:
        certain = (
            "vacuous" if self.vacuous else f"at least {self.share:.4g} of the best"
        )
        return f"SignumGap(bound={self.bound:.4g}, best={self.best:.4g}: {certain})"


def signum_gap(
    problem: LinearClassification, b1: Real, batching: AbstractBatching
) -> SignumGap:
    r"""How far below $\gamma_\infty$ the limit of Signum with batches can be.

    $$\gamma_\infty-\min_i\frac{\langle a_i,\hat w\rangle}{\|\hat w\|_\infty}
      \le 2D\,\mathbb E\,|\lambda u-1|,\qquad D=\max_i\|x_i\|_1$$

    with $u$ the weight that momentum gives a sample's gradient, over its mean: known
    for every order. In turn, $u_l=n(1-\beta)\beta^l/(1-\beta^n)$ for lags $l<n$, the
    best $\lambda$ is taken, and the bound is about a quarter of $2Dn(1-\beta)$ as
    $\beta\to1$. Reshuffled and with replacement, $\mathbb E|u-1|$ is bounded by the
    standard deviation of $u$; with replacement that is
    $\sqrt{\frac{1-\beta}{1+\beta}\frac{N-1}b}$.

    Derived here for limits of small steps, in the spirit of `baek2026persample`
    (Theorem 5.1), whose own constant is recalled and not used. For reshuffled batches
    of $b$, where $b$ divides $N$, the least of this and of
    $2(1-\beta)m(m^2-1)D$, $m=N/b$, is taken (`kim2026minibatch`, Corollary B.12, known
    from notes on it; for every reshuffle). Measured gaps are smaller, often by orders
    of magnitude.

    >>> import penchant as pn
    >>> problem = pn.datasets.gaussian(5, 8, seed=1).problem()
    >>> signum_gap(problem, 0.999, pn.batching.Cyclic(1)).vacuous
    False
    >>> signum_gap(problem, 0.0, pn.batching.Cyclic(1)).vacuous
    True

    Args:
        problem: Two classes, separable.
        b1: Signum's $\beta$, in [0, 1).
        batching: Which samples an update sees.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `b1` is out of range, a batch larger than the data, or the
            problem has several classes.
    """
    check_number("b1", b1, least=0.0, below=1.0)
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    rows = np.asarray(signed_rows(problem))
    batching.check(len(rows))
    best = float(max_margin(problem, Linf(), tol=1e-6).margin)
    longest = float(np.abs(rows).sum(axis=1).max())
    b = float(np.asarray(b1))
    deviation = _momentum_deviation(b, batching, len(rows))
    if isinstance(batching, Shuffled) and len(rows) % batching.size == 0:
        m = len(rows) // batching.size
        deviation = min(deviation, (1.0 - b) * m * (m**2 - 1.0))
    return SignumGap(2.0 * longest * deviation, best)


def _momentum_deviation(b: float, batching: AbstractBatching, samples: int) -> float:
    r"""$\mathbb E|\lambda u-1|$, or a bound of it."""
    n = batching.steps_per_epoch(samples)
    if isinstance(batching, WithReplacement):
        return math.sqrt((1.0 - b) / (1.0 + b) * (samples - 1) / batching.size)
    if n == 1 or isinstance(batching, FullBatch):
        return 0.0
    lags = np.arange(n, dtype=float)
    decay = b**lags
    if isinstance(batching, Shuffled):
        # a sample falls into place p with probability size/N and weighs 1/size there
        size = np.full(n, float(batching.size))
        size[-1] = samples - batching.size * (n - 1)
        square = np.array([(decay[s::-1] ** 2 / size[: s + 1]).sum() for s in range(n)])
        present = samples * square - np.cumsum(decay) ** 2
        whole = (samples * square[-1] - decay.sum() ** 2) / (1.0 - b ** (2 * n))
        past = b ** (2.0 * (lags + 1.0)) * whole
        return float(((1.0 - b) * np.sqrt(np.maximum(present + past, 0.0))).mean())
    u = n * (1.0 - b) * decay / (1.0 - b**n)
    # |lambda u - 1| is convex and piecewise linear in lambda: the best is a kink
    kinks = 1.0 / u[u > 1e-12]
    if len(kinks) > 2000:
        kinks = np.quantile(kinks, np.linspace(0, 1, 2000))  # any lambda is a bound
    return float(min(np.abs(k * u - 1.0).mean() for k in kinks))
