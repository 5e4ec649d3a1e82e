r"""Two layers of (powers of) ReLU: the networks whose robustness theory speaks of."""

import abc
import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._pretty import pretty
from penchant._types import Key, Numbers, Real
from penchant.problems.models._base import AbstractNetwork, Layer, as_key


class AbstractHead(eqx.Module):
    """Where the weights of the second layer come from."""

    @abc.abstractmethod
    def matrix(self, outputs: int, width: int) -> Array | None:
        """The weights where they are given, `(outputs, width)`; None: trained."""

    def __repr__(self) -> str:
        return pretty(self)


class Trained(AbstractHead):
    """The second layer is trained with the first."""

    def matrix(self, outputs: int, width: int) -> None:
        return None


class Frozen(AbstractHead):
    r"""The second layer stays: units in equal groups, of weight `size`.

    One output: $+s$ for the first half of the units, $-s$ for the rest. Several: a
    group a class, with weight $s$ on its own output and 0 on the others. That is the
    network of `li2025feature`, with $s=1/m$.

    Args:
        size: $s$; None for one over the units of a group.
    """

    size: Real | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.size is not None:
            check_number("size", self.size, above=0.0, below=math.inf)

    def matrix(self, outputs: int, width: int) -> Array:
        groups = max(outputs, 2)
        owner = jnp.arange(width) * groups // width
        size = groups / width if self.size is None else self.size
        if outputs == 1:
            return size * jnp.where(owner == 0, 1.0, -1.0)[None, :]
        return size * (owner[None, :] == jnp.arange(outputs)[:, None]).astype(float)


class TwoLayer(AbstractNetwork):
    r"""$N(x)=\sum_jv_j\,\phi_p(sw_j^\top x+b_j)$, with biases, of ReLU or its powers.

    $\phi_p(z_j)=\max(z_j,0)^p/\|(w_j,b_j)\|^{p-1}$, which is ReLU for $p=1$ and the
    pReLU of `min2024can` (there without biases) above. It has degree 1 in $(w_j,b_j)$
    whatever $p$, so that the network's degree is 2, or 1 with a frozen head. In $x$ its
    degree is $p$: with $\|x\|=\sqrt d$ steps are off by $d^{(p-1)/2}$ unless
    examples are scaled, `input_scale` $s=1/\sqrt d$.

    >>> network = TwoLayer(3, 8)
    >>> network.degree, [sorted(layer) for layer in network.params(0)]
    (2.0, [['W', 'b'], ['W']])
    >>> TwoLayer(3, 8, power=3, head=Frozen()).degree
    1.0

    Args:
        features: $d$.
        width: Units, $m$.
        outputs: 1 for two classes, else the number of classes.
        power: $p\ge1$.
        head: `Trained()`, or `Frozen(size)`.
        first_bias: Whether units have biases.
        input_scale: $s$.

    Raises:
        ValueError: If a size is not positive, the power below 1, or a frozen head has
            fewer units than groups.
    """

    features: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    outputs: int = eqx.field(default=1, static=True)
    power: float = eqx.field(default=1.0, static=True, converter=float)
    head: AbstractHead = eqx.field(default=Trained(), static=True)
    first_bias: bool = eqx.field(default=True, static=True)
    input_scale: float = eqx.field(default=1.0, static=True, converter=float)

    def __check_init__(self):
        for name in ("features", "width", "outputs"):
            check_count(name, getattr(self, name))
        check_number("power", self.power, least=1.0, below=math.inf)
        check_number("input_scale", self.input_scale, above=0.0, below=math.inf)
        check_instance("head", self.head, AbstractHead, "Trained() or Frozen(size)")
        groups = max(self.outputs, 2)
        if isinstance(self.head, Frozen) and self.width < groups:
            raise ValueError(
                f"width must be at least {groups}, a unit a group of a frozen head; "
                f"got {self.width}."
            )

    @property
    def degree(self) -> float:
        return 2.0 if isinstance(self.head, Trained) else 1.0

    def narrowed(self, features: int) -> "TwoLayer":
        return dataclasses.replace(self, features=features)

    def params(self, key: Key = 0, *, scale: Real | None = None) -> list[Layer]:
        first, second = jax.random.split(as_key(key))
        given = self.head.matrix(self.outputs, self.width)
        fan = self.features * self.input_scale**2
        size = math.sqrt(2.0 / fan) if scale is None else scale
        shape = (self.width, self.features)
        layers = [{"W": size * jax.random.normal(first, shape, dtype=float)}]
        if self.first_bias:
            layers[0]["b"] = jnp.zeros(self.width)
        if given is None:
            size = math.sqrt(1.0 / self.width) if scale is None else scale
            shape = (self.outputs, self.width)
            layers.append({"W": size * jax.random.normal(second, shape, dtype=float)})
        return layers

    def balanced(self, key: Key = 0, *, scale: Real = 1e-3) -> list[Layer]:
        r"""Small parameters whose layers are of one size: $\|v_j\|=\|(w_j,b_j)\|$.

        Gradient flow keeps the difference of the two squares. So units turn at once,
        where with a smaller head they first have to grow one: for powers of ReLU that
        decides whether units find single clusters before they have a size.

        Args:
            key: Of the draws.
            scale: Standard deviation of the first layer; biases are 0.
        """
        params = self.params(key, scale=scale)
        if len(params) == 1:
            return params
        first, head = params[0]["W"], params[1]["W"]
        size = jnp.linalg.norm(first, axis=1) / jnp.linalg.norm(head, axis=0)
        return [params[0], {"W": head * size[None, :]}]

    @property
    def tells_gates(self) -> bool:
        """Whether Clarke's gradients are those of `gated`: hinges have power 1."""
        return self.power == 1.0

    def inputs(self, params: list[Layer], X: Float[Array, "n d"]) -> Array:
        """What the units see, `(n, m)`."""
        return self._by_unit(params, X).T

    def _by_unit(self, params: list[Layer], X: Float[Array, "n d"]) -> Array:
        """The same as `(m, n)`: XLA's product for its gradient is twice as fast so."""
        Z = self.input_scale * (params[0]["W"] @ X.T)
        return Z + params[0]["b"][:, None] if self.first_bias else Z

    def __call__(self, params: list[Layer], X: Float[Array, "n d"]) -> Array:
        return self._read_out(params, jax.nn.relu(self._by_unit(params, X)))

    def gated(
        self, params: list[Layer], X: Float[Array, "n d"], gates: Float[Array, "n m"]
    ) -> Array:
        """The same values, with `gates` for the derivatives of the ReLUs.

        At a kink every number in [0, 1] is one of Clarke's.
        """
        Z = self._by_unit(params, X)
        still = jax.lax.stop_gradient(Z)
        # the value of the gate's own line at `still` is 0, whatever the gate
        return self._read_out(params, jax.nn.relu(still) + gates.T * (Z - still))

    def _read_out(self, params: list[Layer], units: Float[Array, "m n"]) -> Array:
        if self.power != 1.0:
            first = params[0]
            square = jnp.sum(first["W"] ** 2, axis=1)
            if self.first_bias:
                square = square + first["b"] ** 2
            # a unit that is 0 has no direction, and is 0
            there = square > 0
            root = jnp.sqrt(jnp.where(there, square, 1.0))
            ratio = units / jnp.where(there, root, 1.0)[:, None]
            units = units * ratio ** (self.power - 1.0)
        head = self.head.matrix(self.outputs, self.width)
        head = params[1]["W"] if head is None else head
        Y = head @ units
        return Y[0] if self.outputs == 1 else Y.T


