"""What is asked of a rule that nobody has described: a start, and steps."""

import abc
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant._types import Tree
from penchant.optimizers import AbstractOptimizer, FromOptax
from penchant.problems import ScaledGradient

Steps = np.ndarray
"""What is added to the weights, in float64, `(t, …)` for `t` gradients."""

SMALL = -700.0
"""The log scale of a gradient of zeros: below every scale that is tested."""


WARM = 8
"""Gradients of 0 before a step that shows what a rule does later."""


class StrangerError(ValueError):
    """A rule that can't be identified, and the reason in a sentence."""


class AbstractBox(abc.ABC):
    """A rule as a black box: gradients in, what is added to the weights out.

    Arrays are NumPy's; `dtype` is what weights and gradients are rounded to. `declared`
    is the step size that steps are known to be multiplied by, 1 by convention where
    nothing says otherwise. `updates` counts. `warm` says what comes before a `first`
    step: nothing, "zeros", some gradients of 0, or "again", the same gradient.
    `origin` are the weights at which a rule is asked, 0 if None, and `beside` the share
    of them that every step takes away there, which is left out. With `leaves`, the
    shapes of several arrays, weights are all of them in a row, and the rule gets a
    list.
    """

    declared: float = 1.0
    declares: bool = False
    rule: AbstractOptimizer | None = None
    reads_loss: bool = False
    updates: int = 0
    warm: str = ""
    origin: np.ndarray | None = None
    beside: float = 0.0
    leaves: tuple[tuple[int, ...], ...] = ()

    def __init__(self, shape: tuple[int, ...], dtype: str = "float64"):
        self.shape = shape
        self.dtype = dtype

    @abc.abstractmethod
    def at(self, dtype: str, shape: tuple[int, ...] | None = None) -> "AbstractBox":
        """The same rule on weights of another format or shape."""

    def on(self, leaves: tuple[tuple[int, ...], ...]) -> "AbstractBox":
        """The same rule on several arrays at once, asked as one long vector."""
        box = self.at(self.dtype, (sum(math.prod(leaf) for leaf in leaves),))
        box.leaves = leaves
        return box

    def packed(self, x: np.ndarray, array: Callable[..., Any]) -> Any:
        """What the rule gets: an array, or where there are leaves the list of them."""
        if not self.leaves:
            return array(x)
        cuts = np.cumsum([math.prod(leaf) for leaf in self.leaves])[:-1]
        parts = zip(np.split(x, cuts), self.leaves, strict=True)
        return [array(part.reshape(leaf)) for part, leaf in parts]

    def unpacked(self, u: Any) -> Any:
        """A step of several arrays as one long vector."""
        if not self.leaves:
            return u
        parts = jax.tree.leaves(u)
        if [np.shape(x) for x in parts] != list(self.leaves):
            raise StrangerError("it takes one array.")
        return np.concatenate([np.asarray(x, np.float64).ravel() for x in parts])

    @abc.abstractmethod
    def start(self, w: np.ndarray) -> Any:
        """The state before the first step."""

    @abc.abstractmethod
    def step(self, g: np.ndarray, state: Tree, w: np.ndarray) -> tuple[np.ndarray, Any]:
        """What one gradient adds to weights `w`, and the state after it."""

    def run(self, gradients: Tree, w: np.ndarray | None = None) -> Steps:
        """The steps from a fresh state for these gradients, all at weights `w`.

        Weights stay where they are, at `origin` if None: what a step adds is then known
        to rounding, and a dependence on the weights is a test of its own. With one more
        axis in front, `w` are the weights at each step.

        Raises:
            StrangerError: If a step has another shape.
        """
        apart: np.ndarray | float = 0.0
        if w is None:
            w = np.zeros(self.shape) if self.origin is None else self.origin
            apart = self.beside * w
        moving = w.ndim > len(self.shape)
        with _quiet():
            state = self.start(w[0] if moving else w)
            out = []
            for t, g in enumerate(gradients):
                at = w[t] if moving else w
                u, state = self.step(np.asarray(g, float), state, at)
                out.append(u + apart)
                self.updates += 1
        return np.stack(out)

    def first(self, g: np.ndarray, w: np.ndarray | None = None) -> np.ndarray:
        """The first step, or the first after what `warm` says."""
        before = {"": [], "zeros": [0.0 * g] * WARM, "again": [g] * 2}[self.warm]
        return self.run([*before, g], w)[-1]

    def check(self, u: Tree) -> np.ndarray:
        """A step as an array of float64, of the shape of the weights.

        Raises:
            StrangerError: If it has another shape, or is no array of numbers.
        """
        try:
            u = np.asarray(u).astype(np.float64)
        except (TypeError, ValueError):
            raise StrangerError(
                "rule must return a step that is an array of numbers; got "
                f"{type(u).__name__}."
            ) from None
        if u.shape != self.shape:
            raise StrangerError(
                f"rule must return a step of the weights' shape {self.shape}; got "
                f"{u.shape}."
            )
        return u


class _quiet:
    """Mixed formats and warnings are the rule's own business."""

    def __enter__(self) -> None:
        self.stack = [
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            warnings.catch_warnings(),
            np.errstate(all="ignore"),
        ]
        for manager in self.stack:
            manager.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *exc: Any) -> None:
        for manager in reversed(self.stack):
            manager.__exit__(*exc)


def asked(what: str, call: Callable[..., Any], *args: Any) -> Any:
    """The stranger's own function, whose errors become a sentence.

    Raises:
        StrangerError: If it raises anything.
    """
    try:
        return call(*args)
    except StrangerError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise StrangerError(
            f"rule could not {what}: it raised {type(error).__name__}"
            + (f" ({first[:160]})." if first else ".")
        ) from error


