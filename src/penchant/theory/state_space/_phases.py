"""Where clean data generalise and poisoned ones don't: a diagram of exact limits."""

from typing import Any

import equinox as eqx
import numpy as np

from penchant._arrays import numbers
from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real
from penchant.flows.state_space import two_lag_limits
from penchant.training.executors import AbstractExecutor


class PhaseDiagram(eqx.Module):
    r"""Errors at the limit of gradient flow by gap of the start and amplitude.

    `error` `(g, z)` is absolute, over `lags` lags, for every gap `(g,)` and amplitude
    `(z,)` of the special example; `clean` `(g,)` is that without one. NaN where a flow
    did not end.
    """

    gap: np.ndarray
    amplitude: np.ndarray
    clean: np.ndarray
    error: np.ndarray
    scale: float = eqx.field(static=True)
    length: int = eqx.field(static=True)
    states: int = eqx.field(static=True)
    lags: int = eqx.field(static=True)

    @property
    def poisoned(self) -> np.ndarray:
        """`(g, z)` bool: ten times the clean error or more, which is below .2."""
        clean = self.clean[:, None]
        return (clean < 0.2) & (self.error > 10.0 * clean)

    @property
    def repaired(self) -> np.ndarray:
        """`(g, z)` bool: a tenth of the clean error or less."""
        return self.error < 0.1 * self.clean[:, None]

    def plot(self, *, size: tuple[float, float] = (6.4, 4.0), ax: Any = None) -> Any:
        """The logarithm of the ratio to the clean error, by gap and amplitude.

        Args:
            size: Of a new figure, in inches.
            ax: Draw here instead.
        """
        from penchant import plotting

        ratio = np.log10(self.error / self.clean[:, None])
        with plotting.house_style():
            ax = plotting.own_axes(ax, size)
            shown = ax.pcolormesh(
                self.gap,
                self.amplitude,
                ratio.T,
                cmap="RdBu_r",
                vmin=-2.0,
                vmax=2.0,
                shading="nearest",
                rasterized=False,
            )
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("gap of the two largest poles at the start")
            ax.set_ylabel("amplitude of the special example")
            ax.figure.colorbar(shown, ax=ax, label="log10 of poisoned over clean error")
        return ax

    def __repr__(self) -> str:
        cells = self.error.size
        return (
            f"PhaseDiagram({len(self.gap)} gaps × {len(self.amplitude)} amplitudes, "
            f"κ={self.length}, d={self.states}: poisoned in {self.poisoned.sum()} of "
            f"{cells} cells, repaired in {self.repaired.sum()})"
        )


def phase_diagram(
    gap: Numbers,
    amplitude: Numbers,
    *,
    a0: Numbers,
    length: int = 7,
    lags: int = 20,
    eps: Real = 0.02,
    executor: AbstractExecutor | None = None,
) -> PhaseDiagram:
    r"""Limits of gradient flow on poles for every gap and amplitude.

    The data are those of `slutzky2025poisoned`, Theorem 1: one sequence excites lag
    κ−1, one special sequence, of amplitude $z$, lag 1; $b=c=1$, the teacher's response
    is 1 at both. The second pole of the start is put `gap` below the first. Clean
    limits are exact, the others by batched ROS2: a smaller `eps` says how good they
    are, least so for amplitudes far below 1, where poles slide long.

    >>> import penchant as pn
    >>> found = pn.theory.state_space.phase_diagram(
    ...     [1e-2, 1e-3], [1.0], a0=[0.1, 0.05, 0.04]
    ... )
    >>> found.error.shape, bool(found.clean[0] < found.clean[1])
    ((2, 1), True)

    Args:
        gap: `(g,)` gaps of the two largest poles, at least 0.
        amplitude: `(z,)` amplitudes of the special example.
        a0: `(d,)` poles at the start, above 0, whose second largest is moved.
        length: κ.
        lags: Over how many lags the error is taken.
        eps: Steps of ROS2 in units of the rate of growth.
        executor: Where cells are computed, such as `executors.Ray()`; None for this
            process. The diagram has the same bits.

    Raises:
        TypeError: If an argument holds no numbers.
        ValueError: If one is out of its range, or a gap is as large as the first pole.
        RuntimeError: If cells failed as often as the executor tries.
    """
    gaps, z = (
        numbers(name, values, "(m,)").ravel()
        for name, values in (("gap", gap), ("amplitude", amplitude))
    )
    a = np.sort(numbers("a0", a0, "(d,)").ravel())[::-1]
    length = check_count("length", length, least=4)
    lags = check_count("lags", lags, least=2)
    check_number("gap", gaps, least=0.0, finite=True)
    check_number("amplitude", z, finite=True)
    if a.size < 2 or not (np.isfinite(a) & (a > 0)).all():
        raise ValueError(
            f"a0 must have two poles above 0 or more; got {a[:3].tolist()}."
        )
    if gaps.size == 0 or z.size == 0 or gaps.max() >= a[0]:
        raise ValueError(
            f"gap and amplitude must not be empty, and gaps below {a[0]:g}, the "
            "largest pole."
        )
    starts = np.repeat(a[None], len(gaps), axis=0)
    starts[:, 1] = a[0] - gaps
    clean = two_lag_limits(starts, np.zeros(len(gaps)), length)
    cells = np.repeat(starts, len(z), axis=0)
    ends = two_lag_limits(
        cells,
        np.tile(z, len(gaps)),
        length,
        eps=float(np.asarray(eps)),
        executor=executor,
    )
    return PhaseDiagram(
        gap=gaps,
        amplitude=z,
        clean=_errors(clean, lags),
        error=_errors(ends, lags).reshape(len(gaps), len(z)),
        scale=float(a[0]),
        length=length,
        states=a.size,
        lags=lags,
    )


def _errors(a: np.ndarray, lags: int) -> np.ndarray:
    r"""$\max_{1\le l<\text{lags}}|\sum_ja_j^l-1|$; lag 0 is matched by itself."""
    worst, power = np.zeros(len(a)), np.ones_like(a)
    for _ in range(1, lags):
        power = power * a
        worst = np.maximum(worst, np.abs(power.sum(axis=1) - 1.0))
    return worst
