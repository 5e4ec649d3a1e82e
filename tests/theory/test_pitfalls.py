"""Input that trips others up: item by item, what is done and what is said."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import norms, optimizers as rules
from penchant.theory.papers import fan2025spectral
from tests.cases import binary, multiclass, paper_data


@pytest.mark.slow
def test_single_precision_is_converted_and_said():
    problem = multiclass(0)
    X = np.asarray(problem.X, dtype=np.float32)
    single = pn.LinearClassification(X, problem.y, loss=problem.loss)
    assert single.X.dtype == jnp.float64
    assert single.given == "float32"
    assert jnp.array_equal(single.X, X.astype(np.float64))  # exactly, digit by digit
    says = pn.diagnose(single, rules.SignDescent(), steps=50, norms=[norms.Linf()])
    (said,) = [c for c in says.warnings if c.kind == "upcast"]
    assert "float32" in said.headline
    assert "float64" in said.headline
    for given in (X.astype(np.float64), X.astype(np.float64).tolist()):
        plain = pn.LinearClassification(given, problem.y, loss=problem.loss)
        says = pn.diagnose(plain, rules.SignDescent(), steps=50, norms=[norms.Linf()])
        assert not any(c.kind == "upcast" for c in says.warnings)


def test_a_class_without_samples_is_refused():
    with pytest.raises(ValueError, match=r"every class 0..3; missing: 2"):
        pn.LinearClassification(np.eye(3), [0, 1, 3], loss=pn.losses.Logistic())


@pytest.mark.sampled
@pytest.mark.parametrize("norm", [norms.L2(), norms.Linf(), norms.Spectral()], ids=repr)
def test_two_classes_in_the_form_of_several(norm):
    # W = (-w, w)/2: margins are those of w, and every norm scales with it
    two = binary(0, d=12, n=8, loss=pn.losses.Logistic())
    y = (np.asarray(two.y) + 1) // 2
    several = pn.LinearClassification(two.X, y, loss=two.loss, classes=2)
    assert several.weight_shape == (2, 12)
    rule = rules.SteepestDescent(norm)
    told, twin = pn.predict(two, rule), pn.predict(several, rule)
    w = told.weights
    W = jnp.stack([-w, w]) / 2
    assert jnp.allclose(several.margins(W), two.margins(w))
    share = float(several.margins(W).min() / norm(W) / twin.margin)
    assert share == pytest.approx(1, abs=1e-5)
    # gradients of rank one: a step is the same for every Schatten norm
    gradient = several.scaled_gradient(jnp.zeros((2, 12))).direction
    assert np.linalg.matrix_rank(np.asarray(gradient)) == 1
    steps = [norms.schatten(p).steepest(gradient) for p in (1.0, 2.0, np.inf)]
    assert all(jnp.allclose(step, steps[0], atol=1e-12) for step in steps)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "rule",
    [
        rules.Muon(0.0),
        rules.Muon(0.9),
        rules.Muon(0.9, rules.PolarExpress(8)),
        rules.Shampoo(0.9),
    ],
    ids=repr,
)
def test_rank_deficient_gradients_leave_no_junk(rule):
    # 1'G = 0 for cross-entropy: nothing may ever move along equal rows
    problem = multiclass(0, k=4, d=12)
    run = pn.train(
        problem, rule, steps=3000, step_size=pn.schedules.power(0.05, 0.5), record=4
    )
    W = np.asarray(run.weights[-1])
    assert np.abs(W.sum(axis=0)).max() <= 1e-9 * np.abs(W).max()
    s = np.linalg.svd(W, compute_uv=False)
    assert s[3] <= 1e-9 * s[0]


@pytest.mark.parametrize("norm", [norms.L1(), norms.Nuclear()], ids=repr)
def test_ties_are_broken_the_same_way_every_time(norm):
    G = jnp.asarray([[1.0, 0.0], [0.0, -1.0]])  # two entries, and values, of one size
    step = norm.steepest(G)
    assert float(norm(step)) == pytest.approx(1)
    assert float(jnp.sum(G * step)) == pytest.approx(float(norm.dual(G)))
    assert jnp.array_equal(step, norm.steepest(G))
    assert jnp.array_equal(step, jax.jit(norm.steepest)(G))
    # data that are all ties: one-hot samples, every pair alike
    problem = pn.LinearClassification(
        np.eye(4), np.arange(4), loss=pn.losses.Logistic()
    )
    eta = fan2025spectral.scale_free_step(problem, norm)
    run = pn.train(problem, rules.SteepestDescent(norm), steps=20_000, step_size=eta)
    best = pn.max_margin(problem, norm)
    share = float(run.margins[-1].min() / norm(run.weights[-1]) / best.margin)
    assert 0.99 < share <= 1 + 1e-9


def test_steps_in_the_order_of_the_data_scale_are_called_too_large():
    problem = paper_data(0)
    told = pn.predict(
        problem, rules.SignDescent(),
        step_size=fan2025spectral.scale_free_step(problem, norms.Linf(), 8.0),
    )  # fmt: skip
    (steps,) = [a for a in told.assumptions if "step sizes fall" in a.statement]
    assert steps.verdict is pn.Verdict.FAILS
    assert "expect a floor" in steps.why
