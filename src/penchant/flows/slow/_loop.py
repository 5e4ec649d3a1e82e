import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from penchant import optimizers
from penchant._checks import check_number
from penchant._types import Parameters, Real
from penchant.flows.slow._manifold import Manifold, manifold_of
from penchant.flows.slow._metric import Metric
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem


def loop_integral(
    problem: AbstractProblem,
    optimizer: AbstractOptimizer | str | object,
    loop: Parameters,
    *,
    noise: Real = 1.0,
) -> float:
    r"""$\oint\operatorname{tr}(S\,dH)$ around a closed path, $S=S(V(\alpha H))$.

    What the quasi-static slow flow goes down is the potential of this form, where it
    has one: then the integral is 0 around every loop, as for powers of entries or
    blocks. Shampoo's is not. The last point joins the first; the midpoint rule, whose
    error falls fourfold with twice the points.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [2.0])
    >>> t = jnp.linspace(0.0, 2 * jnp.pi, 400, endpoint=False)[:, None]
    >>> loop = 1.0 + 0.3 * jnp.concatenate([jnp.cos(t), jnp.sin(t)], axis=1)
    >>> abs(pn.flows.slow.loop_integral(problem, "adam", loop)) < 1e-6
    True

    Args:
        problem: A regression or an objective.
        optimizer: As `slow_flow` takes it.
        loop: Weights along the path, with a leading axis.
        noise: $\alpha$.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a number is out of its range.
    """
    check_number("noise", noise, above=0.0, finite=True)
    metric = Metric.of(optimizers.read(optimizer))
    points = jax.vmap(problem.flat)(jax.tree.map(jnp.asarray, loop))
    manifold = manifold_of(problem, points[0])
    alpha = jnp.asarray(noise, dtype=float)
    return float(np.asarray(_around(manifold, metric, points, alpha)))


@eqx.filter_jit
def _around(manifold: Manifold, metric: Metric, points: Array, alpha: Array) -> Array:
    def piece(a: Array, b: Array) -> Array:
        middle = 0.5 * (a + b)
        S = metric.S(manifold, metric.follows(manifold, middle, alpha), middle)
        return manifold.inner(b, S) - manifold.inner(a, S)

    return jnp.sum(jax.vmap(piece)(points, jnp.roll(points, -1, axis=0)))
