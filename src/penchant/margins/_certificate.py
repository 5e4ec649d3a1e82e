import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance
from penchant._types import Scalar, Weights
from penchant.norms import AbstractNorm, read
from penchant.problems import LinearClassification, of_dataset

SHARPNESSES = 96
"""Softmax temperatures tried for the upper bound."""


class Certificate(eqx.Module):
    r"""Two sides of the largest margin $\gamma$, from given weights and no solver.

    `margin` is that of the weights, $\min_iq_i(w)/\|w\|\le\gamma$; no weights beat
    `upper_bound` $\ge\gamma$. `gap` is 1 - margin / upper_bound: 0 means the weights
    are optimal, and it is above 1 where they misclassify a sample.
    """

    margin: Scalar
    upper_bound: Scalar
    gap: Scalar

    def __repr__(self) -> str:
        return (
            f"Certificate(margin={float(self.margin):.6g}, "
            f"upper_bound={float(self.upper_bound):.6g}, gap={float(self.gap):.2e})"
        )


def certify(
    problem: LinearClassification | object,
    weights: Weights | object,
    norm: AbstractNorm | str,
) -> Certificate:
    r"""Bound the largest margin from both sides by the weights at hand.

    Any simplex weights $q$ of the rows $a_{ic}$ prove
    $\gamma\le\|\sum_{ic}q_{ic}a_{ic}\|_*$. Those of a softmax of the margins,
    $q\propto e^{-\tau m}$, are nearly optimal when the weights are; with $\tau$ such
    that $q$ are the loss's own slopes this is Lemma 1 of `fan2025spectral`. Here the
    best of 96 sharpnesses $\tau$ is taken, so the bound does not depend on the length
    of the weights. It never fails to be a bound; it is loose for weights that are far
    from optimal.

    >>> import penchant as pn
    >>> X = jnp.array([[1.0, 2.0], [2.0, 1.0]])
    >>> problem = pn.LinearClassification(
    ...     X, jnp.array([1, 1]), loss=pn.losses.Exponential()
    ... )
    >>> pn.certify(problem, jnp.array([1.0, 1.0]), pn.norms.Linf())
    Certificate(margin=3, upper_bound=3, gap=0.00e+00)

    Args:
        problem: Its data, or a `Dataset`; the loss plays no part.
        weights: Any weights but 0, of the problem's shape. For those of
            other frameworks, in every norm, there is [`examine`][penchant.examine].
        norm: The norm, or its name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the weights have another shape, are 0, or are not finite.
    """
    problem = of_dataset(problem)
    check_instance("problem", problem, LinearClassification, "a LinearClassification")
    assert isinstance(problem, LinearClassification)
    norm = read(norm)
    w = jnp.asarray(weights, dtype=float)
    if w.shape != problem.weight_shape:
        raise ValueError(
            f"weights must have shape {problem.weight_shape}; got {w.shape}."
        )
    if not bool(jnp.all(jnp.isfinite(w))) or not bool(jnp.any(w != 0)):
        raise ValueError("weights must be finite and not all 0.")
    margin, upper = bounds(problem, w, norm)
    gap = 1.0 - margin / jnp.where(upper > 0, upper, 1.0)
    return Certificate(margin, upper, jnp.where(upper > 0, gap, jnp.inf))


@eqx.filter_jit
def bounds(
    problem: LinearClassification, w: Weights, norm: AbstractNorm
) -> tuple[Scalar, Scalar]:
    """The margin of weights, and an upper bound on anybody's."""
    margins = problem.pair_margins(w)
    least = jnp.min(margins)
    finite = jnp.where(jnp.isinf(margins), -jnp.inf, margins)
    spread = jnp.maximum(jnp.max(finite) - least, 1e-300)
    # between weights that are all alike and weights on the least margin alone
    sharpness = jnp.geomspace(1e-2, 1e8, SHARPNESSES) / spread

    def bound(tau: Scalar) -> Scalar:
        q = jnp.exp(-tau * (margins - least))
        return norm.dual(problem.pull(q / jnp.sum(q)))

    return least / norm(w), jnp.min(jax.lax.map(bound, sharpness))
