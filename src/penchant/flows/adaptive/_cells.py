r"""KKT points of one-hidden-layer ReLU networks to rounding, by Newton's method.

Within a cell, where every unit's gate at every sample that carries is given, margins
are polynomials of the weights, and units at a kink are linear constraints
$x_i\cdot W_u=0$, which are taken out by a basis. What is left of the KKT system is
smooth, and Newton's method converges quadratically. A step ends where it would leave
the cell; the unit is then held at that kink until its multiplier says on which side it
belongs.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from penchant.problems import NetworkClassification, networks

Array = NDArray[np.float64]

CARRIES = 1e-4
"""Margins within this share of the least carry at the start."""

NOTHING = 1e-6, 1e-10
"""Units of this share of the largest are none: at the start, and on the way."""

CONVERGED = 1e-11
"""Residual at which Newton's method has converged in a cell."""

PART = 4
"""A quarter of the wrong kinks and margins is let go at a time: all would swing."""

MOST_ROUNDS = 1000

MOST_UNKNOWNS = 4000
"""Above so many unknowns a Newton step takes seconds, and none is made."""


class Ended(NamedTuple):
    """Where Newton's method ended, scaled to a least margin of 1.

    `undecided` are kinks that its last cell holds though a slope in [0, 1] does not; 0
    where `converged`.
    """

    W: Array
    A: Array
    rounds: int
    kinks: int
    undecided: int
    converged: bool


@dataclasses.dataclass
class _Unit:
    """A unit, or several of one pattern: input weights, head, gates, kinks."""

    w: Array
    a: Array
    gate: NDArray[np.bool_]
    kinks: set[int]
    basis: Array
    members: list[int]
    shares: Array  # of the sum of products of its members

    @property
    def size(self) -> float:
        return float(np.linalg.norm(self.w) * np.linalg.norm(self.a))


def one_hidden_layer(problem: Any) -> bool:
    """Whether the method knows the network: ReLU units, and a linear layer on them."""
    network = getattr(problem, "apply", None)
    known = isinstance(network, networks.MLP) and network.tells_gates
    return isinstance(problem, NetworkClassification) and known


def newton_in_cells(X: Array, y: NDArray[np.intp], W: Array, A: Array) -> Ended | None:
    r"""The KKT point of $\min\tfrac12(\|W\|^2+\|A\|^2)$ with margins of at least 1.

    Args:
        X: Samples, `(n, d)`.
        y: Signs for one output, else classes.
        W: Input weights `(m, d)` that separate the samples.
        A: Heads `(k, m)`.

    Returns:
        The point; None if there are too many unknowns, or a system is singular.
    """
    cells = _Cells(X, y, W, A)
    if cells.unknowns > MOST_UNKNOWNS:
        return None
    try:
        with np.errstate(all="ignore"):
            return cells.run()
    except (np.linalg.LinAlgError, ValueError):  # singular, or not finite
        return None


