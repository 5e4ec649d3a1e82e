"""Whether an expansion in memory is one, on a sample of a real run's coordinates."""

import dataclasses
import math

import numpy as np

from penchant._checks import check_number
from penchant._types import Numbers
from penchant.flows.modified import ENOUGH, LEVELS, VALID, memory_coefficient
from penchant.measures import Estimate


@dataclasses.dataclass(frozen=True)
class MemoryTerm:
    r"""$V_j$: what memory adds to a coordinate's step, over that step.

    `quantiles` at 5, 25, 50, 75 and 95 %; `share_valid` the share below 0.3 of the
    coordinates that move. `penalised` and `anti_penalised` are shares of the valid ones
    whose term goes down, or up, $HF$; `ratio` and `cosine` compare the term with the
    step on them, and are NaN where fewer than half are valid: there a norm means
    nothing.
    """

    quantiles: tuple[float, ...]
    share_valid: Estimate
    penalised: float
    anti_penalised: float
    ratio: float
    cosine: float

    @property
    def valid(self) -> bool:
        """Whether at least half of the coordinates are."""
        return self.share_valid.value >= ENOUGH


def memory_term(step: Numbers, term: Numbers, uphill: Numbers) -> MemoryTerm:
    r"""The validity of a correction $\eta C$ of a step $F$, coordinate by coordinate.

    Args:
        step: $F$ on a sample.
        term: $\eta C$ there, with the velocity $-F+\eta C$.
        uphill: $HF$ there.
    """
    F, C, u = (np.asarray(x, float) for x in (step, term, uphill))
    live = (F != 0) & np.isfinite(F) & np.isfinite(C)
    F, C, u = F[live], C[live], u[live]
    n = F.size
    if not n:
        nothing = Estimate(math.nan, math.nan, valid=False, why="no coordinate moves")
        nan = math.nan
        return MemoryTerm((nan,) * len(LEVELS), nothing, nan, nan, nan, nan)
    V = np.abs(C) / np.abs(F)
    inside = V < VALID
    share = float(np.mean(inside))
    error = math.sqrt(share * (1.0 - share) / n)
    some = max(int(inside.sum()), 1)
    enough = share >= ENOUGH
    f, c = F[inside], C[inside]
    sizes = float(np.linalg.norm(f)), float(np.linalg.norm(c))
    both = sizes[0] * sizes[1]
    return MemoryTerm(
        quantiles=tuple(float(q) for q in np.quantile(V, LEVELS)),
        share_valid=Estimate(share, error, how=f"{n} coordinates"),
        penalised=float(np.sum(c * u[inside] < 0)) / some,
        anti_penalised=float(np.sum(c * u[inside] > 0)) / some,
        ratio=sizes[1] / sizes[0] if enough and sizes[0] else math.nan,
        cosine=-float(f @ c) / both if enough and both else math.nan,
    )


def adaptive_memory(
    g: Numbers,
    product: Numbers,
    eps: float,
    *,
    step_size: float,
    decays: tuple[float, float],
    step: int,
) -> MemoryTerm:
    r"""The validity of Adam's correction at the gradient $g$, $F=g/(|g|+\varepsilon)$.

    $$V_j=\frac\eta2\left|c_{\beta_1}(n)-c_{\beta_2}(n)\frac{|g_j|}{|g_j|+\varepsilon}
      \right|\frac{|(HF)_j|}{|g_j|}$$

    with [`memory_coefficient`][penchant.flows.memory_coefficient] at this very step
    $n$ (`cattaneo2024adam`). `product` is $HF$. It takes the gradient of the probe set
    as the run's: right where a batch's noise is below it.

    Args:
        g: Gradient on a sample of coordinates.
        product: $HF$ there.
        eps: $\varepsilon$, outside the root.
        step_size: $\eta$.
        decays: $\beta_1,\beta_2$.
        step: $n$, updates already made.
    """
    check_number("eps", eps, least=0.0)
    g, u = np.asarray(g, float), np.asarray(product, float)
    a = np.abs(g) + eps
    live = a > 0
    safe = np.where(live, a, 1.0)
    F = np.where(live, g / safe, 0.0)
    first, second = (memory_coefficient(b, step) for b in decays)
    # d F/d g = eps / (|g| + eps)^2; the older g and v each stand c / 2 steps back
    share = np.where(live, np.abs(g) / safe, 0.0)
    term = -0.5 * step_size * (first - second * share) * u / safe
    return memory_term(F, term, u)


def first_memory(
    step: float, product: float, *, step_size: float, decay: float, n: int
) -> float:
    r"""$V^m=\eta\,a_\beta(n)\|HF\|/\|\hat m\|$, the first moment's part alone.

    $F$ is the run's own step, $a_\beta=(c_\beta-1)/2$ the mean age of what $m$ holds:
    how far the mean of past gradients is from the one here.

    Args:
        step: $\|\hat m\|$.
        product: $\|HF\|$.
        step_size: $\eta$.
        decay: $\beta$.
        n: Updates already made.
    """
    age = 0.5 * (memory_coefficient(decay, n) - 1.0)
    return step_size * age * product / step if step > 0 else math.inf
