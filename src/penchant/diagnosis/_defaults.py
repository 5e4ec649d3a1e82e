"""Step sizes and lengths of runs for those who have not chosen any."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant.norms import L2
from penchant.optimizers import AbstractOptimizer, Character
from penchant.problems import AbstractClassification, LinearClassification
from penchant.theory import longest_row
from penchant.training import schedules
from penchant.training.batching import AbstractBatching

WORK = 2e10
"""Multiplications of data and weights that a default run makes."""

FEWEST, MOST = 3_000, 300_000

LEAST = 300
"""Steps that even rules get that factor a large matrix at each."""

FACTOR = 25.0
"""Multiplications of an eigendecomposition, over the cube of the matrix's side."""

LAST = 0.1
"""By how much the last step of a default run moves a margin, at most.

Margins of about 1 decide whether data are separated, so the last steps must be small
against that; the sum of all steps, which is what margins grow by, is then as large as
it can be. Values from 0.03 to 1 were tried on digits, MNIST's 3 against 8, wine, iris
and random data; `benchmarks/defaults.py` runs the defaults that came of it.
"""

BARE = 0.03
"""The same of rules without any memory, whose overshoot is not averaged away, on data
whose largest margin is a small share of the longest row."""

EASY = 0.025
"""Share of the longest row from which a margin is not small in that sense."""

GOAL = 300.0
"""Margin that a default run aims at, where its steps can be small enough for that.

Larger steps would be noise, and outrun the memory of a rule on data that are easily
separated; at a margin of 300 what the start leaves is some per cent.
"""

SHORTEST = 50.0
"""Margin that the steps of a rule with few of them, as it factors large matrices, could
reach in sum, however far that moves a margin at once.

With Shampoo's 300 on MNIST's 3 against 8, sums of 0.4 (the last step's bound), 4, 13,
44, 130 and 440 leave 48, 10, 2, 0, 0 and 0 samples wrong.
"""

SUMMED = 10.0
"""Of rules that divide by a sum of squares, how much larger steps are: gradients fall
with the loss while the sum stays, so that steps soon move a margin by far less.

Of 1, 10 and 30, tried on the same data, AdaGrad separates MNIST's 3 against 8 and wine
as it comes from 10 on.
"""

FASTEST = 10.0
"""Largest rate of loss-based steps, in units of 1/R².

Of 10, 30 and 100, tried with gradient descent, momentum and batches on digits, iris,
wine and random data, all separate the same data, the last sometimes in two thirds of
the steps. With 10 the gradients swing least on most of them, so that they say which
norm the weights imitate (digits: alignment .99 in ℓ2, against .56 with 100).
"""


