"""Soudry et al. (2018), and Nacson et al. (2019) for batches: gradient descent."""

import numpy as np

from penchant.norms import L2
from penchant.problems import losses
from penchant.theory._prediction import Assumption, Prediction, Verdict
from penchant.theory._setting import Setting
from penchant.training.schedules import Constant, LossBased


def gradient_descent(setting: Setting) -> Prediction:
    r"""Gradient descent finds the $\ell_2$ max margin, at a rate of $1/\log t$.

    $\|w_t/\|w_t\|-\hat w\| = O(1/\log t)$ for constant steps: after any number of
    steps that a machine can make the direction is still on its way. Momentum
    (`wang2022momentum`) and batches with small constant steps
    (`nacson2019stochastic`) have the same limit. So have steps that grow as one over
    the loss (`lyu2020gradient`), which come there sooner.
    """
    source = "soudry2018implicit, Theorem 3"
    if setting.character.b1 > 0:
        source = "wang2022momentum"
    if not setting.full_batch:
        source = "nacson2019stochastic"
    if isinstance(setting.schedule, LossBased):
        return setting.predict(
            L2(),
            "lyu2020gradient",
            "Gradient descent tends to the ℓ2 max margin; with steps that grow as one "
            "over the loss it comes there far sooner than with constant ones.",
            (
                setting.separable(),
                setting.exponential_tail(),
                setting.every_sample(),
                Assumption(
                    "rates stay below a power of the log-loss",
                    Verdict.UNKNOWN,
                    "they are found on the way: an epoch in which the loss rises is "
                    "undone, and tried again with a lower one",
                ),
            ),
        )
    return setting.predict(
        L2(),
        source,
        "Gradient descent tends to the ℓ2 max margin, slowly: like 1/log of the steps.",
        (
            setting.separable(),
            setting.exponential_tail(),
            _constant(setting),
            _small_steps(setting),
            *_heavy_ball(setting),
        ),
    )


def _heavy_ball(setting: Setting) -> tuple[Assumption, ...]:
    first = setting.character.first
    if first is None or first.plain:
        return ()
    why = "Nesterov's is not treated"
    return (Assumption("the momentum is heavy-ball", Verdict.UNKNOWN, why),)


def _constant(setting: Setting) -> Assumption:
    schedule = setting.schedule
    if schedule is None:
        verdict = Verdict.UNKNOWN
    else:
        held = isinstance(schedule, Constant)
        # decreasing steps slow it down further, and change no limit we know of
        verdict = Verdict.HOLDS if held else Verdict.UNKNOWN
    return Assumption("the step size is constant", verdict, repr(schedule))


def _small_steps(setting: Setting) -> Assumption:
    r"""$\eta<2/\beta$ for a $\beta$-smooth loss."""
    problem = setting.problem
    statement = "the step size is below 2 over the loss's smoothness"
    largest = setting.largest_step()
    if largest is None:
        return Assumption(statement, Verdict.UNKNOWN, "no step size was given")
    if isinstance(problem.loss, losses.Exponential):
        return Assumption(
            statement,
            Verdict.UNKNOWN,
            "the exponential loss is smooth only below its first value",
        )
    sigma = float(np.linalg.norm(np.asarray(problem.X), ord=2))
    # Hessians: sigma(1 - sigma) <= 1/4 for two classes, softmax covariance <= 1/2;
    # PairLog adds a logistic loss, 1/4 of a difference of squared length 2, per pair
    curvature = 0.25 if problem.binary else 0.5
    if isinstance(problem.loss, losses.PairLog) and not problem.binary:
        curvature *= problem.classes
    smoothness = curvature * sigma**2 / problem.samples
    if not setting.full_batch:
        longest = float(np.square(np.asarray(problem.X)).sum(axis=1).max())
        smoothness = curvature * longest
    limit = 2.0 / smoothness
    return Assumption(
        statement,
        Verdict.HOLDS if largest < limit else Verdict.FAILS,
        f"{largest:.3g} against {limit:.3g}",
    )
