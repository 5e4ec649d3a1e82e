from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import student
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import (
    HUES,
    at,
    degree_of,
    reached,
)

TRAIN = 500
EPS = 1e-8
HIDDEN = 32
NEAR = 1e-6

# rules of the slides' first experiment, with steps that reach a common loss soon
RULES = {
    "GD": (pn.optimizers.GradientDescent(), 1.0),
    "AdaGrad": (pn.optimizers.AdaGrad(EPS, eps_inside=True), 0.1),
    "RMSProp": (pn.optimizers.RMSProp(0.9, EPS, eps_inside=True), 1e-3),
    "Adam w/m": (pn.optimizers.RMSProp(0.9, EPS, True, bias_correction=True), 1e-3),
}


class Images(NamedTuple):
    """Samples to learn and to test on, and what they are called."""

    problem: pn.NetworkClassification
    X: Any
    y: Any
    name: str


class Records(NamedTuple):
    """Records of a run: log-losses, normalised margins, test accuracies."""

    log_loss: Any
    margin: Any
    accuracy: Any


def images(data: pn.datasets.Dataset | None, seed: int) -> Images:
    """`TRAIN` images, pixels in [0, 1], and a ReLU network with 32 hidden units."""
    dataset = pn.datasets.digits() if data is None else data
    X, y = np.asarray(dataset.X, dtype=float), np.asarray(dataset.y)
    X = X.reshape(len(X), -1) / X.max()
    order = np.random.default_rng(seed).permutation(len(X))
    chosen, rest = order[:TRAIN], order[TRAIN:]
    network = pn.networks.MLP((X.shape[1], HIDDEN, int(y.max()) + 1))
    problem = pn.NetworkClassification(
        network, network.params(seed), X[chosen], y[chosen], loss=pn.losses.Logistic()
    )
    return Images(problem, jnp.asarray(X[rest]), y[rest], dataset.name)


def measure(
    given: Images, log_loss: jax.Array | np.ndarray, weights: PyTree
) -> Records:
    """Margins over the squared norm, and accuracies on the rest, at every record."""
    margins, accuracies = [], []
    for i in range(len(log_loss)):
        w = at(weights, i)
        least = float(jnp.min(given.problem.margins(w)))
        size = float(jnp.linalg.norm(given.problem.flat(w)))
        margins.append(least / size ** degree_of(given.problem))
        scores = np.asarray(given.problem.apply(w, given.X))
        accuracies.append(float((scores.argmax(axis=1) == given.y).mean()))
    return Records(np.asarray(log_loss), np.array(margins), np.array(accuracies))


@runtime_checkable
class HasLoss(Protocol):
    """Records of a run, whatever else was recorded."""

    @property
    def log_loss(self) -> Any:
        """At every record."""
        ...


def value_at(path: HasLoss, values: jax.Array | np.ndarray, log_loss: float) -> float:
    """A quantity where the loss first falls to a level, between two records."""
    lowest = np.minimum.accumulate(path.log_loss)
    # a flow to a level ends within rounding of it
    if lowest[-1] > log_loss + NEAR:
        raise RuntimeError(f"the run ended above a log-loss of {log_loss:g}.")
    i = int(np.argmax(lowest <= log_loss + NEAR))
    before, after = lowest[max(i - 1, 0)], lowest[i]
    share = 1.0 if before == after else (before - log_loss) / (before - after)
    return float(values[max(i - 1, 0)] * (1.0 - share) + values[i] * share)


class Length(NamedTuple):
    """How long the run with loss-based steps is, and how far it comes typically.

    `depth` is the log of 1/loss that it reaches, `least` what it must; `grown` is how
    much larger its margin becomes.
    """

    steps: int
    depth: float
    least: float
    grown: float


LENGTHS = Presets(Length(4_000, 10.0, 8.0, 1.5), Length(60_000, 100.0, 30.0, 2.0))


