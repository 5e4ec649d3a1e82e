"""The maximum margins a run is held against, computed once each."""

import math
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp

from penchant._types import Weights
from penchant.margins import (
    FirstOrder,
    MaxMargin,
    UndecidedError,
    certify,
    find_max_margin,
    is_exact,
    is_unique,
    newton_rows,
)
from penchant.norms import L1, L2, AbstractNorm, Linf, Nuclear, Spectral
from penchant.problems import LinearClassification
from penchant.training import Trajectory

TOLERANCE = 1e-6

COARSE = 1e-3
"""The gap to which margins are computed where that takes minutes."""

COARSE_ROWS = 1000
"""Rows of a Newton system above which margins are computed to the coarse gap."""

WORK, LEAST_STEPS = 1.5e10, 128
"""Multiplications that a first-order method may spend on one norm, and its steps."""


class Begun(NamedTuple):
    """What a thread computes of one norm."""

    best: Future[MaxMargin]
    unique: Future[bool | None]


class Catalogue:
    """Maximum margins of one problem by norm."""

    def __init__(
        self, problem: LinearClassification, report: Callable[[str], None] | None = None
    ):
        self.problem = problem
        self.report = report or (lambda text: None)
        self.found: dict[Hashable, MaxMargin] = {}
        self.separating: Weights | None = None
        self._begun: dict[Hashable, Begun] = {}

    def best(self, norm: AbstractNorm) -> MaxMargin:
        """The maximum margin in a norm; its gap says how well it is known.

        Raises:
            NotSeparableError: If no weights classify every sample.
            UndecidedError: If that is open, and no run has separated them.
        """
        name = norm.fingerprint
        if name not in self.found:
            self.report(f"largest {norm.label} margin")
            try:
                begun = self._begun.get(name)
                if begun is None:
                    # solvers set the threads of BLAS, which are the process's
                    wait([other.best for other in self._begun.values()])
                    self.found[name] = self._solve(norm)
                else:
                    self.found[name] = begun.best.result()
            except UndecidedError as error:
                self._begun.pop(name, None)
                if self.separating is None:
                    raise
                self.found[name] = self._of_run(norm, self.separating, error)
        return self.found[name]

    def is_unique(self, best: MaxMargin) -> bool | None:
        """Whether no other weights of unit norm have the margin of `best`."""
        begun = self._begun.get(best.norm.fingerprint)
        if begun is not None and begun.best.result() is best:
            return begun.unique.result()
        return is_unique(self.problem, best)

    def begin(self, norms: Sequence[AbstractNorm]) -> None:
        """Have a thread compute those margins that take seconds, one after the other.

        Training leaves the host free meanwhile. Each is an exact method's on a small
        system: nobody who leaves waits long for the thread.
        """
        pool = ThreadPoolExecutor(1)
        for norm in norms:
            quick = newton_rows(self.problem, norm) <= COARSE_ROWS
            name = norm.fingerprint
            if quick and name not in self.found and name not in self._begun:
                best = pool.submit(self._solve, norm)
                self._begun[name] = Begun(best, pool.submit(self._is_unique, best))
        pool.shutdown(wait=False)

    def _solve(self, norm: AbstractNorm) -> MaxMargin:
        # the gap is stated in the table and drawn as a band
        tol, solver = self._effort(norm)
        return find_max_margin(self.problem, norm, tol=tol, solver=solver)

    def _is_unique(self, best: Future[MaxMargin]) -> bool | None:
        return is_unique(self.problem, best.result())

    def separates(self, run: Trajectory) -> bool:
        """Whether a run's own weights, or its increment, settle what was undecided."""
        for w in (run.weights[-1], run.increment()):
            known = bool(jnp.all(jnp.isfinite(w)) & jnp.any(w != 0))
            if known and float(certify(self.problem, w, L2()).margin) > 0:
                self.separating = w
                return True
        return False

    def _of_run(
        self, norm: AbstractNorm, w: Weights, error: UndecidedError
    ) -> MaxMargin:
        seen = certify(self.problem, w, norm)
        upper = min(error.upper, float(seen.upper_bound))
        dual = jnp.asarray(error.certificate)
        return MaxMargin(
            weights=w / norm(w),
            margin=seen.margin,
            upper_bound=jnp.asarray(upper),
            gap=1.0 - seen.margin / upper,
            dual=dual,
            pairs=jnp.asarray(error.pairs),
            support=dual > 1e-6 * jnp.max(dual),
            norm=norm,
            method="the run itself",
        )

    def improve(self, run: Trajectory) -> None:
        """Take the run's own weights for the best ones where they have more margin."""
        for name, best in self.found.items():
            for w in (run.weights[-1], run.increment()):
                length = float(best.norm(w))
                margin = float(jnp.min(self.problem.margins(w)))
                if length > 0 and margin > float(best.margin) * length:
                    known = lambda m: (m.weights, m.margin, m.gap)
                    gap = 1.0 - margin / length / float(best.upper_bound)
                    found = (w / length, jnp.asarray(margin / length), jnp.asarray(gap))
                    best = eqx.tree_at(known, best, found)
            self.found[name] = best

    def _effort(self, norm: AbstractNorm) -> tuple[float, FirstOrder | None]:
        """The gap to ask for, and by which method; None for the default."""
        if is_exact(self.problem, norm):
            small = newton_rows(self.problem, norm) <= COARSE_ROWS
            return (TOLERANCE if small else COARSE), None
        entries = self.problem.samples * math.prod(self.problem.weight_shape)
        known = self.found.get(L2().fingerprint)
        start = None if known is None else known.weights
        return COARSE, FirstOrder(
            int(min(max(WORK / entries, LEAST_STEPS), 2e4)), start
        )


def usual_norms(problem: LinearClassification) -> tuple[AbstractNorm, ...]:
    """The norms that algorithms are known to choose, on weights of this shape."""
    if problem.binary:  # a vector has one singular value: all Schatten norms are ℓ2
        return (L1(), L2(), Linf())
    return (L1(), L2(), Linf(), Spectral(), Nuclear())
