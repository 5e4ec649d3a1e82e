r"""Hessian and Gauss-Newton matrix of a problem: products, draws, and dense for few.

The training loss is $\frac1n\sum_i\ell_i(s_i(w))$ with outputs $s_i$. Then $H=G+R$:
$G=\frac1n\sum_iJ_i^\top\ell_i''J_i$, $J_i=\partial s_i/\partial w$, and $R$ is what the
curvature of the outputs adds, weighted by $\ell_i'$.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._checks import check_instance
from penchant._types import Parameters
from penchant.problems import AbstractClassification, AbstractProblem, Regression

Flat = Float[Array, " p"]
Square = Float[Array, "p p"]

DENSE = 2000
"""Most parameters for which a Hessian is written out."""

FAR = 700.0
"""A margin whose loss is $10^{-304}$, for opponents that are the sample's own class."""


class Outputs(eqx.Module):
    """A problem seen as outputs and a loss of them: where Gauss-Newton is defined."""

    problem: AbstractProblem

    def __call__(self, w: Parameters) -> Float[Array, "n c"]:
        """All outputs, a row a sample."""
        if isinstance(self.problem, Regression):
            s = self.problem.residuals(w)
            return s.reshape(s.shape[0], -1)
        assert isinstance(self.problem, AbstractClassification)
        s = self.problem.pair_margins(w)
        return jnp.where(jnp.isinf(s), FAR, s)

    def roots(self, s: Float[Array, "n c"]) -> Float[Array, "n c c"] | None:
        r"""$A_i$ with $A_iA_i^\top=\ell_i''$; None where that is the identity."""
        if isinstance(self.problem, Regression):
            return None
        assert isinstance(self.problem, AbstractClassification)
        loss = self.problem.loss
        one = lambda m: jnp.exp(loss.log_losses(m[None, :]))[0]
        H = jax.vmap(jax.hessian(one))(s)
        values, U = jnp.linalg.eigh(H)
        return U * jnp.sqrt(jnp.maximum(values, 0.0))[:, None, :]


def outputs_of(problem: AbstractProblem) -> Outputs | None:
    """The problem's outputs; None where a loss does not say what they are."""
    if isinstance(problem, (Regression, AbstractClassification)):
        return Outputs(problem)
    return None


