from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree as Tree

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.robustness._setup import SHARES, drawn, flowed, normal, weight


class Sizes(NamedTuple):
    """Features, clusters, points, units, steps; of adversarial training; attacks."""

    d: int
    k: int
    n: int
    width: int
    steps: int
    adversarial: int
    attack: pn.audits.PGD
    points: int


SIZES = Presets(
    Sizes(500, 10, 200, 40, 3000, 300, pn.audits.PGD(steps=40), 60),
    Sizes(500, 10, 500, 100, 6000, 1500, pn.audits.PGD(), 200),
)

INNER = 5
"""Steps of the attack within adversarial training, of radius .4 √d."""


def remedies(preset: Preset | Sizes = Preset.QUICK, seed: int = 0) -> Figure:
    r"""What is said to help, side by side, by attacks on the function that is used.

    ReLU; pReLU of powers 2 and 3, on examples scaled by $1/\sqrt d$ and from balanced
    starts; labels that keep clusters apart, read out as two classes; ReLU trained on
    its own adversarial points; the network written down. Accuracy under PGD on fresh
    points at .3, .4, .5, .6 and .7 √d.
    """
    s = SIZES.of(preset)
    data = drawn(s.d, s.k, s.n, seed)
    test = data.draw(200, seed=seed + 1)
    root = s.d**0.5
    radii = root * np.array(SHARES)

    def judged(model: Any, w: Tree) -> pn.audits.Robustness:
        return pn.audits.robustness(
            model,
            w,
            test.X,
            test.y,
            clusters=data,
            radii=radii,
            attack=s.attack,
            points=s.points,
            key=seed,
        )

    plain = data.network(s.width, key=seed)
    w = flowed(plain, s.steps)
    seen = {"ReLU": judged(plain, w)}
    for power in (2, 3):
        problem = data.network(s.width, power=power, key=seed)
        w = flowed(problem, s.steps)
        seen[f"pReLU, power {power}"] = judged(problem, w)
    cosine = _own(w, data)
    model, fine = _finer(data, s, seed)
    seen["labels a cluster"] = judged(model, fine)
    seen["adversarial training"] = judged(plain.apply, _adversarial(plain, s, seed))
    network, best = pn.networks.from_clusters(data.means, data.labels)
    seen["written down"] = judged(network, best)
    at = {name: found.attack.accuracy for name, found in seen.items()}
    told = {name: ", ".join(f"{a:.2f}" for a in row) for name, row in at.items()}
    lines = [
        Line.most(
            "ReLU: accuracy under attack at .4 √d",
            0.35,
            measured=float(at["ReLU"][1]),
            certificate=told["ReLU"],
        ),
        Line.least(
            "pReLU of power 3: accuracy at .6 √d",
            0.8,
            expected=1.0,
            measured=float(at["pReLU, power 3"][3]),
            certificate=told["pReLU, power 3"],
        ),
        Line.near(
            "pReLU of power 3: median universal flip over √(d/k)",
            expected=3.6,
            within=0.5,
            measured=seen["pReLU, power 3"].universal_radius / data.radius,
            certificate=f"cosine of units with their own cluster {cosine:.3f}, "
            "by weight",
        ),
        Line.least(
            "pReLU of power 2 less ReLU: accuracy at .4 √d",
            0.2,
            expected=0.6,
            measured=float(at["pReLU, power 2"][1] - at["ReLU"][1]),
            certificate=told["pReLU, power 2"],
        ),
        Line.least(
            "labels a cluster less ReLU: accuracy at .5 √d, on the read-out itself",
            0.3,
            expected=0.65,
            measured=float(at["labels a cluster"][2] - at["ReLU"][2]),
            certificate=told["labels a cluster"],
        ),
        Line.least(
            "adversarial training less ReLU: accuracy at .4 √d",
            0.2,
            expected=0.5,
            measured=float(at["adversarial training"][1] - at["ReLU"][1]),
            certificate=told["adversarial training"],
        ),
        Line.least(
            "pReLU of power 3 less the written network: accuracy at .6 √d",
            0.5,
            expected=0.9,
            measured=float(at["pReLU, power 3"][3] - at["written down"][3]),
            certificate=told["written down"],
        ),
    ]
    caption = (
        f"Accuracy under ℓ2 attacks against their radius over √d: d = {s.d}, "
        f"k = {s.k}, {s.n} points, {s.width} units; {s.points} fresh points, seed "
        f"{seed}. "
        "No classifier that is right at the means is robust beyond .707."
    )
    axes = pn.plotting.curves(
        {name: (np.array(SHARES), row) for name, row in at.items()},
        xlabel="radius over √d",
        ylabel="accuracy",
        logx=False,
        marks={"ceiling": 0.5**0.5},
    )
    return Figure(tuple(lines), {caption: pn.plotting.themed_svg(axes, caption)})


def _own(w: Tree, data: pn.datasets.Clusters) -> float:
    """How far units are those of single clusters, by what they count for."""
    means = data.means / np.linalg.norm(data.means, axis=1, keepdims=True)
    return float(np.average((normal(w) @ means.T).max(axis=1), weights=weight(w)))


def _finer(data: pn.datasets.Clusters, s: Sizes, seed: int) -> Any:
    """A network of a class a cluster, and its read-out in two classes."""
    fine = pn.datasets.clusters(s.d, s.k, s.n, seed=seed, classes=range(s.k))
    problem = fine.network(s.width, key=seed)
    plus = jnp.asarray(data.labels > 0)[None, :]

    def read_out(w: Tree, X: Tree) -> Any:
        Z = problem.apply(w, X)
        up = jnp.max(jnp.where(plus, Z, -jnp.inf), axis=1)
        return up - jnp.max(jnp.where(plus, -jnp.inf, Z), axis=1)

    return read_out, flowed(problem, 2 * s.steps)


def _adversarial(problem: pn.NetworkClassification, s: Sizes, seed: int) -> Any:
    """Adam on the logistic loss at points that were attacked within the step."""
    radius = 0.4 * s.d**0.5
    network: Any = problem.apply

    def losses(w: Tree, batch: Tree) -> Any:
        X, y = batch
        margins = lambda D: y * network(w, X + D)

        def step(_: Tree, D: Tree) -> Any:
            g = jax.grad(lambda D: jnp.sum(margins(D)))(D)
            size = jnp.linalg.norm(g, axis=1, keepdims=True)
            D = D - 0.5 * radius * g / jnp.where(size > 0, size, 1.0)
            size = jnp.linalg.norm(D, axis=1, keepdims=True)
            return D * jnp.minimum(1.0, radius / jnp.where(size > 0, size, 1.0))

        # towards the other class first: at 0 all points would go the same way
        D = jax.lax.fori_loop(0, INNER, step, jnp.zeros_like(X))
        return jax.nn.softplus(-margins(jax.lax.stop_gradient(D)))

    start = network.params(seed, scale=1e-2)
    data = (problem.X, problem.y.astype(float))
    objective = pn.Objective(losses, start, data)
    rule = pn.optimizers.Adam(0.9, 0.999, 1e-8, bias_correction=True)
    run = pn.train(
        objective, rule, steps=s.adversarial, step_size=2e-3, record=2, progress=False
    )
    return jax.tree.map(lambda w: w[-1], run.weights)