class _Cells:
    """The iterate: units, which margins carry, and their multipliers."""

    def __init__(self, X: Array, y: NDArray[np.intp], W: Array, A: Array):
        self.X, self.y, self.k = X, y, len(A)
        self.shape = W.shape
        q = self._margins(W, A)
        root = 1.0 / np.sqrt(q.min())
        W, A, q = W * root, A * root, q / q.min()
        self.i, self.c = np.nonzero(q <= 1.0 + CARRIES)
        self.units = self._grouped(W, A)
        z, J = self._z(), self._jacobian()
        self.lam, _ = scipy.optimize.nnls(J.T, z, maxiter=100 * len(self.i) + 1000)

    @property
    def unknowns(self) -> int:
        """Of the Newton system."""
        inputs = sum(unit.basis.shape[1] + self.k for unit in self.units)
        return inputs + len(self.i)

    def _grouped(self, W: Array, A: Array) -> list[_Unit]:
        """Units; with one output those of one sign and pattern as one.

        At a KKT point these point the same way, and only their sum counts.
        """
        size = np.linalg.norm(W, axis=1) * np.linalg.norm(A, axis=0)
        gates = self.X @ W.T > 0
        carrying = np.unique(self.i)
        together: dict[Any, list[int]] = {}
        for u in np.flatnonzero(size > NOTHING[0] * size.max()):
            pattern = (gates[carrying, u].tobytes(), bool(A[0, u] > 0))
            together.setdefault(pattern if self.k == 1 else u, []).append(int(u))
        units = []
        for members in together.values():
            w, a = W[members[0]], A[:, members[0]]
            if self.k == 1:
                sum_w = np.abs(A[0, members]) @ W[members]
                root = np.sqrt(np.linalg.norm(sum_w))
                w, a = sum_w / root, np.sign(a) * root
            gate = self.X @ w > 0
            gate[carrying] = gates[carrying, members[0]]
            basis = np.eye(self.shape[1])
            shares = size[members] / size[members].sum()
            units.append(_Unit(w, a, gate, set(), basis, members, shares))
        return units

    def run(self) -> Ended:
        """Newton steps and changes of cell, until neither is needed."""
        for rounds in range(MOST_ROUNDS):
            J, z = self._jacobian(), self._z()
            least = self._margins(*self._weights())[self.i, self.c]
            F = np.concatenate([z - J.T @ self.lam, least - 1.0])
            if np.linalg.norm(F) > CONVERGED * np.linalg.norm(z):
                self._step(J, F)
                self._drop_vanished()
                self._take_in_low_margins()
            elif not self._changed_cell():
                return self._ended(rounds, True)
        return self._ended(MOST_ROUNDS, False)

    def _changed_cell(self) -> bool:
        """Let go of a part of what no multiplier holds, the worst first."""
        wrong = sorted(self._wrong_kinks(), key=lambda kink: -kink[0])
        pulled = np.flatnonzero(self.lam < -1e-10 * self.lam.max())
        for _, unit, sample, on in wrong[: -(-len(wrong) // PART)]:
            unit.kinks.discard(sample)
            unit.gate[sample] = on
            self._settle(unit)
        worst = pulled[np.argsort(self.lam[pulled])][: -(-len(pulled) // PART)]
        self.i, self.c = np.delete(self.i, worst), np.delete(self.c, worst)
        self.lam = np.delete(self.lam, worst)
        return bool(wrong or len(pulled))

    def _ended(self, rounds: int, converged: bool) -> Ended:
        wrong = 0 if converged else sum(1 for _ in self._wrong_kinks())
        kinks = sum(len(unit.kinks) for unit in self.units)
        return Ended(*self._members(), rounds, kinks, wrong, converged)

    def _members(self) -> tuple[Array, Array]:
        """The weights of all units of the network; those of one pattern share."""
        W, A = np.zeros(self.shape), np.zeros((self.k, self.shape[0]))
        for unit in self.units:
            root = np.sqrt(unit.shares)
            W[unit.members] = root[:, None] * unit.w
            A[:, unit.members] = root * unit.a[:, None]
        return W, A

    # the functions

    def _weights(self) -> tuple[Array, Array]:
        W = np.stack([unit.w for unit in self.units])
        return W, np.stack([unit.a for unit in self.units], axis=1)

    def _margins(self, W: Array, A: Array) -> Array:
        out = np.maximum(self.X @ W.T, 0.0) @ A.T
        if self.k == 1:
            return self.y[:, None] * out
        own = np.take_along_axis(out, self.y[:, None], axis=1) - out
        own[np.arange(len(own)), self.y] = np.inf
        return own

    def _heads(self) -> Array:
        """`(m, k)`: how each margin that carries reads the outputs."""
        if self.k == 1:
            return self.y[self.i][:, None].astype(float)
        eye = np.eye(self.k)
        return eye[self.y[self.i]] - eye[self.c]

    def _seen(self, unit: _Unit) -> Array:
        """`(m, d)`: the samples of carrying margins that the unit's gate lets in."""
        held = np.isin(self.i, list(unit.kinks))
        return (unit.gate[self.i] & ~held)[:, None] * self.X[self.i]

    def _z(self) -> Array:
        parts = [(unit.basis.T @ unit.w, unit.a) for unit in self.units]
        return np.concatenate([x for part in parts for x in part])

    def _jacobian(self) -> Array:
        heads, blocks = self._heads(), []
        for unit in self.units:
            seen = self._seen(unit)
            blocks += [((heads @ unit.a)[:, None] * seen) @ unit.basis]
            blocks += [(seen @ unit.w)[:, None] * heads]
        return np.hstack(blocks)

    def _hessian(self) -> Array:
        """Of the Lagrangian, in blocks of units."""
        heads, blocks = self._heads(), []
        for unit in self.units:
            pull = unit.basis.T @ (self._seen(unit).T @ (self.lam[:, None] * heads))
            r = len(pull)
            H = np.eye(r + self.k)
            H[:r, r:] -= pull
            H[r:, :r] -= pull.T
            blocks.append(H)
        return scipy.linalg.block_diag(*blocks)

    # moves

    def _step(self, J: Array, F: Array) -> None:
        """A Newton step, to the edge of the cell at most."""
        m, size = J.shape
        system = np.empty((size + m, size + m))
        system[:size, :size] = self._hessian() + 1e-12 * np.eye(size)
        system[:size, size:] = -J.T
        system[size:, :size] = J
        system[size:, size:] = 1e-13 * np.eye(m)
        step = np.linalg.solve(system, -F)
        moves, at = [], 0
        for unit in self.units:
            r = unit.basis.shape[1]
            dw = unit.basis @ step[at : at + r]
            moves.append((dw, step[at + r : at + r + self.k]))
            at += r + self.k
        share, hit = self._first_crossing([dw for dw, _ in moves])
        for unit, (dw, da) in zip(self.units, moves, strict=True):
            unit.w, unit.a = unit.w + share * dw, unit.a + share * da
        self.lam = self.lam + share * step[size:]
        if hit is not None:
            unit, sample = hit
            unit.kinks.add(sample)
            self._settle(unit)
        carrying = np.zeros(len(self.X), dtype=bool)
        carrying[self.i] = True
        for unit in self.units:  # of samples that do not carry nothing is held
            unit.gate = np.where(carrying, unit.gate, self.X @ unit.w > 0)

    def _first_crossing(self, moves: list[Array]) -> tuple[float, Any]:
        carrying = np.unique(self.i)
        share, hit = 1.0, None
        for unit, dw in zip(self.units, moves, strict=True):
            side = np.where(unit.gate[carrying], 1.0, -1.0)
            now, change = (
                side * (self.X[carrying] @ unit.w),
                side * (self.X[carrying] @ dw),
            )
            crosses = (now + change < 0) & (change < 0)
            crosses &= ~np.isin(carrying, list(unit.kinks))
            if not crosses.any():
                continue
            when = np.maximum(-now[crosses] / change[crosses], 0.0)
            if when.min() < share:
                share = float(when.min())
                hit = (unit, int(carrying[crosses][when.argmin()]))
        return share, hit

    def _settle(self, unit: _Unit) -> None:
        """Hold a unit at its kinks: a basis of what they leave."""
        unit.basis = np.eye(self.shape[1])
        if unit.kinks:
            unit.basis = scipy.linalg.null_space(self.X[sorted(unit.kinks)])
        unit.w = unit.basis @ (unit.basis.T @ unit.w)

    def _drop_vanished(self) -> None:
        most = max(unit.size for unit in self.units)
        self.units = [u for u in self.units if u.size > NOTHING[1] * most]

    def _take_in_low_margins(self) -> None:
        q = self._margins(*self._weights())
        q[self.i, self.c] = np.inf
        i, c = np.nonzero(q < 1.0 - 1e-9)
        self.i, self.c = np.append(self.i, i), np.append(self.c, c)
        self.lam = np.append(self.lam, np.zeros(len(i)))

    def _wrong_kinks(self) -> Iterator[tuple[float, _Unit, int, bool]]:
        """Kinks that no slope in [0, 1] holds: by how much, unit, sample, on or off."""
        heads = self._heads()
        for unit in self.units:
            if not unit.kinks:
                continue
            held = sorted(unit.kinks)
            pulls = self.lam * (heads @ unit.a)
            left = unit.w - self._seen(unit).T @ pulls
            mu = np.linalg.lstsq(self.X[held].T, left, rcond=None)[0]
            for sample, needed in zip(held, mu, strict=True):
                own = pulls[self.i == sample]
                low, high = np.minimum(own, 0.0).sum(), np.maximum(own, 0.0).sum()
                beyond = max(low - needed, needed - high)
                if beyond > 1e-9 * np.linalg.norm(unit.w):
                    # needing more than it can have, it falls to the side that is off
                    yield beyond, unit, sample, bool(needed < low)
