import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from penchant._checks import check_instance
from penchant.margins import MaxMargin, max_margin
from penchant.norms import AbstractNorm, Linf
from penchant.optimizers import (
    AbstractOptimizer,
    AdaGrad,
    Adam,
    GradientDescent,
    Lion,
    Muon,
    RMSProp,
    Shampoo,
    SignDescent,
    Signum,
    SteepestDescent,
    WeightDecay,
)
from penchant.problems import LinearClassification, NetworkClassification
from penchant.theory._prediction import Prediction
from penchant.theory._setting import Setting, canonical
from penchant.theory.descent._rules import as_descent
from penchant.theory.papers import (
    baek2026persample,
    fan2025spectral,
    gunasekar2018geometry,
    soudry2018implicit,
    wang2021adaptive,
    zhang2024adam,
)
from penchant.theory.papers._homogeneous import network_prediction
from penchant.theory.regimes._adam_regimes import Decays, adam_regimes, sign_like
from penchant.training import Trajectory
from penchant.training.batching import AbstractBatching, FullBatch
from penchant.training.schedules import as_schedule


def predict(
    problem: LinearClassification | NetworkClassification,
    optimizer: AbstractOptimizer,
    *,
    batching: AbstractBatching = FullBatch(),
    step_size: Any = None,
    trajectory: Trajectory | None = None,
) -> Prediction:
    r"""Which maximum margin the direction of the weights tends to, and why.

    | algorithm | geometry of the limit | source |
    |---|---|---|
    | gradient descent, any momentum, any batches | ℓ2 | `soudry2018implicit` |
    | steepest descent in a norm | that norm | `gunasekar2018geometry` |
    | the same normalised, with momentum; sign descent, Signum, Muon with exact polar | that norm; ℓ∞; spectral | `fan2025spectral` |
    | Adam, RMSProp, ε = 0, full batch | ℓ∞ | `zhang2024adam` |
    | Adam, RMSProp, ε > 0, full batch | ℓ∞ on the way, then ℓ2 | `wang2021adaptive` |
    | Adam, RMSProp, ε = 0, batches, two classes | a norm that the data choose; ℓ2 or ℓ∞ for some data | `baek2026persample` |
    | the same with ε > 0 | that on the way, then ℓ2 | `baek2026persample`, `wang2021adaptive` |
    | sign descent, Signum, batches, two classes | ℓ∞ if momentum is long enough | `baek2026persample` |
    | AdaGrad | ℓ2, weighted by its own accumulators | `qian2019adagrad` |
    | any of these with decoupled decay | none: a point of the regularisation path | `dunn1978conditional` |
    | anything else | unknown, and said so | |

    Linear classifiers are for separable data: `NotSeparableError` says that these are
    not. What is foretold is the limit; how far a run is from it, `diagnose` measures.

    For a homogeneous network the limit is a KKT point of the margin problem of all
    parameters, of which there are many; `norm` then names the geometry, `weights` and
    `margin` are None, and [`limit`][penchant.limit] follows a run to its point:

    | algorithm on a network | geometry | source |
    |---|---|---|
    | gradient descent | ℓ2 | `lyu2020gradient` |
    | AdaGrad | ℓ2, weighted by its own accumulators | `wang2021adaptive` |
    | RMSProp, Adam, ε > 0 | ℓ2 in the end | `wang2021adaptive` |
    | RMSProp, Adam, ε = 0; sign descent, Signum | ℓ∞, under conditions | `gronich2026adam` |

    >>> import penchant as pn
    >>> problem = pn.LinearClassification(
    ...     [[1.0, 2.0], [2.0, 1.0]], [1, 1], loss=pn.losses.Logistic()
    ... )
    >>> pn.predict(problem, pn.optimizers.SignDescent()).norm
    Linf()

    Args:
        problem: Data, model and loss.
        optimizer: The update rule.
        batching: Which samples an update sees.
        step_size: As `train` takes it; None leaves assumptions on it unknown, and
            regimes without their steps.
        trajectory: A run of this optimizer, from which AdaGrad's norm is filled in,
            and for a network the regimes and whether it has separated the data.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """  # noqa: E501
    check_instance(
        "problem",
        problem,
        (LinearClassification, NetworkClassification),
        "a LinearClassification or a NetworkClassification",
    )
    if isinstance(problem, NetworkClassification):
        _check_rule(optimizer, batching)
        return network_prediction(problem, optimizer, batching, step_size, trajectory)
    seen: dict[str, MaxMargin] = {}

    def best(norm: AbstractNorm) -> MaxMargin:
        name = repr(norm)
        if name not in seen:
            seen[name] = max_margin(problem, norm, tol=1e-6)
        return seen[name]

    return predict_from(best, problem, optimizer, batching, step_size, trajectory)


