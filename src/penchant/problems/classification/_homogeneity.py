"""Whether a model is homogeneous in its parameters, measured at the door."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant._trees import leaf_names, path_name
from penchant._types import Numbers, Parameters, Real

FACTORS = (2.0, 0.5, 3.0)
POINTS = 3
ROWS = 8

CLOSE = 1e-4
"""Relative deviation up to which outputs count as homogeneous (float32 models too)."""

Forward = Callable[[Parameters], Any]


class NotHomogeneousError(ValueError):
    """The model's outputs do not scale with a power of its parameters."""


class Homogeneity(eqx.Module):
    r"""How outputs scale with the parameters, measured at random ones.

    `degree` is the $L$ of $\Phi(\alpha w,x)=\alpha^L\Phi(w,x)$ for $\alpha>0$, None
    where there is none; `error` the largest relative deviation seen from it. `layers`
    has the degree in each layer alone (the leaves that share a parent in the pytree),
    None for a layer in which outputs are not homogeneous.

    A numerical test at a few points, not a proof.
    """

    degree: float | None = eqx.field(static=True)
    # a leaf, not a part of the structure: rounding must not make a new program
    error: Real
    layers: dict[str, float | None] = eqx.field(static=True)


def measure(apply: Callable[..., Any], params: Parameters, X: Any) -> Homogeneity:
    """The homogeneity of `apply(params, X)` in `params`.

    Raises:
        ValueError: If outputs are all 0 at random parameters, so that nothing scales.
    """
    some = X[:ROWS]
    forward: Forward = lambda w: _outputs(apply, w, some)
    points = _points(params)
    outputs = [np.asarray(forward(w)) for w in points]
    # a network may be defined for some parameters only, such as positive ones
    seen = [i for i, out in enumerate(outputs) if np.isfinite(out).all()]
    points, outputs = [points[i] for i in seen], [outputs[i] for i in seen]
    if not points:
        points, outputs = [params], [np.asarray(forward(params))]
    if not any(np.abs(out).max() > 0 for out in outputs):
        raise ValueError(
            "apply(params, X) is 0 at random parameters: there is nothing to train."
        )
    scaled = lambda w, a: jax.tree.map(lambda leaf: a * leaf, w)
    degree, error = _degree(forward, points, outputs, scaled)
    layers = {}
    for name, members in _layers(params).items():
        layers[name] = _degree(forward, points, outputs, _only(members))[0]
    return Homogeneity(degree, np.float64(error), layers)


@eqx.filter_jit
def _outputs(apply: Callable[..., Any], w: Parameters, X: Any) -> Array:
    return jnp.asarray(apply(w, X), dtype=float)


def refuse(
    apply: Callable[..., Any], params: Parameters, X: Numbers, found: Homogeneity
) -> str:
    """Why a model is not homogeneous, and which leaves make it so, in words."""
    told = (
        "doubling the parameters does not multiply the outputs of apply by a power of "
        f"2 (relative deviation {found.error:.2g})"
    )
    culprits: dict[str, float] = {}
    leaves, structure = jax.tree.flatten(params)
    for i, name in enumerate(leaf_names(params)):
        without = lambda w, i=i: jax.tree.unflatten(
            structure,
            [x if j != i else 0.0 * x for j, x in enumerate(jax.tree.leaves(w))],
        )
        try:
            rest = measure(lambda w, X: apply(without(w), X), params, X)  # noqa: B023
        except ValueError:
            continue
        if rest.degree is not None and len(leaves) > 1:
            culprits[name] = rest.degree
    if culprits:
        # without the last layer, too, a bias is left; what leaves most is meant
        name = max(culprits, key=lambda name: culprits[name])
        return f"{told}. It is homogeneous without {name}, a bias perhaps"
    return (
        f"{told}. Biases beyond the first layer, saturating activations, normalisation "
        "and skip connections over weights do that"
    )


def _points(params: Parameters) -> list[Parameters]:
    """Random parameters of the size of those given; no leaf is 0 (biases may be)."""
    leaves, structure = jax.tree.flatten(params)
    sizes = [float(np.sqrt(np.mean(np.square(leaf)))) for leaf in leaves]
    usual = float(np.mean([s for s in sizes if s > 0] or [1.0]))
    rng = np.random.default_rng(0)
    return [
        jax.tree.unflatten(
            structure,
            [
                jnp.asarray(rng.normal(size=np.shape(leaf)) * (size or usual))
                for leaf, size in zip(leaves, sizes, strict=True)
            ],
        )
        for _ in range(POINTS)
    ]


def _layers(params: Parameters) -> dict[str, set[int]]:
    """The leaves of each layer: those that share a parent."""
    groups: dict[str, set[int]] = {}
    for i, (path, _) in enumerate(jax.tree_util.tree_flatten_with_path(params)[0]):
        layer = path[:-1] if len(path) > 1 else path
        name = path_name(layer) or "weights"
        groups.setdefault(name, set()).add(i)
    return groups


def _only(members: set[int]) -> Callable[[Parameters, float], Parameters]:
    def scaled(w: Parameters, a: float) -> Parameters:
        leaves, structure = jax.tree.flatten(w)
        return jax.tree.unflatten(
            structure, [a * x if j in members else x for j, x in enumerate(leaves)]
        )

    return scaled


def _degree(
    forward: Forward,
    points: list[Parameters],
    outputs: list[np.ndarray],
    scaled: Callable[[Parameters, float], Parameters],
) -> tuple[float | None, float]:
    """The degree and the deviation from it; None where that is not small."""
    degree, error = None, 0.0
    for w, out in zip(points, outputs, strict=True):
        size = np.abs(out).max()
        if not size > 0:
            continue
        for factor in FACTORS:
            grown = np.asarray(forward(scaled(w, factor)))
            if degree is None:
                ratio = np.abs(grown).max() / size
                if not (np.isfinite(ratio) and ratio > 0):
                    return None, np.inf
                degree = float(np.log(ratio) / np.log(factor))
                if abs(degree - round(degree)) < CLOSE:
                    degree = float(round(degree))
            wanted = factor**degree * out
            error = max(
                error, float(np.abs(grown - wanted).max() / np.abs(wanted).max())
            )
    return (degree if error <= CLOSE else None), error
