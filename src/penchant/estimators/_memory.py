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

    Raises:
        ValueError: If their lengths differ.
    """
    F, C, u = (np.atleast_1d(np.asarray(x, float)) for x in (step, term, uphill))
    if not F.shape == C.shape == u.shape:
        raise ValueError(
            "step, term and uphill must be of one shape; got "
            f"{F.shape}, {C.shape} and {u.shape}."
        )
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
    eps_inside: bool = False,
    past: Numbers | None = None,
) -> MemoryTerm:
    r"""The validity of Adam's correction at the gradient $g$, $F=g/(|g|+\varepsilon)$.

    $$V_j=\frac\eta2\left|c_{\beta_1}(n)-c_{\beta_2}(n)\frac{|g_j|}{|g_j|+\varepsilon}
      \right|\frac{|(HF)_j|}{|g_j|}$$

    with [`memory_coefficient`][penchant.flows.memory_coefficient] at this very step
    $n$ (`cattaneo2024adam`). `product` is $HF$. It takes the gradient of the probe set
    as the run's: right where a batch's noise is below it. With an $\varepsilon$ under
    the root $|g_j|+\varepsilon$ is $\sqrt{g_j^2+\varepsilon}$, and
    $|g_j|/(|g_j|+\varepsilon)$ is $g_j^2/(g_j^2+\varepsilon)$. Where step sizes
    changed, $\eta c_\beta/2$ is the path since the gradients that are remembered,
    [`path_since`][penchant.estimators.path_since], and half a step.

    Args:
        g: Gradient on a sample of coordinates.
        product: $HF$ there.
        eps: $\varepsilon$.
        step_size: $\eta$.
        decays: $\beta_1,\beta_2$.
        step: $n$, updates already made.
        eps_inside: Whether $\varepsilon$ is under the root.
        past: Step sizes of the updates already made, the newest last, where they were
            others than $\eta$; of longer runs the newest are enough.

    Raises:
        ValueError: If `eps` is negative.
    """
    check_number("eps", eps, least=0.0)
    g, u = np.asarray(g, float), np.asarray(product, float)
    size = np.abs(g)
    a = np.sqrt(size**2 + eps) if eps_inside else size + eps
    live = a > 0
    safe = np.where(live, a, 1.0)
    F = np.where(live, g / safe, 0.0)
    if past is None:
        first, second = (0.5 * step_size * memory_coefficient(b, step) for b in decays)
    else:
        first, second = (path_since(b, past) + 0.5 * step_size for b in decays)
    # the step's derivative in v over that in m: what is left of it is of eps
    share = np.where(live, (size / safe) ** (2 if eps_inside else 1), 0.0)
    term = -(first - second * share) * u / safe
    return memory_term(F, term, u)


def path_since(decay: float, past: Numbers) -> float:
    r"""$\sum_kw_k\sum_{s=n-k}^{n-1}h_s$: the path walked since what is remembered.

    $w_k\propto b^k$ are the weights of a bias-corrected mean of gradients $k$ steps
    old, $h_s$ the step sizes on the way. With one step size $\eta$ it is $\eta$ times
    the mean age, $\tfrac\eta2(c_b(n)-1)$ of
    [`memory_coefficient`][penchant.flows.memory_coefficient]; after a step size that
    was larger it is longer than that (`cattaneo2025memory`).

    >>> import penchant as pn
    >>> const = pn.estimators.path_since(0.9, [1e-5] * 400)
    >>> fallen = pn.estimators.path_since(0.9, [1e-3] * 395 + [1e-5] * 5)
    >>> round(const, 7), round(fallen, 4)
    (9e-05, 0.0054)

    Args:
        decay: $b\in[0,1)$.
        past: $h_0,\dots,h_{n-1}$, the newest last; `(n,)`.

    Raises:
        ValueError: If `decay` is outside [0, 1), or `past` is not a list of numbers.
    """
    check_number("decay", decay, least=0.0, below=1.0)
    h = np.asarray(past, float)
    if h.ndim != 1 or not np.isfinite(h).all():
        raise ValueError(f"past must be a list of finite step sizes; got {past!r:.80}.")
    if decay == 0.0 or not h.size:
        return 0.0
    walked = np.cumsum(h[::-1])  # k steps back, k = 1...n
    weights = float(decay) ** np.arange(1, h.size + 1)
    return float(weights @ walked) / float(1.0 + weights.sum())


def first_memory(
    step: float,
    product: float,
    *,
    step_size: float,
    decay: float,
    n: int,
    past: Numbers | None = None,
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
        past: Step sizes of these, the newest last, where they were others than $\eta$.
    """
    if past is None:
        path = 0.5 * step_size * (memory_coefficient(decay, n) - 1.0)
    else:
        path = path_since(decay, past)
    return path * product / step if step > 0 else math.inf