def predict_from(
    best: Callable[[AbstractNorm], MaxMargin],
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    batching: AbstractBatching,
    step_size: Any,
    trajectory: Trajectory | None = None,
) -> Prediction:
    """As `predict`, with maximum margins that the caller computes.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
    """
    _check_rule(optimizer, batching)
    batching.check(problem.samples)
    schedule = None if step_size is None else as_schedule(step_size)
    setting = Setting(problem, optimizer, batching, schedule, trajectory, best)
    best(canonical(Linf(), problem))  # data that no weights separate stop here
    return _of(setting)


def _check_rule(optimizer: Any, batching: Any) -> None:
    check_instance(
        "optimizer", optimizer, AbstractOptimizer, "one of penchant.optimizers"
    )
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")


def _of(setting: Setting) -> Prediction:
    """The table of `predict`, a line an algorithm."""
    optimizer = setting.optimizer
    if isinstance(optimizer, GradientDescent):
        return soudry2018implicit.gradient_descent(setting)
    if isinstance(optimizer, AdaGrad):
        return wang2021adaptive.adagrad(setting)
    if isinstance(optimizer, WeightDecay):
        return _decayed(setting, optimizer)
    if isinstance(optimizer, (Adam, RMSProp)):
        return _adam(setting, optimizer)
    descent = as_descent(optimizer)
    if descent is not None and not setting.full_batch:
        if setting.problem.binary and isinstance(optimizer, (Signum, SignDescent)):
            b1 = optimizer.b1 if isinstance(optimizer, Signum) else 0.0
            return baek2026persample.signum(setting, b1)
        return fan2025spectral.with_batches(setting, descent)
    if not setting.full_batch:
        return setting.unknown(
            f"No theorem here says where {type(optimizer).__name__} ends with batches "
            "of part of the samples: the mean of its steps over an epoch is not the "
            "step of the mean gradient.",
        )
    if descent is not None:
        return fan2025spectral.normalized_descent(setting, *descent)
    if isinstance(optimizer, SteepestDescent):
        return gunasekar2018geometry.steepest_descent(setting)
    if isinstance(optimizer, Muon):
        return fan2025spectral.muon(setting)
    if isinstance(optimizer, Shampoo):
        return fan2025spectral.shampoo(setting)
    if isinstance(optimizer, Lion):
        return _lion(setting)
    return setting.unknown(
        f"{optimizer!r} is not in the table of algorithms whose limit is known."
    )


def _lion(setting: Setting) -> Prediction:
    return setting.unknown(
        "Lion's steps are signs of a mix of two memories. With b1 = b2 it is Signum "
        "(ℓ∞); else no theorem here covers it.",
        candidates=(Linf(),),
    )


def _decayed(setting: Setting, optimizer: WeightDecay) -> Prediction:
    """With a decay of 0 the rule itself."""
    if float(np.asarray(optimizer.decay)) == 0:
        return _of(dataclasses.replace(setting, optimizer=optimizer.rule))
    descent = as_descent(optimizer.rule)
    if descent is not None and setting.full_batch:
        return fan2025spectral.decayed(setting, descent)
    return setting.unknown(
        f"Decay keeps the weights of {type(optimizer.rule).__name__} from growing "
        "without end, so no maximum margin is tended to, and no theorem here says "
        "where this rule comes to rest with it."
    )


def _adam(setting: Setting, optimizer: Adam | RMSProp) -> Prediction:
    eps = float(np.asarray(optimizer.eps))
    decays = Decays(
        float(np.asarray(optimizer.b1)) if isinstance(optimizer, Adam) else 0.0,
        float(np.asarray(optimizer.b2)),
        eps**0.5 if optimizer.eps_inside else eps,
    )
    if not setting.full_batch:
        return baek2026persample.per_sample_adam(setting, decays)
    regimes = adam_regimes(setting, decays, sign_like(setting))
    if eps > 0:
        return wang2021adaptive.adam_with_eps(setting, decays, regimes)
    return zhang2024adam.adam_without_eps(setting, decays, regimes)
