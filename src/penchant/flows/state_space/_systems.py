"""Gradient flow as a system of equations: by lags in closed form, or by derivatives."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from penchant._checks import check_instance
from penchant.problems.models.ssm import (
    AbstractSequenceModel,
    SequenceRegression,
    StateSpace,
)

ROUNDING = 4e-15
"""Share of the targets' size that residuals are rounded to."""


class AbstractSystem(abc.ABC):
    r"""$\dot y=v(y)$ of the trained parameters in one vector, with residuals."""

    start: np.ndarray
    scale: float
    """Size of the targets, in the units of `residual`."""

    @abc.abstractmethod
    def velocity(self, t: float, y: np.ndarray) -> np.ndarray:
        """$v(y)$, minus the gradient."""

    @abc.abstractmethod
    def jacobian(self, t: float, y: np.ndarray) -> np.ndarray:
        """Its derivative, minus the Hessian."""

    @abc.abstractmethod
    def residual(self, y: np.ndarray) -> np.ndarray:
        r"""$\rho$, whose squares add up to the loss (up to its floor)."""

    def residuals(self, ys: np.ndarray) -> np.ndarray:
        r"""$\rho$ of rows of parameters."""
        return np.array([self.residual(y) for y in ys])

    @abc.abstractmethod
    def slopes(self, y: np.ndarray) -> np.ndarray:
        r"""$\partial\rho/\partial y$."""

    @abc.abstractmethod
    def models(self, ys: np.ndarray) -> AbstractSequenceModel:
        """The models of rows of parameters, with a leading axis."""

    def modes(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Singular values of the slopes, their directions, and $\rho$ along each.

        What is below the rounding of residuals is 0: it is no residual, and divided by
        a small slope it would be a step of any size.
        """
        U, s, Vt = np.linalg.svd(self.slopes(y), full_matrices=False)
        keep = s > 1e-13 * max(s[0], 1e-300)
        along = U[:, keep].T @ self.residual(y)
        along = np.where(np.abs(along) > ROUNDING * self.scale, along, 0.0)
        return s[keep], Vt[keep], along

    def remaining(self, y: np.ndarray) -> np.ndarray:
        r"""$J^+\rho$: how far the flow still goes, to first order.

        With slopes frozen, gradient flow from `y` ends at $y-J^+\rho$ exactly.
        """
        s, Vt, along = self.modes(y)
        return Vt.T @ (along / s)


class LagSystem(AbstractSystem):
    """A diagonal model by lags; the cost has no samples in it."""

    def __init__(self, problem: SequenceRegression, w: StateSpace):
        self.F, self.f, self.floor = problem.lag_form()
        self.parts = [np.asarray(part) for part in (w.a, w.b, w.c)]
        self.d = self.parts[0].shape[0]
        self.moves = [name in problem.trained for name in "abc"]
        self.start = np.concatenate([
            p for p, moves in zip(self.parts, self.moves, strict=True) if moves
        ])
        self.scale = max(float(np.linalg.norm(self.f)), 1e-300)
        self.lags = np.arange(self.F.shape[1], dtype=float)

    def _split(self, y: np.ndarray) -> list[np.ndarray]:
        parts, at = [], 0
        for part, moves in zip(self.parts, self.moves, strict=True):
            parts.append(y[at : at + self.d] if moves else part)
            at += self.d * moves
        return parts

    def _powers(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        P = np.ones((self.d, len(self.lags)))
        if P.shape[1] > 1:
            P[:, 1:] = a[:, None]
            np.cumprod(P, axis=1, out=P)
        first = np.zeros_like(P)
        first[:, 1:] = P[:, :-1] * self.lags[1:]
        return P, first

    def residual(self, y: np.ndarray) -> np.ndarray:
        a, b, c = self._split(y)
        return self.F @ ((b * c) @ self._powers(a)[0]) - self.f

    def residuals(self, ys: np.ndarray) -> np.ndarray:
        a, b, c = self._parts_of(ys)
        h, term = np.empty((len(ys), len(self.lags))), b * c
        for l in range(len(self.lags)):
            h[:, l] = term.sum(axis=1)
            term = term * a
        return h @ self.F.T - self.f

    def velocity(self, t: float, y: np.ndarray) -> np.ndarray:
        a, b, c = self._split(y)
        P, first = self._powers(a)
        m = 2.0 * (self.F.T @ (self.F @ ((b * c) @ P) - self.f))
        q = P @ m
        parts = (b * c * (first @ m), c * q, b * q)
        return -np.concatenate([
            p for p, moves in zip(parts, self.moves, strict=True) if moves
        ])

    def slopes(self, y: np.ndarray) -> np.ndarray:
        a, b, c = self._split(y)
        P, first = self._powers(a)
        parts = ((b * c)[:, None] * first, c[:, None] * P, b[:, None] * P)
        return (
            self.F
            @ np.concatenate([
                p for p, moves in zip(parts, self.moves, strict=True) if moves
            ]).T
        )

    def jacobian(self, t: float, y: np.ndarray) -> np.ndarray:
        a, b, c = self._split(y)
        P, first = self._powers(a)
        second = np.zeros_like(P)
        second[:, 1:] = first[:, :-1] * self.lags[1:]
        m = 2.0 * (self.F.T @ (self.F @ ((b * c) @ P) - self.f))
        q, q1, q2 = P @ m, first @ m, second @ m
        # second derivatives within one state: a with a, b, c, and b with c
        blocks = {(0, 0): b * c * q2, (0, 1): c * q1, (0, 2): b * q1, (1, 2): q}
        J = self.slopes(y)
        H = 2.0 * J.T @ J
        places = np.cumsum([0, *self.moves])[:-1] * self.d
        for (i, k), values in blocks.items():
            if self.moves[i] and self.moves[k]:
                rows = places[i] + np.arange(self.d)
                columns = places[k] + np.arange(self.d)
                H[rows, columns] += values
                if i != k:
                    H[columns, rows] += values
        return -H

    def _parts_of(self, ys: np.ndarray) -> list[np.ndarray]:
        shape = (*ys.shape[:-1], self.d)
        parts, at = [], 0
        for part, moves in zip(self.parts, self.moves, strict=True):
            parts.append(
                ys[..., at : at + self.d] if moves else np.broadcast_to(part, shape)
            )
            at += self.d * moves
        return parts

    def models(self, ys: np.ndarray) -> StateSpace:
        return StateSpace(*self._parts_of(ys))


def lag_system(problem: SequenceRegression) -> AbstractSystem:
    r"""Gradient flow of a linear diagonal model as a system of equations by lags.

    For flows of one's own, such as one with a penalty added to the velocity.

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> problem = ssm.regression(teacher, [[0.0, 1.0, 0.0]], a=[0.5], trained="a")
    >>> system = ssm.lag_system(problem)
    >>> system.velocity(0.0, system.start).tolist()
    [1.0]

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns, linear and of
            diagonal models.

    Raises:
        TypeError: If the model is of another kind, or there is a head.
    """
    check_instance(
        "problem", problem, SequenceRegression, "what ssm.regression returns"
    )
    check_instance("problem.start", problem.params, StateSpace, "a StateSpace")
    assert isinstance(problem.params, StateSpace)
    return LagSystem(problem, problem.params)


class TracedSystem(AbstractSystem):
    """Any model, with whatever heads, by JAX's derivatives."""

    def __init__(self, problem: SequenceRegression, w: AbstractSequenceModel):
        names = problem.trained
        part = {name: getattr(w, name) for name in names}
        flat, unflat = ravel_pytree(part)

        def model(y: jax.Array) -> AbstractSequenceModel:
            values = list(unflat(y).values())
            return eqx.tree_at(
                lambda m: [getattr(m, name) for name in sorted(names)], w, values
            )

        def residual(y: jax.Array) -> jax.Array:
            m = model(y)
            return (problem.outputs(m) - problem.y) / problem.samples**0.5

        loss = lambda y: jnp.sum(residual(y) ** 2)
        self.start = np.asarray(flat)
        self.scale = max(float(jnp.sqrt(jnp.mean(problem.y**2))), 1e-300)
        self._model = model
        self._residual, self._slopes = (
            jax.jit(residual),
            jax.jit(jax.jacobian(residual)),
        )
        self._gradient, self._hessian = (
            jax.jit(jax.grad(loss)),
            jax.jit(jax.hessian(loss)),
        )

    def velocity(self, t: float, y: np.ndarray) -> np.ndarray:
        return -_called(self._gradient, y)

    def jacobian(self, t: float, y: np.ndarray) -> np.ndarray:
        return -_called(self._hessian, y)

    def residual(self, y: np.ndarray) -> np.ndarray:
        return _called(self._residual, y)

    def slopes(self, y: np.ndarray) -> np.ndarray:
        return _called(self._slopes, y)

    def models(self, ys: np.ndarray) -> AbstractSequenceModel:
        return jax.vmap(self._model)(jnp.asarray(ys))


def _called(function: Callable[..., Any], y: np.ndarray) -> np.ndarray:
    return np.asarray(function(jnp.asarray(y)))
