"""Rules that do nothing, swap, or divide 0 by 0: none ends the process."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant import optimizers as rules

STEPS = 50


def rule_of(init, update):
    class Odd(rules.AbstractOptimizer):
        def init(self, w):
            return init(w)

        def update(self, gradient, state, w, step_size):
            return update(gradient.value(), state, w, step_size)

    return Odd()


# what goes through the inlined call unchanged, twice, or hangs on nothing ends the
# process in XLA; the last column is what the weights come to
ODD = {
    "still": (lambda w: jnp.zeros(()), lambda g, s, w, eta: (w, s), "start"),
    "counts": (lambda w: jnp.zeros(()), lambda g, s, w, eta: (w, s + 1), "start"),
    "swaps": (lambda w: w + 1, lambda g, s, w, eta: (s, w), "start"),
    "by one": (lambda w: w, lambda g, s, w, eta: (w * 1.0, s * 1.0), "start"),
    "takes": (lambda w: w + 1, lambda g, s, w, eta: (s, s), "one"),
    "twice": (
        lambda w: (w, w),
        lambda g, s, w, eta: (w - eta * g, (w, w)),
        "descent",
    ),
    "constant": (
        lambda w: jnp.zeros(3),
        lambda g, s, w, eta: (w - eta * g, jnp.zeros(3)),
        "descent",
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", ODD)
def test_odd_rules_run(name):
    init, update, wanted = ODD[name]
    problem = pn.datasets.gaussian(8, 12, seed=0).problem()
    run = pn.train(problem, rule_of(init, update), steps=STEPS, step_size=0.1)
    descent = pn.train(problem, rules.GradientDescent(), steps=STEPS, step_size=0.1)
    ends = {"start": problem.start, "one": problem.start + 1, "descent": descent.last}
    assert np.allclose(run.last, ends[wanted], rtol=1e-12)


def test_an_optax_rule_that_never_moves():
    problem = pn.datasets.gaussian(8, 12, seed=0).problem()
    run = pn.train(problem, optax.set_to_zero(), steps=STEPS, step_size=0.1)
    assert np.array_equal(run.last, problem.start)
    assert run.outcome is pn.training.Outcome.COMPLETE


def dead(columns, classes=None):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 12)), np.array([1, -1] * 4)
    X[:, columns] = 0.0
    return pn.LinearClassification(
        X, y, loss=pn.losses.Logistic(), **({} if classes is None else {"classes": 2})
    )


@pytest.mark.sampled
@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize(
    ("columns", "named"),
    [([3], "feature 3, 0 in every row,"), ([1, 4], "features 1, 4, 0 in every row,")],
)
def test_a_rule_that_divides_0_by_0_is_named(columns, named, classes):
    problem = dead(columns, classes)
    run = pn.train(problem, optax.adam(1.0, eps=0.0), steps=100, step_size=0.01)
    assert run.outcome is pn.training.Outcome.DIVERGED
    assert "divided 0 by 0" in run.advice
    assert named in run.advice
    assert "step size" in run.advice
    assert "Lower the step size" not in run.advice
    ours = pn.train(problem, rules.Adam(eps=0.0), steps=100, step_size=0.01)
    assert ours.outcome is pn.training.Outcome.COMPLETE
    assert ours.advice == ours.outcome.value


@pytest.mark.slow
def test_entries_of_a_pytree_are_named():
    problem = pn.Regression(
        lambda w, X: X @ w["in"] + 0.0 * w["bias"][1],
        {"in": jnp.ones(3), "bias": jnp.ones(2)},
        np.eye(3),
        np.zeros(3),
    )
    run = pn.train(problem, optax.adam(1.0, eps=0.0), steps=10, step_size=0.01)
    assert "the gradient of bias[0], bias[1] is exactly 0" in run.advice


def late(t0):
    """A rule that turns NaN at its step number `t0`, in weight 3 alone."""
    return rule_of(
        lambda w: jnp.zeros(()),
        lambda g, s, w, eta: (
            jnp.where(s + 1 >= t0, (w - eta * g).at[3].multiply(jnp.nan), w - eta * g),
            s + 1,
        ),
    )


def test_the_step_is_found_inside_a_call():
    run = pn.train(dead([3]), late(37), steps=5000, step_size=0.01)
    assert "At step 37 " in run.advice
    # there the gradient is not 0: nothing is divided by 0
    run = pn.train(dead([5]), late(37), steps=5000, step_size=0.01)
    assert run.advice == pn.training.Outcome.DIVERGED.value


def test_steps_that_are_too_large_are_told_as_before():
    X = np.eye(3)
    problem = pn.Regression(lambda w, X: X @ w, jnp.ones(3), X, np.zeros(3))
    run = pn.train(problem, rules.GradientDescent(), steps=2000, step_size=1e3)
    assert run.outcome is pn.training.Outcome.DIVERGED
    assert "Lower the step size" in run.advice


def test_infinite_numbers_are_refused_at_the_door():
    problem = pn.datasets.gaussian(8, 12, seed=0).problem()
    rule = rules.SignDescent()
    for call in (
        lambda: pn.train(problem, rule, steps=5, step_size=np.inf),
        lambda: pn.sweep(problem, rule, grid={"step_size": [0.1, np.inf]}, steps=5),
        lambda: pn.schedules.power(np.inf, 0.5),
        lambda: pn.schedules.power(0.1, np.inf),
        lambda: rules.Adam(eps=np.inf),
        lambda: rules.AdamW(weight_decay=np.inf),
        lambda: pn.sweep(
            problem, rules.Adam(), grid={"eps": [0.0, np.inf]}, steps=5, step_size=0.1
        ),
    ):
        with pytest.raises(ValueError, match="must be finite; got"):
            call()
