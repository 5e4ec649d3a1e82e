"""What a limit of Adam is, and how exact; several of them."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from penchant._plain import plain
from penchant._types import PerSample, Scalar, Vector
from penchant.margins import MaxMargin
from penchant.norms import Mahalanobis
from penchant.problems import LinearClassification


class AdamLimit(eqx.Module):
    r"""One direction that the weights may tend to.

    `direction` `(d,)` has Euclidean length 1, `c` `(n,)` are the weights of the samples
    on the simplex. `norm` is the data-adaptive $\|w\|_M$ with
    $M=\mathrm{diag}\sqrt V$ at `c`, scaled to a largest entry of 1; None where some
    feature belongs to no sample that counts, so that $M$ is 0 there.

    How exact it is: `gap` and `drift` of the [`Equilibrium`][penchant.theory.per_sample.Equilibrium],
    both 0 at a solution; `standard_error`, the angle in radians by which another sample
    of random batches would turn it, to first order (0 where nothing was sampled, NaN
    where weights did not come to rest). How near it is to a
    max margin of `norm`: `norm_gap` is 1 - margin / upper bound, and `kkt_residual` the
    larger of the relative residuals of stationarity and complementarity, both 0 for
    $\beta_2\to1$. `fixed_point` is $\|T(c)-c\|_1$; None for large data. `proxy_angle`
    is the angle to the limit for $\beta_2\to1$, in radians.

    `pace` is the margin that small steps gain per unit of $\sum_t\eta_t$, not positive
    where these settings do not separate the data; `growth` what a constant step size
    gains a step (0 where none was given). `stable` says whether small disturbances die
    out, and `rate` how fast the slowest does per unit of $\sum_t\eta_t$; both None where
    that was not computed, or weights did not come to rest (`converged` False): such a
    point is no limit.
    """  # noqa: E501

    direction: Vector
    c: PerSample
    norm: Mahalanobis | None
    margin: Scalar
    pace: float = eqx.field(static=True)
    growth: float = eqx.field(static=True)
    gap: float = eqx.field(static=True)
    drift: float = eqx.field(static=True)
    norm_gap: float = eqx.field(static=True)
    kkt_residual: float = eqx.field(static=True)
    fixed_point: float | None = eqx.field(static=True)
    standard_error: float = eqx.field(static=True)
    proxy_angle: float = eqx.field(static=True)
    stable: bool | None = eqx.field(static=True)
    rate: float | None = eqx.field(static=True)
    converged: bool = eqx.field(static=True)

    def cosine(self, best: MaxMargin) -> float:
        """The cosine with a maximum-margin solution's weights."""
        w = best.weights
        return float(self.direction @ w / jnp.linalg.norm(w))

    def ratio(self, problem: LinearClassification, best: MaxMargin) -> float:
        """The share of a norm's largest margin that this direction has."""
        margin = jnp.min(problem.margins(self.direction)) / best.norm(self.direction)
        return float(margin / best.margin)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, without arrays, in types that JSON has."""
        arrays = ("direction", "c", "norm")
        names = [f.name for f in dataclasses.fields(self) if f.name not in arrays]
        return plain({name: getattr(self, name) for name in names})

    def __repr__(self) -> str:
        stable = {True: "stable", False: "unstable", None: "stability not computed"}
        sampled = self.converged and self.standard_error > 0
        error = f" ± {self.standard_error:.1e} rad" if sampled else ""
        return (
            f"AdamLimit({stable[self.stable]}, pace={self.pace:.6g}{error}, "
            f"gap={self.gap:.1e}, norm_gap={self.norm_gap:.1e}"
            + ("" if self.converged else ", not converged")
            + ")"
        )


class AdamLimits(eqx.Module):
    """The limits found, that of the start given first; `starts` says how many tried.

    A search from finitely many starts: there may be more limits than it found.
    `complete` says whether it went through all of them, or ended for lack of time.
    """

    limits: tuple[AdamLimit, ...]
    starts: int = eqx.field(static=True)
    kind: str = eqx.field(static=True)
    complete: bool = eqx.field(static=True, default=True)

    @property
    def reached(self) -> AdamLimit:
        """The one that the start given tends to: the first, unless it is unstable."""
        for limit in self.limits:
            if limit.stable is not False:
                return limit
        return self.limits[0]

    @property
    def unique(self) -> bool:
        """Whether no other stable limit was found."""
        return sum(limit.stable is not False for limit in self.limits) <= 1

    def to_dict(self) -> dict[str, Any]:
        """The limits' numbers, in types that JSON has."""
        limits = [limit.to_dict() for limit in self.limits]
        told = {"kind": self.kind, "starts": self.starts, "complete": self.complete}
        return {**told, "limits": limits}

    def __repr__(self) -> str:
        tried = f"{self.starts} starts{'' if self.complete else ', not all'}"
        lines = [f"AdamLimits({self.kind}; {len(self.limits)} from {tried})"]
        return "\n".join([*lines, *(f"  {limit!r}" for limit in self.limits)])
