"""Zhang, Zou, Cao (2024): Adam without ε on separable data, full batch."""

import jax.numpy as jnp
import numpy as np

from penchant.norms import Linf
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.theory._setting import Setting
from penchant.theory.regimes._decays import Decays


def adam_without_eps(
    setting: Setting, decays: Decays, regimes: tuple[Regime, ...]
) -> Prediction:
    r"""Full-batch Adam with $\varepsilon=0$ tends to the $\ell_\infty$ max margin.

    The moments forget: once steps are so small that the gradient hardly changes within
    their memory, $m/\sqrt v$ is the gradient's sign. The conditions
    $\beta_1\le\beta_2$ and initial gradients away from 0 are recalled, not checked
    against the paper; `fan2025spectral`, Corollary 2, has the multi-class case.
    """
    problem = setting.problem
    source = "zhang2024adam" if problem.binary else "fan2025spectral, Corollary 2"
    return setting.predict(
        Linf(),
        source,
        "Without ε Adam's steps become signs of the gradient, so the ℓ∞ margin tends "
        "to its largest.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            setting.decreasing_steps(Linf()),
            *decays.assumptions(),
            _alive(setting),
        ),
        regimes,
    )


def _alive(setting: Setting) -> Assumption:
    """No coordinate whose gradient starts at 0 (from zero weights)."""
    problem = setting.problem
    gradient = problem.scaled_gradient(jnp.zeros(problem.weight_shape)).direction
    size = np.abs(np.asarray(gradient))
    # a feature that is always 0 has no weight to speak of: 0/0 = 0 keeps it at rest
    used = np.broadcast_to(np.asarray(jnp.any(problem.X != 0, axis=0)), size.shape)
    still = int((size[used] <= 1e-12 * size.max()).sum())
    return Assumption(
        "no coordinate of the gradient is 0 at the start",
        Verdict.HOLDS if still == 0 else Verdict.FAILS,
        f"{still} of {int(used.sum())} are, from zero weights",
    )
