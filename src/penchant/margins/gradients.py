"""Gradients of single margins: the rows of a problem's Jacobian that matter."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import NDArray

from penchant._types import Scalar
from penchant.margins._solvers.rows import PairRows
from penchant.problems import AbstractClassification, LinearClassification

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Samples and opponents of some margins."""


def pair_gradients(
    problem: AbstractClassification, w: Float[Array, " p"], pairs: Pairs
) -> NDArray[np.float64]:
    r"""$\nabla_wq_{ic}$ for some pairs, `(m, p)`, parameters flattened.

    Where a margin has no gradient, the one that automatic differentiation takes.
    """
    samples, opponents = pairs
    m = len(samples)
    # sizes are rounded up, so that few of them are ever compiled
    size = 1 << max(3, (m - 1).bit_length()) if m else 8
    pad = lambda x: jnp.asarray(np.pad(np.asarray(x, np.int32), (0, size - m)))
    J = _gradients(problem, w, pad(samples), pad(opponents))
    return np.asarray(J)[:m]


@eqx.filter_jit
def _gradients(
    problem: AbstractClassification,
    w: Float[Array, " p"],
    samples: Int[Array, " m"],
    opponents: Int[Array, " m"],
) -> Float[Array, "m p"]:
    def one(pair: Any) -> Any:
        i, c = pair

        def margin(v: Array) -> Scalar:
            scores = problem.pair_margins(problem.unflat(v), i[None])
            return scores[0, c]

        return jax.grad(margin)(w)

    return jax.lax.map(one, (samples, opponents), batch_size=64)


def margin_rows(problem: LinearClassification) -> NDArray[np.float64]:
    r"""The gradients $a_{ic}$ of all margins of a linear classifier, `(m, p)`.

    A row a sample and opponent, $y_ix_i$ for two classes, else
    $(e_{y_i}-e_c)x_i^\top$ flattened: `n (k - 1)` rows of `k d` numbers, dense.
    """
    return PairRows.of(problem).dense()


@eqx.filter_jit
def flat_margins(
    problem: AbstractClassification, w: Float[Array, " p"]
) -> Float[Array, "n c"]:
    """Pair margins at flat parameters."""
    return problem.pair_margins(problem.unflat(w))
