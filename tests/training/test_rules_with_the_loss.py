"""Rules that read the loss besides the gradient, optax's and one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

import penchant as pn
from penchant import batching, optimizers as rules

TAKEN = {
    "lbfgs": optax.lbfgs(),
    "polyak": optax.polyak_sgd(1.0),
    "plateau": optax.chain(
        optax.sgd(0.5), optax.contrib.reduce_on_plateau(patience=2, factor=0.5)
    ),
    "backtracking": optax.chain(
        optax.sgd(1.0), optax.scale_by_backtracking_linesearch(15)
    ),
}


def least_squares(n=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    return pn.Regression(lambda w, X: X @ w, jnp.zeros(d), X, y)


def classifier():
    return pn.datasets.gaussian(8, 5, seed=0).problem()


def plain_loop(tx, loss, w, steps):
    """What anybody would write with optax; `loss(w, t)` is that of step `t`'s batch."""

    @jax.jit
    def step(w, state, t):
        value_fn = lambda w: loss(w, t)
        value, g = jax.value_and_grad(value_fn)(w)
        updates, state = tx.update(g, state, w, value=value, grad=g, value_fn=value_fn)
        return optax.apply_updates(w, updates), state

    state = tx.init(w)
    with jax.numpy_dtype_promotion("standard"):
        for t in range(steps):
            w, state = step(w, state, jnp.asarray(t))
    return w


@pytest.mark.sampled
@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("make", [least_squares, classifier])
def test_they_agree_with_a_plain_loop(name, make):
    tx, problem = TAKEN[name], make()
    run = pn.train(problem, tx, steps=15, step_size=1.0)
    w = plain_loop(tx, lambda w, t: problem.batch_loss(w), problem.start, 15)
    assert np.allclose(run.last, w, rtol=1e-9, atol=1e-12)


def test_line_searches_see_the_batch_and_not_the_data():
    problem, b = least_squares(), 4
    tx = TAKEN["backtracking"]
    run = pn.train(problem, tx, steps=12, step_size=1.0, batching=batching.Cyclic(b))
    rows = lambda t: (t * b + jnp.arange(b)) % problem.samples
    loss = lambda w, t: jnp.mean(problem.losses(w, rows(t)))
    w = plain_loop(tx, loss, problem.start, 12)
    assert np.allclose(run.last, w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("tx", "reads"),
    [
        *((tx, True) for tx in TAKEN.values()),
        (optax.adam(0.1), False),
        (optax.adamw(0.1), False),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1, momentum=0.9)), False),
        (optax.set_to_zero(), False),
    ],
)
def test_a_transformation_is_known_to_read_the_loss_by_what_it_does(tx, reads):
    assert rules.FromOptax(tx).needs_loss is reads
    assert rules.WeightDecay(rules.FromOptax(tx), 0.1).needs_loss is reads


class Polyak(rules.AbstractOptimizer):
    """One's own: steps of min(loss / |g|^2, 1), what optax calls `polyak_sgd`."""

    needs_loss = True

    def init(self, w):
        return jnp.zeros(())

    def update(self, gradient, state, w, step_size, loss):
        g = gradient.value()
        square = sum(jnp.sum(x**2) for x in jax.tree.leaves(g))
        length = step_size * jnp.minimum(loss(w) / square, 1.0)
        return jax.tree.map(lambda w, g: w - length * g, w, g), state


@pytest.mark.slow
def test_ones_own_rule_gets_the_loss_too():
    problem = classifier()
    how = {"steps": 30, "step_size": 1.0, "batching": batching.Shuffled(3)}
    ours = pn.train(problem, Polyak(), **how)
    assert np.allclose(ours.last, pn.train(problem, TAKEN["polyak"], **how).last)
    swept = pn.sweep(
        problem, Polyak(), grid={"step_size": [0.5, 1.0]}, steps=30, record=3
    )
    full = pn.train(problem, Polyak(), steps=30, step_size=1.0, record=3)
    assert np.allclose(swept.log_loss.sel(step_size=1.0), full.log_loss)


@pytest.mark.slow
def test_such_runs_resume_bit_by_bit(tmp_path):
    problem, tx = least_squares(), TAKEN["lbfgs"]
    whole = pn.train(problem, tx, steps=12, step_size=1.0)
    pn.train(problem, tx, steps=5, step_size=1.0, checkpoint=tmp_path)
    again = pn.train(problem, tx, steps=12, step_size=1.0, checkpoint=tmp_path)
    assert np.array_equal(again.last, whole.last)


@pytest.mark.slow
def test_padded_batches_weigh_what_they_hold():
    for problem in (least_squares(), classifier()):
        w = jnp.ones_like(problem.start)
        rows, factors = jnp.array([1, 2, 2]), jnp.array([0.5, 0.5, 0.0])
        part = problem.batch_loss(w, rows, factors)
        assert float(part) == pytest.approx(
            float(problem.batch_loss(w, rows[:2])), rel=1e-14
        )
        g = jax.grad(problem.batch_loss)(w, rows, factors)
        assert np.allclose(g, problem.scaled_gradient(w, rows, factors).value())


class Bowl(pn.problems.AbstractProblem):
    """A stranger's problem that has no loss to give."""

    @property
    def samples(self):
        return 1

    @property
    def start(self):
        return jnp.ones(2)

    def recorded(self, w):
        return jnp.sum(w**2)

    def scaled_gradient(self, w, rows=None, row_weights=None, key=None):
        return pn.problems.ScaledGradient(2.0 * w, jnp.zeros(()))

    def identity(self, w):
        return self.recorded(w)


def test_a_problem_without_a_loss_trains_with_other_rules_only():
    pn.train(Bowl(), optax.adam(0.1), steps=3, step_size=1.0)
    with pytest.raises(TypeError, match="reads the loss, and Bowl has no batch_loss"):
        pn.train(Bowl(), optax.lbfgs(), steps=3, step_size=1.0)


@pytest.mark.slow
def test_raw_optax_rules_go_in_everywhere():
    problem, tx = pn.datasets.gaussian(6, 12, seed=0).problem(), optax.adam(0.1)
    assert pn.predict(problem, tx).norm is None
    says = pn.diagnose(problem, tx, steps=50, step_size=1.0)
    assert isinstance(says.trajectory.rule.optimizer, rules.FromOptax)
    swept = pn.sweep(
        problem, tx, grid={"step_size": [0.1, 1.0]}, steps=50, weights=False
    )
    assert float(swept.log_loss[1, -1]) == pytest.approx(
        float(says.trajectory.log_loss[-1])
    )
    with pytest.raises(TypeError, match="optimizer must be one of"):
        pn.train(problem, 3, steps=5, step_size=1.0)
