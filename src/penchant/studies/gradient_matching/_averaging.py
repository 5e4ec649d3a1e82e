from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._setup import images, network


class Sizes(NamedTuple):
    """Samples, hidden units, steps before the average, of it, and of retraining."""

    samples: int
    hidden: int
    before: int
    averaged: tuple[int, ...]
    again: int


SIZES = Presets(
    Sizes(300, 16, 200, (64, 256, 1024), 1000),
    Sizes(2000, 32, 500, (64, 256, 1024, 4096), 4000),
)
RATE = 0.05


def averaging(
    preset: Preset | Sizes = Preset.QUICK,
    seed: int = 0,
    data: pn.datasets.Dataset | None = None,
) -> Figure:
    r"""Averaged weights: a ridge about the point where averaging began.

    Least squares: the mean of $T$ iterates from $\theta_0$ is the minimiser of the loss
    with $\frac12(\theta-\theta_0)^\top Q(\theta-\theta_0)$,
    $q_i=s_ic_i/(1-c_i)$ with $c_i$ the mean of $(1-\eta s_i)^t$, all between one and
    two times $1/(\eta T)$: a ridge about $\theta_0$ in all but a factor of two. Then a
    network of one hidden tanh layer on images, by SGD with batches of 32, and the mean
    of its iterates; and the same loss with that ridge, trained again.
    """
    sizes = SIZES.of(preset)
    lines = _least_squares(seed)
    X, y, classes, name = images(data, sizes.samples, seed)
    loss = network(X, y, classes, (sizes.hidden,), seed)
    run = finished(
        pn.train(
            loss,
            "gd",
            steps=sizes.before,
            step_size=RATE,
            batching=pn.batching.Shuffled(32),
            key=seed,
            record=2,
        )
    )
    start = run.last
    anchored, origin = pn.penalties.Anchored(start), pn.penalties.Ridge()
    about_start, about_0, last = [], [], None
    for steps in sizes.averaged:
        seen = pn.training.window(run, steps=steps, blocks=16)
        mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), seen.weights)
        found = [pn.estimators.match(loss, mean, [p]) for p in (anchored, origin)]
        about_start.append(found[0].r2)
        about_0.append(found[1].r2)
        last = mean, found[0]
        lines.append(
            Line.between(
                f"coefficient about the start times η·T, mean of {steps:,} iterates",
                0.8,
                2.5,
                expected=1.5,
                measured=float(found[0].coefficients[0]) * RATE * steps,
                certificate=f"explains {found[0].r2:.3f} of the gradient; a ridge "
                f"about 0 {found[1].r2:.3f}",
            )
        )
    assert last is not None  # at least one length is averaged over
    mean, found = last
    lines += [
        Line.least(
            "share that a ridge about the start explains, longest mean",
            0.6,
            expected=0.923,
            measured=about_start[-1],
            certificate="published: .923, another network",
        ),
        Line.least(
            "which is more than one about 0 does, by",
            0.2,
            expected=0.646,
            measured=about_start[-1] - about_0[-1],
            certificate=f"{about_0[-1]:.3f}; published .277",
        ),
    ]
    both = pn.penalties.Penalised(loss, [anchored], found.coefficients)
    again = finished(
        pn.train(both, "gd", steps=sizes.again, step_size=RATE, init=start, record=2)
    )
    moved = [
        np.asarray(loss.flat(w)) - np.asarray(loss.flat(start))
        for w in (again.last, mean)
    ]
    cosine = moved[0] @ moved[1] / np.prod([np.linalg.norm(x) for x in moved])
    lines.append(
        Line.between(
            "cosine of what retraining with it moves with what averaging does",
            0.9,
            1.0,
            expected=0.9993,
            measured=float(cosine),
            certificate="lengths "
            + " and ".join(f"{np.linalg.norm(x):.3g}" for x in moved),
        )
    )
    caption = (
        f"Share of the gradient at the mean of a run's iterates that a ridge explains, "
        f"about the point where the mean began and about 0 ({name}, {len(y)} samples, "
        f"{sizes.hidden} hidden units, SGD of step {RATE:g} with batches of 32, seed "
        f"{seed})."
    )
    axes = pn.plotting.curves(
        {
            "ridge about the start": (sizes.averaged, about_start),
            "ridge about 0": (sizes.averaged, about_0),
        },
        xlabel="steps averaged over",
        ylabel="share of the gradient explained",
        dots=True,
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _least_squares(seed: int) -> list[Line]:
    rng = np.random.default_rng(seed)
    n, p, eta = 200, 10, 0.01
    X = rng.normal(size=(n, p)) * np.geomspace(0.3, 2.0, p)
    y = X @ rng.normal(size=p) + rng.normal(size=n)
    A, b = X.T @ X / n, X.T @ y / n
    start = rng.normal(size=p)
    lines = []
    for steps in (10, 1000):
        w, total = start, np.zeros(p)
        for _ in range(steps):
            w = w - eta * (A @ w - b)
            total = total + w / steps
        s, V = np.linalg.eigh(A)
        r = 1.0 - eta * s
        # the mean of r + r² + … + r^T
        c = r * -np.expm1(steps * np.log(r)) / (eta * s) / steps
        q = s * c / (1.0 - c)
        g, moved = A @ total - b, total - start
        left = np.linalg.norm((V * q) @ (V.T @ moved) + g) / np.linalg.norm(g)
        log = pn.estimators.LoggedGradient(total, g)
        found, plain = (
            pn.estimators.match(log, total, [term])
            for term in (pn.penalties.Anchored(start), pn.penalties.Ridge())
        )
        lines += [
            Line.most(
                f"least squares, mean of {steps:,}: |Q(w − w₀) + g| over |g|",
                1e-10,
                measured=float(left),
            ),
            Line.near(
                f"least squares, mean of {steps:,}: ridge about the start over its "
                "quotient",
                expected=1.0,
                within=1e-9,
                measured=float(
                    found.coefficients[0]
                    * (moved @ moved)
                    / np.sum(q * (V.T @ moved) ** 2)
                ),
                certificate=f"q from {q.min() * eta * steps:.3g} to "
                f"{q.max() * eta * steps:.3g} over ηT; it explains {found.r2:.4f}, a "
                f"ridge about 0 {plain.r2:.4f}",
            ),
        ]
    return lines
