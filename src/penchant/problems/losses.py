r"""Losses of a margin, in the log domain from the start.

Far into training a loss is $e^{-300}$ or $e^{-10^6}$; only its logarithm, and that of
its slope, are numbers. A loss acts on an array of margins of shape `(n, c)`: a sample
a row, an opponent a column. Two-class problems have one opponent, $c=1$; with `k`
classes $c=k$, and a sample's own class holds margin $+\infty$, which weighs nothing.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._types import PerSample, Scalar
from penchant._words import look_up

Margins = Float[Array, "n c"]


class Slopes(eqx.Module):
    r"""$-\partial\ell_i/\partial m_{ic} = Q_{ic}e^{C}$: `entries` $Q$, `log_scale` $C$.

    The largest entry lies in $[1/c, 1]$; `totals` are the sums of the rows. Entries
    below $e^{-745}$ of the largest are 0: the range of a float64 within one frame.
    """

    entries: Margins
    totals: PerSample
    log_scale: Scalar


class AbstractLoss(eqx.Module):
    r"""A loss $\ell$ of the margins of one sample; the training loss is the mean."""

    @abc.abstractmethod
    def log_losses(self, margins: Margins) -> PerSample:
        r"""$\log\ell_i$ for each row, finite for every finite margin."""

    @abc.abstractmethod
    def log_slopes(self, margins: Margins) -> Margins:
        r"""$\log(-\partial\ell_i/\partial m_{ic})$; $-\infty$ for infinite margins."""

    def scaled_slopes(self, margins: Margins) -> "Slopes":
        """All slopes in one common frame."""
        log_slopes = self.log_slopes(margins)
        C = jnp.max(log_slopes)
        Q = jnp.exp(log_slopes - C)
        return Slopes(Q, jnp.sum(Q, axis=1), C)


class Exponential(AbstractLoss):
    r"""$\ell = \sum_{c\neq y} e^{-m_c}$; with two classes $e^{-m}$.

    The multi-class form is the one of `fan2025spectral`.
    """

    def log_losses(self, margins: Margins) -> PerSample:
        return jax.nn.logsumexp(-margins, axis=1)

    def log_slopes(self, margins: Margins) -> Margins:
        return -margins


class Logistic(AbstractLoss):
    r"""Cross-entropy $\ell=\log(1+\sum_{c\ne y}e^{-m_c})$, for two classes logistic.

    The slope is $e^{-m_c-\ell}$: the softmax probability of the *wrong* class, never
    the difference of the right one from 1, which rounds to 0 once $e^{-m}<2^{-53}$.
    """

    def log_losses(self, margins: Margins) -> PerSample:
        return _log_log1p_exp(jax.nn.logsumexp(-margins, axis=1))

    def log_slopes(self, margins: Margins) -> Margins:
        total = jax.nn.logsumexp(-margins, axis=1, keepdims=True)
        return -margins - jax.nn.softplus(total)

    def scaled_slopes(self, margins: Margins) -> "Slopes":
        # With a = min_c m_c, E_c = e^{a-m_c} and s = sum_c E_c (between 1 and c), the
        # slope is e^{-a} E_c / (1 + e^{-a} s); written with p = max(a, 0) so that no
        # exponential overflows:  e^{-p} E_c / (e^{min(a,0)} + e^{-p} s).
        a = jnp.min(margins, axis=1, keepdims=True)
        E = jnp.exp(a - margins)
        s = jnp.sum(E, axis=1, keepdims=True)
        p = jnp.maximum(a, 0.0)
        C = -jnp.min(p)
        f = jnp.exp(-p - C) / (jnp.exp(jnp.minimum(a, 0.0)) + jnp.exp(-p) * s)
        return Slopes(f * E, jnp.squeeze(f * s, axis=1), C)


class PairLog(AbstractLoss):
    r"""$\ell=\sum_{c\ne y}\log(1+e^{-m_c})$: a logistic loss for every pair of classes.

    With two classes it is [`Logistic`][penchant.losses.Logistic].
    """

    def log_losses(self, margins: Margins) -> PerSample:
        return jax.nn.logsumexp(_log_log1p_exp(-margins), axis=1)

    def log_slopes(self, margins: Margins) -> Margins:
        return -jax.nn.softplus(margins)


def _log_log1p_exp(t: Array) -> Array:
    r"""$\log\log(1+e^t)$, also where $e^t$ underflows ($-\infty$ at $t=-\infty$)."""
    small = t < -30.0  # there log1p(e^t) = e^t (1 - e^t/2) to all digits
    inner = jnp.log(jax.nn.softplus(jnp.where(small, 0.0, t)))
    return jnp.where(small, t, inner)


LOSSES: dict[str, Callable[[], AbstractLoss]] = {
    "logistic": Logistic,
    "exponential": Exponential,
    "pairlog": PairLog,
}


def read(loss: AbstractLoss | str) -> AbstractLoss:
    """A loss itself, or by name: `logistic`, `exponential`, `pairlog`.

    Raises:
        TypeError: If it is neither a loss nor a name.
        ValueError: If there is no such loss.
    """
    if isinstance(loss, AbstractLoss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            "loss must be one of Exponential(), Logistic(), PairLog(), or its name; "
            f"got {loss!r} of type {type(loss).__name__}."
        )
    return look_up("loss", loss, LOSSES)()
