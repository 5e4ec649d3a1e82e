"""The validity of an expansion, coordinate by coordinate, and what may be quoted."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from penchant._types import Parameters, Scalar
from penchant.flows.modified._algebra import add, gradient_map, times, zeros
from penchant.flows.modified._result import VALID, Share, Spread
from penchant.problems import AbstractProblem, ScaledGradient


def summary(
    problem: AbstractProblem,
    w: Parameters,
    parts: dict[str, Any],
    h: Scalar,
    map_kind: bool,
    age: Scalar,
) -> dict[str, Any]:
    """Signs turned round, validity, and the numbers that are quoted."""
    F = parts["F"]
    memory = times(-1.0, parts["memory"])
    half = zeros(F) if map_kind else times(-1.0, parts["half"])
    direction = add(memory, half)
    singular = parts["singular"]
    validity = _validity(F, direction, h, singular)
    flat = lambda tree: jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])
    V, f, c = flat(validity), flat(F), flat(direction)
    live = (f != 0) | (V > 0)
    alive = jnp.maximum(jnp.sum(live), 1)
    valid = live & (V < VALID)
    if "HF" in parts:
        g, HF = parts["gradient"], parts["HF"]
    else:
        g, products = gradient_map(problem, w)
        HF = products(F)
    uphill = c * flat(HF)
    among = jnp.maximum(jnp.sum(valid), 1)
    fv, cv = jnp.where(valid, f, 0.0), jnp.where(valid, h * c, 0.0)
    lengths = jnp.linalg.norm(fv), jnp.linalg.norm(cv)
    ratio = jnp.where(lengths[0] > 0, lengths[1] / lengths[0], 0.0)
    both = lengths[0] * lengths[1]
    cosine = jnp.where(
        both > 0, -jnp.sum(fv * cv) / jnp.where(both > 0, both, 1.0), 0.0
    )
    numbers = [
        jnp.sum(valid) / alive,
        jnp.sum(valid & (uphill < 0)) / among,
        jnp.sum(valid & (uphill > 0)) / among,
        ratio,
        cosine,
        _bend(problem, w, g, F, HF, h * age),
        jnp.sum(flat(singular)),
    ]
    moving = lambda v: jnp.where(live, v, jnp.inf)
    out = {
        "direction": direction,
        "memory": memory,
        "half": half,
        "validity": validity,
        "numbers": [jnp.asarray(x, float) for x in numbers],
        "moving": moving(V),
        "live": jnp.sum(live),
        "parts": [],
    }
    for m, d in parts["parts"]:
        part = times(-1.0, m if map_kind else add(m, d))
        v = flat(_validity(F, part, h, singular))
        share = jnp.sum(live & (v < VALID)) / alive
        out["parts"].append((part, share, moving(v)))
    return out


run_summary = eqx.filter_jit(summary)


def _validity(
    F: Parameters, direction: Parameters, h: Scalar, singular: Parameters
) -> Parameters:
    def one(f: Array, c: Array, odd: Array) -> Array:
        still = f == 0
        V = h * jnp.abs(c) / jnp.where(still, 1.0, jnp.abs(f))
        V = jnp.where(still, jnp.where(c == 0, 0.0, jnp.inf), V)
        return jnp.where(odd, jnp.inf, V)

    return jax.tree.map(one, F, direction, singular)


def _bend(
    problem: AbstractProblem,
    w: Parameters,
    g: ScaledGradient,
    F: Parameters,
    HF: Parameters,
    way: Scalar,
) -> Scalar:
    r"""How far $g(w+vF)$ is from $g(w)+vHF$, relative to the latter's change."""
    there = problem.scaled_gradient(add(w, F, way))
    same = jnp.exp(there.log_scale - g.log_scale)
    off = jax.tree.map(
        lambda a, b, u: (same * a - b) - way * u, there.direction, g.direction, HF
    )
    norm = lambda t: jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(t)))
    below = way * norm(HF)
    return jnp.where(below > 0, norm(off) / jnp.where(below > 0, below, 1.0), 0.0)


def share_of(seen: dict[str, Any], i: int) -> Share:
    part, share, moving = seen["parts"][i]
    return Share(part, Spread(moving, int(seen["live"])), float(share))
