"""The maximum margin that Adam's own denominators define, and its fixed points."""

import jax.numpy as jnp
import numpy as np

from penchant._checks import check_number
from penchant._types import Numbers, PerSample
from penchant.margins import MaxMargin, max_margin
from penchant.norms import Mahalanobis
from penchant.problems import LinearClassification
from penchant.theory.per_sample._mean_step import adam_proxy
from penchant.training.batching import AbstractBatching, Cyclic


def parametric_margin(
    problem: LinearClassification, c: Numbers, batching: AbstractBatching = Cyclic(1)
) -> MaxMargin:
    r"""The problem $P_{\rm Adam}(c)$ of `baek2026persample`, in the form recalled.

    $$\min\tfrac12\|w\|^2_{M(c)}\ \text{ s.t. }y_i\langle x_i,w\rangle\ge1,\qquad
    M(c)=\mathrm{diag}\sqrt{\textstyle\sum_jc_j^2x_j^2}$$

    as a maximum margin in the norm of $M(c)$, scaled to a largest entry of 1. Its dual
    weights are $T(c)$: where $T(c)=c$ they are a limit of Adam for $\beta_2\to1$. Other
    batches put their own $\sqrt{V(c)}$ in place of the sum. Plain iteration of $T$ may
    cycle, so it certifies limits here and is not used to find them.

    >>> import penchant as pn
    >>> problem = pn.datasets.bistable(6, 2, 1).problem()
    >>> parametric_margin(problem, [0.5, 0.5]).dual.round(6)
    Array([0.5, 0.5], dtype=float64)

    Args:
        problem: Two classes, separable.
        c: `(n,)` weights of the samples, at least 0, not all 0.
        batching: Which samples an update sees; not all of them.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `c` has another shape, a negative entry, or leaves a feature that
            some sample has without weight, so that $M(c)$ is singular.
    """
    step = adam_proxy(problem, batching)
    weights = _check_weights(c, problem.samples)
    rows = np.asarray(step.rows)
    log_c = jnp.log(jnp.asarray(np.maximum(weights, 1e-300 * weights.max())))
    M = np.asarray(step.spread(log_c))
    idle = (rows != 0).any(axis=0) & ~(1e-150 * M.max() < M)
    if idle.any():
        raise ValueError(
            "c must weigh a sample with an entry in each feature, or M(c) is singular; "
            f"feature {int(np.flatnonzero(idle)[0])} has none."
        )
    # a feature that is always 0 has no weight, and any M will do for it
    M = np.where(M > 0, M / M.max(), 1.0)
    return max_margin(problem, Mahalanobis(jnp.asarray(M)))


def fixed_point_map(
    problem: LinearClassification, c: Numbers, batching: AbstractBatching = Cyclic(1)
) -> PerSample:
    r"""$T(c)$: the dual weights of `parametric_margin`, on the simplex, `(n,)`.

    Args:
        problem: Two classes, separable.
        c: `(n,)` weights of the samples.
        batching: Which samples an update sees; not all of them.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: As for `parametric_margin`.
    """
    return parametric_margin(problem, c, batching).dual


def _check_weights(c: Numbers, n: int) -> np.ndarray:
    check_number("c", c, least=0.0, below=np.inf)
    weights = np.asarray(c, dtype=float)
    if weights.shape != (n,):
        raise ValueError(f"c must have shape ({n},); got {weights.shape}.")
    if not weights.max() > 0:
        raise ValueError("c must be positive for some sample; all of it is 0.")
    return weights / weights.sum()
