"""Wang et al. (2021): what adaptive methods with ε converge to."""

import math
from typing import Any

import jax.numpy as jnp

from penchant.norms import L2, Linf
from penchant.theory._prediction import Assumption, Prediction, Regime, Verdict
from penchant.theory._setting import Setting
from penchant.theory.papers.lyu2020gradient import network_assumptions
from penchant.theory.regimes._course import RegimeName
from penchant.theory.regimes._decays import Decays
from penchant.theory.regimes._run_geometry import run_geometry
from penchant.training import Trajectory


def adam_with_eps(
    setting: Setting, decays: Decays, regimes: tuple[Regime, ...]
) -> Prediction:
    r"""With $\varepsilon>0$ Adam and RMSProp end as gradient descent: $\ell_2$.

    The gradient falls below any $\varepsilon$, and $m/(\sqrt v+\varepsilon)$ then is
    $m/\varepsilon$. True as $t\to\infty$ only: past the crossover the loss has to fall
    by the same power again and again for the direction to turn, which at constant
    steps takes a number of steps proportional to 1/loss.

    For homogeneous networks the limit is a KKT point of the $\ell_2$ margin problem.
    """
    positive = Assumption("ε is positive", Verdict.HOLDS, f"ε = {decays.eps:g}")
    if setting.network:
        plain = ()
        if decays.b1 > 0:
            why = f"b1 = {decays.b1:g}; with momentum the theorem is for linear models"
            plain = (Assumption("there is no momentum", Verdict.FAILS, why),)
        return setting.stationary(
            L2(),
            "wang2021adaptive",
            "Gradients fall below ε, after which it is gradient descent:",
            (*network_assumptions(setting), positive, *plain),
            regimes,
        )
    return setting.predict(
        L2(),
        "wang2021adaptive; wang2022momentum",
        "Gradients fall below ε, after which Adam is gradient descent: the limit is "
        "the ℓ2 max margin, though a run may end long before.",
        (
            setting.separable(),
            setting.every_sample(),
            setting.exponential_tail(),
            positive,
            *decays.assumptions()[:1],
        ),
        regimes,
    )


def network_regimes(setting: Setting, decays: Decays) -> tuple[Regime, ...]:
    """The geometry a run is in at its end, and what may come; needs the run."""
    problem, trajectory = setting.problem, setting.trajectory
    if trajectory is None or setting.schedule is None or problem.degree is None:
        return ()
    q = float(jnp.min(trajectory.margins[-1]))
    if not q > 0 or decays.b1**2 >= decays.b2:
        return ()
    w = problem.flat(trajectory.state.weights)
    gamma = q / float(jnp.max(jnp.abs(w))) ** problem.degree
    steps = int(trajectory.steps[-1])
    common: dict[str, Any] = {
        "step_size": setting.schedule,
        "gamma": gamma,
        "degree": problem.degree,
        "entry": _typical_entry(setting, trajectory),
        "nats": 0.1,
    }
    seen = run_geometry(setting.optimizer, steps=10 * steps, **common)
    first = run_geometry(setting.optimizer, steps=steps, **common)
    end = seen.crossover
    regimes = []
    if end > 0:
        past = first.name is RegimeName.BELOW_EPS
        name, norm = (
            (RegimeName.SIGN_LIKE, Linf()) if past else (first.name, first.norm)
        )
        regimes.append(Regime(name, norm, 0.0, end, first.why))
    if decays.eps > 0:
        why = "gradients below ε: gradient descent with step η/ε"
        regimes.append(Regime(RegimeName.BELOW_EPS, L2(), end, math.inf, why))
    return tuple(regimes)


def _typical_entry(setting: Setting, trajectory: Trajectory) -> float:
    """The root mean square of the gradient's entries, over the mean loss."""
    problem = setting.problem
    gradient = problem.scaled_gradient(trajectory.state.weights)
    log_loss = trajectory.log_loss[-1]
    G = problem.flat(gradient.direction) * jnp.exp(gradient.log_scale - log_loss)
    return float(jnp.sqrt(jnp.mean(G**2)))
