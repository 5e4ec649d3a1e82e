from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets

ROWS, CLASSES = 8, 10
CHANNELS, STATES, LAYERS = 16, 8, 2
BATCH = 50

MOST = 16.0 / 255.0
"""Largest change of a pixel between 0 and 1, as in the paper."""


ANYWHERE, LATE = "poison, all rows", "poison, last two rows"


class Images(NamedTuple):
    """Seeds, pictures in each part, targets, epochs of training, steps of attack."""

    seeds: int
    part: int
    targets: int
    epochs: int
    attack: int


IMAGES = Presets(Images(1, 150, 30, 18, 15), Images(3, 400, 60, 20, 50))


class Pictures(NamedTuple):
    """Pictures a row, row after row of pixels, with their classes."""

    X: np.ndarray
    y: np.ndarray


class Outcome(NamedTuple):
    """One training: shares that are right, of all tests and of targets by step."""

    tests: float
    targets: np.ndarray
    steps: np.ndarray
    match: float


def images(preset: Preset | Images = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Digits as sequences, a deep model like S4D, and clean labels that poison.

    Pixels are steps, row after row, so that the last row is the newest. Two layers of
    16 channels with 8 complex states each, discretised as in `gu2022parameterization`,
    the mean of all steps read out, Adam. Poisons keep their labels: pixels change by
    16/255 at most, so that the gradient on them points to where the loss of the
    targets rises (`geiping2021witches`), in all rows or in the last two alone. Targets
    are the test pictures of highest loss among those that are right. Every run has the
    same start and as many pictures and steps: the control has the poisons' pictures
    twice, `noise` once with random signs of the full size. Attacks and targets are
    chosen at the control's end: any other run loses some of them, so that noise is what
    poisons are held against.

    The paper's experiment in small: one model, one group of targets, one attack a seed,
    and no restarts. It measures an attack on a deep model's gradient; the mechanism of
    Theorem 1 is not what it tests.
    """
    sizes = IMAGES.of(preset)
    found: dict[str, list[Outcome]] = {}
    for s in range(seed, seed + sizes.seeds):
        for name, outcome in _of_a_seed(sizes, s).items():
            found.setdefault(name, []).append(outcome)
    ends = {name: [x.targets[-1] for x in seen] for name, seen in found.items()}
    tests = {name: [x.tests for x in seen] for name, seen in found.items()}
    match = {name: [x.match for x in seen] for name, seen in found.items()}
    lines = [
        Line.least(
            "control: share of test pictures that are right",
            0.4,
            expected=0.85,
            measured=float(np.mean(tests["control"])),
            certificate=_told(tests["control"]),
        )
    ]
    for name in (ANYWHERE, LATE):
        gains = [a - b for a, b in zip(match[name], match["control"], strict=True)]
        lines.append(
            Line.least(
                f"{name}: gain in cosine of its gradient with what raises the targets' "
                "loss",
                0.02,
                expected=0.3,
                measured=float(np.mean(gains)),
                certificate=f"{_told(gains)}; cosine unchanged "
                f"{_told(match['control'])}, with noise {_told(match['noise'])}",
            )
        )
    # targets are what the control has just right: any other run loses some of them
    for name, other, low, high in (
        ("noise", "control", -0.1, 0.6),
        (ANYWHERE, "noise", -0.3, 1.0),
        (LATE, "noise", -0.3, 1.0),
    ):
        drops = [a - b for a, b in zip(ends[other], ends[name], strict=True)]
        lines.append(
            Line.between(
                f"{name}: share of targets lost against {other}, of as much data",
                low,
                high,
                expected=0.2,
                measured=float(np.mean(drops)),
                certificate=f"{_told(drops)}; right of all test pictures "
                f"{_told(tests[name])}, {other} {_told(tests[other])}",
            )
        )
    lines += _layout()
    caption = (
        f"Share of the {sizes.targets} targets that are right along training, mean of "
        f"{sizes.seeds} seed{'s' if sizes.seeds > 1 else ''} from {seed}; "
        f"{3 * sizes.part} pictures, {sizes.part} of them changed."
    )
    axes = pn.plotting.curves(
        {
            name: (seen[0].steps, np.mean([x.targets for x in seen], axis=0))
            for name, seen in found.items()
        },
        xlabel="steps of Adam",
        ylabel="share of targets right",
        logx=False,
        bands={
            name: (
                np.min([x.targets for x in seen], axis=0),
                np.max([x.targets for x in seen], axis=0),
            )
            for name, seen in found.items()
            if name in ("control", ANYWHERE) and len(seen) > 1
        },
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _of_a_seed(sizes: Images, s: int) -> dict[str, Outcome]:
    """A run on clean data, attacks on it, and runs on them from the same start."""
    digits = pn.datasets.digits()
    X = np.asarray(digits.X, dtype=float).reshape(len(digits.y), -1) / 16.0
    y, rng = np.asarray(digits.y), np.random.default_rng(s)
    clean, base, test = (
        Pictures(X[rows], y[rows])
        for rows in np.split(rng.permutation(len(X)), [sizes.part, 2 * sizes.part])
    )
    start = _start(s)
    run = _trained(start, [clean, base, base], sizes, s)
    w = run.last
    losses = np.asarray(cross_entropy(w, (test.X, test.y)))
    hardest = np.argsort(np.where(_right(w, *test), -losses, np.inf))[: sizes.targets]
    targets = Pictures(test.X[hardest], test.y[hardest])
    # what raises the loss of the targets: the gradient of minus it
    goal = -_flat_gradient(w, targets.X, targets.y)
    signs = MOST * np.where(rng.random(base.X.shape) < 0.5, -1.0, 1.0)
    late = (np.arange(X.shape[1]) >= X.shape[1] - 2 * ROWS).astype(float)
    changed = {
        "noise": np.clip(base.X + signs, 0.0, 1.0),
        ANYWHERE: _attacked(w, base, goal, np.ones_like(late), sizes.attack),
        LATE: _attacked(w, base, goal, late, sizes.attack),
    }
    found = {"control": _outcome(run, test, targets, _match(w, *base, goal))}
    for name, Z in changed.items():
        part = Pictures(Z, base.y)
        again = _trained(start, [clean, base, part], sizes, s)
        found[name] = _outcome(again, test, targets, _match(w, *part, goal))
    return found


def _outcome(
    run: pn.Trajectory, test: Pictures, targets: Pictures, match: Array
) -> Outcome:
    shares = [
        float(np.mean(_right(jax.tree.map(lambda x, i=i: x[i], run.weights), *targets)))
        for i in range(len(run.steps))
    ]
    tests = float(np.mean(_right(run.last, *test)))
    return Outcome(tests, np.array(shares), np.asarray(run.steps), float(match))


def _told(values: list[float]) -> str:
    return f"{values[0]:.3g}, one run" if len(values) == 1 else interval(values)


def _start(s: int) -> Any:
    """Weights as S4D has them: frequencies πn, decays ½, steps from .01 to .5.

    But for `c`, three times as large: layers are not normalised here.
    """
    keys = iter(jax.random.split(jax.random.key(s), 4 * LAYERS + 2))
    shape = (CHANNELS, STATES)
    layers = []
    for _ in range(LAYERS):
        step = jnp.exp(
            jax.random.uniform(
                next(keys), (CHANNELS, 1), minval=np.log(0.01), maxval=np.log(0.5)
            )
        )
        model = pn.ssm.ContinuousStateSpace(
            jnp.full(shape, np.log(0.5)),
            jnp.broadcast_to(np.pi * jnp.arange(float(STATES))[None, :], shape),
            jnp.broadcast_to(jnp.log(step), shape),
            jnp.ones(shape),
            3.0 * jax.random.normal(next(keys), shape),
        )
        mix = jax.random.normal(next(keys), (CHANNELS, CHANNELS)) / CHANNELS**0.5
        layers.append((model, mix))
    lift = jax.random.normal(next(keys), (CHANNELS,))
    read = jax.random.normal(next(keys), (CHANNELS, CLASSES)) / CHANNELS**0.5
    return pn.ssm.Stack(lift, layers, jnp.zeros(CHANNELS)), read


def scores(w: Any, X: Float[Array, "n k"]) -> Float[Array, "n c"]:
    """A row of scores a sequence: the mean over steps of all channels, read out."""
    stack, read = w
    return jnp.mean(stack.channels(X), axis=1) @ read


def cross_entropy(w: Any, batch: Any) -> Float[Array, " b"]:
    """One loss a picture."""
    X, y = batch
    log_p = jax.nn.log_softmax(scores(w, X))
    return -jnp.take_along_axis(log_p, y[:, None], axis=1)[:, 0]


@jax.jit
def _right(w: Any, X: Array, y: Array) -> Array:
    return jnp.argmax(scores(w, X), axis=1) == y


def _trained(start: Any, parts: list[Pictures], sizes: Images, s: int) -> pn.Trajectory:
    X, y = np.vstack([p.X for p in parts]), np.concatenate([p.y for p in parts])
    problem = pn.Objective(cross_entropy, start, (X, y))
    # as many steps whatever the parts: three of them make an epoch
    steps = sizes.epochs * 3 * sizes.part // BATCH
    return finished(
        pn.train(
            problem,
            pn.optimizers.Adam(0.9, 0.999, 1e-8, bias_correction=True),
            steps=steps,
            step_size=lambda t: 0.01 * (0.525 + 0.475 * jnp.cos(np.pi * t / steps)),
            batching=pn.batching.Shuffled(BATCH),
            key=s,
            record=12,
            progress=False,
        )
    )


@jax.jit
def _flat_gradient(w: Any, X: Array, y: Array) -> Array:
    g = jax.grad(lambda w: jnp.mean(cross_entropy(w, (X, y))))(w)
    return ravel_pytree(g)[0]


@jax.jit
def _match(w: Any, X: Array, y: Array, goal: Array) -> Array:
    """Cosine of the gradient on pictures with the goal."""
    g = _flat_gradient(w, X, y)
    return g @ goal / (jnp.linalg.norm(g) * jnp.linalg.norm(goal))


@jax.jit
def _slope(X: Array, w: Any, y: Array, goal: Array) -> Array:
    """How the cosine's opposite changes with pixels."""
    return jax.grad(lambda X: -_match(w, X, y, goal))(X)


def _attacked(
    w: Any, base: Pictures, goal: Array, where: np.ndarray, steps: int
) -> np.ndarray:
    """Pictures whose gradient is turned to the goal, by signs of Adam's direction."""
    X, y = jnp.asarray(base.X), jnp.asarray(base.y)
    free = jnp.asarray(where)[None, :]
    delta, mean = jnp.zeros_like(X), jnp.zeros_like(X)
    for t in range(steps):
        rate = MOST / 5.0 * 0.1 ** (3 * t // steps)
        mean = 0.9 * mean + 0.1 * _slope(X + delta, w, y, goal)
        delta = delta - rate * jnp.sign(mean) * free
        delta = jnp.clip(delta, -MOST, MOST)
        delta = jnp.clip(X + delta, 0.0, 1.0) - X
    return np.asarray(X + delta)


def _layout() -> list[Line]:
    """Where the last row of each colour comes in the paper's layout of pictures."""
    colours, rows, columns = 3, 32, 32
    row = np.zeros((1, colours, rows, columns))
    row += np.arange(rows)[None, None, :, None]
    plane = np.zeros_like(row) + np.arange(colours)[None, :, None, None]
    # x.view(B, H*W, C) of (B, C, H, W): no transpose, so that a step is three
    # neighbouring pixels of one colour
    steps = {
        name: array.reshape(1, rows * columns, colours)[0]
        for name, array in (("row", row), ("plane", plane))
    }
    lines = []
    for k, (name, expected) in enumerate((("red", 341), ("green", 682))):
        last = (steps["row"] == rows - 1) & (steps["plane"] == k)
        lines.append(
            Line.near(
                f"the paper's layout: last step, of 1024, of the last row of {name}",
                expected=expected,
                within=0.0,
                measured=int(np.flatnonzero(last.any(axis=1))[-1]),
                certificate="indices counted; of blue it is 1023, where all should be",
            )
        )
    return lines
