from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._setup import images, network

ETAS = (0.01, 0.03)


class Sizes(NamedTuple):
    """Samples and hidden units of the networks, and steps of descent."""

    samples: int
    hidden: tuple[int, ...]
    steps: int


SIZES = Presets(Sizes(200, (32, 16), 30), Sizes(2000, (64, 32), 30))


def long_horizon(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Does the loss with $\frac\eta4\|\nabla\mathcal L\|^2$ foretell a whole run?

    Distance of gradient descent from the flow of that loss, over its distance from the
    flow of the loss itself: least squares, and networks of tanh and ReLU units on
    images. The ratio is $O(\eta)$; not for ReLU, whose kinks the product with the
    Hessian leaves out, though they are of the same order.
    """
    sizes = SIZES.of(preset)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1000, 10))
    y = X @ (3.0 * rng.normal(size=10)) + rng.normal(size=1000)
    squares = pn.Regression(_linear, np.zeros(10), X, y)
    X, y, classes, name = images(data, sizes.samples, seed)
    nets = {
        kind: network(X, y, classes, sizes.hidden, seed, bend, gain)
        for kind, bend, gain in (("tanh", jnp.tanh, 1.0), ("ReLU", jax.nn.relu, 2.0))
    }
    paths: dict[str, np.ndarray] = {}
    ends: dict[str, list[float]] = {}
    # the published loss is the mean of squares: steps of half of it are twice as long
    for kind, problem, steps, etas in (
        ("least squares", squares, 50, [2.0 * eta for eta in ETAS]),
        ("tanh", nets["tanh"], sizes.steps, ETAS[:1]),
        ("ReLU", nets["ReLU"], sizes.steps, ETAS[:1]),
    ):
        for eta in etas:
            ratio = _ratio(problem, eta, steps)
            ends.setdefault(kind, []).append(float(ratio[-1]))
            paths[f"{kind}, η = {eta:g}"] = ratio
    fine, coarse = ends["least squares"]
    lines = [
        Line.between(
            f"least squares, η = {2 * eta:g}: ratio after 50 steps",
            0.5 * told,
            1.5 * told,
            expected=told,
            measured=value,
            certificate=f"published, of another draw, for steps of {eta:g} on the mean "
            "of squares without ½",
        )
        for eta, told, value in zip(
            ETAS, (0.014, 0.038), ends["least squares"], strict=True
        )
    ]
    lines += [
        Line.between(
            "which grows with the step size, by its ratio of 3, to the power",
            0.7,
            1.2,
            expected=1.0,
            measured=float(np.log(coarse / fine) / np.log(ETAS[1] / ETAS[0])),
        ),
        Line.most(
            f"tanh, η = {ETAS[0]:g}: ratio after {sizes.steps} steps",
            0.1,
            measured=ends["tanh"][0],
            certificate="published .011",
        ),
        Line.least(
            f"ReLU, η = {ETAS[0]:g}: ratio after {sizes.steps} steps, over tanh's",
            3.0,
            expected=80.0,
            measured=ends["ReLU"][0] / ends["tanh"][0],
            certificate=f"{ends['ReLU'][0]:.3g}; published .914",
        ),
    ]
    caption = (
        "Distance from the corrected flow over that from the plain one, step by step "
        f"(least squares of 1000 × 10; {name}, {len(y)} samples, hidden layers "
        f"{' and '.join(map(str, sizes.hidden))}; seed {seed})."
    )
    axes = pn.plotting.curves(
        {
            label: (np.arange(1, len(ratio) + 1), ratio)
            for label, ratio in paths.items()
        },
        xlabel="steps",
        ylabel="ratio of distances",
        logy=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _ratio(problem: pn.problems.AbstractProblem, eta: float, steps: int) -> np.ndarray:
    """The ratio after each step."""
    rule = pn.optimizers.GradientDescent()
    run = finished(pn.train(problem, rule, steps=steps, step_size=eta, record=steps))
    assert len(run.steps) == steps  # all of them are recorded
    flat = jax.vmap(problem.flat)
    made = flat(run.weights)
    off = [
        np.linalg.norm(
            np.asarray(
                flat(
                    pn.flows.modified_flow(
                        problem,
                        rule,
                        step_size=eta,
                        steps=steps,
                        order=order,
                        substeps=8 if order == 1 else 1,
                    )
                )
            )[1:]
            - made,
            axis=1,
        )
        for order in (2, 1)
    ]
    return off[0] / off[1]


def _linear(w: jax.Array, X: jax.Array) -> jax.Array:
    return X @ w
