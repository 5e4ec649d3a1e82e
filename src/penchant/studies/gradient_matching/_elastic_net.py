from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.gradient_matching._published import fitted

SMOOTH = 1e-3
FITTED = 20_000

TERMS = (pn.penalties.Ridge(), pn.penalties.L1(smooth=SMOOTH))

Params = dict[str, jax.Array]


class Sizes(NamedTuple):
    """Samples, hidden units, steps of batches and of all samples, coefficients."""

    samples: int
    width: int
    steps: int
    polish: int
    coefficients: tuple[float, ...]


SIZES = Presets(
    Sizes(400, 20, 3000, 2000, (1e-2, 0.1, 1.0)),
    Sizes(4000, 200, 25_000, 600, (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)),
)


class Coupled(pn.optimizers.AbstractOptimizer):
    """A rule with an elastic net in its gradient, whose coefficients a sweep varies."""

    rule: pn.optimizers.AbstractOptimizer
    ridge: jax.Array = eqx.field(converter=jnp.asarray)
    l1: jax.Array = eqx.field(converter=jnp.asarray)

    def init(self, w: Params) -> object:
        return self.rule.init(w)

    def update(
        self,
        gradient: pn.problems.ScaledGradient,
        state: object,
        w: Params,
        step_size: jax.Array,
    ) -> tuple[Params, object]:
        pull = lambda g, x: (
            g + self.ridge * x + self.l1 * jnp.clip(x / SMOOTH, -1.0, 1.0)
        )
        total = jax.tree.map(pull, gradient.value(), w)
        scaled = pn.problems.ScaledGradient(total, jnp.zeros(()))
        return self.rule.update(scaled, state, w, step_size)


class Cell(NamedTuple):
    """One network: coefficients written into training, and those read off its end."""

    true: np.ndarray
    match: "pn.estimators.Match"
    published: np.ndarray


