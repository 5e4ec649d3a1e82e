"""Models that are not linear: with a head, selective, in layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._arrays import numbers
from penchant._checks import check_count, check_instance
from penchant._types import Key, Numbers, Real
from penchant.problems.models._sequence_model import (
    AbstractSequenceModel,
    AbstractStateSpace,
    as_states,
    check_alike,
)


class MLP(eqx.Module):
    r"""$g(z)=D_3^\top\sigma(D_2^\top\sigma(D_1^\top z))$, ReLU units without biases.

    >>> from penchant import ssm
    >>> ssm.MLP.teacher(4)([-1.0, 2.0]).tolist()
    [0.0, 4.0]

    Args:
        first: `(w,)`, $D_1$.
        second: `(w, w)`, $D_2$.
        third: `(w,)`, $D_3$.

    Raises:
        TypeError: If one holds no numbers.
        ValueError: If shapes don't fit, or an entry is NaN or infinite.
    """

    first: Array
    second: Array
    third: Array

    def __init__(self, first: Numbers, second: Numbers, third: Numbers):
        self.first, self.third = as_states("first", first), as_states("third", third)
        w = self.first.shape[-1]
        middle = numbers("second", second, f"({w}, {w})")
        if middle.shape != (w, w) or self.third.shape != (w,):
            raise ValueError(
                f"second must have shape ({w}, {w}) and third ({w},), as first has "
                f"{w} units; got {middle.shape} and {self.third.shape}."
            )
        if not np.isfinite(middle).all():
            raise ValueError("second must be finite; got NaN or infinite entries.")
        self.second = jnp.asarray(middle)

    @classmethod
    def teacher(cls, width: int) -> "MLP":
        r"""Ones, the identity and halves: $g(z)=\frac w2\max(z,0)$."""
        w = check_count("width", width)
        return cls(np.ones(w), np.eye(w), np.full(w, 0.5))

    @classmethod
    def normal(cls, width: int, scale: Real, key: Key = 0) -> "MLP":
        """Entries drawn from N(0, scale²), layer after layer."""
        w = check_count("width", width)
        key = jax.random.key(key) if isinstance(key, int) else key
        shapes = ((w,), (w, w), (w,))
        keys = jax.random.split(key, 3)
        return cls(
            *(
                scale * jax.random.normal(k, shape)
                for k, shape in zip(keys, shapes, strict=True)
            )
        )

    def __call__(self, z: Numbers) -> Float[Array, " n"]:
        """$g$ of each number of `z`, `(n,)`."""
        z = jnp.asarray(z, dtype=float)
        u = jax.nn.relu(z[:, None] * self.first[None, :])
        return jax.nn.relu(u @ self.second) @ self.third

    def __repr__(self) -> str:
        return f"MLP(width={self.first.shape[-1]})"


class Headed(AbstractSequenceModel):
    r"""A model with a head on top, $\phi(x)=g(z(x))$; both are trained.

    >>> import jax.numpy as jnp
    >>> from penchant import ssm
    >>> ones = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> ssm.Headed(ones, ssm.MLP.teacher(2))(jnp.ones((1, 3))).tolist()
    [3.0]

    Args:
        model: What reads the sequence.
        top: The head, an equinox module that maps `(n,)` to `(n,)` elementwise.

    Raises:
        TypeError: If one is something else.
    """

    model: AbstractSequenceModel
    top: eqx.Module

    def __init__(self, model: AbstractSequenceModel, top: eqx.Module):
        check_instance("model", model, AbstractSequenceModel, "a model of sequences")
        if not callable(top):
            raise TypeError(
                f"top must map (n,) to (n,), as MLP does; got {type(top).__name__}."
            )
        self.model, self.top = model, top

    def readout(self, X: Float[Array, "n k"], memory: Real = 1.0) -> Float[Array, " n"]:
        return self.model.readout(X, memory)

    def head(self, z: Float[Array, " n"]) -> Float[Array, " n"]:
        return self.top(z)  # type: ignore[operator]

    def __repr__(self) -> str:
        return f"Headed({self.model!r}, {self.top!r})"


class SelectiveStateSpace(AbstractSequenceModel):
    r"""A selective model: how much is kept, let in and read depends on the input.

    $\Delta_t=\mathrm{softplus}(ux_t+v)$, $s_t=e^{-\Delta_te^{\nu}}s_{t-1}
    +\Delta_t\,b\,x_t$ and $\phi(x)=\sum_j(c_j+r_jx_\kappa)s_{\kappa,j}$, each with one
    number a state. With $u=r=0$ it is linear.

    Args:
        log_rate: `(d,)`, $\nu$.
        gate: `(d,)`, $u$.
        offset: `(d,)`, $v$.
        b: `(d,)` input weights.
        c: `(d,)` output weights.
        reading: `(d,)`, $r$.

    Raises:
        TypeError: If one holds no real numbers.
        ValueError: If lengths differ, or an entry is NaN or infinite.
    """

    log_rate: Array
    gate: Array
    offset: Array
    b: Array
    c: Array
    reading: Array

    def __init__(
        self,
        log_rate: Numbers,
        gate: Numbers,
        offset: Numbers,
        b: Numbers,
        c: Numbers,
        reading: Numbers,
    ):
        given = {
            "log_rate": log_rate,
            "gate": gate,
            "offset": offset,
            "b": b,
            "c": c,
            "reading": reading,
        }
        parts = {name: as_states(name, values) for name, values in given.items()}
        check_alike(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def readout(self, X: Float[Array, "n k"], memory: Real = 1.0) -> Float[Array, " n"]:
        rate, keep = jnp.exp(self.log_rate)[None, :], jnp.asarray(memory, dtype=float)

        def step(s: Array, x: Array) -> tuple[Array, None]:
            width = jax.nn.softplus(
                x[:, None] * self.gate[None, :] + self.offset[None, :]
            )
            kept = keep * jnp.exp(-width * rate) * s
            return kept + width * self.b[None, :] * x[:, None], None

        start = jnp.zeros((X.shape[0], self.log_rate.shape[-1]))
        s, _ = jax.lax.scan(step, start, X.T)
        read = self.c[None, :] + X[:, -1:] * self.reading[None, :]
        return jnp.sum(read * s, axis=1)

    def __repr__(self) -> str:
        return f"SelectiveStateSpace(d={self.log_rate.shape[-1]})"


class Stack(AbstractSequenceModel):
    r"""Layers of linear models with mixing between them, as deep models have.

    Every layer runs each of its `H` channels through a model of its own,
    $v=\sigma(h*u)$ with ReLU, mixes channels and adds what it was given,
    $u\leftarrow u+Wv$; $\phi$ reads the last step. `memory` multiplies the transitions
    of all layers.

    >>> import jax.numpy as jnp
    >>> from penchant import ssm
    >>> ones = ssm.StateSpace(*jnp.ones((3, 2, 4)))
    >>> stack = ssm.Stack([1.0, 0.0], [(ones, jnp.eye(2))], [1.0, 0.0])
    >>> stack(jnp.ones((1, 2))).round(9).tolist()
    [9.0]

    Args:
        lift: `(H,)`: channels of the first layer are `lift` times the input.
        layers: Pairs of a model whose parameters lead with the channels, `(H, d)`,
            and a mixing matrix `(H, H)`.
        read: `(H,)`: how the last step's channels are added up.

    Raises:
        TypeError: If a layer's model is not linear.
        ValueError: If there is no layer, or shapes don't fit.
    """

    lift: Array
    layers: tuple[tuple[AbstractStateSpace, Array], ...]
    read: Array

    def __init__(
        self,
        lift: Numbers,
        layers: "list[tuple[AbstractStateSpace, Numbers]] | tuple[tuple[AbstractStateSpace, Numbers], ...]",  # noqa: E501
        read: Numbers,
    ):
        self.lift, self.read = as_states("lift", lift), as_states("read", read)
        H = self.lift.shape[0]
        if not layers:
            raise ValueError("layers must hold at least one; got none.")
        kept = []
        for model, mix in layers:
            check_instance(
                "layers",
                model,
                AbstractStateSpace,
                "pairs of a linear model and a matrix",
            )
            W = jnp.asarray(numbers("layers", mix, f"({H}, {H})"))
            seen = model.modes()[0].shape[:-1]
            if seen != (H,) or W.shape != (H, H) or self.read.shape != (H,):
                raise ValueError(
                    f"layers must have models of leading axis ({H},) and matrices "
                    f"({H}, {H}), and read {H} entries, one a channel of lift; got "
                    f"{seen}, {W.shape} and {self.read.shape}."
                )
            kept.append((model, W))
        self.layers = tuple(kept)

    def readout(self, X: Float[Array, "n k"], memory: Real = 1.0) -> Float[Array, " n"]:
        return self.channels(X, memory)[:, -1, :] @ self.read

    def channels(
        self, X: Float[Array, "n k"], memory: Real = 1.0
    ) -> Float[Array, "n k H"]:
        """All channels at all steps, after the last layer."""
        length = X.shape[1]
        lags = jnp.arange(length, dtype=float)
        decay = jnp.asarray(memory, dtype=float) ** lags
        u = X[:, :, None] * self.lift[None, None, :]
        for model, mix in self.layers:
            h = model.impulse(length) * decay[None, :]
            v = jax.nn.relu(convolved(u, h.T))
            u = u + v @ mix.T
        return u

    def __repr__(self) -> str:
        return f"Stack({len(self.layers)} layers, H={self.lift.shape[0]})"


def convolved(
    u: Float[Array, "n k H"], h: Float[Array, "k H"]
) -> Float[Array, "n k H"]:
    r"""Causal convolution along the steps, $(h*u)_t=\sum_lh_lu_{t-l}$, by FFT."""
    length = u.shape[1]
    spectrum = (
        jnp.fft.rfft(u, 2 * length, axis=1) * jnp.fft.rfft(h, 2 * length, axis=0)[None]
    )
    return jnp.fft.irfft(spectrum, 2 * length, axis=1)[:, :length, :]
