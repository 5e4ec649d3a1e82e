import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.homogeneous_networks._setup import (
    SHIFT,
    N,
    depths,
    samples,
)

ETA = 0.01

# of seed 0 by a loop in plain NumPy: growth a step, and the step at which ε takes over;
# tests/studies/test_expected.py
GROWTH = {0.99: 4.50931e-3}
CROSSOVERS = {
    0.9: {1e-8: 842, 1e-16: 1584, 1e-32: 3073},
    0.99: {1e-8: 2296, 1e-16: 4336, 1e-32: 8420},
}
SHOWN = (10, 30, 100)
"""Values of x at which the angle is held against theory."""


class Sizes(NamedTuple):
    """How much is done: of the growth, of the crossover, and of the angles after it."""

    steps: int
    decays: tuple[float, ...]
    epsilons: tuple[float, ...]
    angles: tuple[float, ...]
    deepest: float


SIZES = Presets(
    Sizes(200_000, (0.99,), (1e-8, 1e-16), (1e-16,), 32.0),
    Sizes(1_000_000, (0.9, 0.99), (1e-8, 1e-16, 1e-32), (1e-16, 1e-64), 105.0),
)


@functools.lru_cache(maxsize=8)
def linear(seed: int) -> pn.LinearClassification:
    """The eight samples, for a linear model."""
    X, y = samples(seed)
    return pn.LinearClassification(X, y, loss=pn.losses.Exponential())


