"""Margins of homogeneous models, free of their scale."""

import jax
import jax.numpy as jnp
import numpy as np

from penchant._checks import check_instance
from penchant._types import Parameters, Scalar
from penchant.norms import L2, AbstractNorm, Layerwise, Mahalanobis
from penchant.problems import AbstractClassification
from penchant.problems.losses import Exponential


def normalized_margin(
    problem: AbstractClassification,
    w: Parameters,
    norm: AbstractNorm = L2(),
) -> Scalar:
    r"""$\bar\gamma=q_{\min}/\|w\|^L$, the norm being that of all parameters together.

    Raises:
        NotHomogeneousError: If the problem has no degree.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `w` has not the shapes of the problem's parameters.
    """
    _check(problem, w, norm)
    return (
        jnp.min(problem.margins(w))
        / _length(problem, w, norm) ** problem.require_degree()
    )


def _check(problem: AbstractClassification, w: Parameters, norm: AbstractNorm) -> None:
    check_instance("problem", problem, AbstractClassification, "one with margins")
    check_instance("norm", norm, AbstractNorm, "one of penchant.norms")
    shapes = [jax.tree.map(np.shape, tree) for tree in (problem.start, w)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"w must have the shapes of the problem's parameters, {shapes[0]}; got "
            f"{shapes[1]}."
        )
    for leaf in jax.tree.leaves(w):
        if getattr(leaf, "dtype", np.dtype(object)).kind not in "biuf":
            raise TypeError(f"w must be arrays of real numbers; got {leaf!r:.100}.")


def smoothed_margin(
    problem: AbstractClassification,
    w: Parameters,
    norm: AbstractNorm = L2(),
) -> Scalar:
    r"""$\tilde\gamma=\ell^{-1}(\sum_i\ell_i)/\|w\|^L$ of `lyu2020gradient`.

    With $q_{\min}$ replaced by the margin at which one sample had the whole loss:
    $\log\frac1{\mathcal L}$ for the exponential loss, $-\log(e^{\mathcal L}-1)$ for the
    others. $\bar\gamma-\|w\|^{-L}\log N\le\tilde\gamma\le\bar\gamma$ (with several
    classes, of the soft margins). Along gradient flow it never falls.

    Raises:
        NotHomogeneousError: If the problem has no degree.
        TypeError: If an argument is of the wrong kind.
        ValueError: If `w` has not the shapes of the problem's parameters.
    """
    _check(problem, w, norm)
    log_sum = problem.log_loss(w) + jnp.log(float(problem.samples))
    if isinstance(problem.loss, Exponential):
        alone = -log_sum
    else:
        # -log(e^L - 1), where L is tiny -log L
        L = jnp.exp(log_sum)
        small = log_sum < -30.0
        alone = jnp.where(
            small, -log_sum, -jnp.log(jnp.expm1(jnp.where(small, 1.0, L)))
        )
    return alone / _length(problem, w, norm) ** problem.require_degree()


def _length(
    problem: AbstractClassification, w: Parameters, norm: AbstractNorm
) -> Scalar:
    if isinstance(norm, Layerwise):
        return norm(w)
    flat = problem.flat(w)
    if isinstance(norm, Mahalanobis):
        return norm(jnp.reshape(flat, norm.M.shape))
    return norm(w if isinstance(w, jax.Array) else flat)
