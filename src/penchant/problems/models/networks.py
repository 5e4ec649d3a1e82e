r"""Homogeneous networks, ready to train: parameters are lists of layers.

A network is a function `network(params, X)`; `network.params(key)` draws parameters.
"""

import abc
import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_count, check_number
from penchant._pretty import pretty
from penchant._types import Key, Real
from penchant.problems.models._base import (
    AbstractNetwork as AbstractNetwork,
    Layer as Layer,
    as_key,
)
from penchant.problems.models._two_layer import (
    AbstractHead as AbstractHead,
    Frozen as Frozen,
    Trained as Trained,
    TwoLayer as TwoLayer,
    from_clusters as from_clusters,
)


class AbstractActivation(eqx.Module):
    r"""A function $\sigma$ with $\sigma(\alpha z)=\alpha^p\sigma(z)$ for $\alpha>0$."""

    @property
    def power(self) -> float:
        """The power $p$."""
        return 1.0

    @abc.abstractmethod
    def __call__(self, z: Array) -> Array:
        """The function, entry by entry."""

    @property
    def gain(self) -> float:
        """Variance of the weights, times their number, that keeps outputs' size."""
        return 2.0

    def __repr__(self) -> str:
        return pretty(self)


class Identity(AbstractActivation):
    r"""$\sigma(z)=z$: a deep linear network."""

    def __call__(self, z: Array) -> Array:
        return z

    @property
    def gain(self) -> float:
        return 1.0


class ReLU(AbstractActivation):
    r"""$\sigma(z)=\max(z,0)$."""

    def __call__(self, z: Array) -> Array:
        return jax.nn.relu(z)


class SquaredReLU(AbstractActivation):
    r"""$\sigma(z)=\max(z,0)^2$: smooth enough for the theorems on discrete steps."""

    @property
    def power(self) -> float:
        return 2.0

    def __call__(self, z: Array) -> Array:
        return jax.nn.relu(z) ** 2


class LeakyReLU(AbstractActivation):
    r"""$\sigma(z)=\max(z,sz)$.

    Args:
        slope: $s\in[0,1]$ for negative $z$.
    """

    slope: Real = eqx.field(default=0.5, static=True)

    def __check_init__(self):
        check_number("slope", self.slope, least=0.0, most=1.0)

    def __call__(self, z: Array) -> Array:
        return jnp.where(z > 0, z, self.slope * z)

    @property
    def gain(self) -> float:
        return float(2.0 / (1.0 + self.slope**2))


class MLP(AbstractNetwork):
    r"""$\Phi(w,x)=W_m\,\sigma(W_{m-1}\cdots\sigma(W_1x))$, without inner biases.

    Two sizes make a linear model, `Identity()` a deep linear one. Biases, where asked
    for, are those of the first layer only, which keeps the network homogeneous.

    >>> network = MLP((2, 8, 1), SquaredReLU())
    >>> network.degree, [layer["W"].shape for layer in network.params(0)]
    (3.0, [(8, 2), (1, 8)])

    Args:
        sizes: Features, hidden units layer by layer, outputs: 1 for two classes.
        activation: One of `Identity()`, `ReLU()`, `SquaredReLU()`, `LeakyReLU(slope)`.
        first_bias: Whether the first layer has biases.

    Raises:
        ValueError: If there are fewer than two sizes, or one is not positive.
    """

    sizes: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    activation: AbstractActivation = eqx.field(default=ReLU(), static=True)
    first_bias: bool = eqx.field(default=False, static=True)

    def __check_init__(self):
        if len(self.sizes) < 2:
            raise ValueError(
                f"sizes must name features and outputs at least; got {self.sizes}."
            )
        for size in self.sizes:
            check_count("sizes", size)

    @property
    def degree(self) -> float:
        # each layer raises the degree of what comes in to the activation's power
        degree = 1.0
        for _ in self.sizes[2:]:
            degree = degree * self.activation.power + 1.0
        return degree

    def narrowed(self, features: int) -> "MLP":
        return dataclasses.replace(self, sizes=(features, *self.sizes[1:]))

    def params(self, key: Key = 0, *, scale: Real | None = None) -> list[Layer]:
        keys = jax.random.split(as_key(key), len(self.sizes) - 1)
        layers = []
        for i, k in enumerate(keys):
            m, n = self.sizes[i : i + 2]
            gain = self.activation.gain if i < len(keys) - 1 else 1.0
            size = math.sqrt(gain / m) if scale is None else scale
            layers.append({"W": size * jax.random.normal(k, (n, m), dtype=float)})
        if self.first_bias:
            layers[0]["b"] = jnp.zeros(self.sizes[1])
        return layers

    def __call__(self, params: list[Layer], X: Float[Array, "n d"]) -> Array:
        Z = X
        for i, layer in enumerate(params):
            Z = (self.activation(Z) if i else Z) @ layer["W"].T
            if "b" in layer:
                Z = Z + layer["b"][None, :]
        return Z[:, 0] if Z.shape[1] == 1 else Z

    @property
    def tells_gates(self) -> bool:
        """Whether `inputs` and `gated` know the network: one hidden layer of ReLUs."""
        return len(self.sizes) == 3 and isinstance(self.activation, ReLU)

    def inputs(self, params: list[Layer], X: Float[Array, "n d"]) -> Array:
        """What the units of the first layer see, `(n, m)`."""
        Z = X @ params[0]["W"].T
        return Z + params[0]["b"][None, :] if self.first_bias else Z

    def gated(
        self, params: list[Layer], X: Float[Array, "n d"], gates: Float[Array, "n m"]
    ) -> Array:
        """The values, with `gates` for the derivatives of the ReLUs (Clarke's)."""
        Z = self.inputs(params, X)
        still = jax.lax.stop_gradient(Z)
        out = (jax.nn.relu(still) + gates * (Z - still)) @ params[1]["W"].T
        return out[:, 0] if out.shape[1] == 1 else out