def crossover(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""When $\varepsilon$ takes over from Adam's memory, and how slowly it then acts.

    RMSProp with constant steps of .01 on the linear model, exponential loss,
    $\varepsilon$ inside the root, values those for the sum of losses. Without
    $\varepsilon$ the loss falls by $e^{-r}$ a step, $r$ by `theory.adam_growth`. With
    it, $\sum|g_i|\kappa_i/\sum|g_i|$, $\kappa_i=\varepsilon/(\varepsilon+v_i)$, crosses
    ½ at $t_\times$. After that the angle to the $\ell_2$ direction depends on
    $x=\log\frac1{\mathcal L}/\log\frac1{\sqrt\varepsilon}$ alone, like $1/x$.
    """
    sizes, problem = SIZES.of(preset), linear(seed)
    gammas = {
        "ℓ2": pn.max_margin(problem, pn.norms.L2(), tol=1e-10),
        "ℓ∞": pn.max_margin(problem, pn.norms.Linf(), tol=1e-10),
    }
    lines = []
    if seed == 0:
        for label, wanted in {"ℓ2": 1.213682, "ℓ∞": 1.404245}.items():
            found = gammas[label]
            lines.append(
                Line.near(
                    f"largest {label} margin",
                    expected=wanted,
                    within=1e-6,
                    measured=float(found.margin),
                    certificate=f"gap {float(found.gap):.0e}",
                )
            )
    gamma = float(gammas["ℓ∞"].margin)
    for b2 in (0.9, 0.99):
        lines.append(_growth(sizes.steps, seed, b2, gamma))
    drawn = {}
    for b2 in sizes.decays:
        for eps in sizes.epsilons:
            found, line = _crossed(seed, b2, eps, gamma)
            lines += line
            drawn[f"b₂ = {b2:g}, ε = {eps:g}"] = found
    caption = (
        "Share of ε in what divides the gradient, weighed by gradients: RMSProp on "
        "the linear model, constant steps of .01, exponential loss, ε inside the root "
        f"for the sum of losses, 8 samples, seed {seed}."
    )
    axes = pn.plotting.curves(
        drawn, xlabel="steps", ylabel="share of ε", levels={"½": 0.5}
    )
    pictures = {caption: pn.plotting.themed_svg(axes, caption)}
    angles, more, told = _angles(sizes, seed, gammas["ℓ2"])
    pictures[told] = angles
    return Figure((*lines, *more), pictures)


def _growth(steps: int, seed: int, b2: float, gamma: float) -> Line:
    """The slope of the log-loss over the second half, and its theory."""
    run = _run(seed, b2, 0.0, steps, 50)
    half = int(np.searchsorted(np.asarray(run.steps), steps // 2))
    fallen = float(run.log_loss[half] - run.log_loss[-1])
    r = fallen / float(run.steps[-1] - run.steps[half])
    wanted = float(pn.theory.regimes.adam_growth(gamma, ETA, 0.0, b2))
    told = f"theory; {steps:,} steps"
    if seed == 0 and b2 in GROWTH:
        told += f"; {GROWTH[b2]:.5e} by a loop in plain NumPy"
    return Line.near(
        f"b₂ = {b2:g}, ε = 0: growth r a step",
        expected=wanted,
        within=1e-5 * wanted,
        measured=r,
        certificate=told,
    )


def _run(seed: int, b2: float, eps: float, steps: int, record: int) -> pn.Trajectory:
    rule = pn.optimizers.RMSProp(b2, eps / N**2, eps_inside=True)
    return finished(
        pn.train(linear(seed), rule, steps=steps, step_size=ETA, record=record)
    )


@jax.jit
def _scaled(problem: pn.LinearClassification, weights: jax.Array | np.ndarray) -> Any:
    """Gradients as directions and log-scales, at every record."""
    return jax.lax.map(problem.scaled_gradient, weights)


def _crossed(
    seed: int, b2: float, eps: float, gamma: float
) -> tuple[tuple[Any, Any], list[Line]]:
    """The step at which ε takes over, measured and predicted from early steps."""
    problem = linear(seed)
    r = float(pn.theory.regimes.adam_growth(gamma, ETA, 0.0, b2))
    steps = int((np.log(eps**-0.5) + 8.0) / r * 1.2)
    run = _run(seed, b2, eps, steps, steps)  # every step
    before = np.concatenate([np.zeros((1, 3)), np.asarray(run.weights)[:-1]])
    found = _scaled(problem, jnp.asarray(before).reshape(-1, *problem.weight_shape))
    direction = np.asarray(found.direction).reshape(-1, 3)
    log_scale = np.asarray(found.log_scale)[:, None]
    log_g = np.log(np.abs(direction)) + log_scale
    log_v, log_vs = np.full(3, -np.inf), []
    for g in log_g:
        log_v = np.logaddexp(np.log(b2) + log_v, np.log(1.0 - b2) + 2.0 * g)
        log_vs.append(log_v)
    log_eps = np.log(eps / N**2)
    share = _share(np.array(log_vs), log_g, log_eps)
    measured = 1.0 + float(np.argmax(share >= 0.5))
    # a hundred memories' worth would be too late: ten, then a straight line
    ta = int(min(10.0 / (1.0 - b2), 0.5 * measured))
    ahead = np.arange(20 * steps // 10)[:, None] * r
    told = _share(log_vs[ta] - 2.0 * ahead, log_g[ta] - ahead, log_eps)
    predicted = ta + 1.0 + float(np.argmax(told >= 0.5))
    certificate = f"t_a = {ta}, r = {r:.4g}"
    if seed == 0 and eps in CROSSOVERS.get(b2, {}):
        certificate += f"; {CROSSOVERS[b2][eps]} by a loop in plain NumPy"
    wide = 0.03 if b2 >= 0.99 else 0.15
    line = Line.near(
        f"b₂ = {b2:g}, ε = {eps:g}: step at which ε takes over",
        expected=predicted,
        within=wide * predicted,
        measured=measured,
        certificate=certificate,
    )
    at = np.unique(np.rint(np.geomspace(1, steps, 150)).astype(int)) - 1
    return (at + 1, share[at]), [line]


def _share(
    log_v: jax.Array | np.ndarray, log_g: jax.Array | np.ndarray, log_eps: float
) -> Any:
    kappa = np.exp(log_eps - np.logaddexp(log_eps, log_v))
    g = np.exp(log_g - log_g.max(axis=-1, keepdims=True))
    return (g * kappa).sum(axis=-1) / g.sum(axis=-1)


def _unseen(problem: pn.LinearClassification, best: pn.MaxMargin) -> Any:
    """The projection off the span of the support vectors."""
    rows = np.asarray(problem.X)[np.asarray(best.support)]
    return np.eye(rows.shape[1]) - np.linalg.pinv(rows) @ rows


def _angles(sizes: Sizes, seed: int, best: pn.MaxMargin) -> tuple[str, list[Line], str]:
    """The angle to the ℓ2 direction against x, by ε."""
    problem, drawn, lines = linear(seed), {}, []
    target = np.ravel(np.asarray(best.weights))
    target = target / np.linalg.norm(target)
    for eps in sizes.angles:
        unit = 0.5 * np.log(1.0 / eps)
        before = _run(seed, 0.9, eps, int(2.5 * unit / 0.0135), 20)
        run = pn.flows.adaptive_flow(
            problem,
            trajectory=before,
            log_loss=-sizes.deepest * unit - SHIFT,
            record=120,
        )
        x = depths(run) / unit
        w = np.asarray(run.weights).reshape(-1, 3)
        w = w / np.linalg.norm(w, axis=1, keepdims=True)
        # by the sine: a cosine near 1 has lost its digits
        off = np.linalg.norm(w - target, axis=1)
        angle = np.degrees(2.0 * np.arcsin(0.5 * off))
        drawn[f"ε = {eps:g}"] = (x, angle)
        # what no support vector sees of the weights stays as it is, once others fade;
        # on the data of seed 0 it is nearly all of the angle
        settled = np.asarray(run.weights[int(np.argmax(x >= 10.0))]).ravel()
        unseen = np.linalg.norm(_unseen(problem, best) @ settled)
        for at in SHOWN:
            if seed != 0 or at >= sizes.deepest:
                continue
            measured = float(np.exp(np.interp(np.log(at), np.log(x), np.log(angle))))
            wanted = np.degrees(unseen * float(best.margin) / (at * unit))
            told = f"expected: {unseen:.3g} at x = 10, over the norm"
            lines.append(
                Line.between(
                    f"ε = {eps:g}: degrees to the ℓ2 direction at x = {at}",
                    float(wanted) * 0.95,
                    float(wanted) * 1.05,
                    expected=float(wanted),
                    measured=measured,
                    certificate=told,
                )
            )
        late = x > 10.0
        slope = np.polyfit(np.log(x[late]), np.log(angle[late]), 1)[0]
        lines.append(
            Line.near(
                f"ε = {eps:g}: exponent of the angle in x",
                expected=-1.0,
                within=0.1,
                measured=float(slope),
                certificate=f"fit to {late.sum()} records",
            )
        )
    caption = (
        "Angle of RMSProp's direction to the ℓ2 max margin direction against x = "
        "log(1/L) / log(1/√ε), after the crossover: linear model, b₂ = .9, steps of "
        f".01, then their flow; 8 samples, seed {seed}."
    )
    axes = pn.plotting.curves(
        drawn, xlabel="x", ylabel="angle (degrees)", logy=True, size=(7.2, 3.0)
    )
    for axis, ticks in (
        (axes.xaxis, (1, 2, 5, 10, 30, 100)),
        (axes.yaxis, (0.5, 1, 2, 5, 10, 30)),
    ):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_formatter("")
    axes.set_xlim(1.0, 1.1 * max(x.max() for x, _ in drawn.values()))
    axes.set_ylim(0.9 * min(y.min() for _, y in drawn.values()), 40.0)
    return pn.plotting.themed_svg(axes, caption), lines, caption
