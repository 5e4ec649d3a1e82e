r"""The end of a stiff flow: exponential steps, exact for what decays at any rate.

Near the minimisers some directions decay $10^{15}$ times slower than others, and an
integrator's own errors in the fast ones drown what is left of the slow ones. With the
slopes $J=U\Sigma V^\top$ of the residuals, $v(y)=-2J^\top\rho$, an exponential
Rosenbrock method takes the rates $2\Sigma^2$ exactly, to rounding of $\Sigma$ and not
of its square:

    u = y + V h φ₁(z) v̂,   v̂ = -2 Σ Uᵀρ,   z = -2 h Σ²,
    y ← u + 2h φ₃(hL) (v(u) - V e^z v̂),    φ₃(0) = 1/6 where no slope leads,

the second term being what the slopes themselves have changed, and the estimate of an
error.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from penchant.flows.state_space._systems import AbstractSystem

STEP_ERROR = 3e-8
"""Error of a step, relative to the weights: some thousand steps add up to 1e-4."""

MOST_TAIL = 20_000
"""Steps after which a tail is given up."""


class Tail(NamedTuple):
    """Records of the tail, and whether it came to rest."""

    times: list[float]
    ys: list[np.ndarray]
    steps: int
    rests: bool


def tail(
    system: AbstractSystem,
    time: float,
    y: np.ndarray,
    horizon: float,
    tolerance: float,
    stop: Callable[[np.ndarray], bool],
) -> Tail:
    """The flow from `y` on, until what is left to go is below the tolerance."""
    times: list[float] = []
    ys: list[np.ndarray] = []
    h, steps = 1e-3 * max(time, 1e-12), 0
    size = max(float(np.linalg.norm(y)), 1e-300)
    s, Vt, along = system.modes(y)
    while steps < MOST_TAIL and time < horizon:
        h = min(h, horizon - time)
        z = -2.0 * h * s**2
        v = -2.0 * s * along
        u = y + Vt.T @ (h * _phi1(z) * v)
        rest = system.velocity(time, u) - Vt.T @ (np.exp(z) * v)
        within = Vt @ rest
        beyond = rest - Vt.T @ within
        correction = h * (Vt.T @ (2.0 * _phi3(z) * within) + beyond / 3.0)
        error = float(np.linalg.norm(correction)) / size
        steps += 1
        if np.isfinite(error) and error <= STEP_ERROR:
            time, y = time + h, u + correction
            times.append(time)
            ys.append(y)
            size = max(float(np.linalg.norm(y)), 1e-300)
            s, Vt, along = system.modes(y)
            if float(np.linalg.norm(along / s)) <= tolerance * size:
                return Tail(times, ys, steps, True)
            if steps % 50 == 49 and stop(y):
                return Tail(times, ys, steps, False)
        if np.isfinite(error):
            h *= min(10.0, max(0.2, 0.9 * (STEP_ERROR / max(error, 1e-300)) ** 0.5))
        else:
            h *= 0.1
    return Tail(times, ys, steps, False)


def _phi1(z: np.ndarray) -> np.ndarray:
    small = np.abs(z) < 1e-8
    safe = np.where(small, 1.0, z)
    return np.where(small, 1.0 + z / 2.0, np.expm1(safe) / safe)


def _phi3(z: np.ndarray) -> np.ndarray:
    r"""$(e^z-1-z-z^2/2)/z^3$."""
    small = np.abs(z) < 1e-2
    safe = np.where(small, 1.0, z)
    series = (1.0 + z / 4.0 * (1.0 + z / 5.0 * (1.0 + z / 6.0 * (1.0 + z / 7.0)))) / 6.0
    # divided one after the other: the cube of a large z overflows
    exact = ((np.expm1(safe) / safe - 1.0) / safe - 0.5) / safe
    return np.where(small, series, exact)
