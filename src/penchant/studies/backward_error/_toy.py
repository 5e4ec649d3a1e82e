"""Figures 1 to 3 of the 2024 paper: one parameter, and two."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import adam, toy

REACH = 2.6
"""The time in which signs lead from the start past the minimisers."""

LOSS = 10.0
"""The loss at which runs are compared."""


class Sizes(NamedTuple):
    """Decays and step sizes of the toy's runs, and nodes of a numeric integral."""

    first: tuple[float, ...]
    second: tuple[float, ...]
    steps: tuple[float, ...]
    nodes: int


SIZES = Presets(
    Sizes((0.0, 0.5, 0.9, 0.95, 0.98), (0.5, 0.95, 0.99, 0.999), (1e-4, 1e-2), 4000),
    Sizes(
        (0.0, 0.5, 0.8, 0.9, 0.95, 0.98),
        (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999),
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        40_000,
    ),
)


def potential(x: float | np.ndarray, b1: float, b2: float, eps: float) -> Any:
    r"""What one parameter's loss gains, in units of half a step.

    $\int_0^x\{A+B\frac\varepsilon{y^2+\varepsilon}\}\,d\sqrt{\varepsilon+y^2}
    =A(\sqrt{\varepsilon+x^2}-\sqrt\varepsilon)+B\varepsilon(\varepsilon^{-1/2}
    -(\varepsilon+x^2)^{-1/2})$, $A=c_{\beta_1}-c_{\beta_2}$, $B=c_{\beta_2}$.
    """
    c1, c2 = (pn.flows.memory_coefficient(b) for b in (b1, b2))
    root = np.sqrt(eps + np.asarray(x) ** 2)
    return (c1 - c2) * (root - np.sqrt(eps)) + c2 * eps * (eps**-0.5 - 1.0 / root)


