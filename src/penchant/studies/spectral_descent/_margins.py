import jax
import numpy as np

import penchant as pn
from penchant.studies._study import Figure, Line, Preset

STEPS = 10_000

# algorithm, first step size, the norm whose margin it maximises; the share of that
# margin after STEPS (mean, least and greatest over five seeds), and the next best share
ALGORITHMS = {
    "SignGD": (pn.optimizers.SignDescent(), 0.1, "ℓ∞", (0.996, 0.995, 0.997), 0.783),
    "NGD": (
        pn.optimizers.SteepestDescent(pn.norms.L2()),
        0.1,
        "ℓ2",
        (0.945, 0.920, 0.957),
        0.841,
    ),
    "Spectral-GD": (
        pn.optimizers.Muon(0.0),
        0.05,
        "spectral",
        (0.963, 0.949, 0.972),
        0.849,
    ),
    "Signum": (pn.optimizers.Signum(0.9), 0.1, "ℓ∞", (0.985, 0.981, 0.990), 0.794),
    "NMD-GD": (
        pn.optimizers.SteepestDescent(pn.norms.L2(), 0.9),
        0.1,
        "ℓ2",
        (0.945, 0.920, 0.957),
        0.841,
    ),
    "Muon": (pn.optimizers.Muon(0.9), 0.05, "spectral", (0.963, 0.948, 0.972), 0.849),
}


def margin_ratios(preset: Preset = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Six methods on the paper's data: which margin each one reaches.

    Class centres from $N(0,I)$ with noise .1, $k=10$, $d=25$, 50 a class;
    cross-entropy, zero start, $\eta_t=\eta_0t^{-1/2}$, $10^4$ steps. The paper prints
    no numbers; those expected are an independent implementation's over five seeds,
    widened by .01 for other seeds.
    """
    problem = pn.datasets.class_centres(seed=seed).problem(pn.losses.Logistic())
    norms = (pn.norms.Linf(), pn.norms.L2(), pn.norms.Spectral())
    best = {norm.label: pn.max_margin(problem, norm, tol=1e-6) for norm in norms}
    lines, figures = [], {}
    for name, (optimizer, first, own, (mean, low, high), second) in ALGORITHMS.items():
        run = pn.train(
            problem,
            optimizer,
            steps=STEPS,
            step_size=pn.schedules.power(first, 0.5, offset=1),
        )
        if run.outcome is not pn.training.Outcome.COMPLETE:
            raise KeyboardInterrupt  # part of a run proves nothing about its numbers
        least = np.asarray(run.margins).min(axis=1)
        ratios = {
            norm.label: least
            / np.asarray(jax.vmap(norm)(run.weights))
            / float(best[norm.label].margin)
            for norm in norms
        }
        ended = {label: float(ratio[-1]) for label, ratio in ratios.items()}
        lines.append(
            Line(
                f"{name}, share of the {own} margin",
                mean,
                low - 0.01,
                min(high + 0.01, 1.0),
                ended[own],
            )
        )
        others = max(ratio for label, ratio in ended.items() if label != own)
        lead = ended[own] - others
        lines.append(Line(f"{name}, lead over others", mean - second, 0.02, 1.0, lead))
        caption = (
            f"{name}: margin over the largest margin in each norm, seed {seed}, "
            f"step size {first:g} t^-1/2."
        )
        axes = pn.plotting.ratio_paths(run.steps, ratios, size=(7.2, 2.6))
        figures[caption] = pn.plotting.themed_svg(axes, caption)
    return Figure(tuple(lines), figures)
