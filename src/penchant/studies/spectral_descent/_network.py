from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset
from penchant.studies.spectral_descent._setup import curves, steps_of

HIDDEN = 100
PER_CLASS = 100

# an accurate polar factor, at a tenth of an SVD's price on layers of 100 by 64
EXACT = pn.optimizers.PolarExpress(12, 1e-5)

RULES = {
    "SignGD": (pn.optimizers.SignDescent(), (0.001, 0.003, 0.01)),
    "NGD": (pn.optimizers.SteepestDescent(pn.norms.L2()), (0.03, 0.1, 0.3, 1.0)),
    "Spectral-GD": (pn.optimizers.Muon(0.0, EXACT), (0.03, 0.1, 0.3)),
}
MOMENTUM = {
    "Signum": (pn.optimizers.Signum(0.9), (0.001, 0.003, 0.01)),
    "NMD-GD": (pn.optimizers.SteepestDescent(pn.norms.L2(), 0.9), (0.03, 0.1, 0.3)),
    "Muon": (pn.optimizers.Muon(0.9, EXACT), (0.03, 0.1, 0.3)),
}


class Grown(NamedTuple):
    """Records of one run: steps, least margins, and margins over the layers' norm."""

    steps: Any
    least: Any
    share: Any


def network(
    preset: Preset = Preset.QUICK, seed: int = 0, data: str | Path | None = None
) -> Figure:
    r"""Figure 3: a two-layer sigmoid network, each method with its best step.

    100 images a class (pixels in [0, 1]), 100 hidden units, cross-entropy, weights from
    $N(0,1/\text{fan-in})$, steps $\eta_0t^{-1/2}$, 1500 of them (300 in the quick
    preset). Both layers are trained; the margin is over the larger of the two spectral
    norms. The paper trains on MNIST and does not say its step sizes: here every method
    has the best of three or four (two in the quick preset). Numbers expected are the
    note's on these digits, after 1500 steps; ranges are of the ranking, that spectral
    descent grows fastest.

    Args:
        preset: How much to do.
        seed: Of the weights and the images drawn.
        data: A file of images that `datasets.load` reads, such as MNIST's idx files;
            None for scikit-learn's digits.
    """
    X, y, named = _images(data, seed)
    steps = steps_of(preset, 300, 1500)
    lines, pictures = [], {}
    groups = {"gradients": RULES}
    if not preset.quick:
        groups["momentum"] = MOMENTUM
    wanted = {"SignGD": 0.14, "NGD": 0.51, "Spectral-GD": 1.17}
    for kind, rules in groups.items():
        drawn, ends, picked = {}, {}, {}
        for name, (rule, grid) in rules.items():
            grid = grid[1:3] if preset.quick else grid
            runs = {eta: _train(rule, X, y, eta, steps, seed) for eta in grid}
            picked[name] = max(runs, key=lambda eta: float(runs[eta].share[-1]))
            run = runs[picked[name]]
            ends[name] = float(run.share[-1])
            drawn[f"{name}, η₀ = {picked[name]:g}"] = (run.steps, run.share)
        spectral = list(rules)[-1]
        for name, end in ends.items():
            if name == spectral:
                continue
            lines.append(
                Line(
                    f"{spectral} less {name}, margin over the larger spectral norm",
                    wanted["Spectral-GD"] - wanted.get(name, 0.3),
                    0.0,
                    10.0,
                    ends[spectral] - end,
                    f"{ends[spectral]:.3g} at η₀ = {picked[spectral]:g}, {end:.3g} at "
                    f"η₀ = {picked[name]:g}, after {steps} steps",
                )
            )
        caption = (
            f"Two-layer sigmoid network on {named}, both layers trained on {kind}, "
            "a step for each: least "
            f"margin over the larger spectral norm of the layers; {steps} steps, the "
            f"best step size of each method, seed {seed}."
        )
        axes = curves(
            drawn, x="steps", y="margin over spectral norm", logs="x", size=(7.2, 3.0)
        )
        pictures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), pictures)


def _images(data: str | Path | None, seed: int) -> tuple[Any, Any, str]:
    """`PER_CLASS` images of each class, pixels in [0, 1]."""
    dataset = pn.datasets.digits() if data is None else pn.datasets.load(str(data))
    X, y = np.asarray(dataset.X, dtype=float), np.asarray(dataset.y)
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([
        rng.permutation(np.flatnonzero(y == c))[:PER_CLASS] for c in np.unique(y)
    ])
    X = X[chosen] / X.max()
    return jnp.asarray(X), jnp.asarray(y[chosen]), f"{len(X)} images of {dataset.name}"


def _logits(params: Any, X: Any) -> Any:
    return jax.nn.sigmoid(X @ params["hidden"].T) @ params["out"].T


def _train(rule: Any, X: Any, y: Any, eta: float, steps: int, seed: int) -> Grown:
    k, d = int(y.max()) + 1, X.shape[1]
    keys = jax.random.split(jax.random.key(seed))
    params = {
        "hidden": jax.random.normal(keys[0], (HIDDEN, d)) / d**0.5,
        "out": jax.random.normal(keys[1], (k, HIDDEN)) / HIDDEN**0.5,
    }
    at = np.unique(np.rint(np.geomspace(1, steps, 60)).astype(int))
    state, done, rows = rule.init(params), 0, []
    eta_ = jnp.asarray(eta)
    for t in at:
        params, state = _advance(
            rule, X, y, params, state, jnp.asarray(done), jnp.asarray(t - done), eta_
        )
        done = int(t)
        rows.append([float(x) for x in _measure(params, X, y)])
    least, share = np.array(rows).T
    return Grown(at, least, share)


@eqx.filter_jit
def _advance(
    rule: Any, X: Any, y: Any, params: Any, state: Any, first: Any, count: Any, eta: Any
) -> Any:
    loss = pn.losses.Logistic()

    def one(j: Any, carry: Any) -> Any:
        params, state = carry
        Z, back = jax.vjp(lambda p: _logits(p, X), params)
        slopes = loss.scaled_slopes(_pairs(Z, y))
        own = jax.nn.one_hot(y, Z.shape[1], dtype=Z.dtype)
        # the true class moves against the sum of the others: nothing is subtracted
        step = (slopes.entries - own * slopes.totals[:, None]) / len(y)
        gradient = pn.problems.ScaledGradient(back(step)[0], slopes.log_scale)
        length = eta / jnp.sqrt(first + j + 1.0)
        return rule.update(gradient, state, params, length)

    return jax.lax.fori_loop(0, count, one, (params, state))


def _pairs(Z: Any, y: Any) -> Any:
    own = jnp.take_along_axis(Z, y[:, None], axis=1)
    mine = jnp.arange(Z.shape[1])[None, :] == y[:, None]
    return jnp.where(mine, jnp.inf, own - Z)


@jax.jit
def _measure(params: Any, X: Any, y: Any) -> Any:
    least = jnp.min(_pairs(_logits(params, X), y))
    norm = pn.norms.Spectral()
    return least, least / jnp.maximum(norm(params["hidden"]), norm(params["out"]))
