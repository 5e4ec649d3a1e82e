"""The rescaled flow: a loop by hand, an accurate flow, its lanes and its clock."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from benchmarks.robustness import torch_loop
from penchant.flows import ZeroGradientError, adaptive_flow, rescaled_flow
from penchant.problems.models.networks import SquaredReLU
from tests.flows.cases import network

DATA = pn.datasets.clusters(30, 4, 16)
PROBLEM = DATA.network(6, scale=1e-2)


def lanes(count):
    return [PROBLEM.apply.params(key, scale=1e-2) for key in range(count)]


def test_it_is_the_loop_that_one_writes_in_torch():
    run = rescaled_flow(PROBLEM, steps=150, cap=0.02)
    W, b, v = torch_loop(PROBLEM.X, PROBLEM.y, PROBLEM.start, 150, 0.02)
    np.testing.assert_allclose(run.last[0]["W"], W, atol=1e-9)
    np.testing.assert_allclose(run.last[0]["b"], b, atol=1e-9)
    np.testing.assert_allclose(run.last[1]["W"], v, atol=1e-9)
    assert run.steps[0] == 0
    assert run.steps[-1] == 150


def test_the_space_of_the_examples_changes_nothing():
    # the same network as a function that tells nothing of itself runs in all features
    blind = pn.NetworkClassification(
        lambda w, X: PROBLEM.apply(w, X), PROBLEM.start, DATA.X, DATA.y, loss="logistic"
    )
    cap = 1 / 60
    here = rescaled_flow(PROBLEM, steps=100, cap=cap).last
    there = rescaled_flow(blind, steps=100, cap=cap).last
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_starts_side_by_side_are_the_runs_alone():
    starts = lanes(3)
    many = rescaled_flow(PROBLEM, steps=150, starts=starts)
    assert many.log_loss.shape == (3, len(many.steps))
    assert many.separated.shape == (3,)
    alone = rescaled_flow(PROBLEM, steps=150, init=starts[1])
    last = jax.tree.map(lambda w: w[1], many.last)
    for a, b in zip(jax.tree.leaves(last), jax.tree.leaves(alone.last), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.slow
def test_small_steps_follow_the_accurate_flow():
    """The path of gradient flow, to first order in the step, in a smooth network."""
    problem, depth = network(SquaredReLU()), -3.0
    exact = adaptive_flow(
        problem, pn.optimizers.GradientDescent(), log_loss=depth, record=5, tol=1e-7
    )
    assert float(exact.log_loss[-1]) == pytest.approx(depth)
    true = np.asarray(problem.flat(exact.last))
    off = []
    for cap, steps in ((0.05, 3000), (0.0125, 12000)):
        run = rescaled_flow(problem, steps=steps, cap=cap, relative=0.5, record=400)
        depths = np.asarray(run.log_loss)
        assert depths[-1] < depth
        flat = np.asarray(jax.vmap(problem.flat)(run.weights))
        at = [np.interp(-depth, -depths, flat[:, j]) for j in range(flat.shape[1])]
        off.append(np.linalg.norm(np.array(at) - true) / np.linalg.norm(true))
    assert off[0] < 0.05
    assert off[1] < 0.5 * off[0]


def test_the_loss_goes_below_every_float_and_norms_like_roots_of_time():
    run = rescaled_flow(PROBLEM, steps=20000, record=40)
    assert run.log_loss[-1] < -1000
    late = run.steps > 1000
    slope = np.polyfit(np.log(run.steps[late]), np.asarray(run.log_norm)[late], 1)[0]
    assert slope == pytest.approx(0.5, abs=0.03)


def test_a_linear_model_ends_at_the_maximum_margin():
    X, y = DATA.X, DATA.y
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    run = rescaled_flow(problem, steps=20000, init=1e-3 * jnp.ones(30))
    seen = pn.certify(problem, run.last, pn.norms.L2())
    assert 0 <= seen.gap < 2e-3


def test_what_is_refused():
    dead = jax.tree.map(jnp.zeros_like, PROBLEM.start)
    with pytest.raises(ZeroGradientError, match="nothing moves"):
        rescaled_flow(PROBLEM, steps=5, init=dead)
    with pytest.raises(ValueError, match="can't both"):
        rescaled_flow(PROBLEM, steps=5, init=lanes(1)[0], starts=lanes(1))
    with pytest.raises(ValueError, match="at least one"):
        rescaled_flow(PROBLEM, steps=5, starts=[])
    with pytest.raises(ValueError, match="relative must be > 0 and < 1"):
        rescaled_flow(PROBLEM, steps=5, relative=2.0)