def loss_based(
    preset: Preset | Length = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Loss-based steps: the margin grows long after accuracy has stopped to.

    $\eta_t=\alpha_t/\mathcal L$ of `lyu2020gradient` on 500 images, a
    ReLU network with one hidden layer of 32, cross-entropy, full batches.

    Args:
        preset: How much to do, by name or by sizes of your own.
        seed: Of the weights and the images drawn.
        data: Images, such as `datasets.load` reads from MNIST's idx files; None for
            scikit-learn's digits.
    """
    length = LENGTHS.of(preset)
    steps = length.steps
    given = images(data, seed)
    run = finished(
        pn.train(
            given.problem,
            pn.optimizers.GradientDescent(),
            steps=steps,
            step_size=pn.schedules.loss_based(),
            record=60,
        )
    )
    path = measure(given, run.log_loss, run.weights)
    below = path.log_loss < np.log(np.log(2.0) / TRAIN)
    first, last = np.flatnonzero(below)[0], len(below) - 1
    grown = path.margin[last] / path.margin[first]
    depth = -path.log_loss[below]
    # the smoothed margin, whose growth is a theorem's for small steps
    sizes = np.array([
        float(jnp.linalg.norm(given.problem.flat(at(run.weights, int(i)))))
        for i in np.flatnonzero(below)
    ])
    smoothed = _smoothed(path.log_loss[below]) / sizes**2
    fallen = np.diff(np.log(smoothed)).min(initial=0.0)
    lines = (
        Line.least(
            "log of 1/loss reached",
            length.least,
            expected=length.depth,
            measured=float(depth[-1]),
            certificate=f"{steps} steps, those undone with them",
        ),
        Line.between(
            "least relative growth of the smoothed margin between records",
            -1e-6,
            0.0,
            expected=0.0,
            measured=float(fallen),
            certificate="expected: never falls once the loss is below log(2)/N",
        ),
        Line.between(
            "normalised margin at the end over that where all samples are right",
            1.1,
            5.0,
            expected=length.grown,
            measured=float(grown),
            certificate=f"{path.margin[first]:.3g} to {path.margin[last]:.3g}",
        ),
        Line.near(
            "test accuracy gained meanwhile",
            expected=0.0,
            within=0.015,
            measured=float(path.accuracy[last] - path.accuracy[first]),
            certificate=(
                f"one seed, {len(given.y)} images: standard error "
                f"{_error(path.accuracy[last], len(given.y)):.1g}"
            ),
        ),
    )
    what = (
        f"gradient descent with loss-based steps on {TRAIN} images of {given.name}, "
        f"ReLU network with {HIDDEN} hidden units, cross-entropy, {steps:,} steps, "
        f"seed {seed}."
    )
    pictures = {}
    for label, values in {
        "margin over squared norm": path.margin,
        "test accuracy": path.accuracy,
    }.items():
        caption = f"{label.capitalize()} against the loss: {what}"
        axes = pn.plotting.curves(
            {"": (depth, values[below])},
            xlabel="log of 1 / mean loss",
            ylabel=label,
            logx=length.depth > 30.0,
            size=(7.2, 2.6),
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(lines, pictures)


def _smoothed(log_loss: jax.Array | np.ndarray) -> Any:
    r"""$\ell^{-1}(\mathcal L)$ of the sum of losses, $-\log(e^{\mathcal L}-1)$."""
    total = np.asarray(log_loss) + np.log(TRAIN)
    # log(expm1(e^x)) = x + log(expm1(e^x) / e^x), whose second part ends at 0
    loss = np.exp(total)
    ratio = np.where(loss > 0, np.expm1(loss) / np.where(loss > 0, loss, 1.0), 1.0)
    return -(total + np.log(ratio))


def _error(share: float, count: int) -> float:
    return (share * (1.0 - share) / count) ** 0.5


class Sizes(NamedTuple):
    """Seeds; of experiment 1 rules, steps and a common log-loss; of 3 ε and another."""

    seeds: int
    rules: tuple[str, ...]
    steps: int
    reached: float
    epsilons: tuple[float, ...]
    deep: float


SIZES = Presets(
    Sizes(3, ("GD", "AdaGrad", "RMSProp"), 1_200, -5.5, (1e-8, 1e-1), -8.0),
    Sizes(5, tuple(RULES), 20_000, -8.5, (1e-8, 1e-5, 1e-3, 1e-1), -30.0),
)


def experiments(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Experiments 1 and 3: margins and test accuracy of rules, at *equal* loss.

    500 images, ReLU network with one hidden layer of 32, cross-entropy, several seeds
    of weights and images. Experiment 1: GD, AdaGrad, RMSProp and Adam without momentum
    ($b_2=.9$, $\varepsilon=10^{-8}$ inside the root for the mean loss), full batches,
    constant steps, compared where each first reaches one common loss. Experiment 3:
    RMSProp's flow by $\varepsilon$, with $\eta=.01$. Intervals are Student's of 95 %,
    over seeds, of paired differences.

    Args:
        preset: How much to do, by name or by sizes of your own.
        seed: Of the first weights and images drawn.
        data: Images, such as `datasets.load` reads from MNIST's idx files; None for
            scikit-learn's digits.
    """
    sizes = SIZES.of(preset)
    given = [images(data, k) for k in range(seed, seed + sizes.seeds)]
    one, first = _rules(sizes, given, seed)
    two, second = _epsilons(sizes, given, seed)
    return Figure((*one, *two), {**first, **second})


def _rules(
    sizes: Sizes, given: list[Images], seed: int
) -> tuple[list[Line], dict[str, str]]:
    steps, target = sizes.steps, sizes.reached
    paths: dict[str, list[Records]] = {}
    rules = {name: RULES[name] for name in sizes.rules}
    for rule, (optimizer, eta) in rules.items():
        paths[rule] = []
        for x in given:
            run = finished(
                pn.train(x.problem, optimizer, steps=steps, step_size=eta, record=30)
            )
            paths[rule].append(measure(x, run.log_loss, run.weights))
    lines = []
    for rule in list(rules)[2:]:
        # typical of a few seeds, as are those by ε
        both = paths[rule], paths["AdaGrad"]
        lines += _compared((rule, "AdaGrad"), both, target, 0.33)
    what = (
        f"{len(given)} seeds from {seed}, {TRAIN} images of {given[0].name}, "
        f"{steps:,} steps of size "
        + ", ".join(f"{e:g} ({r})" for r, (_, e) in rules.items())
    )
    return lines, _pictures("Experiment 1: by rule", what, paths)


def _epsilons(
    sizes: Sizes, given: list[Images], seed: int
) -> tuple[list[Line], dict[str, str]]:
    target = sizes.deep
    paths: dict[str, list[Records]] = {}
    for eps in sizes.epsilons:
        name = f"ε = {eps:g}"
        paths[name] = []
        for x in given:
            run = reached(
                pn.flows.adaptive_flow(
                    x.problem,
                    pn.optimizers.RMSProp(0.9, eps, eps_inside=True),
                    log_loss=target,
                    step_size=1e-2,
                    record=20,
                    tol=3e-4,
                ),
                target,
            )
            paths[name].append(measure(x, run.log_loss, run.weights))
    low, *_, high = paths
    lines = _compared((high, low), (paths[high], paths[low]), target, 0.13)
    what = (
        f"{len(given)} seeds from {seed}, {TRAIN} images of {given[0].name}, RMSProp's "
        "flow, b₂ = .9, η = .01, ε inside the root for the mean loss"
    )
    return lines, _pictures("Experiment 3: RMSProp by ε", what, paths)


def _compared(
    names: tuple[str, str],
    paths: tuple[list[Records], list[Records]],
    target: float,
    wanted: float,
) -> list[Line]:
    """Differences at equal log-loss, seed by seed."""
    one, other = names
    margins = [
        value_at(a, a.margin, target) / value_at(b, b.margin, target) - 1.0
        for a, b in zip(*paths, strict=True)
    ]
    accuracies = [
        value_at(a, a.accuracy, target) - value_at(b, b.accuracy, target)
        for a, b in zip(*paths, strict=True)
    ]
    mean, half = student(margins)
    gained, width = student(accuracies)
    return [
        Line.between(
            f"{one} against {other}: relative gain of margin at a log-loss of "
            f"{target:g}",
            0.0,
            3.0 * wanted,
            expected=wanted,
            measured=mean,
            certificate=f"mean of {len(margins)} seeds ± {half:.2g} (95 %, paired)",
        ),
        Line.between(
            f"{one} against {other}: test accuracy gained at a log-loss of {target:g}",
            -0.015,
            0.02,
            expected=0.0,
            measured=gained,
            certificate=(
                f"mean of {len(margins)} seeds ± {width:.1g} (95 %, paired)"
                + ("" if abs(gained) > width else ": no evidence of any")
            ),
        ),
    ]


def _pictures(title: str, what: str, paths: dict[str, list[Records]]) -> dict[str, str]:
    pictures = {}
    for quantity in ("margin", "accuracy"):
        drawn = {}
        for name, runs in paths.items():
            lowest = max(run.log_loss.min() for run in runs)
            grid = np.linspace(-3.0, lowest, 25)
            values = [
                np.mean([value_at(run, getattr(run, quantity), z) for run in runs])
                for z in grid
            ]
            drawn[name] = (-grid, np.array(values))
        label = "margin over squared norm" if quantity == "margin" else "test accuracy"
        caption = f"{title}, {label} at equal loss, means of {what}."
        axes = pn.plotting.curves(
            drawn,
            xlabel="log of 1 / mean loss",
            ylabel=label,
            logx=False,
            colours=HUES,
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return pictures
