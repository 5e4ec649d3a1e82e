"""What the figures share: the toy problem, networks, rules, their flows and tails."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import penchant as pn

N = 8

EPS = 1e-2 / N**2
"""Of the flows, inside the root: 1e-2 for the sum of losses, of which ours is a mean"""

SHIFT = float(np.log(N))
"""The log-loss of the sum less that of the mean."""

B2 = 0.9

TOLERANCE = 3e-10
"""Of the flows, relative, a step."""

RULES: dict[str, Any] = {
    "GD": pn.optimizers.GradientDescent(),
    "AdaGrad": pn.optimizers.AdaGrad(EPS, eps_inside=True),
    "RMSProp": pn.optimizers.RMSProp(B2, EPS, eps_inside=True),
    "Adam w/m": pn.optimizers.RMSProp(B2, EPS, True, bias_correction=True),
}

NETWORKS: dict[str, pn.networks.MLP] = {
    "linear": pn.networks.MLP((3, 1)),
    "ReLU": pn.networks.MLP((3, 5, 1), pn.networks.ReLU()),
    "squared ReLU": pn.networks.MLP((3, 5, 1), pn.networks.SquaredReLU()),
    "deep linear": pn.networks.MLP((3, 4, 4, 1), pn.networks.Identity()),
}

HUES = {
    "GD": "#0072b2",
    "AdaGrad": "#d55e00",
    "RMSProp": "#009e73",
    "Adam w/m": "#cc79a7",
    "AdaGrad in its norm": "#d55e00",
    "AdaGrad in ℓ2": "#e69f00",
}
"""One colour a rule in every picture."""

LOSSES: dict[str, Any] = {
    "exponential": pn.losses.Exponential(),
    "logistic": pn.losses.Logistic(),
}


def samples(seed: int) -> tuple[Any, Any]:
    """Eight Gaussian samples in three dimensions, apart along the first."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, 3))
    X[:, 0] += np.sign(X[:, 0])
    return X, np.sign(X[:, 0])


@functools.lru_cache(maxsize=64)
def toy(name: str, seed: int, loss: str = "exponential") -> pn.NetworkClassification:
    """A network on the eight samples from `start`, or from 0 where it is linear."""
    network = NETWORKS[name]
    X, y = samples(seed)
    found = pn.NetworkClassification(
        network, network.params(seed), X, y, loss=LOSSES[loss]
    )
    params = start(found, seed) if name != "linear" else jnp.zeros(3)
    return pn.NetworkClassification(
        network, found.unflat(params), X, y, loss=LOSSES[loss]
    )


def start(problem: pn.NetworkClassification, seed: int) -> Any:
    """Half a standard normal, drawn again while a sample has no unit on its side."""
    for draw in range(seed + 1, seed + 10_000, 100):
        rng = np.random.default_rng(draw)
        flat = jnp.asarray(0.5 * rng.normal(size=problem.parameters))
        layers: Any = problem.unflat(flat)
        if len(layers) != 2:
            return flat
        reached = np.asarray(problem.X @ layers[0]["W"].T) > 0
        sides = np.asarray(problem.y)[:, None] * np.asarray(layers[1]["W"]) > 0
        if (reached & sides).any(axis=1).all():
            return flat
    raise RuntimeError("no start has a unit on the side of every sample.")


@functools.lru_cache(maxsize=256)
def flow(
    name: str,
    rule: str,
    seed: int,
    loss: str = "exponential",
    log_loss: float = -1000.0,
) -> pn.flows.Flow:
    """A rule's flow down to a log-loss of the sum."""
    return reached(
        pn.flows.adaptive_flow(
            toy(name, seed, loss),
            RULES[rule],
            log_loss=log_loss - SHIFT,
            record=60,
            tol=TOLERANCE,
        ),
        log_loss - SHIFT,
    )


def reached(flow: pn.flows.Flow, log_loss: float) -> pn.flows.Flow:
    """The flow, if it came down so far: part of one proves nothing about limits."""
    if float(flow.log_loss[-1]) > log_loss + 1e-3:
        raise RuntimeError(f"{flow!r} stopped above a log-loss of {log_loss:g}.")
    return flow


@functools.lru_cache(maxsize=64)
def tail(
    name: str, rule: str, seed: int, log_norm: float = 30.0
) -> tuple[pn.flows.Tail, pn.KKT]:
    """Where a flow's direction goes, and its residuals there."""
    run = flow(name, rule, seed)
    problem, norm = toy(name, seed), run.norm()
    found = pn.flows.tail_flow(problem, run.last, norm=norm, log_norm=log_norm)
    return found, pn.kkt(problem, found.weights, norm)


def depths(flow: pn.flows.Flow) -> Any:
    """-log of the loss, as a sum, at every record."""
    return -(np.asarray(flow.log_loss) + SHIFT)


def at(weights: PyTree, i: Any) -> Any:
    """One record of many."""
    return jax.tree.map(lambda w: w[i], weights)


def degree_of(problem: pn.NetworkClassification) -> float:
    """The degree of a network that has one."""
    assert problem.degree is not None
    return problem.degree
