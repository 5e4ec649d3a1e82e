import dataclasses
import functools
import math
from collections.abc import Callable, Hashable
from typing import TypeVar, overload

from penchant import optimizers
from penchant._checks import check_instance
from penchant._types import Numbers, StepSize, Tree
from penchant.margins import MaxMargin, max_margin
from penchant.norms import L2, AbstractNorm, AbstractSchatten, Linf
from penchant.optimizers import AbstractOptimizer, Lion, Muon, Shampoo
from penchant.problems import (
    AbstractClassification,
    AbstractObjective,
    LinearClassification,
    sort_out,
)
from penchant.problems.models import ssm
from penchant.theory._measured import marked
from penchant.theory._prediction import Prediction
from penchant.theory._setting import Setting, canonical
from penchant.theory.descent._rules import Descent, as_descent
from penchant.theory.modified import StepAt
from penchant.theory.papers import (
    baek2026persample,
    dunn1978conditional,
    fan2025spectral,
    gronich2026adam,
    gunasekar2018geometry,
    lyu2020gradient,
    qian2019adagrad,
    soudry2018implicit,
    wang2021adaptive,
    zhang2024adam,
)
from penchant.theory.regimes._adam_regimes import adam_regimes, sign_like
from penchant.theory.regimes._decays import Decays
from penchant.theory.sharpness import SharpnessPrediction, foretell_sharpness
from penchant.theory.state_space import StateSpacePrediction, foretell_state_space
from penchant.training import Trajectory
from penchant.training.batching import AbstractBatching, of_rule
from penchant.training.schedules import as_schedule


