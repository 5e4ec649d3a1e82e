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
from penchant.integrations._numbers import (
    Sizes,
    first_vector,
    margins_of,
    noise_of,
    of_term,
)
from penchant.integrations._plan import COLD, LAGS, WARM, Costs
from penchant.integrations._rules import Adapter

Values = dict[str, Any]

DRAWS, FRESH, BATCHES, MOST = 2, 4, 6, 2**20
"""Label draws a part; batches looked at again, and along whose gradient curvature is
measured; coordinates kept of a part's draws."""


@dataclasses.dataclass
class Moment:
    """The run at one step: weights, their row and numbers, moments; arrays are flat.

    `below` is what the step is divided by, `past` the step sizes that a memory looks
    back on, where they have changed.
    """

    step: int
    weights: Array
    row: Adapter
    group: Mapping[str, Any]
    below: np.ndarray | None
    first: np.ndarray | None
    why: str = ""
    past: np.ndarray | None = None


class Curvature:
    """Read-outs by name, of a loss on parts of a probe set.

    Args:
        loss: `loss(params, batch)`, the mean over examples.
        logits: `logits(params, batch) -> (logits, labels)`, or None.
        parts: Batches of one structure and shape, along a leading axis.
        unravel: From flat weights to the user's.
        weights: Flat ones, of which shapes are read.
        key: Of draws and first vectors.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        logits: Callable[..., Any] | None,
        parts: Tree,
        unravel: Callable[[Array], Any],
        weights: Array,
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

        def margins(x: Array, parts: Tree) -> tuple[Array, Array, Array]:
            assert logits is not None
            of_outputs = logits

            def of(z: Array, part: Tree) -> Array:
                scores, y = of_outputs(unravel(z), part)
                s, y = scores.reshape(-1, scores.shape[-1]), y.reshape(-1)
                at = jnp.clip(y, 0)[:, None]
                own = jnp.take_along_axis(s, at, axis=1)[:, 0]
                rest = jnp.where(jnp.arange(s.shape[1])[None] == at, -jnp.inf, s)
                return own - jnp.max(rest, axis=1)

            def one(part: Tree) -> tuple[Array, Array, Array]:
                m, slope = jax.jvp(lambda z: of(z, part), (x,), (x,))
                return m, slope, of_outputs(unravel(x), part)[1].reshape(-1) >= 0

            return jax.lax.map(one, parts)

        self._margins = None if logits is None else jax.jit(margins)
        self._classes = True
        if logits is not None:
            first = jax.tree.map(lambda a: a[0], parts)
            labels = jax.eval_shape(lambda x: logits(unravel(x), first)[1], weights)
            self._classes = jnp.issubdtype(labels.dtype, jnp.integer)
        self._unravel = unravel
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

    def margins(self, at: Moment) -> Values:
        """Margins of the probe set, norms of the weights, and the degree.

        Raises:
            LookupError: If there are no logits, or labels are no classes.
        """
        if self._margins is None:
            raise LookupError("logits are needed: margins are differences of them")
        if not self._classes:
            raise LookupError("labels are targets of a regression: no margins")
        m, slope, there = self._margins(at.weights, self.parts)
        host = lambda a: np.asarray(a, float)
        some = np.asarray(there)
        weights = [host(w) for w in jax.tree.leaves(self._unravel(at.weights))]
        # a layer's outputs are the last axis of its kernel
        matrices = [w.reshape(-1, w.shape[-1]) for w in weights if w.ndim >= 2]
        sizes = Sizes(
            l2=float(np.linalg.norm(host(at.weights))),
            linf=float(np.max(np.abs(host(at.weights)))),
            spectral=[float(np.linalg.norm(w, 2)) for w in matrices],
            frobenius=[float(np.linalg.norm(w)) for w in matrices],
        )
        first = host(slope)[0][some[0]], host(m)[0][some[0]]
        return margins_of(host(m)[some], *first, sizes)

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
            start = first_vector(scale.size, self.key)
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
            if at.below is None:
                return None, None, at.why or "the optimizer keeps no second moment"
            # coordinates that never had a gradient would dominate by 1/eps
            scale = 1.0 / np.sqrt(np.where(at.below > 0, at.below, np.inf))
        if at.why:
            return scale, None, at.why
        threshold = row.threshold(group, at.step)
        why = "" if threshold is not None else "no threshold is known for this rule"
        return scale, threshold, why

    def _corrections(self, at: Moment) -> Values:
        row, group, n = at.row, at.group, at.step
        g = self._grads.mean(axis=0)
        if row.signs:
            return {"memory_why": "the step is a sign, whose derivative is 0"}
        if not group.get("lr", 0.0) > 0:
            return {}
        (b1, b2), eps, past = row.decays(group), row.eps_of(group), at.past
        lr = group["lr"]
        if eps is not None and b2 is not None and (row.mean or b1 == 0.0):
            return self._divided(at, g, eps, (b1, b2))
        if not row.curved or row.adaptive:
            return {}
        u, longer = self._times(at, g), 1.0 if row.mean else 1.0 / (1.0 - b1)
        reach, walked = lr * longer, None if past is None else longer * past
        path = (
            0.5 * reach * (memory_coefficient(b1, n) - 1.0)
            if walked is None
            else estimators.path_since(b1, walked)
        )
        term = estimators.memory_term(g, -(path + 0.5 * reach) * u, u)
        first = estimators.first_memory(
            float(np.linalg.norm(g)),
            float(np.linalg.norm(u)),
            step_size=reach,
            decay=b1,
            n=n,
            past=walked,
        )
        return {**of_term(term), "validity_first": first}

    def _divided(
        self,
        at: Moment,
        g: np.ndarray,
        divides: tuple[float, bool],
        decays: tuple[float, float],
    ) -> Values:
        eps, inside = divides
        below = np.sqrt(g**2 + eps) if inside else np.abs(g) + eps
        over = lambda a, b: np.divide(a, b, out=np.zeros_like(g), where=b > 0)
        lr = at.group["lr"]
        term = estimators.adaptive_memory(
            g,
            self._times(at, over(g, below)),
            eps,
            step_size=lr,
            decays=decays,
            step=at.step,
            eps_inside=inside,
            past=at.past,
        )
        values = of_term(term)
        if at.below is not None and at.first is not None:
            own = over(at.first, at.below)
            values["validity_first"] = estimators.first_memory(
                float(np.linalg.norm(at.first)),
                float(np.linalg.norm(self._times(at, own))),
                step_size=lr,
                decay=decays[0],
                n=at.step,
                past=at.past,
            )
        return values


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
