"""Orders of accuracy: how errors fall with the step size at a fixed time."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.backward_error._setup import adam, toy

Adam, AdamW, NAdam = pn.optimizers.Adam, pn.optimizers.AdamW, pn.optimizers.NAdam
GradientDescent, RMSProp = pn.optimizers.GradientDescent, pn.optimizers.RMSProp


class Case(NamedTuple):
    """A rule, the time to which it is run, and the largest step size."""

    rule: Any
    time: float
    largest: float
    start: tuple[float, float] | None = None
    shifts: bool = False


CASES = {
    "gradient descent": Case(GradientDescent(), 0.05, 2e-3),
    "heavy ball .9": Case(GradientDescent(0.9), 0.05, 5e-5, (1.2, 1.5), True),
    "Nesterov .9": Case(
        GradientDescent(0.9, nesterov=True), 0.05, 5e-5, (1.2, 1.5), True
    ),
    "Adam .9/.95, ε = .01": Case(adam(0.9, 0.95, 1e-2), 1.5, 5e-4),
    "Adam .9/.95, ε outside": Case(
        Adam(0.9, 0.95, 1e-2, bias_correction=True), 1.5, 5e-4
    ),
    "Adam .9/.95, ε = 1e-8": Case(adam(0.9, 0.95), 1.5, 5e-4),
    "Adam .95/.9, ε = .01": Case(adam(0.95, 0.9, 1e-2), 1.5, 5e-4),
    "Adam .9/.999, ε = 1e-8": Case(adam(0.9, 0.999), 1.5, 6.25e-5),
    "Adam .9/.95, ε = 1e4": Case(adam(0.9, 0.95, 1e4), 10.0, 4e-3),
    "AdamW .9/.95": Case(
        AdamW(0.9, 0.95, 1e-2, 0.1, eps_inside=True, bias_correction=True), 1.0, 5e-4
    ),
    "NAdam .5/.7": Case(
        NAdam(0.5, 0.7, 1e-2, eps_inside=True, bias_correction=True), 0.3, 1e-3
    ),
    "NAdam .8/.9": Case(
        NAdam(0.8, 0.9, 1e-2, eps_inside=True, bias_correction=True), 0.6, 1e-3
    ),
    "RMSProp .8, uncorrected": Case(
        RMSProp(0.8, 1e-2, eps_inside=True), 0.2, 1e-3, None, True
    ),
    "RMSProp .95, corrected": Case(
        RMSProp(0.95, 1e-2, eps_inside=True, bias_correction=True), 0.5, 5e-4
    ),
}


class Sizes(NamedTuple):
    """Which rules, and how often steps are halved."""

    rules: tuple[str, ...]
    halvings: int


SIZES = Presets(
    Sizes(
        (
            "gradient descent",
            "heavy ball .9",
            "Adam .9/.95, ε = .01",
            "Adam .95/.9, ε = .01",
            "AdamW .9/.95",
            "NAdam .5/.7",
        ),
        4,
    ),
    Sizes(tuple(CASES), 5),
)

WAYS = {
    "plain flow": {"order": 1},
    "corrected": {},
    "limit": {"coefficients": "limit"},
    "shifted": {"coefficients": "shifted"},
}


def orders(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """The plain flow's error falls like h, the corrected one's like its square."""
    sizes = SIZES.of(preset)
    lines, drawn, bent = [], {}, {}
    for name in sizes.rules:
        case = CASES[name]
        hs = np.array([case.largest / 2**k for k in range(sizes.halvings)])
        start = None if case.start is None else jnp.asarray(case.start)
        ways = WAYS if case.shifts else dict(list(WAYS.items())[:2])
        gaps: dict[str, list[float]] = {way: [] for way in ways}
        for h in hs:
            steps = round(case.time / h)
            run = pn.train(toy(), case.rule, step_size=float(h), steps=steps,
                           init=start, record=2, progress=False)  # fmt: skip
            for way, how in ways.items():
                path = pn.flows.modified_flow(
                    toy(), case.rule, step_size=float(h), steps=steps, init=start, **how
                )
                gaps[way].append(float(jnp.max(jnp.abs(path[-1] - run.last))))
        slopes = {
            way: float(np.polyfit(np.log(hs[-3:]), np.log(gap[-3:]), 1)[0])
            for way, gap in gaps.items()
        }
        told = {"plain flow": (1.0, 0.05), "corrected": (2.0, 0.06),
                "limit": (1.0, 0.1), "shifted": (1.8, 0.3)}  # fmt: skip
        for way, slope in slopes.items():
            expected, within = told[way]
            lines.append(
                Line.near(
                    f"{name}: order of the {way}",
                    expected=expected, within=within, measured=slope,
                    certificate=f"error {gaps[way][-1]:.2g} at h = {hs[-1]:.2g}",
                )
            )  # fmt: skip
        drawn[name] = (hs, np.array(gaps["corrected"]))
        bent[name] = (hs, np.array(gaps["plain flow"]))
    del seed
    pictures = {}
    for title, curves in (("plain", bent), ("corrected", drawn)):
        caption = f"Error of the {title} flow at a fixed time, by step size."
        axes = pn.plotting.curves(
            curves, xlabel="step size", ylabel="largest error", logy=True, dots=True
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def single(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    """Runs in single precision leave those in double by the size of the effect."""
    counts = (800, 3200, 12_800)
    drifts = [drift(n) for n in counts]
    lines = [
        Line.between(
            f"drift of float32 Adam from float64 after {n} steps", low, high,
            expected=told, measured=seen,
        )
        for n, seen, (told, low, high) in zip(
            counts, drifts,
            ((1.7e-6, 2e-7, 2e-5), (1.4e-5, 2e-6, 1e-4), (5.4e-4, 5e-5, 5e-3)),
            strict=True,
        )
    ]  # fmt: skip
    del preset, seed
    return Figure(tuple(lines))


def drift(steps: int, time: float = 1.5) -> float:
    """How far Adam on the toy is from itself when it counts in single precision."""
    rule, h = adam(0.9, 0.95), time / steps
    ends = []
    for kind in (jnp.float64, jnp.float32):
        ends.append(np.asarray(_plain_adam(rule, h, steps, kind), dtype=float))
    return float(np.max(np.abs(ends[0] - ends[1])))


def _plain_adam(rule: Any, h: float, steps: int, kind: Any) -> Any:
    """Adam by hand, in a precision of choice."""
    b1, b2, eps = (jnp.asarray(float(x), kind) for x in (rule.b1, rule.b2, rule.eps))
    one, size = jnp.ones((), kind), jnp.asarray(h, kind)

    def step(carry: Any, _: None) -> Any:
        w, m, v, p, q = carry
        r = jnp.asarray(1.5, kind) - jnp.asarray(2.0, kind) * w[0] * w[1]
        g = jnp.asarray(-2.0, kind) * r * w[::-1]
        m, v = b1 * m + (one - b1) * g, b2 * v + (one - b2) * g**2
        p, q = p * b1, q * b2
        w = w - size * (m / (one - p)) / jnp.sqrt(v / (one - q) + eps)
        return (w, m, v, p, q), None

    w = jnp.asarray(np.asarray(toy().start), kind)
    begin = (w, jnp.zeros_like(w), jnp.zeros_like(w), one, one)
    return jax.jit(lambda c: jax.lax.scan(step, c, None, length=steps)[0][0])(begin)
