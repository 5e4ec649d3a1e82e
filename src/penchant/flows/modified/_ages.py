r"""The ages of what a memory holds: weights of past gradients, step by step."""

import math
from typing import Any, TypeAlias

import equinox as eqx
import numpy as np

from penchant._checks import check_number
from penchant.optimizers import Divisor, Memory

Host: TypeAlias = Any
"""Numbers on the host, one or an array of them."""

DIRECT = 10_000
"""Steps up to which ages are summed one by one: the closed form cancels for few."""

FADED = 40.0
"""Memories older than this many of their lengths are below rounding: e^-40."""


def memory_coefficient(decay: float, step: float | None = None) -> float:
    r"""$c_b(n)=1+2\cdot$(mean age of a bias-corrected mean of decay $b$ at step $n$).

    $$c_b(n)=\frac{1+b}{1-b}-\frac{2(n+1)b^{n+1}}{1-b^{n+1}},\qquad c_b(0)=1.$$

    The 1 is the half step by which a flow is ahead of its map, the rest is memory. It
    grows with $b$ at every $n\ge1$, so that the sign of $c_{\beta_1}-c_{\beta_2}$ is
    that of $\beta_1-\beta_2$ from the second step on (`cattaneo2024adam` has the limit;
    the finite steps are derived here).

    >>> import penchant as pn
    >>> pn.flows.memory_coefficient(0.9), pn.flows.memory_coefficient(0.9, step=0)
    (19.0, 1.0)

    Args:
        decay: $b\in[0,1)$.
        step: $n$, the number of updates made before; None for $n\to\infty$.

    Raises:
        ValueError: If `decay` is outside [0, 1), or `step` negative.
    """
    check_number("decay", decay, least=0.0, below=1.0)
    b = float(decay)
    if step is None:
        return float(round((1.0 + b) / (1.0 - b), 12))
    check_number("step", step, least=0.0)
    if b == 0.0:
        return 1.0
    ages = Ages.mean(b)
    n = np.asarray(float(step))
    return float(1.0 + 2.0 * ages.age(n) / ages.total(n))


class Ages(eqx.Module):
    r"""$m^{(n)}=\alpha_ng_n+\gamma_n\sum_{k=1}^nb^{k-1}g_{n-k}$: who is remembered.

    `kind` is "mean" or "sum"; `mix` the weight of the old memory against the new
    gradient, `ahead` for Nesterov's; `corrected` divides by what a mean has gathered.
    """

    decay: float
    mix: float
    kind: str = eqx.field(static=True)
    ahead: bool = eqx.field(static=True)
    corrected: bool = eqx.field(static=True)

    @classmethod
    def none(cls) -> "Ages":
        """The newest gradient alone."""
        return cls(0.0, 0.0, "mean", False, False)

    @classmethod
    def mean(cls, decay: float, corrected: bool = False) -> "Ages":
        """An exponential mean."""
        return cls(decay, decay, "mean", False, corrected)

    @classmethod
    def of_first(cls, memory: Memory | None) -> "Ages | None":
        """Of a first moment; None where its weights can't be told."""
        if memory is None:
            return cls.none()
        b = float(np.asarray(memory.decay))
        mix = b if memory.mix is None else float(np.asarray(memory.mix))
        ahead = memory.nesterov and not memory.plain
        if memory.kind == "sum" and not (memory.plain or ahead):
            return None
        if memory.corrected and not (memory.plain or ahead):
            return None
        return cls(b, mix, memory.kind, ahead, memory.corrected)

    @classmethod
    def of_second(cls, divisor: Divisor) -> "Ages":
        """Of a second moment."""
        if divisor.kind == "sum":
            return cls(1.0, 1.0, "sum", False, False)
        return cls.mean(float(np.asarray(divisor.decay)), divisor.corrected)

    @property
    def settled(self) -> bool:
        """Whether the total is 1 at every step."""
        if self.corrected:
            return not self.ahead
        return self.decay == 0.0 and self.mix == 0.0

    @property
    def fades(self) -> bool:
        """Whether old gradients are forgotten."""
        return self.decay < 1.0

    @property
    def length(self) -> float:
        """Steps after which nothing is left of a gradient but rounding."""
        return FADED / (1.0 - self.decay) if self.fades else math.inf

    def _weights(self, n: Host) -> tuple[Host, Host]:
        r"""$\alpha_n$ and $\gamma_n$."""
        b, one = self.decay, np.ones_like(n, dtype=float)
        if self.kind == "sum":
            return (1.0 + b * self.ahead) * one, self.mix * one
        if not self.corrected:
            return (1.0 - self.mix) * one, self.mix * (1.0 - b) * one
        now = (1.0 - b) / self._gathered(n + 1.0)
        if not self.ahead:
            return now, b * now
        later = (1.0 - b) / self._gathered(n + 2.0)
        return b * later + now, b * b * later

    def _gathered(self, t: Host) -> Host:
        """$1-b^t$, which is all its digits for a `b` next to 1."""
        if self.decay == 0.0:
            return np.ones_like(t)
        return -np.expm1(t * np.log(self.decay))

    def _sums(self, t: Host) -> Host:
        r"""$\sum_{k<t}b^k$."""
        return t if not self.fades else self._gathered(t) / (1.0 - self.decay)

    def total(self, n: Host) -> Host:
        r"""$A_n=\sum_k\omega_{n,k}$; `n` need be no whole number."""
        alpha, gamma = self._weights(n)
        return alpha + gamma * self._sums(n)

    def age(self, n: Host) -> Host:
        r"""$B_n=\sum_kk\,\omega_{n,k}$."""
        n = np.asarray(n, dtype=float)
        return np.vectorize(self._age, otypes=[float])(n)

    def _age(self, n: float) -> float:
        _, gamma = self._weights(np.asarray(n))
        b = self.decay
        if not self.fades:
            return float(gamma) * n * (n + 1.0) / 2.0
        if n <= DIRECT:
            k = np.arange(1.0, n + 1.0)
            return float(gamma * np.sum(k * b ** (k - 1.0)))
        t = np.asarray(n)
        return float(gamma * (self._sums(t) - n * b**n) / (1.0 - b))

    def tail(self, n: float, s: Host) -> Host:
        r"""$\sum_{k\ge n-s}\omega_{n,k}$ for $s<n$: what is older than step $s$."""
        _, gamma = self._weights(np.asarray(float(n)))
        return gamma * self.decay ** (n - s - 1.0) * self._sums(s + 1.0)

    def table(self, steps: int, sizes: Host, h: Host) -> tuple[Host, Host]:
        r"""$A_n$ and $\sum_{s<n}\frac{h_sa_s}{h_na_n}T_{n,s}$ for $n$ below `steps`.

        `sizes` are $a_n$ and `h` the step sizes. By recursion: the tails of one step
        are those of the step before, decayed.
        """
        from scipy.signal import lfilter

        n = np.arange(steps, dtype=float)
        _, gamma = self._weights(n)
        entering = h * sizes * self._sums(n + 1.0)
        older = np.concatenate([[0.0], entering[:-1]])
        gathered = np.asarray(lfilter([1.0], [1.0, -self.decay], older))
        return self.total(n), gamma * gathered / (h * sizes)

    def limit(self) -> tuple[float, float]:
        r"""$A_\infty$ and $B_\infty$."""
        b = self.decay
        if self.kind == "sum":
            alpha, gamma = 1.0 + b * self.ahead, self.mix
        else:
            alpha, gamma = 1.0 - self.mix, self.mix * (1.0 - b)
        return alpha + gamma / (1.0 - b), gamma / (1.0 - b) ** 2
