"""The slides' first and third experiments with their own network, on images."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import student
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._digits import value_at
from penchant.studies.homogeneous_networks._setup import HUES, at

EPS = 1e-8
RECORDS = 12

CHUNK = 50
"""Images looked at together: their patches take half a megabyte each."""

OTHERS = 1000
"""Images to test on, at most."""


ALIKE = {"margin": (-0.6, 0.6), "by_layers": (-0.6, 0.6)}
MORE = {"margin": (0.0, 1.0), "by_layers": (-0.4, 0.8)}
"""Relative gains of margin: no clear one between rules, one by a larger ε."""


class Rule(NamedTuple):
    """An optimizer, its step size, and how many steps it takes."""

    optimizer: pn.optimizers.AbstractOptimizer
    step_size: float
    steps: int


def rmsprop(eps: float) -> pn.optimizers.RMSProp:
    return pn.optimizers.RMSProp(0.9, eps, eps_inside=True)


GD = pn.optimizers.GradientDescent()
ADAGRAD = pn.optimizers.AdaGrad(EPS, eps_inside=True)
ADAM = pn.optimizers.RMSProp(0.999, EPS, True, bias_correction=True)


class Images(NamedTuple):
    """Images to learn, and others to test on, pixels in [0, 1]."""

    problem: pn.NetworkClassification
    X: Any
    y: Any
    others: Any
    labels: Any


class Records(NamedTuple):
    """Of a run: log-losses, margins over the norm and over the layers', accuracies."""

    log_loss: Any
    margin: Any
    by_layers: Any
    accuracy: Any


class Sizes(NamedTuple):
    """Channels and hidden units, images, batch, seeds, and rules."""

    channels: tuple[int, int]
    hidden: int
    images: int
    batch: int
    seeds: int
    rules: Mapping[str, Rule]
    epsilons: Mapping[float, Rule]


SIZES = Presets(
    Sizes(
        (4, 8),
        32,
        100,
        100,
        2,
        {
            "AdaGrad": Rule(ADAGRAD, 3e-2, 1200),
            "RMSProp": Rule(rmsprop(EPS), 1e-3, 1200),
        },
        {1e-1: Rule(rmsprop(1e-1), 3e-2, 1200)},
    ),
    Sizes(
        (32, 64),
        1024,
        500,
        50,
        3,
        {
            "GD": Rule(GD, 0.1, 1000),
            "AdaGrad": Rule(ADAGRAD, 1e-2, 400),
            "RMSProp": Rule(rmsprop(EPS), 1e-3, 400),
            "Adam w/m": Rule(ADAM, 1e-3, 400),
        },
        {
            1e-5: Rule(rmsprop(1e-5), 1e-3, 400),
            1e-3: Rule(rmsprop(1e-3), 3e-3, 400),
            1e-1: Rule(rmsprop(1e-1), 3e-2, 600),
        },
    ),
)


