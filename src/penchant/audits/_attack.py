"""Projected gradient attacks in ℓ2 and ℓ∞, on the function that is judged."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._plain import plain
from penchant._types import Key, Real, Tree
from penchant.norms import L2, AbstractNorm, Linf

Margins = Callable[[Array], Array]
"""Margins `(n,)` of examples `(n, d)`, with their labels built in."""


class PGD(eqx.Module):
    r"""Projected gradient descent on the margin itself (`madry2018towards`).

    $\delta\leftarrow\Pi_{\|\delta\|\le r}(\delta-\alpha\,\text{steepest}(\nabla q))$
    with $\alpha=c\,r/T$. The point counts as flipped if its margin is 0 or less at any
    step of any start. Starts are, in turn: along the universal direction, then random,
    by gradients whose hinges are smooth; random again, by the function's own. An attack
    gives an upper bound of robust accuracy, never a certificate.

    Args:
        norm: L2() or Linf().
        steps: $T$ of each start.
        starts: How many.
        step: $c$.
        smooth: Gain of the smooth hinges, over the mean size of what they see.
    """

    norm: AbstractNorm = eqx.field(default=L2(), static=True)
    steps: int = eqx.field(default=60, static=True)
    starts: int = eqx.field(default=3, static=True)
    step: Real = 2.5
    smooth: float = eqx.field(default=8.0, static=True)

    def __check_init__(self):
        check_instance("norm", self.norm, (L2, Linf), "L2() or Linf()")
        check_count("steps", self.steps)
        check_count("starts", self.starts)
        check_number("step", self.step, above=0.0, below=np.inf)
        check_number("smooth", self.smooth, above=0.0, below=np.inf)


class Attack(eqx.Module):
    r"""Accuracy under an attack: `radii` `(r,)` in its norm, `accuracy` `(r,)`.

    Points that are wrong at the start, or on the boundary, count as flipped. `flipped`
    `(n,)` is the least radius at which each was, infinite where none did.
    """

    radii: np.ndarray
    accuracy: np.ndarray
    flipped: np.ndarray
    pgd: PGD

    @property
    def half(self) -> float:
        """The least radius tried that leaves half of the points or fewer right."""
        below = np.flatnonzero(self.accuracy <= 0.5)
        return float(self.radii[below[0]]) if below.size else np.inf

    def to_dict(self) -> dict[str, Any]:
        """Radii and accuracies, in types that JSON has."""
        return plain({
            "norm": self.pgd.norm.label,
            "radii": self.radii.tolist(),
            "accuracy": self.accuracy.tolist(),
            "points": len(self.flipped),
        })

    def __repr__(self) -> str:
        cells = zip(self.radii, self.accuracy, strict=True)
        text = ", ".join(f"{r:.3g}: {a:.3g}" for r, a in cells)
        return f"Attack({self.pgd.norm.label}, {text})"


def attack(
    margins: Margins,
    smooth: Margins,
    X: Float[Array, "n d"],
    towards: Float[Array, "n d"],
    radii: np.ndarray,
    pgd: PGD,
    key: Key,
) -> Attack:
    """The attack at every radius, ascending: what falls at one falls at the next.

    `towards` is the unit direction that each point is moved along at the first start.
    """
    fallen = _everywhere(margins, smooth, X, towards, jnp.asarray(radii), pgd, key)
    fallen = np.logical_or.accumulate(np.asarray(fallen), axis=0)
    least = np.where(fallen.any(axis=0), radii[np.argmax(fallen, axis=0)], np.inf)
    wrong = np.asarray(margins(X)) <= 0
    least = np.where(wrong, 0.0, least)
    accuracy = 1.0 - (least[None, :] <= radii[:, None]).mean(axis=1)
    return Attack(radii, accuracy, least, pgd)


@eqx.filter_jit
def _everywhere(
    margins: Margins,
    smooth: Margins,
    X: Array,
    towards: Array,
    radii: Array,
    pgd: PGD,
    key: Key,
) -> Bool[Array, "r n"]:
    own = jnp.arange(pgd.starts) % 3 == 2
    plain = jax.grad(lambda x: jnp.sum(margins(x)))
    soft = jax.grad(lambda x: jnp.sum(smooth(x)))

    def at(given: Tree) -> Array:
        radius, key = given

        # a start after the other in one loop: each gradient is compiled once
        def one(found: Array, start: Tree) -> Any:
            i, mine, sub = start
            drawn = jax.random.normal(sub, X.shape, X.dtype)
            first = jnp.where(i == 0, towards, drawn)
            slope = lambda x: jax.lax.cond(mine, plain, soft, x)
            return found | _one(margins, slope, X, first, radius, pgd), None

        keys = jax.random.split(key, pgd.starts)
        nobody = jnp.zeros(X.shape[0], dtype=bool)
        return jax.lax.scan(one, nobody, (jnp.arange(pgd.starts), own, keys))[0]

    return jax.lax.map(at, (radii, jax.random.split(key, radii.shape[0])))


def _one(
    margins: Margins, slope: Any, X: Array, start: Array, radius: Array, pgd: PGD
) -> Bool[Array, " n"]:
    sup = isinstance(pgd.norm, Linf)

    def steepest(g: Array) -> Array:
        if sup:
            return jnp.sign(g)
        return g / _nonzero(jnp.linalg.norm(g, axis=1, keepdims=True))

    def project(delta: Array) -> Array:
        if sup:
            return jnp.clip(delta, -radius, radius)
        size = jnp.linalg.norm(delta, axis=1, keepdims=True)
        return delta * jnp.minimum(1.0, radius / _nonzero(size))

    def step(_: Tree, state: Tree) -> Any:
        delta, found = state
        # the margin where it stands is seen with the gradient; the last one after
        found |= margins(X + delta) <= 0
        way = steepest(slope(X + delta))
        return project(delta - pgd.step * radius / pgd.steps * way), found

    begun = (radius * steepest(start), jnp.zeros(X.shape[0], dtype=bool))
    delta, found = jax.lax.fori_loop(0, pgd.steps, step, begun)
    return found | (margins(X + delta) <= 0)


def _nonzero(size: Array) -> Array:
    return jnp.where(size > 0, size, 1.0)
