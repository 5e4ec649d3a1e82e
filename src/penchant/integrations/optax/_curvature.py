"""The curvature tier in JAX: compiled once, on parts of one shape."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from penchant import estimators, measures
from penchant._types import Tree
from penchant.flows import memory_coefficient
from penchant.integrations._numbers import noise_of, of_term
from penchant.integrations._plan import COLD, LAGS, WARM, Costs
from penchant.integrations._rules import Adapter

Values = dict[str, Any]

DRAWS, FRESH, BATCHES, MOST = 2, 4, 6, 2**20
"""Label draws a part; batches looked at again, and along whose gradient curvature is
measured; coordinates kept of a part's draws."""


@dataclasses.dataclass
class Moment:
    """The run at one step: weights, their row and numbers, moments; arrays are flat."""

    step: int
    weights: Array
    row: Adapter
    group: Mapping[str, Any]
    root: np.ndarray | None
    first: np.ndarray | None
    why: str = ""


class Curvature:
    """Read-outs by name, of a loss on parts of a probe set.

    Args:
        loss: `loss(params, batch)`, the mean over examples.
        logits: `logits(params, batch) -> (logits, labels)`, or None.
        parts: Batches of one structure and shape, along a leading axis.
        unravel: From flat weights to the user's.
        key: Of draws and first vectors.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        logits: Callable[..., Any] | None,
        parts: Tree,
        unravel: Callable[[Array], Any],
        key: int,
    ):
        self.parts, self.key = parts, key
        self.k = len(jax.tree.leaves(parts)[0])
        self.has_logits = logits is not None
        self.warm: dict[str, np.ndarray] = {}
        self.stale: tuple[int, np.ndarray] | None = None
        self.look, self._done = 0.0, 0
        flat_loss = lambda x, part: loss(unravel(x), part)
        slope = jax.grad(flat_loss)

        def along(x: Array, v: Array, part: Tree) -> Array:
            return jax.jvp(lambda y: slope(y, part), (x,), (v,))[1]

        def all_parts(x: Array, parts: Tree) -> tuple[Array, Array]:
            return jax.lax.map(lambda p: jax.value_and_grad(flat_loss)(x, p), parts)

        def product(x: Array, v: Array, weights: Array, parts: Tree) -> Array:
            def add(total: Array, pair: Tree) -> tuple[Array, None]:
                part, weight = pair
                of = lambda v: along(x, v, part)
                # a part that is left out costs nothing
                made = jax.lax.cond(weight > 0, of, jnp.zeros_like, v)
                return total + weight * made, None

            return jax.lax.scan(add, jnp.zeros_like(x), (parts, weights))[0]

        def top(
            x: Array,
            scale: Array,
            start: Array,
            weights: Array,
            parts: Tree,
            steps: int,
        ) -> tuple[Array, Array, Array]:
            def of(v: Array) -> Array:
                u = product(x, scale * v.astype(x.dtype), weights, parts)
                return (scale * u).astype(start.dtype)

            return measures.largest_ritz(of, start, steps)

        def quotients(x: Array, U: Array, parts: Tree) -> Array:
            each = lambda pair: jnp.vdot(pair[0], along(x, *pair))
            return jax.lax.map(each, (U, parts))

        def squares(x: Array, key: Array, parts: Tree) -> Array:
            assert logits is not None
            of_outputs = logits

            def draw(key: Array, part: Tree) -> Array:
                scores, y = of_outputs(unravel(x), part)
                s = scores.reshape(-1, scores.shape[-1])
                there = y.reshape(-1) >= 0
                drawn = jax.random.categorical(key, jax.lax.stop_gradient(s))
                n = jnp.sum(there).astype(x.dtype)

                def own(z: Array) -> Array:
                    s, _ = of_outputs(unravel(z), part)
                    s = jax.nn.log_softmax(s.reshape(-1, s.shape[-1]))
                    one = jnp.take_along_axis(s, drawn[:, None], axis=1)[:, 0]
                    return -jnp.sum(jnp.where(there, one, 0.0)) / n

                return n * jax.grad(own)(x) ** 2

            def each(pair: Tree) -> Array:
                key, part = pair
                keys = jax.random.split(key, DRAWS)
                return jnp.mean(jax.lax.map(lambda k: draw(k, part), keys), axis=0)

            return jax.lax.map(each, (jax.random.split(key, self.k), parts))

        self._all = jax.jit(all_parts)
        self._product = jax.jit(product)
        self._top = jax.jit(top, static_argnames="steps")
        self._quotients = jax.jit(quotients)
        self._squares = jax.jit(squares)

    def begin(self, at: Moment) -> None:
        """Gradients of the parts, which most read-outs want."""
        losses, grads = self._all(at.weights, self.parts)
        self._losses, self._grads = np.asarray(losses, float), np.asarray(grads, float)

    def forget(self) -> None:
        """The end of a probe."""
        self._done += 1

    def losses(self) -> list[float]:
        """The loss of the probe set, with its error over parts."""
        return _mean(self._losses)

    def sharpness(self, at: Moment) -> Values:
        r"""$\operatorname{tr}G$ and $\operatorname{tr}\operatorname{Diag}(G)^{1/2}$."""
        if not self.has_logits:
            raise LookupError("logits are needed: labels are drawn from them")
        key = jax.random.key(self.key + 1 + self._done)
        h = np.asarray(self._squares(at.weights, key, self.parts), float)
        sums, p = h.sum(axis=1), h.shape[1]
        if p > MOST:
            h = h[:, np.random.default_rng(self.key).integers(0, p, MOST)]
        root = measures.root_trace(h, DRAWS, p / h.shape[1])
        return {"trace": _mean(sums), "root_trace": [root.value, root.error]}

    def edge(self, at: Moment) -> Values:
        r"""$\lambda_1$ in the rule's own geometry, in a bracket; its threshold."""
        scale, threshold, why = self._geometry(at)
        values: Values = {} if threshold is None else {"threshold": threshold}
        if threshold is None:
            values["threshold_why"] = why
        whole = np.full(self.k, 1.0 / self.k)
        one = np.ones(at.weights.size)
        if at.row.adaptive:
            value, residual, _ = self._largest(at, "hessian", one, whole)
            values["largest_hessian"] = [value, residual]
            if scale is None:
                return values
        scale = one if scale is None else scale
        value, residual, v = self._largest(at, "all", scale, whole)
        each = self._along(at, scale * v) if self.k > 1 else np.array([value])
        across: list[float] = []
        if self.k >= 4:
            low = np.arange(self.k) < self.k // 2
            for mine in (low, ~low):
                weights = mine / mine.sum()
                _, _, own = self._largest(at, f"half {mine[0]}", scale, weights)
                across += list(self._along(at, scale * own)[~mine])
        found = measures.bracket(across, each, residual, value)
        values["largest"] = {"lower": found.lower, "upper": found.upper}
        own = scale * self._grads
        below = np.sum(own * own, axis=1)
        steep = self._along(at, scale * own)[below > 0] / below[below > 0]
        values["batch_sharpness"] = _mean(steep[:BATCHES])
        return values

    def memory(self, at: Moment) -> Values:
        """Noise of a batch, validity of memory's corrections, fresh gradients."""
        gram = self._grads @ self._grads.T
        values: Values = {}
        if self.k > 1:
            values |= noise_of(gram, 1.0)
        values |= self._corrections(at)
        g, w = self._grads.mean(axis=0), np.asarray(at.weights, float)
        square, size = float(w @ w), float(np.linalg.norm(g))
        if square > 0 and size > 0:
            ridge = -float(g @ w) / square
            rest = float(np.linalg.norm(g + ridge * w))
            values["gap"] = rest / size
            values["endpoint_ridge"] = [ridge, rest / math.sqrt(square)]
        self.stale = at.step, self._grads[:FRESH]
        return values

    def staleness(self, at: Moment) -> tuple[int, list[float]]:
        """The lag since gradients were kept, and how much they have moved."""
        assert self.stale is not None
        step, old = self.stale
        begun = time.perf_counter()
        some = jax.tree.map(lambda a: a[:FRESH], self.parts)
        new = np.asarray(self._all(at.weights, some)[1], float)
        self.look = time.perf_counter() - begun
        size = np.linalg.norm(old, axis=1)
        moved = np.linalg.norm(new - old, axis=1)[size > 0] / size[size > 0]
        return at.step - step, _mean(moved)

    def costs(self, at: Moment, names: Sequence[str]) -> Costs:
        """What probes will take now that all is compiled: each program once more."""
        begun = time.perf_counter()
        jax.block_until_ready(self._all(at.weights, self.parts))
        fresh = time.perf_counter() - begun
        begun = time.perf_counter()
        v = np.ones(at.weights.size)
        product = 0.0
        if "edge" in names:
            self._ritz(at, v, v, np.full(self.k, 1.0 / self.k), COLD)
            product = (time.perf_counter() - begun) / COLD
        begun = time.perf_counter()
        if "sharpness" in names:
            jax.block_until_ready(
                self._squares(at.weights, jax.random.key(self.key), self.parts)
            )
        draws = time.perf_counter() - begun
        lags = (
            len(LAGS) * fresh * min(FRESH / self.k, 1.0) if "memory" in names else 0.0
        )
        halved, told = self.k >= 4, "edge" in names
        tops = 1 + halved + at.row.adaptive
        # two halves are a whole one
        known = ("all" in self.warm) * (1 + halved) + ("hessian" in self.warm)
        return Costs(
            light=fresh + draws + 2.0 * product * ("memory" in names) + lags,
            fixed=lags,
            batches=4.0 * product,  # quotients of the parts: of three vectors, and own
            product=product,
            tops=tops if told else 0,
            colds=max(tops - known, 0) if told else 0,
        )

    def _largest(
        self, at: Moment, name: str, scale: np.ndarray, weights: np.ndarray
    ) -> tuple[float, float, np.ndarray]:
        old = self.warm.get(name)
        start = old
        if start is None:
            start = np.random.default_rng(self.key + 3).normal(size=scale.size)
        start = np.where(scale > 0, start, 0.0)
        if not start.any():
            raise ValueError("no coordinate has a second moment above 0")
        found = self._ritz(at, scale, start, weights, COLD if old is None else WARM)
        if old is not None and found[1] > 0.05 * abs(found[0]):
            found = self._ritz(at, scale, found[2], weights, COLD)
        self.warm[name] = found[2]
        return found

    def _ritz(
        self,
        at: Moment,
        scale: np.ndarray,
        start: np.ndarray,
        weights: np.ndarray,
        steps: int,
    ) -> tuple[float, float, np.ndarray]:
        x = at.weights
        as_x = lambda a: jnp.asarray(a, x.dtype)
        value, residual, vector = self._top(
            x,
            as_x(scale),
            jnp.asarray(start, float),
            as_x(weights),
            self.parts,
            steps=min(steps, x.size),
        )
        if not np.isfinite(float(value)):
            raise FloatingPointError("products with the Hessian are not finite")
        return float(value), float(residual), np.asarray(vector, float)

    def _along(self, at: Moment, u: np.ndarray) -> np.ndarray:
        x = at.weights
        U = jnp.broadcast_to(jnp.asarray(u, x.dtype), (self.k, x.size))
        return np.asarray(self._quotients(x, U, self.parts), float)

    def _times(self, at: Moment, v: np.ndarray) -> np.ndarray:
        x = at.weights
        weights = jnp.full(self.k, 1.0 / self.k, x.dtype)
        made = self._product(x, jnp.asarray(v, x.dtype), weights, self.parts)
        return np.asarray(made, float)

    def _geometry(self, at: Moment) -> tuple[np.ndarray | None, float | None, str]:
        row, group = at.row, at.group
        scale: np.ndarray | None = None
        if row.adaptive:
            b1, _ = row.decays(group)
            if at.step < 1.0 / (1.0 - b1):
                return None, None, "the first moment has not filled yet"
            if at.root is None:
                return None, None, at.why or "the optimizer keeps no second moment"
            # coordinates that never had a gradient would dominate by 1/eps
            P = np.where(at.root > 0, at.root + group["eps"], np.inf)
            scale = 1.0 / np.sqrt(P)
        if at.why:
            return scale, None, at.why
        threshold = row.threshold(group, at.step)
        why = "" if threshold is not None else "no threshold is known for this rule"
        return scale, threshold, why

    def _corrections(self, at: Moment) -> Values:
        row, group, n = at.row, at.group, at.step
        g = self._grads.mean(axis=0)
        if not row.curved or not group.get("lr"):
            return {}
        b1, b2 = row.decays(group)
        lr = group["lr"]
        if row.adaptive and b2 is not None:
            eps = group["eps"]
            F = g / (np.abs(g) + eps) if eps > 0 else np.sign(g)
            term = estimators.adaptive_memory(
                g, self._times(at, F), eps, step_size=lr, decays=(b1, b2), step=n
            )
            values = of_term(term)
            if at.root is not None and at.first is not None:
                own = np.divide(
                    at.first, at.root + eps, out=np.zeros_like(g), where=at.root > 0
                )
                values["validity_first"] = estimators.first_memory(
                    float(np.linalg.norm(at.first)),
                    float(np.linalg.norm(self._times(at, own))),
                    step_size=lr,
                    decay=b1,
                    n=n,
                )
            return values
        u, reach = self._times(at, g), lr / (1.0 - b1)
        age = 0.5 * (memory_coefficient(b1, n) - 1.0)
        term = estimators.memory_term(g, -reach * (age + 0.5) * u, u)
        first = estimators.first_memory(
            float(np.linalg.norm(g)),
            float(np.linalg.norm(u)),
            step_size=reach,
            decay=b1,
            n=n,
        )
        return {**of_term(term), "validity_first": first}


def stacked(batches: Sequence[Any]) -> Any:
    """Batches along a leading axis.

    Raises:
        ValueError: If their structures or shapes differ.
    """
    if not batches:
        raise ValueError("batches must hold at least one batch; got none.")
    shapes = [jax.tree.map(lambda a: np.shape(a), batch) for batch in batches]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(
            "batches must have one structure and shape, since what is compiled is "
            f"compiled for one; got {shapes[0]} and others."
        )
    return jax.tree.map(lambda *a: jnp.stack([jnp.asarray(x) for x in a]), *batches)


def raveled(tree: Tree) -> tuple[Array, Callable[[Array], Any]]:
    """All weights as a vector, and back."""
    return ravel_pytree(tree)


def _mean(x: np.ndarray) -> list[float]:
    if not x.size:
        return [math.nan, math.nan]
    error = float(np.std(x, ddof=1)) / math.sqrt(x.size) if x.size > 1 else math.nan
    return [float(np.mean(x)), error]
