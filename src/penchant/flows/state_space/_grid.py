"""Limits of many two-lag problems at once: the cells of a phase diagram."""

import jax.numpy as jnp
import numpy as np

from penchant._arrays import numbers
from penchant._checks import check_count, check_number
from penchant._types import Numbers
from penchant.flows.state_space._rosenbrock import poles_limits
from penchant.training.executors import (
    AbstractExecutor,
    Cells,
    check_executor,
    in_boxes,
)

ROUGH = 0.02
"""Steps of ROS2 for pictures: some 1e-4 of the weights, more where poles slide long."""

BATCH = 256
"""Problems that are stepped side by side, a task of an executor; all wait for the
slowest."""


def two_lag_limits(
    a0: Numbers,
    amplitude: Numbers,
    length: int,
    *,
    eps: float = ROUGH,
    executor: AbstractExecutor | None = None,
) -> np.ndarray:
    r"""Limits of poles that see lag κ−1 with energy 1 and lag 1 with `amplitude²`.

    $b_jc_j=1$ and $h_1^*=h_{\kappa-1}^*=1$:
    $\mathcal L=\frac12[(S_{\kappa-1}-1)^2+z^2(S_1-1)^2]$ with $S_l=\sum_ja_j^l$, many
    starts and amplitudes $z$ at once. Amplitude 0 takes the exact formula where poles
    are above 0. Sorted by size, so that batches end together.

    >>> from penchant import ssm
    >>> a = ssm.two_lag_limits([[0.1, 0.09], [0.1, 0.09]], [0.0, 1.0], 7, eps=0.01)
    >>> abs(a).round(3).tolist()
    [[1.0, 0.118], [1.0, 0.0]]

    Args:
        a0: `(m, d)` poles at the start.
        amplitude: `(m,)` sizes $z$ of the one special example.
        length: κ, at least 3.
        eps: Steps in units of the rate of growth; the error is of second order.
        executor: Where batches are run, such as `executors.Ray()`; None for this
            process. The limits have the same bits.

    Returns:
        `(m, d)` poles; NaN where a flow did not end.

    Raises:
        TypeError: If an argument holds no numbers.
        ValueError: If shapes disagree, an entry is not finite, or κ is below 3.
        RuntimeError: If a batch failed as often as the executor tries.
    """
    from penchant.flows.state_space._baseline import baseline_limits

    a = numbers("a0", a0, "(m, d)")
    z = numbers("amplitude", amplitude, "(m,)")
    length = check_count("length", length, least=3)
    check_number("eps", eps, above=0.0, most=0.5)
    executor = check_executor(executor)
    if a.ndim != 2 or z.shape != a.shape[:1]:
        raise ValueError(
            "a0 must have shape (m, d) and amplitude (m,); got "
            f"{a.shape} and {z.shape}."
        )
    if not (np.isfinite(a).all() and np.isfinite(z).all()):
        raise ValueError("a0 and amplitude must be finite; got NaN or infinity.")
    ends = np.empty_like(a)
    exact = (z == 0) & (a > 0).all(axis=1)
    if exact.any():
        ends[exact] = baseline_limits(a[exact], length)
    rest = np.flatnonzero(~exact)
    rest = rest[np.argsort(np.abs(z[rest]), kind="stable")]
    shared = (a[rest], z[rest], length, eps)
    found = in_boxes(executor, _ran, shared, cells=len(rest), size=BATCH)
    if found:
        ends[rest] = np.concatenate(found)
    return ends


Shared = tuple[np.ndarray, np.ndarray, int, float]


def _ran(shared: Shared, cells: Cells) -> np.ndarray:
    a, z, length, eps = shared
    a, z = a[cells.rows], z[cells.rows]
    F = np.zeros((len(z), 2, length))
    F[:, 0, length - 1] = 0.5**0.5
    F[:, 1, 1] = 0.5**0.5 * z
    f = np.stack([np.full(len(z), 0.5**0.5), 0.5**0.5 * z], axis=1)
    found = poles_limits(
        jnp.asarray(a),
        jnp.ones(a.shape[1]),
        jnp.asarray(F),
        jnp.asarray(f),
        jnp.asarray(eps),
        jnp.asarray(1e40),
    )
    ended = np.asarray(found.ended)
    return np.where(ended[:, None], np.asarray(found.a), np.nan)
