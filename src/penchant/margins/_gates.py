"""Networks that tell their gates: Clarke's gradients of a margin, all of them."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float
from numpy.typing import NDArray

from penchant._types import Scalar, Tree
from penchant.margins.geometry import Geometry
from penchant.margins.gradients import Pairs
from penchant.problems import AbstractClassification, NetworkClassification

MOST_ROUNDS = 200

ENOUGH = 1e-9
"""Gain of a new gradient, relative to the weights, below which none is looked for."""


class Gates:
    r"""The gates of some margins at some weights: on, off, or at their kink.

    With slopes $s_{ij}\in[0,1]$ of the units at a kink, margin i's gradient is affine
    in them, so that the cone of all is the cone of those with slopes 0 and 1: $2^K$ for
    K units. They are not listed: given what is left of the weights, the one of most
    use is found unit by unit (column generation), until none is of any.
    """

    def __init__(
        self,
        problem: NetworkClassification,
        w: NDArray[np.float64],
        pairs: Pairs,
        kink: float,
    ):
        self.problem, self.w, self.pairs = problem, jnp.asarray(w), pairs
        network: Any = problem.apply
        X = problem.X[jnp.asarray(pairs[0])]
        Z = np.asarray(network.inputs(problem.unflat(self.w), X))
        self.on = Z > 0
        # of all samples, so that what is large does not hang on which margins are least
        everything = network.inputs(problem.unflat(self.w), problem.X)
        self.loose = np.abs(Z) <= kink * float(jnp.max(jnp.abs(everything)))
        self._forget_units_that_are_none(np.asarray(everything))

    def _forget_units_that_are_none(self, everything: NDArray[np.float64]) -> None:
        """Those without weights are at a kink of every sample, to no effect."""
        silent = ~everything.any(axis=0)
        if not silent.any():
            return
        all_margins = np.arange(len(self.on))
        opened = self._rows(all_margins, self.on | silent)
        if np.array_equal(opened, self.plain()):
            self.loose[:, silent] = False

    @classmethod
    def of(
        cls,
        problem: AbstractClassification,
        w: NDArray[np.float64],
        pairs: Pairs,
        kink: float,
    ) -> "Gates | None":
        """Those of a network that tells them, else None."""
        network = getattr(problem, "apply", None)
        if not isinstance(problem, NetworkClassification):
            return None
        if not getattr(network, "tells_gates", False):
            return None
        return cls(problem, w, pairs, kink)

    @property
    def kinks(self) -> int:
        """Margins of which a unit is at its kink."""
        return int(self.loose.any(axis=1).sum())

    def plain(self) -> NDArray[np.float64]:
        """The gradients with every gate as it is, `(m, p)`."""
        return self._rows(np.arange(len(self.on)), self.on)

    def generated(
        self, geometry: Geometry, v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Gradients that come nearest to `v` in the geometry, and whose margins'."""
        owner = np.arange(len(self.on))
        J = self.plain()
        if not self.loose.any():
            return J, owner
        size = geometry.length(v)
        for _ in range(MOST_ROUNDS):
            flat = geometry.covariant(J)
            _, shares = distance(flat, v)
            left = v - shares @ flat
            pull = geometry.back(left)
            slopes = self._slopes(pull)
            best = np.where(self.loose, slopes > 0, self.on)
            fresh = self._rows(np.arange(len(best)), best)
            lengths = np.linalg.norm(geometry.covariant(fresh), axis=1)
            gain = fresh @ pull / np.where(lengths > 0, lengths, 1.0)
            useful = np.flatnonzero(gain > ENOUGH * size)
            if useful.size == 0:
                return J, owner
            kept = shares > 0
            J = np.concatenate([J[kept], fresh[useful]])
            owner = np.concatenate([owner[kept], useful])
        return J, owner

    def _rows(
        self, which: NDArray[np.intp], gates: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        samples, opponents = (jnp.asarray(part[which]) for part in self.pairs)
        weights = jnp.asarray(gates, dtype=float)
        return np.asarray(_rows(self.problem, self.w, samples, opponents, weights))

    def _slopes(self, pull: NDArray[np.float64]) -> NDArray[np.float64]:
        samples, opponents = (jnp.asarray(part) for part in self.pairs)
        start = jnp.asarray(self.on, dtype=float)
        along = jnp.asarray(pull)
        found = _slopes(self.problem, self.w, samples, opponents, start, along)
        return np.asarray(found)


def _margin(
    problem: NetworkClassification, v: Array, i: Array, c: Array, gates: Array
) -> Scalar:
    network: Any = problem.apply
    out = network.gated(problem.unflat(v), problem.X[i][None], gates[None])
    if problem.binary:
        return problem.y[i].astype(out.dtype) * out[0]
    return out[0, problem.y[i]] - out[0, c]


@eqx.filter_jit
def _rows(
    problem: NetworkClassification,
    w: Array,
    samples: Tree,
    opponents: Tree,
    gates: Array,
) -> Float[Array, "m p"]:
    def one(at: Tree) -> Any:
        i, c, g = at
        return jax.grad(lambda v: _margin(problem, v, i, c, g))(w)

    return jax.lax.map(one, (samples, opponents, gates), batch_size=64)


@eqx.filter_jit
def _slopes(
    problem: NetworkClassification,
    w: Array,
    samples: Tree,
    opponents: Tree,
    gates: Array,
    pull: Array,
) -> Float[Array, "m k"]:
    """How much each gate turns a margin's gradient along `pull`."""

    def one(at: Tree) -> Any:
        i, c, g = at

        def along(gates: Array) -> Scalar:
            margin = lambda v: _margin(problem, v, i, c, gates)
            return jax.jvp(margin, (w,), (pull,))[1]

        return jax.grad(along)(g)

    return jax.lax.map(one, (samples, opponents, gates), batch_size=64)


def distance(
    J: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """The distance of `v` from the cone of the rows of `J`, and their weights."""
    A, b = J.T, v
    if J.shape[1] > J.shape[0]:
        # an orthogonal factor changes no length: as few rows as there are columns
        Q, A = np.linalg.qr(J.T)
        b = Q.T @ v
    shares, _ = scipy.optimize.nnls(A, b, maxiter=100 * A.shape[1] + 100)
    return float(np.linalg.norm(shares @ J - v)), shares