def integral(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """The implicit penalty of one parameter against its gradient, many decays."""
    sizes = SIZES.of(preset)
    x = np.linspace(0.0, 1.0, 200)
    lines, pictures = [], {}
    for eps in (1e-2, 1e-4):
        drawn = {
            f"β₂ = {b2:g}": (x, potential(x, 0.95, b2, eps))
            for b2 in (0.8, 0.9, 0.95, 0.97, 0.99, 0.999)
        }
        y = np.linspace(0.0, 1.0, sizes.nodes)
        c1, c2 = (pn.flows.memory_coefficient(b) for b in (0.95, 0.99))
        slope = (c1 - c2 + c2 * eps / (y**2 + eps)) * y / np.sqrt(y**2 + eps)
        told = float(np.trapezoid(slope, y))
        closed = float(potential(1.0, 0.95, 0.99, eps))
        lines.append(
            Line.near(
                f"ε = {eps:g}: closed form against a numeric integral, β₂ = .99",
                expected=told, within=1e-2 * abs(told), measured=closed,
            )
        )  # fmt: skip
        caption = (
            f"What is added to one parameter's loss, over h/2, β₁ = .95, ε = {eps:g}: "
            "penalised while the curve rises, anti-penalised where it falls."
        )
        axes = pn.plotting.curves(
            drawn, xlabel="gradient", ylabel="penalty / (h/2)", logx=False
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    del seed
    return Figure(tuple(lines), pictures)


def crossing(path: np.ndarray, loss: np.ndarray, level: float) -> np.ndarray:
    """Where a path first falls to a level of the loss, between its steps."""
    path, loss = np.asarray(path), np.asarray(loss)
    if not np.any(loss <= level):
        raise ValueError(f"the path must reach a loss of {level:g}; it ends above.")
    i = int(np.argmax(loss <= level))
    share = (loss[i - 1] - level) / (loss[i - 1] - loss[i])
    return path[i - 1] + share * (path[i] - path[i - 1])


def toy_loss(w: np.ndarray) -> Any:
    """The loss along a path."""
    w = np.asarray(w)
    return 0.5 * (1.5 - 2.0 * w[..., 0] * w[..., 1]) ** 2


def toy_norm(w: np.ndarray) -> float:
    r"""$\|\nabla E\|_1$."""
    w = np.asarray(w)
    return float(2.0 * abs(1.5 - 2.0 * w[0] * w[1]) * (abs(w[0]) + abs(w[1])))


def at_loss(
    b1: float, b2: float, h: float, order: int | None = None
) -> tuple[float, np.ndarray]:
    """The one-norm where the loss is 10, and the path, of a run or a flow of an order.

    NaN where a flow does not come down to that loss.
    """
    steps = round(REACH / h)
    rule = adam(b1, b2)
    if order is not None:
        path = np.asarray(
            pn.flows.modified_flow(toy(), rule, step_size=h, steps=steps, order=order)
        )
        if not np.any(toy_loss(path) <= LOSS):
            return float("nan"), path
    else:
        path = nearby(rule, h, steps, lambda w: toy_loss(w) <= LOSS)
    return toy_norm(crossing(path, toy_loss(path), LOSS)), path


def nearby(
    rule: pn.optimizers.AbstractOptimizer, h: float, steps: int, passed: Any
) -> np.ndarray:
    """The path of a run, every step of it around where it first has `passed`.

    Elsewhere, and of a run that never has, one in some hundred of its steps.
    """
    way = {"step_size": h, "progress": False}
    coarse = pn.train(toy(), rule, steps=steps, record=100, **way)
    at = np.concatenate([[0], np.asarray(coarse.steps)])
    path = np.concatenate([
        np.asarray(coarse.initial)[None], np.asarray(coarse.weights)
    ])  # fmt: skip
    hits = np.asarray(passed(path))
    if not hits.any():
        return path
    i = int(np.argmax(hits))
    gap = int(at[i] - at[i - 1])
    before = None
    if at[i - 1] > 0:
        before = pn.train(toy(), rule, steps=int(at[i - 1]), record=2, **way)
    fine = pn.train(toy(), rule, steps=gap, record=gap, after=before, **way)
    return np.concatenate([path[:i], np.asarray(fine.weights), path[i + 1 :]])


def first_crossing(b1: float, b2: float, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a run first crosses the hyperbola of minimisers, or ends; its path."""
    beyond = lambda w: 2.0 * w[..., 0] * w[..., 1] - 1.5
    path = nearby(adam(b1, b2), h, round(REACH / h), lambda w: beyond(w) <= 0.0)
    over = beyond(path)
    return (crossing(path, over, 0.0) if np.any(over <= 0.0) else path[-1]), path


def bilinear(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""A larger $\beta_1$ lowers the one-norm, a larger $\beta_2$ raises it.

    The effect is small: no run comes near the flattest minimiser, since all of them
    follow signs along the diagonal, and the correction moves them by its own size, $h$
    times a memory's length.
    """
    sizes = SIZES.of(preset)
    lines, pictures = [], {}
    grids = {
        "β₁": [(b, 0.95, 1e-3) for b in sizes.first],
        "β₂": [(0.9, b, 1e-3) for b in sizes.second],
        "h, β₂ > β₁": [(0.9, 0.95, h) for h in sizes.steps],
        "h, β₂ < β₁": [(0.95, 0.9, h) for h in sizes.steps],
    }
    falls = {"β₁": True, "β₂": False, "h, β₂ > β₁": False, "h, β₂ < β₁": True}
    for name, grid in grids.items():
        runs = [at_loss(*point)[0] for point in grid]
        plain = [at_loss(*point, order=1)[0] for point in grid]
        flows = [at_loss(*point, order=2)[0] for point in grid]
        reaches = np.isfinite(flows)
        sign = -1.0 if falls[name] else 1.0
        lines.append(
            Line.least(
                f"one-norm at loss 10 {'falls' if falls[name] else 'rises'} with "
                f"{name}: least difference of neighbours",
                1e-6, expected=float(sign * (runs[-1] - runs[0])),
                measured=float(np.min(sign * np.diff(runs))),
                certificate=", ".join(f"{x:.4f}" for x in runs),
            )
        )  # fmt: skip
        lines.append(
            Line.most(
                f"{name}: error of the corrected flow's one-norm over that of the "
                "plain flow's, both at their largest",
                0.4,
                measured=float(
                    np.max(np.abs(np.subtract(runs, flows))[reaches])
                    / np.max(np.abs(np.subtract(runs, plain))[reaches])
                ),
                certificate=f"where the flow comes down so far: {reaches.sum()} of "
                f"{len(grid)}",
            )
        )
        x = np.array([p[{"β₁": 0, "β₂": 1}.get(name, 2)] for p in grid])
        b1, b2, h = grid[0]
        fixed = [f"β₁ = {b1:g}", f"β₂ = {b2:g}", f"h = {h:g}"]
        del fixed[{"β₁": 0, "β₂": 1}.get(name, 2)]
        caption = (
            f"One-norm at loss 10 against {name.split(',')[0]}, with "
            f"{' and '.join(fixed)}: Adam on the bilinear toy from (2.8, 3.5), and its "
            "corrected flow."
        )
        axes = pn.plotting.curves(
            {"run": (x, np.array(runs)), "corrected flow": (x, np.array(flows))},
            xlabel=name.split(",")[0], ylabel="‖∇E‖₁ at loss 10", logx="h" in name,
            dots=True, dashed=("corrected flow",),
        )  # fmt: skip
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    ends = {f"β₁ = {b:g}": first_crossing(b, 0.95, 1e-3) for b in sizes.first}
    places = {name: place for name, (place, _) in ends.items()}
    paths = {name: path for name, (_, path) in ends.items()}
    x = np.linspace(0.4, 2.0, 200)
    drawn = {"minimisers": (x, 0.75 / x)}
    drawn |= {k: (p[:, 0], p[:, 1]) for k, p in paths.items()}
    flat = np.sqrt(0.75) * np.ones(2)
    caption = (
        "Paths of Adam on the toy by β₁, to the hyperbola of minimisers; the circle is "
        "the flattest of them, which signs along the diagonal never come near."
    )
    axes = pn.plotting.curves(
        drawn, points={"flattest": (flat[:1], flat[1:])}, xlabel="w₁", ylabel="w₂",
        logx=False, size=(4.8, 4.4), colours={"minimisers": "#999999"},
    )  # fmt: skip
    pictures[caption] = pn.plotting.themed_svg(axes, caption)
    far = min(float(np.linalg.norm(end - flat)) for end in places.values())
    sign_end = np.array([
        -0.35 + np.sqrt(0.35**2 + 0.75),
        0.35 + np.sqrt(0.35**2 + 0.75),
    ])
    for name, told in (("β₁ = 0", (0.5804, 1.2922)), ("β₁ = 0.98", (0.5898, 1.2703))):
        place = places[name]
        lines.append(
            Line.near(
                f"{name}: where the hyperbola is first crossed, from ({told[0]}, "
                f"{told[1]})",
                expected=0.0, within=1e-3,
                measured=float(np.linalg.norm(place - np.array(told))),
                certificate=f"({place[0]:.4f}, {place[1]:.4f}); signs alone lead to "
                f"({sign_end[0]:.4f}, {sign_end[1]:.4f})",
            )
        )  # fmt: skip
    lines.append(
        Line.least(
            "distance of the nearest end from the flattest minimiser", 0.3,
            expected=0.5, measured=far,
        )
    )  # fmt: skip
    del seed
    return Figure(tuple(lines), pictures)


def equilibrium(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""The corrected flow comes to rest at no minimum where $\beta_2>\beta_1$.

    Where the gradient equals the correction: $|\frac32-2w_1w_2|=h(c_{\beta_2}
    -c_{\beta_1})(w_1+w_2)$.
    """
    h = 1e-3
    rule = adam(0.9, 0.95, 1e-16)
    path = pn.flows.modified_flow(toy(), rule, step_size=h, steps=6000)
    run = pn.train(toy(), rule, step_size=h, steps=6000, record=2, progress=False)
    w = np.asarray(path[-1])
    c1, c2 = (pn.flows.memory_coefficient(b) for b in (0.9, 0.95))
    rests = float(abs(1.5 - 2.0 * w[0] * w[1]))
    told = h * (c2 - c1) * float(w.sum())
    last = np.asarray(run.last)
    seen = pn.correction(toy(), rule, jnp.asarray(w), step_size=h)
    lines = (
        Line.near("residual at which the flow rests", expected=told,
                  within=0.02 * told, measured=rests),
        Line.most("residual at which the run ends", 0.2 * rests,
                  measured=float(abs(1.5 - 2.0 * last[0] * last[1]))),
        Line.most("share of valid coordinates there", 0.49,
                  measured=seen.share_valid, certificate=seen.verdict),
    )  # fmt: skip
    times = h * np.arange(len(path))
    gap = lambda w: np.abs(1.5 - 2.0 * np.asarray(w)[..., 0] * np.asarray(w)[..., 1])
    shown = slice(0, None, 10)
    many = pn.train(toy(), rule, step_size=h, steps=6000, record=600, progress=False)
    caption = "How far from a minimiser: Adam at h = .001, and its corrected flow."
    axes = pn.plotting.curves(
        {
            "run": (h * np.asarray(many.steps), gap(many.weights)),
            "corrected flow": (times[shown], gap(path)[shown]),
        },
        xlabel="time (steps · h)", ylabel="|3/2 − 2w₁w₂|", logx=False, logy=True,
        levels={"h(c₂ − c₁)(w₁ + w₂)": told},
    )  # fmt: skip
    del preset, seed
    return Figure(lines, {caption: pn.plotting.themed_svg(axes, caption)})