def from_clusters(means: Numbers, labels: Numbers) -> tuple[TwoLayer, list[Layer]]:
    r"""A network that is robust on clusters, a unit a cluster, written down.

    $w_j=4\mu_j/\|\mu_j\|^2$, $b_j=-2$, $v_j=y_j$ (`frei2023double`): a unit is on
    where a point is nearer than half-way to 0 along its mean. On orthogonal means it
    is right within $\|\mu\|/2$ of them, against the $\|\mu\|\sqrt{2/k}$ or less of what
    training finds (derived, and measured by the study `robustness`).

    >>> network, w = from_clusters(2.0 * jnp.eye(4), [1, -1, 1, -1])
    >>> network(w, 2.0 * jnp.eye(4)).tolist()
    [2.0, -2.0, 2.0, -2.0]

    Args:
        means: `(k, d)`, none of them 0.
        labels: `(k,)`, -1 or 1 each.

    Returns:
        The network, and its parameters.

    Raises:
        ValueError: If shapes disagree, a mean is 0, or a label is another.
    """
    centres, signs = np.asarray(means, dtype=float), np.asarray(labels, dtype=float)
    if centres.ndim != 2 or signs.shape != (len(centres),):
        raise ValueError(
            "means must be (k, d) and labels (k,); "
            f"got {centres.shape} and {signs.shape}."
        )
    if not np.isin(signs, (-1.0, 1.0)).all():
        raise ValueError(f"labels must be -1 or 1; got {np.unique(signs)[:5]}.")
    square = np.sum(centres**2, axis=1)
    if not (np.isfinite(square) & (square > 0)).all():
        raise ValueError("means must be finite, and none of them 0.")
    k, d = centres.shape
    first: dict[str, Any] = {
        "W": jnp.asarray(4.0 * centres / square[:, None]),
        "b": jnp.full(k, -2.0),
    }
    return TwoLayer(d, k), [first, {"W": jnp.asarray(signs)[None, :]}]
