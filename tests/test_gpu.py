"""The engines on an accelerator: what they give there is what they give on a CPU."""

import contextlib

import jax
import numpy as np
import pytest

import penchant as pn
from tests.cases import binary, multiclass

ADAM = pn.optimizers.Adam(0.9, 0.95, 1e-8)
STEPS = pn.schedules.power(0.1, 0.5)


def accelerator():
    with contextlib.suppress(RuntimeError):
        return jax.devices("gpu")[0]
    return None


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(accelerator() is None, reason="needs an accelerator"),
]


def both(work, rtol=1e-9):
    """Work done on the CPU and on the accelerator, whose numbers agree."""
    with jax.default_device(jax.devices("cpu")[0]):
        here = jax.tree.map(np.asarray, work())
    with jax.default_device(accelerator()):
        there = work()
        places = {d for x in jax.tree.leaves(there) for d in x.devices()}
        assert places == {accelerator()}
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        assert np.allclose(a, b, rtol=rtol, atol=rtol * np.abs(a).max(initial=0.0))


@pytest.mark.parametrize("rule", [ADAM, pn.optimizers.Muon(), "sign", "shampoo"])
def test_a_run(rule):
    problem = lambda: multiclass(0, k=3, d=6, n=20)
    both(
        lambda: (
            pn.train(
                problem(), rule, steps=200, step_size=STEPS, record=5
            ).state.weights
        ),
        rtol=1e-7,
    )


def test_a_run_sample_by_sample():
    batches = pn.batching.Shuffled(1)
    both(
        lambda: (
            pn.train(
                binary(0), ADAM, steps=300, step_size=STEPS, batching=batches
            ).state.weights
        ),
        rtol=1e-7,
    )


def test_a_sweep():
    def swept():
        runs = pn.sweep(
            binary(0), ADAM, grid={"b2": np.linspace(0.5, 0.99, 100)}, steps=100,
            step_size=STEPS, record=3,
        )  # fmt: skip
        return jax.numpy.asarray(runs.weights.to_numpy())

    both(swept, rtol=1e-7)


@pytest.mark.parametrize("norm", ["l2", "linf", "spectral"])
def test_a_margin(norm):
    solver = pn.margins.FirstOrder(2_000)
    both(
        lambda: (
            pn.max_margin(
                multiclass(0, k=3, d=6, n=20), norm, tol=1e-4, solver=solver
            ).margin
        ),
        rtol=1e-3,
    )


def test_a_network_and_its_sharpness():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 5)), rng.integers(0, 2, 40) * 2 - 1

    def measured():
        network = pn.networks.MLP((5, 16, 1))
        problem = pn.NetworkClassification(
            network, network.params(0), X, y, loss=pn.losses.Logistic()
        )
        run = pn.train(problem, ADAM, steps=100, step_size=0.01, record=3)
        return run.state.weights

    both(measured, rtol=1e-6)
