from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._study import Figure, Preset, Presets


class Sizes(NamedTuple):
    """Steps of a run, the window over which it is averaged, and decays."""

    steps: int
    window: int
    decays: tuple[float, ...]


SIZES = Presets(Sizes(20_000, 20_000, (0.1,)), Sizes(100_000, 100_000, (0.03, 0.1)))


def adamw(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Which penalty is AdamW's decay where it comes to rest?

    Regression on columns of sizes from .3 to 3, batches of eight. Along the run the
    decay is exact. At rest, with weights and gradients averaged over a window that
    follows the run, a ridge that counts each weight by $\sqrt{v_j}$ has the decay for
    its coefficient, and a plain ridge another.
    """
    steps, window, decays = SIZES.of(preset)
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(256, 20)) * np.geomspace(0.3, 3.0, 20)
    y = X @ rng.normal(size=20) + rng.normal(size=256)
    loss = pn.Regression(_linear, np.zeros(20), X, y)
    lines = []
    for decay in decays:
        rule = pn.optimizers.AdamW(0.9, 0.999, 1e-8, decay)
        run = finished(
            pn.train(
                loss,
                rule,
                steps=steps,
                step_size=1e-3,
                batching=pn.batching.WithReplacement(8),
                key=seed,
            )
        )
        along = pn.estimators.match_run(run, ["ridge"], steps=500)
        lines.append(
            Line.near(
                f"decay {decay:g}: ridge beside the steps",
                expected=decay,
                within=1e-9,
                measured=float(along.coefficients[0]),
            )
        )
        seen = pn.training.window(run, steps=window)
        w, g = (np.asarray(x).mean(axis=0) for x in (seen.weights, seen.gradients))
        at_rest = pn.estimators.LoggedGradient(w, g)
        scaled = pn.estimators.match(at_rest, w, [pn.penalties.noise_scaled(run)])
        plain = pn.estimators.match(at_rest, w, ["ridge"])
        lines += [
            Line.near(
                f"decay {decay:g}: noise-scaled ridge at rest, over the decay",
                expected=1.0,
                within=0.05,
                measured=float(scaled.coefficients[0]) / decay,
                certificate=f"R² {scaled.r2:.4f}",
            ),
            Line.least(
                f"decay {decay:g}: what a plain ridge explains less than that",
                0.05,
                expected=0.2,
                measured=float(scaled.r2 - plain.r2),
                certificate=f"plain ridge {float(plain.coefficients[0]):.4g}, R² "
                f"{plain.r2:.4f}",
            ),
        ]
    return Figure(tuple(lines))


def _linear(w: jnp.ndarray, X: jnp.ndarray) -> jnp.ndarray:
    return X @ w