@overload
def predict(  # type: ignore[overload-overlap]
    problem: ssm.SequenceRegression,
    *given: object,
    optimizer: AbstractOptimizer | str | object | None = ...,
    batching: AbstractBatching | None = ...,
    step_size: StepSize | None = ...,
    trajectory: Trajectory | None = ...,
    init: Tree | None = ...,
    steps: int | None = ...,
) -> StateSpacePrediction: ...
@overload
def predict(
    problem: AbstractObjective,
    *given: object,
    optimizer: AbstractOptimizer | str | object | None = ...,
    batching: AbstractBatching | None = ...,
    step_size: StepSize | None = ...,
    trajectory: Trajectory | None = ...,
    init: Numbers | None = ...,
    steps: int | None = ...,
) -> SharpnessPrediction: ...
@overload
def predict(
    problem: AbstractClassification | object,
    *given: object,
    optimizer: AbstractOptimizer | str | object | None = ...,
    batching: AbstractBatching | None = ...,
    step_size: StepSize | None = ...,
    trajectory: Trajectory | None = ...,
    init: Numbers | None = ...,
    steps: int | None = ...,
) -> Prediction: ...
def predict(
    problem: AbstractClassification | AbstractObjective | object,
    *given: object,
    optimizer: AbstractOptimizer | str | object | None = None,
    batching: AbstractBatching | None = None,
    step_size: StepSize | None = None,
    trajectory: Trajectory | None = None,
    init: Numbers | Tree | None = None,
    steps: int | None = None,
) -> Prediction | SharpnessPrediction | StateSpacePrediction:
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
    | anything else | by its [character][penchant.optimizers.Character]; unknown where that is | |

    What [`identify`][penchant.identify] returns goes in a rule's place; an assumption
    then says that the character was measured. A rule of one's own is asked for its
    character: one that says it takes normalised
    steepest steps in a norm gets the theorem for these. `predict.register(MyRule)`
    registers a prediction for a class of rules and its subclasses, a function of the
    [`Setting`][penchant.theory.Setting]; the most special one is taken.

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

    A `Regression` or an `Objective` has no margins: of these it says which sharpness
    the rule lowers along the minimisers, a
    [`SharpnessPrediction`][penchant.theory.sharpness.SharpnessPrediction], and with a
    step size which norm of the gradient its finite steps and memory penalise on the way
    (`finite_step`), how much, and whether that is valid where it stands. Predictions
    for classifiers have that too.

    Of a state space model (`pn.ssm.regression`) the answer is a
    [`StateSpacePrediction`][penchant.theory.state_space.StateSpacePrediction]: which
    lags the data excite, where gradient flow ends and whether that generalises.

    >>> import penchant as pn
    >>> problem = pn.LinearClassification(
    ...     [[1.0, 2.0], [2.0, 1.0]], [1, 1], loss=pn.losses.Logistic()
    ... )
    >>> pn.predict(problem, pn.optimizers.SignDescent()).norm
    Linf()

    Args:
        problem: Data, model and loss: a problem or a `Dataset`; or examples `X`, with
            `y` after them, as [`problems.read`][penchant.problems.read] takes them.
        *given: Labels where examples came first, then the rule.
        optimizer: The update rule, as `train` takes it; `adam` if there is none.
        batching: Which samples an update sees; None for all, and for batches of 32
            where the rule is called `sgd`.
        step_size: As `train` takes it; None leaves assumptions on it unknown, and
            regimes without their steps.
        trajectory: A run of this optimizer, from which AdaGrad's norm is filled in,
            and for a network the regimes and whether it has separated the data; for
            a regression where the assumptions are looked at, and its steps.
        init: Weights that a linear classifier starts from, zeros if None. Adam with
            batches may have several limits, of which the start chooses one.
        steps: Number of updates asked about, for a regression or an objective.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
    """  # noqa: E501
    if isinstance(problem, ssm.SequenceRegression):
        rule = optimizers.only(given, optimizer)
        chosen = of_rule(rule, problem.samples) if batching is None else batching
        check_instance("batching", chosen, AbstractBatching, "one of penchant.batching")
        if trajectory is not None:
            check_instance("trajectory", trajectory, Trajectory, "what train returns")
            trajectory.require_problem(problem)
        named = optimizers.read(rule)
        foretold = foretell_state_space(
            problem,
            named,
            full_batch=chosen.covers(problem.samples) is True,
            start=init,  # type: ignore[arg-type]
        )
        return marked(foretold, named)
    if isinstance(problem, AbstractObjective):
        rule = optimizers.only(given, optimizer)
        if trajectory is not None:
            trajectory.require_problem(problem)
            steps = int(trajectory.steps[-1]) if steps is None else steps
        if batching is None:
            batching = of_rule(rule, problem.samples)
        named = optimizers.read(rule)
        lowered = foretell_sharpness(
            problem,
            named,
            batching=batching,
            step_size=step_size,
            steps=steps,
            weights=None if trajectory is None else trajectory.last,
        )
        return marked(lowered, named)
    problem, rest = sort_out(problem, given)
    optimizer = optimizers.only(rest, optimizer)
    check_instance(
        "problem",
        problem,
        AbstractClassification,
        "a LinearClassification, NetworkClassification, Regression or Objective",
    )
    assert isinstance(problem, AbstractClassification)
    if batching is None:
        batching = of_rule(optimizer, problem.samples)
    seen: dict[Hashable, MaxMargin] = {}

    def best(norm: AbstractNorm) -> MaxMargin:
        name = norm.fingerprint
        if name not in seen:
            assert isinstance(problem, LinearClassification)  # networks have none
            seen[name] = max_margin(problem, norm, tol=1e-6)
        return seen[name]

    return predict_from(best, problem, optimizer, batching, step_size, trajectory, init)


def predict_from(
    best: Callable[[AbstractNorm], MaxMargin],
    problem: AbstractClassification,
    optimizer: AbstractOptimizer | str | object,
    batching: AbstractBatching,
    step_size: StepSize | None,
    trajectory: Trajectory | None = None,
    init: Numbers | None = None,
) -> Prediction:
    """As `predict`, with maximum margins that the caller computes.

    Raises:
        NotSeparableError: If no weights classify every sample.
        TypeError: If an argument is of the wrong kind.
        ValueError: If the trajectory is of another problem.
    """
    check_instance("problem", problem, AbstractClassification, "one with margins")
    rule = optimizers.read(optimizer)
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    if trajectory is not None:
        check_instance("trajectory", trajectory, Trajectory, "what train returns")
        trajectory.require_problem(problem)
    schedule = None if step_size is None else as_schedule(step_size)
    if not isinstance(problem, LinearClassification):
        init = None  # a tree of parameters, on which no prediction here hangs
    setting = Setting(problem, rule, batching, schedule, trajectory, best, init)
    if isinstance(problem, LinearClassification):
        best(canonical(Linf(), problem))  # data that no weights separate stop here
    found = marked(foretell(rule, setting), rule)
    if trajectory is not None:
        return dataclasses.replace(found, asked=StepAt.of(trajectory))
    if schedule is None:
        return found
    w = problem.start if init is None else problem.read(init, "init")
    return dataclasses.replace(found, asked=StepAt(problem, rule, schedule, None, w))


@functools.singledispatch
def foretell(optimizer: AbstractOptimizer, setting: Setting) -> Prediction:
    """What the character of a rule allows to say of its limit."""
    what = optimizer.character()
    if not what.known:
        return setting.unknown(
            f"{optimizer!r} is not in the table of algorithms whose limit is known, "
            "and does not say what it is (see its character())."
        )
    if what.decays:
        return _decayed(setting)
    if what.adaptive is not None:
        if what.adaptive.kind == "sum":
            return qian2019adagrad.adagrad(setting)
        if what.first is not None and not what.first.plain:
            return setting.unknown(
                f"{setting.name} steps along a mix of its memory and the gradient, "
                "which no theorem here on Adam covers.",
                candidates=(Linf(),),
            )
        return _adam(setting, Decays.of(what))
    if what.steps is None or what.second is not None or not what.steepest:
        return setting.unknown(
            f"No theorem here says where {setting.name} ends: it is {what!r}."
        )
    return _steepest(setting, what.steps)


T = TypeVar("T", bound=Callable[[Setting], Prediction])


def register(kind: type[AbstractOptimizer]) -> Callable[[T], T]:
    """A decorator: the function foretells the limit of this class of rules.

    Raises:
        TypeError: If `kind` is no class of optimizers.
    """
    if not (isinstance(kind, type) and issubclass(kind, AbstractOptimizer)):
        raise TypeError(f"kind must be a class of optimizers; got {kind!r}.")

    def keep(function: T) -> T:
        foretell.register(kind)(lambda optimizer, setting: function(setting))
        return function

    return keep


# an attribute, so that the table is open where it is read
predict.__dict__["register"] = register


def _steepest(setting: Setting, norm: AbstractNorm) -> Prediction:
    """Steps that are exactly steepest for a memory of gradients."""
    what = setting.character
    if not what.normalised:
        euclidean = norm.same(L2())
        if setting.network:
            if euclidean:
                return lyu2020gradient.gradient_descent(setting)
        elif euclidean and what.first_is_sum:
            return soudry2018implicit.gradient_descent(setting)
        elif not setting.full_batch:
            return _with_batches(setting)
        else:
            return gunasekar2018geometry.steepest_descent(setting, norm)
    elif setting.network:
        if getattr(norm, "p", 0.0) in (2.0, math.inf) and not isinstance(
            norm, AbstractSchatten
        ):
            return gronich2026adam.steepest_kkt(setting, norm)
    else:
        return _normalised(setting)
    return setting.unknown(
        f"No theorem here says to which KKT point {setting.name} takes a network."
    )


def _normalised(setting: Setting) -> Prediction:
    descent = as_descent(setting.optimizer)
    if descent is None:
        if not setting.full_batch:
            return _with_batches(setting)
        return setting.unknown(
            f"{setting.name}'s steps are the steepest for a mix of two memories, which "
            "no theorem here covers.",
            candidates=()
            if setting.character.steps is None
            else (setting.character.steps,),
        )
    if setting.full_batch:
        return fan2025spectral.normalized_descent(setting, *descent)
    if setting.problem.binary and descent.norm.same(Linf()):
        return baek2026persample.signum(setting, descent.b1)
    return fan2025spectral.with_batches(setting, descent)


def _with_batches(setting: Setting) -> Prediction:
    return setting.unknown(
        f"No theorem here says where {setting.name} ends with batches of part of the "
        "samples: the mean of its steps over an epoch is not the step of the mean "
        "gradient.",
    )


def _decayed(setting: Setting) -> Prediction:
    """With decoupled decay: a point of the regularisation path, at best."""
    what = setting.character
    bare = dataclasses.replace(what, decay=None)
    steps = bare.steps
    exact = bare.steepest and bare.normalised and bare.second is None
    if exact and steps is not None and setting.full_batch and not setting.network:
        return dunn1978conditional.decayed(setting, Descent(steps, bare.b1))
    inner = getattr(setting.optimizer, "rule", setting.optimizer)
    return setting.unknown(
        f"Decay keeps the weights of {type(inner).__name__} from growing "
        "without end, so no maximum margin is tended to, and no theorem here says "
        "where this rule comes to rest with it."
    )


def _adam(setting: Setting, decays: Decays) -> Prediction:
    if setting.network:
        regimes = wang2021adaptive.network_regimes(setting, decays)
        if decays.eps > 0:
            return wang2021adaptive.adam_with_eps(setting, decays, regimes)
        return gronich2026adam.steepest_kkt(setting, Linf(), regimes)
    if not setting.full_batch:
        return baek2026persample.per_sample_adam(setting, decays)
    regimes = adam_regimes(setting, decays, sign_like(setting, decays))
    if decays.eps > 0:
        return wang2021adaptive.adam_with_eps(setting, decays, regimes)
    return zhang2024adam.adam_without_eps(setting, decays, regimes)


# rules of which more, or less, is known than their character says


@foretell.register(Muon)
def _(optimizer: Muon, setting: Setting) -> Prediction:
    settled = optimizer.polar.exact or not setting.full_batch or setting.network
    if settled:
        return foretell.dispatch(AbstractOptimizer)(optimizer, setting)
    return fan2025spectral.muon(setting, optimizer)


@foretell.register(Shampoo)
def _(optimizer: Shampoo, setting: Setting) -> Prediction:
    second = optimizer.character().second
    other = second is not None and (
        float(optimizer.exponent) != 0.25 or float(optimizer.eps) > 0
    )
    if second is None or other or setting.network:
        return foretell.dispatch(AbstractOptimizer)(optimizer, setting)
    if not setting.full_batch:
        return _with_batches(setting)
    return fan2025spectral.shampoo(setting, optimizer)


@foretell.register(Lion)
def _(optimizer: Lion, setting: Setting) -> Prediction:
    if as_descent(optimizer) is not None or not setting.full_batch or setting.network:
        return foretell.dispatch(AbstractOptimizer)(optimizer, setting)
    return setting.unknown(
        "Lion's steps are signs of a mix of two memories. With b1 = b2 it is Signum "
        "(ℓ∞); else no theorem here covers it.",
        candidates=(Linf(),),
    )