def check_problem(problem: AbstractProblem) -> None:
    """A problem whose loss can be had by value.

    Raises:
        TypeError: If it is none.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    if not problem.has_batch_loss:
        raise TypeError(
            f"problem must have a loss by value (batch_loss); {problem!r} has none."
        )


def loss_of(problem: AbstractProblem) -> Callable[[Flat], Array]:
    """The training loss of flat weights, without the noise that a random one draws."""
    return lambda x: problem.batch_loss(problem.unflat(x))


def product(problem: AbstractProblem, x: Flat, v: Flat) -> Flat:
    """$Hv$ by forward over reverse."""
    return jax.jvp(jax.grad(loss_of(problem)), (x,), (v,))[1]


def hessian_product(
    problem: AbstractProblem, w: Parameters, v: Parameters
) -> Parameters:
    r"""$\nabla^2\mathcal L(w)\,v$, a pytree like the weights.

    The loss is the recorded one: without label noise.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w
    >>> problem = pn.Regression(apply, jnp.ones(2), [[2.0, 0.0], [0.0, 0.0]], [1, 1])
    >>> pn.measures.hessian_product(problem, jnp.ones(2), jnp.ones(2)).tolist()
    [2.0, 0.0]

    Raises:
        TypeError: If the problem has no loss by value, or `v` is another pytree.
        ValueError: If a shape differs.
    """
    check_problem(problem)
    x, d = problem.flat(problem.read(w, "w")), problem.flat(problem.read(v, "v"))
    return problem.unflat(_product(problem, x, d))


_product = eqx.filter_jit(product)


def hessian(problem: AbstractProblem, w: Parameters) -> Square:
    r"""$H=\nabla^2\mathcal L(w)$, `(p, p)`, for at most 2 000 parameters.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [2.0])
    >>> pn.measures.hessian(problem, jnp.ones(2)).tolist()
    [[4.0, 4.0], [4.0, 4.0]]

    Raises:
        TypeError: If the problem has no loss by value.
        ValueError: If there are more parameters.
    """
    check_problem(problem)
    return dense_hessian(problem, flat_few(problem, w))


def gauss_newton(problem: AbstractProblem, w: Parameters) -> Square:
    r"""$G=\frac1n\sum_iJ_i^\top\ell_i''J_i$, `(p, p)`, for at most 2 000 parameters.

    $H$ without the curvature of the outputs: equal to $H$ where residuals are 0, and
    on the diagonal of networks that are linear by pieces.

    >>> import jax.numpy as jnp, penchant as pn
    >>> apply = lambda w, X: X @ w**2
    >>> problem = pn.Regression(apply, jnp.ones(2), [[1.0, 1.0]], [0.0])
    >>> pn.measures.gauss_newton(problem, jnp.ones(2)).tolist()
    [[4.0, 4.0], [4.0, 4.0]]

    Raises:
        TypeError: If the problem's loss does not say what the outputs are.
        ValueError: If there are more parameters.
    """
    check_problem(problem)
    if outputs_of(problem) is None:
        raise TypeError(
            "problem must be a Regression or a classification for its Gauss-Newton "
            f"matrix; {problem!r} does not say what its outputs are."
        )
    return dense_gauss_newton(problem, flat_few(problem, w))


def flat_few(problem: AbstractProblem, w: Parameters) -> Flat:
    """The weights as a vector that is short enough for matrices.

    Raises:
        ValueError: If it is not.
    """
    x = problem.flat(problem.read(w, "w"))
    if x.size > DENSE:
        raise ValueError(
            f"problem must have at most {DENSE} parameters for a matrix of them; "
            f"it has {x.size}."
        )
    return x


@eqx.filter_jit
def dense_hessian(problem: AbstractProblem, x: Flat) -> Square:
    rows = jax.lax.map(
        functools.partial(product, problem, x), jnp.eye(x.size), batch_size=64
    )
    return 0.5 * (rows + rows.T)


@eqx.filter_jit
def dense_gauss_newton(problem: AbstractProblem, x: Flat) -> Square:
    J = jacobian(problem, x)
    return J.T @ J


def jacobian(problem: AbstractProblem, x: Flat) -> Float[Array, "m p"]:
    r"""$J$ with $J^\top J=G$: rows $A_i^\top J_i/\sqrt n$, over samples and outputs."""
    outputs = Outputs(problem)
    s = outputs(problem.unflat(x))
    roots = outputs.roots(jax.lax.stop_gradient(s))

    def scaled(x: Flat) -> Array:
        s = outputs(problem.unflat(x))
        if roots is not None:
            s = jnp.einsum("nc,nck->nk", s, roots)
        return jnp.ravel(s) / jnp.sqrt(float(s.shape[0]))

    wide = s.size < x.size
    return jax.jacrev(scaled)(x) if wide else jax.jacfwd(scaled)(x)


def resampled(
    problem: AbstractProblem, x: Flat, parts: tuple[Array, Array], key: PRNGKeyArray
) -> Flat:
    r"""One unbiased draw of $\operatorname{diag}G$: a gradient a part.

    With $u_i=A_i\xi_i$, $\xi_i\sim N(0,I)$ independent, $\frac1n\sum_B
    \bigl(\sum_{i\in B}J_i^\top u_i\bigr)_j^2$ over a partition in parts $B$ has mean
    $G_{jj}$: cross terms vanish. More parts, less spread.
    """
    n = problem.samples

    def part(total: Flat, inputs: Any) -> tuple[Flat, None]:
        rows, there, key = inputs
        cut = _rows(problem, rows)
        s, back = jax.vjp(Outputs(cut), problem.unflat(x))
        u = jax.random.normal(key, s.shape)
        roots = Outputs(cut).roots(s)
        if roots is not None:
            u = jnp.einsum("nck,nk->nc", roots, u)
        g = ravel_pytree(back(u * there[:, None])[0])[0]
        return total + g**2, None

    rows, there = parts
    keys = jax.random.split(key, rows.shape[0])
    return jax.lax.scan(part, jnp.zeros_like(x), (rows, there, keys))[0] / n


def _rows(problem: AbstractProblem, rows: Array) -> AbstractProblem:
    """The same problem on some of its samples."""
    if isinstance(problem, Regression):
        data = jax.tree.map(lambda a: a[rows], problem.data)
        return eqx.tree_at(lambda p: p.data, problem, data)
    assert isinstance(problem, AbstractClassification)
    return _Subset(problem, rows)


class _Subset(AbstractClassification):
    """A classification on some rows."""

    of: AbstractClassification
    rows: Array
    classes: int = eqx.field(static=True)
    binary: bool = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, of: AbstractClassification, rows: Array):
        self.of, self.rows = of, rows
        self.classes, self.binary, self.names = of.classes, of.binary, of.names

    @property
    def y(self) -> Any:
        return self.of.y[self.rows]

    @property
    def loss(self) -> Any:
        return self.of.loss

    @property
    def degree(self) -> float | None:
        return self.of.degree

    @property
    def start(self) -> Parameters:
        return self.of.start

    def pair_margins(self, w: Parameters, rows: Array | None = None) -> Array:
        return self.of.pair_margins(w, self.rows if rows is None else self.rows[rows])


def parts_of(n: int, count: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    """A random partition in `count` parts: rows, padded, and which are no padding."""
    count = min(n, count)
    size = -(-n // count)
    order = jax.random.permutation(key, n)
    padded = jnp.concatenate([order, jnp.zeros(count * size - n, order.dtype)])
    there = (jnp.arange(count * size) < n).astype(float)
    return padded.reshape(size, count).T, there.reshape(size, count).T