class RuleBox(AbstractBox):
    """One of ours, or of a class of one's own, with a step size of 1."""

    def __init__(self, rule: AbstractOptimizer, shape: tuple[int, ...], dtype: str):
        super().__init__(shape, dtype)
        self.rule = rule
        self.reads_loss = rule.needs_loss
        one = jnp.ones(())

        def go(d: Tree, log: Tree, state: Tree, w: Tree) -> Any:
            moved, state = rule.update(ScaledGradient(d, log), state, w, one)
            return jax.tree.map(jnp.subtract, moved, w), state

        self._go = jax.jit(go)

    def at(self, dtype: str, shape: tuple[int, ...] | None = None) -> "RuleBox":
        assert self.rule is not None
        return RuleBox(self.rule, shape or self.shape, dtype)

    def start(self, w: np.ndarray) -> Any:
        assert self.rule is not None
        return asked("start", self.rule.init, self.packed(w, self._array))

    def _array(self, x: np.ndarray) -> Any:
        return jnp.asarray(x, self.dtype)

    def step(self, g: np.ndarray, state: Tree, w: np.ndarray) -> tuple[np.ndarray, Any]:
        largest = float(np.max(np.abs(g)))
        log = np.log(largest) if largest > 0 else SMALL
        d = self.packed(g / (largest or 1.0), self._array)
        given = (d, jnp.asarray(log), state, self.packed(w, self._array))
        u, state = asked("step", self._go, *given)
        return self.check(self.unpacked(u)), state


class OptaxBox(AbstractBox):
    """An optax transformation: what it returns is added."""

    def __init__(self, tx: Any, shape: tuple[int, ...], dtype: str):
        super().__init__(shape, dtype)
        self.tx = tx
        self.rule = FromOptax(tx)
        with _quiet():
            self.reads_loss = self.rule.needs_loss
        self._go = jax.jit(lambda g, state, w: tx.update(g, state, w))

    def at(self, dtype: str, shape: tuple[int, ...] | None = None) -> "OptaxBox":
        return OptaxBox(self.tx, shape or self.shape, dtype)

    def start(self, w: np.ndarray) -> Any:
        return asked("start", self.tx.init, self.packed(w, self._array))

    def _array(self, x: np.ndarray) -> Any:
        return jnp.asarray(x, self.dtype)

    def step(self, g: np.ndarray, state: Tree, w: np.ndarray) -> tuple[np.ndarray, Any]:
        given = (self.packed(g, self._array), state, self.packed(w, self._array))
        u, state = asked("step", self._go, *given)
        return self.check(self.unpacked(u)), state


class FunctionBox(AbstractBox):
    """Functions `(init, update)`; compiled where they are JAX's and nothing changes.

    NumPy's functions run as they are. So do those that draw random numbers of their
    own, which compiling would freeze.
    """

    def __init__(
        self,
        init: Callable[..., Any] | None,
        update: Callable[..., Any],
        shape: tuple[int, ...],
        dtype: str,
        way: str | None = None,
    ):
        super().__init__(shape, dtype)
        self.init, self.update = init, update
        self._compiled = jax.jit(update)
        self._kind: object = None
        self.way = self._choose() if way is None else way

    def at(self, dtype: str, shape: tuple[int, ...] | None = None) -> "FunctionBox":
        way = "jax" if self.way == "compiled" else self.way
        known = shape is None or shape == self.shape
        return FunctionBox(
            self.init,
            self.update,
            shape or self.shape,
            dtype,
            self.way if known else way,
        )

    def _choose(self) -> str:
        """How the functions run: as NumPy, as JAX, or compiled."""
        rng = np.random.default_rng(0)
        probe = rng.standard_normal((3, *self.shape))
        ways, errors = {}, []
        for way in ("numpy", "jax"):
            self.way = way
            try:
                ways[way] = self.run(probe)
                break
            except StrangerError as error:
                errors.append(error)
        else:
            raise errors[0]
        plain, seen = next(iter(ways.items()))
        if plain == "numpy" and isinstance(self._kind, np.ndarray):
            return plain  # quick as it is
        if not np.array_equal(self.run(probe), seen, equal_nan=True):
            return plain  # draws of its own
        self.way = "compiled"
        try:
            compiled = self.run(probe)
        except StrangerError:
            return plain
        same = np.allclose(compiled, seen, rtol=1e-9, atol=0.0, equal_nan=True)
        return "compiled" if same else plain

    def _array(self, x: np.ndarray) -> Any:
        if self.way == "numpy":
            return np.array(x, dtype=jnp.dtype(self.dtype))
        return jnp.asarray(x, self.dtype)

    def on(self, leaves: tuple[tuple[int, ...], ...]) -> "FunctionBox":
        size = sum(math.prod(leaf) for leaf in leaves)
        way = "jax" if self.way == "compiled" else self.way
        box = FunctionBox(self.init, self.update, (size,), self.dtype, way)
        box.leaves = leaves
        return box

    def start(self, w: np.ndarray) -> Any:
        if self.init is None:
            return None
        return asked("start", self.init, self.packed(w, self._array))

    def step(self, g: np.ndarray, state: Tree, w: np.ndarray) -> tuple[np.ndarray, Any]:
        call = self._compiled if self.way == "compiled" else self.update
        given = self.packed(g, self._array), state, self.packed(w, self._array)
        told = asked("step", call, *given)
        if not (isinstance(told, (tuple, list)) and len(told) == 2):
            kind = type(told).__name__
            raise StrangerError(
                "rule's update must return (step, state), the step being what is added "
                f"to the weights; got {kind}."
            )
        self._kind = told[0]
        return self.check(self.unpacked(told[0])), told[1]
