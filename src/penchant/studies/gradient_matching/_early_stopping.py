from typing import NamedTuple

import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._published import fitted

ETA = 0.01

SHORT, LONG = 2_000, 30_000
"""Steps of the published fit: far from enough for small ridges, and its most."""


class Sizes(NamedTuple):
    """Samples, weights and at which steps runs are stopped."""

    samples: int
    weights: int
    stops: tuple[int, ...]


SIZES = Presets(
    Sizes(1000, 10, (1, 10, 100, 500)),
    Sizes(1000, 10, (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000)),
)


def early_stopping(preset: Preset | Sizes = Preset.QUICK, seed: int = 56) -> Figure:
    r"""Gradient descent on least squares, stopped: which penalty is that?

    $X$, coefficients of deviation 3 and noise of deviation 1 are standard normal draws
    in that order; steps of .01 on half the mean square. Exact: the minimiser with
    $Q_t$; the best ridge is its Rayleigh quotient.
    """
    n, p, stops = SIZES.of(preset)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = X @ (3.0 * rng.normal(size=p)) + rng.normal(size=n)
    A, b = X.T @ X / n, X.T @ y / n
    ends = _path(A, b, stops)
    best, quotient, trace, wrong, slopes = [], [], [], [], []
    lines = []
    for t in stops:
        w = ends[t]
        g = A @ w - b
        slopes.append(g)
        Q = pn.estimators.early_stopping_matrix(A, steps=t, step_size=ETA)
        found = pn.estimators.match(pn.estimators.LoggedGradient(w, g), w, ["ridge"])
        best.append(float(found.coefficients[0]))
        quotient.append(float(w @ Q @ w / (w @ w)))
        trace.append(float(np.trace(Q) / p))
        wrong.append(1.0 / (ETA * t))
        lines.append(
            Line.most(
                f"|Q w + g| over |g| after {t:,} steps",
                1e-10,
                measured=float(np.linalg.norm(Q @ w + g) / np.linalg.norm(g)),
            )
        )
        lines.append(
            Line.near(
                f"best ridge after {t:,} steps, over the quotient w'Qw / w'w",
                expected=1.0,
                within=1e-9,
                measured=best[-1] / quotient[-1],
                certificate=f"ridge {best[-1]:.6g}; tr Q/p {trace[-1]:.6g}, "
                f"1/(ηt) {wrong[-1]:.6g}",
            )
        )
    columns, target = np.stack([ends[t] for t in stops])[:, :, None], -np.stack(slopes)
    theirs = {}
    for count in (SHORT, LONG):
        found = fitted(columns, target, steps=count, rate=0.05)[:, 0]
        theirs[count], off = found, np.abs(found / np.array(best) - 1.0)
        told = ", ".join(f"{t:,}: {x:.2g}" for t, x in zip(stops, off, strict=True))
        line = (
            f"as published, {count:,} steps of Adam: largest error, relative",
            f"by stop: {told}",
        )
        lines.append(
            Line.least(
                line[0], 0.1, expected=1.0, measured=off.max(), certificate=line[1]
            )
            if count == SHORT
            else Line.most(line[0], 0.02, measured=off.max(), certificate=line[1])
        )
    lines += _whole_matrix(A, X, rng, stops[len(stops) // 2])
    caption = (
        f"Coefficient of the best ridge of weights after so many steps (n = {n}, "
        f"p = {p}, seed {seed}), by least squares and by {SHORT:,} steps of Adam, with "
        "what is said of it: the mean eigenvalue of Q, and one over the time."
    )
    axes = pn.plotting.curves(
        {
            "least squares": (stops, best),
            "as published": (stops, theirs[SHORT]),
            "tr Q/p": (stops, trace),
            "1/(ηt)": (stops, wrong),
        },
        xlabel="steps",
        ylabel="coefficient of ½‖w‖²",
        logy=True,
        dots=True,
        dashed=("as published", "tr Q/p"),
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _path(
    A: np.ndarray, b: np.ndarray, stops: tuple[int, ...]
) -> dict[int, np.ndarray]:
    w, kept = np.zeros(len(b)), {}
    for t in range(1, max(stops) + 1):
        w = w - ETA * (A @ w - b)
        if t in stops:
            kept[t] = w
    return kept


def _whole_matrix(
    A: np.ndarray, X: np.ndarray, rng: np.random.Generator, steps: int
) -> list[Line]:
    """How many endpoints with targets of their own fix Q."""
    n, p = X.shape
    ends, slopes = [], []
    for _ in range(p):
        y = X @ (3.0 * rng.normal(size=p)) + rng.normal(size=n)
        w = _path(A, X.T @ y / n, (steps,))[steps]
        ends.append(w)
        slopes.append(A @ w - X.T @ y / n)
    Q = pn.estimators.early_stopping_matrix(A, steps=steps, step_size=ETA)
    lines = []
    for count in (p - 1, p):
        found = pn.estimators.match_matrix(ends[:count], slopes[:count])
        expected = count * p - count * (count - 1) // 2
        lines.append(
            Line.near(
                f"rank of {count} endpoints for {found.unknowns} unknowns",
                expected=expected,
                within=0,
                measured=found.rank,
            )
        )
        if count == p:
            off = float(np.linalg.norm(found.matrix - Q) / np.linalg.norm(Q))
            lines.append(
                Line.most(
                    f"relative error of Q from {count} endpoints", 1e-8, measured=off
                )
            )
    return lines
