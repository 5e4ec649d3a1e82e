"""Wang et al. (2021): what adaptive methods with ε, and AdaGrad, converge to."""

import jax.numpy as jnp
import numpy as np

from penchant.norms import L2, Mahalanobis
from penchant.optimizers import AdaGrad
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.theory._setting import Setting
from penchant.theory.regimes._adam_regimes import Decays


def adam_with_eps(
    setting: Setting, decays: Decays, regimes: tuple[Regime, ...]
) -> Prediction:
    r"""With $\varepsilon>0$ Adam and RMSProp end as gradient descent: $\ell_2$.

    The gradient falls below any $\varepsilon$, and $m/(\sqrt v+\varepsilon)$ then is
    $m/\varepsilon$. True as $t\to\infty$ only: past the crossover the loss has to fall
    by the same power again and again for the direction to turn, which at constant
    steps takes a number of steps proportional to 1/loss.
    """
    return setting.predict(
        L2(),
        "wang2021adaptive; wang2022momentum",
        "Gradients fall below ε, after which Adam is gradient descent: the limit is "
        "the ℓ2 max margin, though a run may end long before.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            Assumption("ε is positive", Verdict.HOLDS, f"ε = {decays.eps:g}"),
            *decays.assumptions()[:1],
        ),
        regimes,
    )


def adagrad(setting: Setting) -> Prediction:
    r"""AdaGrad finds the max margin in a Euclidean norm that it weighs itself.

    $$\min\tfrac12\|h_\infty^{-1/2}\odot w\|^2\ \text{ s.t. }q_i(w)\ge1,\qquad
    h_\infty^{-1}=\sqrt{\textstyle\sum_\tau g_\tau^2}+\varepsilon$$

    (`qian2019adagrad` for linear models). The weights are sums over the run, fixed by
    its first steps: they depend on step size and start, and are read from a trajectory.
    """
    optimizer = setting.optimizer
    assert isinstance(optimizer, AdaGrad)
    source = "qian2019adagrad; wang2021adaptive"
    if setting.trajectory is None:
        return setting.unknown(
            "AdaGrad tends to the max margin of a Euclidean norm that its own "
            "accumulated gradients weigh: give a trajectory to fill them in.",
            source,
        )
    M = optimizer.denominators(setting.trajectory.state.optimizer)
    smallest, largest = float(jnp.min(M)), float(jnp.max(M))
    if not smallest > 0:
        return setting.unknown(
            "An accumulator is 0: with ε = 0 its coordinate never moves, and the norm "
            "that AdaGrad weighs is not defined.",
            source,
        )
    # the scale of M is immaterial to the direction: near 1 for the solver
    return setting.predict(
        Mahalanobis(M / largest),
        source,
        "AdaGrad's accumulated gradients weigh a Euclidean norm, whose max margin it "
        f"tends to; weights differ by up to {largest / smallest:.3g}.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            _settled(setting),
        ),
    )


def _settled(setting: Setting) -> Assumption:
    """Accumulators change no more: what the rest of the run can add is its loss."""
    trajectory = setting.trajectory
    assert trajectory is not None
    problem = setting.problem
    last = trajectory.weights[-1]
    gradient = problem.scaled_gradient(last)
    log_g = jnp.log(jnp.abs(gradient.direction)) + gradient.log_scale
    steps = float(trajectory.steps[-1])
    state = trajectory.state.optimizer
    # g falls at least like 1/t: sum over the rest of g^2 is below about t g^2
    shares = jnp.exp(jnp.log(steps) + 2.0 * log_g - state.log_sum())
    share = float(jnp.max(jnp.where(gradient.direction != 0, shares, 0.0)))
    return Assumption(
        "the accumulators have settled",
        Verdict.HOLDS if share < 1e-3 else Verdict.FAILS,
        f"the rest of the run adds up to about {np.minimum(share, 9.99):.1e} of them",
    )