def cnn(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Experiments 1 and 3 with four layers: two convolutions, pooled, and two dense.

    The network of `lyu2020gradient`: 32 channels of 5 × 5, 64 of 3 × 3, 1024 units,
    ReLU, biases in the first layer alone, so that the degree is $L=4$. Cross-entropy,
    shuffled batches of 50 of 500 images, constant steps: GD .1, AdaGrad .01, RMSProp
    ($b_2=.9$) and Adam without momentum ($b_2=.999$) .001, more where $\varepsilon$,
    inside the root, is larger. Three seeds of weights, images and batches. Two rules
    are compared at *equal* loss, the lowest that both reach with every seed, by two
    margins: over the norm, $\min_iq_i/\lVert w\rVert^4$, and over the layers',
    $\min_iq_i/\prod_l\lVert W_l\rVert$. The quick preset has 4 and 8 channels, 32
    units, 100 images in one batch, two seeds and fewer rules.

    The slides show curves and no settings: step sizes, batches and $\varepsilon$ are
    ours. They have RMSProp and Adam clearly above AdaGrad, and more margin with a
    larger $\varepsilon$. On 500 of MNIST's images the margin over the norm is, at
    equal loss, larger than AdaGrad's by .41 ± .04 with Adam and by .09 ± .41 with
    RMSProp, and by .32 ± .37 with $\varepsilon=.1$ (95 %, three seeds); over the
    layers' norms by .22 ± .05, -.07 ± .34 and .01 ± .31. Accuracies do not differ.
    Ranges are of that.

    Args:
        preset: How much to do, by name or by sizes of your own.
        seed: Of the first weights, images and batches drawn.
        data: Square images whose side is a multiple of 4, such as `datasets.load`
            reads from MNIST's idx files; None for scikit-learn's digits.

    Raises:
        ValueError: If the data are no such images.
    """
    sizes = SIZES.of(preset)
    dataset = pn.datasets.digits() if data is None else data
    seeds = range(seed, seed + sizes.seeds)
    given = [images(dataset, sizes, s) for s in seeds]
    rules = sizes.rules
    epsilons = {f"ε = {eps:g}": rule for eps, rule in sizes.epsilons.items()}
    every = {**rules, **epsilons}
    begins = pn.training.tally(len(every) * len(seeds))
    paths = {
        name: [
            path_of(rule, g, sizes, s, begins)
            for g, s in zip(given, seeds, strict=True)
        ]
        for name, rule in every.items()
    }
    lines = [
        line
        for name in rules
        if name not in ("GD", "AdaGrad")
        for line in compared(name, "AdaGrad", paths, ALIKE)
    ]
    largest = list(epsilons)[-1]
    lines += compared(largest, "RMSProp", paths, MORE)
    what = (
        f"{len(given)} seeds from {seed}, {sizes.images} images of {dataset.name}, "
        f"{sizes.channels[0]} and {sizes.channels[1]} channels, {sizes.hidden} units, "
        f"batches of {sizes.batch}"
    )
    by_rule = {name: paths[name] for name in rules}
    by_eps = {f"ε = {EPS:g}": paths["RMSProp"]} | {n: paths[n] for n in epsilons}
    drawn = dict(pictures("Experiment 1 with a CNN, by rule", what, by_rule))
    drawn |= pictures("Experiment 3 with a CNN, RMSProp by ε", what, by_eps)
    return Figure(tuple(lines), drawn)


def images(dataset: pn.datasets.Dataset, sizes: Sizes, seed: int) -> Images:
    X, y = np.asarray(dataset.X, dtype=float), np.asarray(dataset.y)
    side = math.isqrt(X[0].size)
    if side**2 != X[0].size or side % 4:
        raise ValueError(
            "data must be square images whose side is a multiple of 4; "
            f"{dataset.name} has {X[0].size} features."
        )
    if len(X) <= sizes.images:
        raise ValueError(
            f"data must have more than {sizes.images} images, the rest to test on; "
            f"{dataset.name} has {len(X)}."
        )
    X = X.reshape(-1, side, side, 1) / np.abs(X).max()
    classes, y = np.unique(y, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(X))
    chosen, rest = np.split(order[: sizes.images + OTHERS], [sizes.images])
    network = pn.networks.CNN(
        (side, side, 1), len(classes), channels=sizes.channels, hidden=sizes.hidden
    )
    problem = pn.NetworkClassification(
        network, network.params(seed), X[chosen], y[chosen], loss=pn.losses.Logistic()
    )
    return Images(problem, X[chosen], y[chosen], X[rest], y[rest])


def path_of(
    rule: Rule, given: Images, sizes: Sizes, seed: int, begins: Callable[[], None]
) -> Records:
    begins()
    run = finished(
        pn.train(
            given.problem,
            rule.optimizer,
            steps=rule.steps,
            step_size=rule.step_size,
            batching=pn.batching.Shuffled(sizes.batch),
            key=seed,
            record=RECORDS,
        )
    )
    scores = jax.jit(given.problem.apply)

    def of(w: Any, X: Any) -> Any:
        parts = range(0, len(X), CHUNK)
        return np.concatenate([scores(w, jnp.asarray(X[i : i + CHUNK])) for i in parts])

    rows = []
    for i in range(len(run.log_loss)):
        w = at(run.weights, i)
        least = float(margins(of(w, given.X), given.y).min())
        squares = [sum(np.sum(np.square(p)) for p in layer.values()) for layer in w]
        right = of(w, given.others).argmax(axis=1) == given.labels
        over = np.sum(squares) ** 2, np.sqrt(np.prod(squares))
        rows.append((least / over[0], least / over[1], right.mean()))
    return Records(np.asarray(run.log_loss), *np.array(rows).T)


def margins(scores: Any, y: Any) -> Any:
    """The label's score less the largest other."""
    own = np.take_along_axis(scores, y[:, None], axis=1)[:, 0]
    others = np.array(scores)
    np.put_along_axis(others, y[:, None], -np.inf, axis=1)
    return own - others.max(axis=1)


def compared(
    one: str,
    other: str,
    paths: Mapping[str, list[Records]],
    wanted: Mapping[str, tuple[float, float]],
) -> Iterator[Line]:
    """Differences at equal log-loss, seed by seed; `wanted` are the margins' ranges."""
    pairs = list(zip(paths[one], paths[other], strict=True))
    target = max(float(run.log_loss.min()) for pair in pairs for run in pair)
    where = f"at a log-loss of {target:.2g}"
    for label, quantity in {
        "margin over the norm": "margin",
        "margin over the layers' norms": "by_layers",
    }.items():
        both = [
            [value_at(run, getattr(run, quantity), target) for run in pair]
            for pair in pairs
        ]
        apart = min(min(pair) for pair in both) > 0
        ratios = [a / b - 1.0 if apart else math.nan for a, b in both]
        mean, half = student(ratios)
        yield Line.between(
            f"{one} against {other}, CNN: relative gain of {label} at equal loss",
            *wanted[quantity],
            expected=sum(wanted[quantity]) / 2,
            measured=mean,
            certificate=(
                f"mean of {len(ratios)} seeds ± {half:.2g} (95 %, paired), {where}"
                if apart
                else f"{where} not all samples are right: no ratio"
            ),
        )
    gains = [
        value_at(a, a.accuracy, target) - value_at(b, b.accuracy, target)
        for a, b in pairs
    ]
    mean, half = student(gains)
    yield Line.between(
        f"{one} against {other}, CNN: test accuracy gained at equal loss",
        -0.05,
        0.05,
        expected=0.0,
        measured=mean,
        certificate=(
            f"mean of {len(gains)} seeds ± {half:.1g} (95 %, paired), {where}"
            + ("" if abs(mean) > half else ": no evidence of any")
        ),
    )


def pictures(
    title: str, what: str, paths: Mapping[str, list[Records]]
) -> Iterator[tuple[str, str]]:
    for quantity, label in {
        "margin": "margin over norm to the fourth",
        "by_layers": "margin over product of layers' norms",
        "accuracy": "test accuracy",
    }.items():
        means, bands = {}, {}
        for name, runs in paths.items():
            grid = np.linspace(-1.0, max(run.log_loss.min() for run in runs), 25)
            values = np.array([
                [value_at(run, getattr(run, quantity), z) for z in grid] for run in runs
            ])
            means[name] = (-grid, values.mean(axis=0))
            bands[name] = (values.min(axis=0), values.max(axis=0))
        caption = (
            f"{title}, {label} at equal loss: {what}. Means; bands from least to "
            "greatest."
        )
        axes = pn.plotting.curves(
            means,
            bands=bands,
            xlabel="log of 1 / mean loss",
            ylabel=label,
            logx=False,
            colours=HUES,
        )
        yield caption, pn.plotting.themed_svg(axes, caption)
