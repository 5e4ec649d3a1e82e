"""Rules of optax as they come, and two of a researcher's own, by name."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def popular() -> dict[str, tuple[Callable[[], Any], dict[str, float]]]:
    """How to make each rule, and the constants in its source.

    `b1` and `b2` are decays of first and second memories, `mix` the weight of the old
    memory in a step, `eps` what stands beside the root or inside, `decay` decoupled
    and `coupled` through the gradient.
    """
    import optax
    from optax import contrib

    decays = {"b1": 0.9, "b2": 0.999}
    adam = {**decays, "eps": 1e-8}
    return {
        "SGD, momentum": (lambda: optax.sgd(1.0, 0.9), {"b1": 0.9}),
        "SGD, Nesterov": (
            lambda: optax.sgd(1.0, 0.9, nesterov=True),
            {"b1": 0.9, "mix": 0.81},
        ),
        "sign SGD": (lambda: optax.sign_sgd(1e-3), {}),
        "Lion": (lambda: optax.lion(1e-3), {"b1": 0.99, "mix": 0.9, "decay": 1e-3}),
        "Adam": (lambda: optax.adam(1e-3), adam),
        "AdamW": (lambda: optax.adamw(1e-3), {**adam, "decay": 1e-4}),
        "NAdam": (lambda: optax.nadam(1e-3), {**adam, "mix": 0.81}),
        "RMSProp": (lambda: optax.rmsprop(1e-3), {"b2": 0.9, "eps": 1e-8}),
        "AdaGrad": (lambda: optax.adagrad(1e-3), {"b2": 1.0, "eps": 0.1 + 1e-7}),
        "Muon": (lambda: contrib.muon(1e-3), {"b1": 0.95, "mix": 0.9025}),
        "AdaMax": (lambda: optax.adamax(1e-3), decays),
        "AMSGrad": (lambda: optax.amsgrad(1e-3), decays),
        "AdaBelief": (lambda: optax.adabelief(1e-3), decays),
        "RAdam": (lambda: optax.radam(1e-3), decays),
        "LAMB": (lambda: optax.lamb(1e-3), decays),
        "LARS": (lambda: optax.lars(1e-3), {"b1": 0.9}),
        "Yogi": (lambda: optax.yogi(1e-3), decays),
        "Prodigy": (lambda: contrib.prodigy(1.0), decays),
        "row-normalised": (row_normalised, {}),
    }


def row_normalised() -> Any:
    """Every row of the gradient divided by its length."""
    import optax

    return optax.stateless(lambda g, w: jax.tree.map(lambda g: -_unit(g, -1), g))


def polar() -> Any:
    """The polar factor of the gradient, by an SVD."""
    import optax

    def factor(g: jax.Array) -> jax.Array:
        U, s, Vt = jnp.linalg.svd(g, full_matrices=False)
        kept = jnp.where(s > 1e-12 * s[0], 1.0, 0.0)
        return -(U * kept[None, :]) @ Vt

    return optax.stateless(lambda g, w: jax.tree.map(factor, g))


def unit_length() -> Any:
    """The gradient divided by its length.

    optax's `normalize_by_update_norm` adds $10^{-6}$ to that, which makes it gradient
    descent where gradients are smaller: at a log-loss of -14, say.
    """
    import optax

    return optax.stateless(lambda g, w: jax.tree.map(lambda g: -_unit(g, None), g))


def _unit(g: jax.Array, axis: int | None) -> jax.Array:
    """Of length 1 along an axis, or altogether; squares of what is tiny are 0."""
    largest = jnp.max(jnp.abs(g), axis=axis, keepdims=True)
    g = g / jnp.where(largest > 0, largest, 1.0)
    length = jnp.sqrt(jnp.sum(g**2, axis=axis, keepdims=True))
    return g / jnp.where(length > 0, length, 1.0)


def signs() -> Any:
    """Signs of the gradient."""
    import optax

    return optax.sign_sgd(1.0)