def elastic_net(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Networks trained with an elastic net: are its coefficients read off their ends?

    One hidden layer of ReLU on $X\in\mathbb R^{n\times10}$, targets linear with noise
    of deviation ½, Adam of step .001 and batches of 32 as published, for a grid of
    coefficients of $\|w\|^2$ and of ℓ1 (rounded below .001); then on to rest, by L-BFGS
    on all samples. Coefficients at both ends by least squares with the bound from the
    gap, and as published, by Adam on logarithms.
    """
    sizes = SIZES.of(preset)
    problem = _problem(sizes, seed)
    values = sizes.coefficients
    grid = {"ridge": [2.0 * x for x in values], "l1": list(values)}
    rule = Coupled(pn.optimizers.Adam(bias_correction=True), 0.0, 0.0)
    batches = pn.batching.Shuffled(min(32, sizes.samples))
    noisy = pn.sweep(
        problem,
        rule,
        grid=grid,
        steps=sizes.steps,
        step_size=1e-3,
        batching=batches,
        key=seed,
        record=2,
        progress=False,
    )
    ends = noisy.weights.values[:, :, -1]
    before = _cells(problem, values, ends)
    still = _polished(problem, values, ends, sizes.polish)
    after = _cells(problem, values, still)
    return Figure(_lines(before, after), _pictures(before, after, sizes, seed))


def _problem(sizes: Sizes, seed: int) -> pn.Regression:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(sizes.samples, 10))
    y = X @ (5.0 * rng.normal(size=10)) + 0.5 * rng.normal(size=sizes.samples)
    h = sizes.width
    start = {
        "U": rng.normal(size=(10, h)) / np.sqrt(10),
        "b": np.zeros(h),
        "v": rng.normal(size=h) / np.sqrt(h),
        "c": np.zeros(()),
    }
    return pn.Regression(_network, start, X, y)


def _network(w: Params, X: jax.Array) -> jax.Array:
    return jax.nn.relu(X @ w["U"] + w["b"]) @ w["v"] + w["c"]


def _penalised(
    problem: pn.Regression, ridge: float, l1: float
) -> "pn.penalties.Penalised":
    # the λ‖w‖² of the paper is a ridge of twice the coefficient
    return pn.penalties.Penalised(problem, TERMS, [2.0 * ridge, l1])


def _polished(
    problem: pn.Regression, values: tuple[float, ...], ends: np.ndarray, steps: int
) -> np.ndarray:
    """The same networks after more steps of all samples, by L-BFGS."""
    from scipy.optimize import minimize

    @eqx.filter_jit
    def value(both: pn.penalties.Penalised, v: jax.Array) -> tuple[jax.Array, ...]:
        loss = lambda v: both.loss(problem.unflat(v))
        return jax.value_and_grad(loss)(v)

    found = np.empty_like(ends)
    for i, j in np.ndindex(*ends.shape[:2]):
        both = _penalised(problem, values[i], values[j])
        best = minimize(
            lambda v: tuple(np.asarray(x) for x in value(both, jnp.asarray(v))),  # noqa: B023
            ends[i, j],
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "maxfun": 2 * steps, "ftol": 0.0, "gtol": 1e-10},
        )
        found[i, j] = best.x
    return found


def _cells(
    problem: pn.Regression, values: tuple[float, ...], ends: np.ndarray
) -> list[Cell]:
    cells, columns, targets = [], [], []
    for i, j in np.ndindex(*ends.shape[:2]):
        w = problem.unflat(jnp.asarray(ends[i, j]))
        both = _penalised(problem, values[i], values[j])
        says = pn.estimators.match(problem, w, TERMS, objective=both, nonnegative=True)
        columns.append(
            np.stack([np.asarray(problem.flat(t.gradient(w, None))) for t in TERMS], 1)
        )
        targets.append(-np.asarray(problem.flat(problem.gradient(w))))
        cells.append(Cell(np.array([2.0 * values[i], values[j]]), says, np.zeros(2)))
    theirs = fitted(np.stack(columns), np.stack(targets), steps=FITTED, rate=1e-2)
    return [cell._replace(published=x) for cell, x in zip(cells, theirs, strict=True)]


def _errors(cells: list[Cell]) -> np.ndarray:
    """Relative errors `(cells, 2)`."""
    return np.array([np.abs(c.match.coefficients / c.true - 1.0) for c in cells])


def _slack(cells: list[Cell]) -> float:
    """The largest error as a part of its bound."""
    return max(
        float(np.max(np.abs(c.match.coefficients - c.true) / c.match.error))
        for c in cells
    )


def _lines(before: list[Cell], after: list[Cell]) -> tuple[Line, ...]:
    told = [c for c in after if c.match.identifiable]
    close = [
        float(np.mean(np.max(_errors(cells), axis=1) < 0.1)) if cells else 0.0
        for cells in (before, after)
    ]
    gaps = [np.median([c.match.gap for c in cells]) for cells in (before, after)]
    theirs = np.array([np.abs(c.published / c.true - 1.0) for c in told])
    ours = _errors(told)
    return (
        Line.most(
            "where Adam ended: largest error as a part of its bound",
            1.0,
            measured=_slack(before),
            certificate=f"{len(before)} networks, median gap {gaps[0]:.2g}; both "
            f"coefficients within 10 % in {close[0]:.0%}",
        ),
        Line.most(
            "at rest: largest error as a part of its bound",
            1.0,
            measured=_slack(after),
            certificate=f"median gap {gaps[1]:.2g}; both within 10 % in {close[1]:.0%}",
        ),
        Line.least(
            "at rest: share of networks with both coefficients within 10 %",
            0.5,
            expected=1.0,
            measured=close[1],
        ),
        Line.least(
            "what rest adds to that share",
            0.2,
            expected=0.8,
            measured=close[1] - close[0],
        ),
        Line.most(
            "at rest: median error of those said to be identifiable",
            0.05,
            measured=float(np.median(ours)) if told else np.nan,
            certificate=f"{len(told)} of {len(after)} are; as published, after "
            f"{FITTED:,} steps of Adam, {np.median(theirs) if told else np.nan:.2g}",
        ),
    )


def _pictures(
    before: list[Cell], after: list[Cell], sizes: Sizes, seed: int
) -> dict[str, str]:
    x = np.array(sizes.coefficients)
    pictures = {}
    for k, name in enumerate(("ridge (½‖w‖²)", "ℓ1")):
        true = x * (2.0 if k == 0 else 1.0)
        lines = {}
        for label, cells, read in (
            ("least squares, where Adam ended", before, lambda c: c.match.coefficients),
            ("least squares, at rest", after, lambda c: c.match.coefficients),
            ("as published, at rest", after, lambda c: c.published),
        ):
            off = [
                np.median([
                    max(abs(read(c)[k] / c.true[k] - 1.0), 1e-6)
                    for c in cells
                    if np.isclose(c.true[k], value)
                ])
                for value in true
            ]
            lines[label] = (true, off)
        caption = (
            f"Relative error of the coefficient of {name} in networks of one hidden "
            f"layer of {sizes.width} ReLU units, median over the other coefficient "
            f"({len(x)} of each, seed {seed}); 1 is a coefficient of 0."
        )
        axes = pn.plotting.curves(
            lines,
            xlabel=f"coefficient of {name} in training",
            ylabel="relative error",
            logy=True,
            dots=True,
            dashed=("as published, at rest",),
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return pictures
