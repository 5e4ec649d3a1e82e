"""What a model of sequences is, and the real diagonal state space model."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Inexact

from penchant._arrays import numbers
from penchant._checks import check_count, check_instance, is_traced
from penchant._types import Numbers, Real, Scalar


class AbstractSequenceModel(eqx.Module):
    r"""A model that reads sequences: one number $\phi(x)$ for each of `X`'s rows.

    Rows are `(κ,)` in time order, the newest input, lag 0, last. `memory` multiplies
    every transition: at 1 it is the model, at 0 one that has forgotten all but the
    newest input, and the slope there is what lag 1 alone tells it.
    """

    @abc.abstractmethod
    def readout(self, X: Float[Array, "n k"], memory: Real = 1.0) -> Float[Array, " n"]:
        """The number `z` read off the last state, before a head."""

    def head(self, z: Float[Array, " n"]) -> Float[Array, " n"]:
        """What is made of `z`, elementwise; `z` itself unless a model has a head."""
        return z

    def __call__(self, X: Numbers) -> Float[Array, " n"]:
        """The outputs, `(n,)`."""
        return self.head(self.readout(jnp.asarray(X, dtype=float)))


class AbstractStateSpace(AbstractSequenceModel):
    r"""A linear model: all it does is its impulse response $h_l=\sum_jg_ja_j^l$.

    $\phi(x)=\sum_{l<\kappa}h_lx_{\kappa-l}$. Models may have leading axes, as the
    records of a flow have; they then answer for each.
    """

    @abc.abstractmethod
    def modes(self) -> tuple[Inexact[Array, "*r m"], Inexact[Array, "*r m"]]:
        """Poles $a$ and gains $g$; of complex ones the real part of the sum counts."""

    @property
    def size(self) -> int:
        """The number of states."""
        return int(self.modes()[0].shape[-1])

    def impulse(self, length: int) -> Float[Array, "*r k"]:
        r"""$h_l$ for $l=0,\dots,$ `length` − 1, lag 0 first.

        >>> from penchant import ssm
        >>> ssm.StateSpace([0.5, 0.0], [1.0, 1.0], [1.0, 3.0]).impulse(3).tolist()
        [4.0, 0.5, 0.25]
        """
        length = check_count("length", length)
        a, g = self.modes()
        return _impulse(a, g, length)

    def readout(self, X: Float[Array, "n k"], memory: Real = 1.0) -> Float[Array, " n"]:
        a, g = self.modes()
        keep = jnp.asarray(memory, dtype=float).astype(a.dtype)
        h = _impulse(a * keep, g, X.shape[-1])
        return X @ h[::-1]

    def lag_errors(
        self, teacher: "AbstractStateSpace", length: int
    ) -> Float[Array, "*r k"]:
        r"""$|h_l-h_l^*|$ for each lag below `length`, `(length,)`, absolute.

        The largest mode is factored out of each lag's sum, so that poles beyond 1 give
        infinity once they leave the range of floats, and never NaN; so do weights of a
        run that diverged.
        """
        length = check_count("length", length)
        check_instance("teacher", teacher, AbstractStateSpace, "a linear model")
        a, g = self.modes()
        a_star, g_star = teacher.modes()
        kind = jnp.result_type(a, a_star)
        lead = a.shape[:-1]
        parts = [
            (a.astype(kind), g.astype(kind)),
            (
                jnp.broadcast_to(a_star.astype(kind), (*lead, a_star.shape[-1])),
                jnp.broadcast_to(-g_star.astype(kind), (*lead, g_star.shape[-1])),
            ),
        ]
        poles = jnp.concatenate([p for p, _ in parts], axis=-1)
        gains = jnp.concatenate([q for _, q in parts], axis=-1)
        return _sizes(poles, gains, length)

    def extrapolation_error(
        self, teacher: "AbstractStateSpace", length: int
    ) -> Float[Array, "*r"]:
        r"""$\max_{0\le l<\text{length}}|h_l-h_l^*|$, absolute; infinite on overflow.

        Up to the length of the training sequences this is the error on their own
        lags, beyond it the error of extrapolation. A model that is 0 has the error
        $\max_l|h_l^*|$, by which some tables divide.

        >>> from penchant import ssm
        >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
        >>> student = ssm.StateSpace([0.5], [1.0], [1.0])
        >>> float(student.extrapolation_error(teacher, 3))
        0.75
        """
        return jnp.max(self.lag_errors(teacher, length), axis=-1)


def _impulse(
    a: Inexact[Array, "*r m"], g: Inexact[Array, "*r m"], length: int
) -> Float[Array, "*r k"]:
    # g a^l as running products: derivatives at a = 0 are those of the powers
    steps = jnp.broadcast_to(a[..., None], (*a.shape, length - 1))
    first = jnp.broadcast_to(g[..., None], (*a.shape, 1)).astype(steps.dtype)
    powers = jnp.cumprod(jnp.concatenate([first, steps], axis=-1), axis=-1)
    return jnp.sum(jnp.real(powers), axis=-2)


@eqx.filter_jit
def _sizes(
    a: Inexact[Array, "*r m"], g: Inexact[Array, "*r m"], length: int
) -> Float[Array, "*r k"]:
    r"""$|\sum_jg_ja_j^l|$; on overflow with the largest term factored out."""
    plain = jnp.abs(_impulse(a, g, length))
    lags = jnp.arange(length, dtype=float).reshape(*[1] * a.ndim, length)
    zero, size = g == 0, jnp.abs(g)
    log_a = jnp.log(jnp.abs(a))[..., None]
    # 0^0 is 1: the logarithm of a pole that is 0 counts from lag 1 on
    growth = jnp.where(lags == 0, 0.0, lags * log_a)
    log_g = jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1.0, size)))
    logs = log_g[..., None] + growth
    top = jnp.max(logs, axis=-2, keepdims=True)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    unit = (g / jnp.where(zero, 1.0, size))[..., None]
    if jnp.iscomplexobj(a):
        angle = lags * jnp.angle(a)[..., None]
        turn = jnp.exp(jax.lax.complex(jnp.zeros_like(angle), angle))
    else:
        odd = jnp.where(lags % 2.0 == 1.0, -1.0, 1.0)
        turn = jnp.where(a[..., None] < 0, odd, 1.0)
    terms = jnp.real(unit * turn.astype(g.dtype)) * jnp.exp(logs - top)
    total = jnp.abs(jnp.sum(terms, axis=-2))
    positive = jnp.where(total > 0, total, 1.0)
    far = jnp.where(total > 0, jnp.exp(jnp.log(positive) + top[..., 0, :]), 0.0)
    # of a run that diverged, where weights are NaN or ∞ - ∞ is left
    far = jnp.where(jnp.isnan(total), jnp.inf, far)
    return jnp.where(jnp.isfinite(plain), plain, far)


class StateSpace(AbstractStateSpace):
    r"""$s_t=As_{t-1}+Bx_t$, $\phi(x)=Cs_\kappa$ with a real diagonal $A$.

    $h_l=\sum_jb_jc_ja_j^l$. Nothing bounds $|a_j|$: poles beyond 1 grow without end,
    and the error far beyond the training lags with them.

    >>> from penchant import ssm
    >>> ssm.StateSpace([0.9, 0.1], [1.0, 1.0], [1.0, 1.0])
    StateSpace(d=2, largest |a|=0.9)

    Args:
        a: `(d,)` poles, the diagonal of $A$.
        b: `(d,)` input weights.
        c: `(d,)` output weights.

    Raises:
        TypeError: If one holds no real numbers.
        ValueError: If lengths differ, or an entry is NaN or infinite.
    """

    a: Array
    b: Array
    c: Array

    def __init__(self, a: Numbers, b: Numbers, c: Numbers):
        parts = {"a": as_states("a", a), "b": as_states("b", b), "c": as_states("c", c)}
        check_alike(parts)
        self.a, self.b, self.c = parts.values()

    def modes(self) -> tuple[Float[Array, "*r m"], Float[Array, "*r m"]]:
        return self.a, self.b * self.c

    def __repr__(self) -> str:
        return described(self, self.a, self.size)


def as_states(name: str, values: Numbers) -> Array:
    """One number a state, `(d,)`, in float64; leading axes are kept.

    Raises:
        TypeError: If they are no real numbers.
        ValueError: If there is none, or an entry is NaN or infinite.
    """
    if is_traced(values):
        return jnp.asarray(values, dtype=float)
    array = np.atleast_1d(numbers(name, values, "(d,)"))
    if array.shape[-1] == 0:
        raise ValueError(
            f"{name} must hold one number a state, at least one; got none."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got NaN or infinite entries.")
    return jnp.asarray(array)


def check_alike(parts: dict[str, Array]) -> None:
    """Refuse parts of a model whose shapes differ.

    Raises:
        ValueError: If they do.
    """
    shapes = {name: part.shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        seen = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{', '.join(shapes)} must have one shape, (d,); got {seen}.")


def described(model: AbstractStateSpace, a: Array, d: int) -> str:
    """How a model prints: its size, and how large its poles are."""
    if is_traced(a) or not hasattr(a, "shape"):
        return f"{type(model).__name__}(…)"
    largest = float(np.max(np.abs(np.asarray(a)))) if np.size(a) else 0.0
    lead = "".join(f"{size} × " for size in a.shape[:-1])
    return f"{type(model).__name__}({lead}d={d}, largest |a|={largest:.4g})"


def effective_rank(a: Numbers) -> Scalar:
    r"""$\exp(-\sum_jp_j\ln p_j)$ with $p_j=|a_j|/\sum_i|a_i|$: how many poles count.

    From 1, one pole, to `d`, all of one size; 0 where all are 0. It says nothing of how
    well a model extrapolates: one of high rank may do so well.

    >>> from penchant import ssm
    >>> round(float(ssm.effective_rank([1.0, 1.0, 0.0])), 12)
    2.0

    Args:
        a: `(d,)` poles, real or complex.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If there is none, or one is NaN or infinite.
    """
    if not is_traced(a) and np.iscomplexobj(np.asarray(a)):
        a = np.abs(np.asarray(a))
    sizes = jnp.abs(as_states("a", a))
    total = jnp.sum(sizes)
    p = sizes / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(jax.scipy.special.xlogy(p, p))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)
