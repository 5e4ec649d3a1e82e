import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import penchant as pn
from penchant.studies._lines import Line
from penchant.studies._runs import finished
from penchant.studies._statistics import interval
from penchant.studies._study import Figure, Preset, Presets
from penchant.studies.spectral_descent._setup import (
    best,
    data,
)


class Frameworks(NamedTuple):
    """How long runs are, how many seeds, and optax's ε."""

    steps: int
    seeds: int
    epsilons: tuple[float, ...]


FRAMEWORKS = Presets(Frameworks(500, 1, (0.0,)), Frameworks(5_000, 5, (0.0, 1e-8)))


def frameworks(preset: Preset | Frameworks = Preset.QUICK, seed: int = 0) -> Figure:
    r"""Muon of optax and of torch beside ours: five Newton--Schulz steps each.

    The same constant step, no momentum, no decay. optax runs inside `train`
    (`FromOptax`), on gradients as they are: its $\varepsilon$ of $10^{-8}$ beside the
    length of a gradient stops it once losses are that small. torch runs its own loop,
    in bfloat16 within the iteration, on gradients scaled to order one, since its
    autograd would freeze at a margin of 36.8 and its $\varepsilon$ before. 5000 steps,
    since optax without $\varepsilon$ diverged after some 9000 on one seed of five, near
    where the square of a gradient's length underflows. Offered where both are
    installed. Means over five seeds; the quick preset has one, and leaves out optax
    with its $\varepsilon$.
    """
    import torch

    torch.set_num_threads(1)  # small matrices: more threads only wait for each other
    steps, count, epsilons = FRAMEWORKS.of(preset)
    labels = ("spectral", "ℓ2")
    some = range(seed, seed + count)
    found = {s: _of_frameworks(torch, s, steps, labels, epsilons) for s in some}
    lines = []
    names = [name for name in found[seed] if name != "ours"]
    for name in names:
        for label in labels:
            theirs = [by[name][label] for by in found.values()]
            ours = [by["ours"][label] for by in found.values()]
            away = float(np.abs(np.subtract(theirs, ours)).max())
            wide = 1e-6 if name == "optax, eps = 0" else 0.05
            lines.append(
                Line.near(
                    f"{name}, {label} share after {steps:,} steps",
                    expected=float(np.mean(ours)),
                    within=wide,
                    measured=float(np.mean(theirs)),
                    certificate=(
                        "expected: ours, in float64, from which the farthest seed is "
                        f"{away:.1g} away; {interval(theirs)}"
                    ),
                )
            )
    return Figure(tuple(lines))


def _of_frameworks(
    torch: ModuleType,
    seed: int,
    steps: int,
    labels: Sequence[str],
    epsilons: Sequence[float],
) -> dict[str, dict[str, float]]:
    """By who computed them, shares of the margins at the end, by norm."""
    import optax

    problem = data(seed)
    eta = pn.theory.papers.fan2025spectral.scale_free_step(
        problem, pn.norms.Spectral(), 0.1
    )
    # both multiply by the root of the matrix's aspect ratio, 25 / 10 for optax
    factor = (problem.weight_shape[1] / problem.weight_shape[0]) ** 0.5

    def ended(weights: jax.Array) -> dict[str, float]:
        least = float(problem.margins(weights).min())
        return {
            label: least
            / float(best(seed, label).norm(weights))
            / float(best(seed, label).margin)
            for label in labels
        }

    def train(rule: pn.optimizers.AbstractOptimizer) -> dict[str, float]:
        with jax.numpy_dtype_promotion("standard"):  # optax counts steps in int32
            run = finished(pn.train(problem, rule, steps=steps, step_size=eta))
        return ended(run.weights[-1])

    def of_optax(eps: float) -> Any:
        return pn.optimizers.FromOptax(
            optax.contrib.muon(1.0 / factor, beta=0.0, eps=eps, nesterov=False)
        )

    return {
        "ours": train(pn.optimizers.Muon(0.0, pn.optimizers.NewtonSchulz(5))),
        **{f"optax, eps = {eps:g}": train(of_optax(eps)) for eps in epsilons},
        "torch, bfloat16": ended(_torch_muon(torch, problem, eta, steps)),
    }


def _torch_muon(
    torch: ModuleType, problem: pn.LinearClassification, eta: float, steps: int
) -> Any:
    """`torch.optim.Muon` on gradients that are scaled to order one."""
    W = torch.zeros(problem.weight_shape, dtype=torch.float64, requires_grad=True)
    rule = torch.optim.Muon([W], lr=eta, momentum=0.0, nesterov=False, weight_decay=0.0)
    direction = jax.jit(lambda w: problem.scaled_gradient(w).direction)
    for _ in range(steps):
        g = direction(jnp.asarray(W.detach().numpy()))
        W.grad = torch.from_numpy(np.array(g / jnp.max(jnp.abs(g))))
        rule.step()
    return jnp.asarray(W.detach().numpy())


def both_installed() -> bool:
    """Whether optax and torch can be imported; neither is."""
    return all(importlib.util.find_spec(name) for name in ("optax", "torch"))