def default_step_size(
    problem: LinearClassification,
    optimizer: AbstractOptimizer,
    steps: int,
    margin: float | None = None,
) -> Any:
    r"""A step size that no rescaling of the data changes the meaning of.

    A step of length $\eta$ moves no margin by more than $\eta R_*$, $R_*$ being the
    longest row's dual norm in the rule's geometry. With $T$ = `steps`, $a$ is .1, .03
    for rules without memory (sign descent) unless the largest $\ell_2$ `margin`
    $\gamma$ is known to be above $R_2/40$; or less where margins of 300 are reached
    with $a=300R_2/2\gamma T$ already; or more, $a=50R_2/2\gamma T$, where a rule that
    factors matrices makes fewer than 3 000 steps.

    | rule | step size |
    |---|---|
    | steps of a fixed length: sign, Adam, Muon, Lion, … | $\frac{a}{R_*}\sqrt{T/(t+2)}$, so that the last step moves no margin by more than $a$ |
    | sums of squares: AdaGrad, whose steps fall like $t^{-1/2}$ by themselves | the constant $\frac{10a}{R_*}\sqrt T$ |
    | gradient descent, momentum, batches | $\alpha/\mathcal L$ by [`loss_based`][penchant.schedules.loss_based], $\alpha$ from $1/R_*^2$ to at most ten times that |
    | unnormalised steps in other norms | the constant $1/(R_*^2\mathcal L(0))$ |
    | a rule that does not say in which norm it steps, optax's among them | 1: it brings its own |

    With decoupled decay $\lambda$ no step is above $\frac1{2\lambda}$: longer ones would
    throw the weights past 0.

    Raises:
        ValueError: If the data are so large, or small, that none is a float.
    """  # noqa: E501
    what = optimizer.character()
    if what.steps is None:
        return 1.0  # an optax rule, or a stranger's, that brings its own
    # data that are all 0 have no scale, and gradients of 0: any step size will do
    R = longest_row(problem, what.steps) or 1.0
    if not what.normalised:
        return _unnormalised(problem, what, R)
    bare = what.first is None and what.second is None
    few = what.second is not None and what.second.over == "factors" and steps < FEWEST
    last = _last(problem, steps, margin, bare, few=few)
    reach = last * math.sqrt(steps)
    if what.second is not None and what.second.kind == "sum":
        return schedules.constant(_rounded(SUMMED * reach / R))
    scale = reach / R
    if what.decays and what.decay is not None:
        scale = min(scale, 0.5 * math.sqrt(2.0) / float(np.asarray(what.decay)))
    return schedules.power(_rounded(scale), 0.5)


def _last(
    problem: LinearClassification,
    steps: int,
    margin: float | None,
    bare: bool,
    *,
    few: bool,
) -> float:
    """By how much the last step may move a margin."""
    if margin is None or not margin > 0:
        return BARE if bare else LAST
    share = margin / longest_row(problem, L2())
    most = BARE if bare and share < EASY else LAST
    # the sum of all steps is 2aT/R, and margins grow by the share γ/R of that
    summed = 2.0 * share * steps
    least = SHORTEST / summed if few else 0.0
    return min(max(most, least), GOAL / summed)


def _unnormalised(problem: LinearClassification, what: Character, R: float) -> Any:
    """Steps as long as the gradient: over the loss where the rule lends itself."""
    euclidean = what.steps is not None and what.steps.same(L2())
    follows = euclidean and what.steepest and what.second is None
    # log L of an exponential tail is R²-smooth: the first steps bring it down
    first = 1.0 / R / R
    if not follows:
        first /= math.exp(float(problem.log_loss(jnp.zeros(problem.weight_shape))))
    first = _rounded(first)
    if not 0.0 < first < math.inf:
        raise ValueError(
            f"The longest sample is {R:.3g} long, and no step size suits its square: "
            "rescale the features, or give a step_size."
        )
    if not follows:
        return first
    return schedules.loss_based(first, largest=FASTEST * first)


def _rounded(size: float) -> float:
    return float(f"{size:.3g}")


def default_steps(
    problem: AbstractClassification,
    batching: AbstractBatching,
    optimizer: AbstractOptimizer | None = None,
) -> int:
    """As many steps as a fixed amount of arithmetic allows, by the size of the data.

    Never by the clock: a result must not depend on the machine's speed. Rules that
    factor matrices at each step, Shampoo with its memory, make fewer. Whole epochs.
    """
    batch = min(batching.size_of(problem.samples), problem.samples)
    work, fewest = float(batch * problem.parameters), float(FEWEST)
    second = None if optimizer is None else optimizer.character().second
    if second is not None and second.over == "factors":
        sides = [n for leaf in jax.tree.leaves(problem.start) for n in leaf.shape]
        factored = FACTOR * sum(float(n) ** 3 for n in sides)
        # factoring may take ten times the work before steps get fewer than usual
        fewest = min(max(10.0 * WORK / factored, LEAST), FEWEST)
        work += factored
    steps = min(max(WORK / work, fewest), MOST)
    whole = int(float(f"{steps:.1g}"))
    # of an epoch that is under way the weights are not yet judged
    return max(whole - whole % batching.steps_per_epoch(problem.samples), 1)