class CNN(AbstractNetwork):
    r"""Two convolutions with max-pooling, then two dense layers, ReLU between.

    The network of `lyu2020gradient` on MNIST is `CNN((28, 28, 1), 10)`: 32 channels
    of 5 × 5, pool, 64 of 3 × 3, pool, 1024, classes; SAME padding, biases in the first
    layer only, so that the degree is 4. Examples are `(n, height, width, channels)`.

    Args:
        shape: Height, width (multiples of 4) and channels of an example.
        outputs: Classes, or 1 for two.
        channels: Of the two convolutions.
        hidden: Units of the dense layer.
        first_bias: Whether the first layer has biases.

    Raises:
        ValueError: If height or width is not a multiple of 4, or a size not positive.
    """

    shape: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    outputs: int = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(
        default=(32, 64), static=True, converter=tuple
    )
    hidden: int = eqx.field(default=1024, static=True)
    first_bias: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        if len(self.shape) != 3 or len(self.channels) != 2:
            raise ValueError(
                "shape must be (height, width, channels) and channels a pair; "
                f"got {self.shape} and {self.channels}."
            )
        for size in (*self.shape, self.outputs, *self.channels, self.hidden):
            check_count("sizes", size)
        if self.shape[0] % 4 or self.shape[1] % 4:
            raise ValueError(
                "height and width must be multiples of 4, for two poolings; "
                f"got {self.shape[:2]}."
            )

    @property
    def degree(self) -> float:
        return 4.0

    def params(self, key: Key = 0, *, scale: Real | None = None) -> list[Layer]:
        height, width, depth = self.shape
        a, b = self.channels
        flat = (height // 4) * (width // 4) * b
        shapes = [(5, 5, depth, a), (3, 3, a, b), (flat, self.hidden)]
        shapes.append((self.hidden, self.outputs))
        layers = []
        for i, (k, s) in enumerate(
            zip(jax.random.split(as_key(key), 4), shapes, strict=True)
        ):
            fan = math.prod(s[:-1])
            gain = 2.0 if i < 3 else 1.0
            size = math.sqrt(gain / fan) if scale is None else scale
            layers.append({"W": size * jax.random.normal(k, s, dtype=float)})
        if self.first_bias:
            layers[0]["b"] = jnp.zeros(a)
        return layers

    def __call__(self, params: list[Layer], X: Float[Array, "n h w c"]) -> Array:
        first, second, third, last = params
        Z = _convolve(X, first["W"])
        if "b" in first:
            Z = Z + first["b"][None, None, None, :]
        Z = _pool(jax.nn.relu(Z))
        Z = _pool(jax.nn.relu(_convolve(Z, second["W"])))
        Z = jax.nn.relu(jnp.reshape(Z, (Z.shape[0], -1)) @ third["W"]) @ last["W"]
        return Z[:, 0] if Z.shape[1] == 1 else Z


def _convolve(
    X: Float[Array, "n h w c"], W: Float[Array, "p q c m"]
) -> Float[Array, "n h w m"]:
    """SAME convolution by a matrix product with the patches.

    XLA's own runs some twelve times slower on a CPU once it stands inside a loop, as
    every training step does.
    """
    p, q, _, m = W.shape
    _, h, w, _ = X.shape
    edges = [(0, 0), ((p - 1) // 2, p // 2), ((q - 1) // 2, q // 2), (0, 0)]
    Z = jnp.pad(X, edges)
    shifted = [Z[:, i : i + h, j : j + w] for i in range(p) for j in range(q)]
    return jnp.concatenate(shifted, axis=-1) @ jnp.reshape(W, (-1, m))


def _pool(Z: Array) -> Array:
    n, h, w, c = Z.shape
    return jnp.max(jnp.reshape(Z, (n, h // 2, 2, w // 2, 2, c)), axis=(2, 4))
