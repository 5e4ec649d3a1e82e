"""Gunasekar et al. (2018), implicit bias in terms of optimization geometry."""

import math

import jax.numpy as jnp

from penchant.norms import AbstractNorm
from penchant.problems import losses
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting, longest_row


def steepest_descent(setting: Setting, norm: AbstractNorm) -> Prediction:
    r"""Unnormalised steepest descent finds the max margin of its norm.

    $$\lim_t \min_i \frac{q_i(w_t)}{\|w_t\|} = \max_{\|w\|\le1}\min_i q_i(w)$$

    For the exponential loss and steps up to $1/(B^2L(w_t))$, $B=\max_i\|x_i\|_*$. The
    direction too, where only one attains the margin.
    """
    largest = setting.largest_step()
    B = longest_row(setting.problem, norm)
    first_loss = math.exp(
        float(setting.problem.log_loss(jnp.zeros(setting.problem.weight_shape)))
    )
    limit = 1.0 / (B**2 * first_loss)
    small = Verdict.UNKNOWN
    if largest is not None:
        small = Verdict.HOLDS if largest <= limit else Verdict.FAILS
    exponential = isinstance(setting.problem.loss, losses.Exponential)
    b1 = setting.character.b1
    return setting.predict(
        norm,
        "gunasekar2018geometry, Theorem 5",
        f"Steepest descent tends to the max margin of its norm, {norm.label}.",
        (
            setting.separable(),
            setting.every_sample(),
            Assumption(
                "the loss is exponential",
                Verdict.HOLDS if exponential else Verdict.UNKNOWN,
                repr(setting.problem.loss),
            ),
            Assumption(
                "step sizes are at most 1/(B² L)",
                small,
                f"{largest if largest is None else f'{largest:.3g}'} against "
                f"{limit:.3g} at the start from 0",
            ),
            Assumption(
                "there is no momentum",
                Verdict.HOLDS if b1 == 0 else Verdict.UNKNOWN,
                f"b1 = {b1:g}",
            ),
        ),
    )
