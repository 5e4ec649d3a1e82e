"""Any loss goes through training as a classifier does, and is as exact."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant import batching, optimizers as rules

RULES = {
    "gradient descent": (rules.GradientDescent(), optax.sgd(0.005)),
    "momentum": (rules.GradientDescent(0.8), optax.sgd(0.005, momentum=0.8)),
    "Adam": (
        rules.Adam(0.9, 0.99, 1e-6, bias_correction=True),
        optax.adam(0.005, 0.9, 0.99, eps=1e-6),
    ),
    "AdamW": (
        rules.AdamW(0.9, 0.99, 1e-6, 0.01, bias_correction=True),
        optax.adamw(0.005, 0.9, 0.99, eps=1e-6, weight_decay=0.01),
    ),
    "signs": (rules.SignDescent(), optax.sign_sgd(0.005)),
}
KEY = 7


def net(w, X):
    return jnp.tanh(X @ w["in"]) @ w["out"]


def data(n=24, d=3, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.sin(X[:, 0]) + 0.1 * rng.normal(size=n)
    w = {"in": rng.normal(size=(d, 5)), "out": rng.normal(size=5)}
    return jax.tree.map(jnp.asarray, (w, X, y))


def squares(w, batch):
    X, y = batch
    return 0.5 * (net(w, X) - y) ** 2


def noisy(delta):
    def losses(w, batch, key):
        X, y = batch
        if key is not None:
            y = y + delta * jax.random.normal(key, y.shape)
        return 0.5 * (net(w, X) - y) ** 2

    return losses


def plain_loop(tx, gradient, w, steps):
    """What anybody would write with optax."""

    def step(carry, t):
        w, state = carry
        updates, state = tx.update(gradient(w, t), state, w)
        return (optax.apply_updates(w, updates), state), None

    with jax.numpy_dtype_promotion("standard"):
        (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), jnp.arange(steps))
    return w


def apart(a, b):
    return max(
        float(jnp.max(jnp.abs(x - y)))
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.sampled
@pytest.mark.parametrize("name", RULES)
def test_full_batches_agree_with_a_plain_loop(name):
    rule, tx = RULES[name]
    w, X, y = data()
    problem = pn.Objective(squares, w, (X, y))
    run = pn.train(problem, rule, steps=1000, step_size=0.005, key=KEY)
    mean = lambda w: jnp.mean(squares(w, (X, y)))
    other = plain_loop(tx, lambda w, t: jax.grad(mean)(w), w, 1000)
    assert apart(run.last, other) < 1e-10
    assert float(run.loss[-1]) == pytest.approx(float(mean(run.last)), rel=1e-12)


@pytest.mark.sampled
@pytest.mark.parametrize("b", [6, 5])
def test_mini_batches_with_label_noise_agree_with_a_plain_loop(b):
    rule, tx = RULES["Adam"]
    w, X, y = data()
    delta = 0.3
    regression = pn.Regression(net, w, X, y, label_noise=delta)
    general = pn.Objective(noisy(delta), w, (X, y), random=True)
    how = {"steps": 1000, "step_size": 0.005, "key": KEY, "record": 20}
    run = pn.train(regression, rule, batching=batching.Cyclic(b), **how)
    same = pn.train(general, rule, batching=batching.Cyclic(b), **how)
    assert apart(run.weights, same.weights) < 1e-12

    n, epoch = len(y), -(-len(y) // b)
    key = jax.random.key(KEY)

    def gradient(w, t):
        at = (t % epoch) * b + jnp.arange(b)
        inside = at < n
        rows = jnp.minimum(at, n - 1)
        noise = jax.random.normal(jax.random.fold_in(key, t), (b,))

        def mean(w):
            r = net(w, X[rows]) - y[rows] - delta * noise
            return jnp.sum(jnp.where(inside, 0.5 * r**2, 0.0)) / jnp.sum(inside)

        return jax.grad(mean)(w)

    assert apart(run.last, plain_loop(tx, gradient, w, 1000)) < 1e-10
    # recorded is the loss without noise
    assert float(run.loss[-1]) == pytest.approx(
        float(jnp.mean(squares(run.last, (X, y)))), rel=1e-12
    )
    assert "without" in run.to_xarray().attrs["loss"]


@pytest.mark.slow
def test_noise_is_fresh_at_every_step_and_the_same_for_the_same_seed():
    w, X, y = data()
    problem = pn.Regression(net, w, X, y, label_noise=1.0)
    key = jax.random.key(3)
    grads = [
        problem.scaled_gradient(w, key=jax.random.fold_in(key, t)).value()
        for t in (0, 1)
    ]
    assert apart(*grads) > 1e-3
    run = lambda seed: pn.train(
        problem, rules.GradientDescent(), steps=30, step_size=0.1, key=seed
    )
    assert apart(run(1).last, run(1).last) == 0
    assert apart(run(1).last, run(2).last) > 1e-6


def test_noise_does_not_tell_which_samples_are_drawn():
    # the order has a stream of its own: rows and noise are uncorrelated
    from penchant.training._loop import order_key
    from penchant.training._train import make_rule

    w, X, y = data()
    problem = pn.Regression(net, w, X, y, label_noise=1.0)
    drawn = batching.WithReplacement(1)
    rule, _ = make_rule(problem, rules.GradientDescent(), 0.1, drawn, None, 5)
    rows = drawn.batches(order_key(rule), jnp.asarray(0), 4000, len(y)).rows[:, 0]
    keys = jax.vmap(lambda t: jax.random.fold_in(rule.key, t))(jnp.arange(4000))
    noise = jax.vmap(lambda k: jax.random.normal(k, ()))(keys)
    r = np.corrcoef(np.asarray(rows), np.asarray(noise))[0, 1]
    assert abs(r) < 4 / np.sqrt(4000)


def test_a_loss_that_needs_a_key_is_recorded_at_a_fixed_one():
    def losses(w, batch, key):
        kept = jax.random.bernoulli(key, 0.5, batch.shape)
        return (jnp.where(kept, batch, 0.0) @ w - 1.0) ** 2

    problem = pn.Objective(losses, jnp.ones(4), jnp.eye(4), random=True)
    assert "fixed key" in problem.about
    assert float(problem.loss(problem.start)) == float(problem.loss(problem.start))
    other = problem.loss(problem.start, jax.random.key(9))
    assert float(other) != float(problem.loss(problem.start))


@pytest.mark.sampled
@pytest.mark.parametrize(
    "rule",
    [
        rules.GradientDescent(),
        rules.Adam(0.9, 0.99, 0.0),
        rules.RMSProp(0.9, 0.0),
        rules.SignDescent(),
        rules.Muon(0.5),
    ],
    ids=repr,
)
def test_a_squared_loss_is_as_exact_as_its_residual(rule):
    # targets 0: a residual of 1e-150 has a loss of 1e-300, whose square nothing holds
    X = np.diag([1.0, 2.0, 3.0])
    linear = lambda w, X: X @ w
    problem = pn.Regression(linear, jnp.asarray([1.0, -1.0, 0.5]), X, np.zeros(3))
    shrink = lambda t: 0.3 * jnp.exp2(-t.astype(float))
    step_size = 0.5 if not rule.character().normalised else shrink
    run = pn.train(problem, rule, steps=2000, step_size=step_size)
    small = jax.tree.map(lambda w: 1e-150 * w, problem.start)
    assert float(problem.loss(small)) == pytest.approx(
        1e-300 * float(problem.loss(problem.start)), rel=1e-12
    )
    g = problem.scaled_gradient(small)
    like = problem.scaled_gradient(problem.start)
    logs = lambda g: np.log(np.abs(g.direction)) + float(g.log_scale)
    assert np.allclose(logs(g) - logs(like), -150 * np.log(10), rtol=1e-12)
    assert np.array_equal(np.sign(g.direction), np.sign(like.direction))
    # a step from there is the one from above, scaled; no moment underflows
    for w, scale in ((problem.start, 1.0), (small, 1e-150)):
        state = rule.init(w)
        for _ in range(3):
            gradient = problem.scaled_gradient(w)
            w, state = rule.update(gradient, state, w, jnp.asarray(0.1 * scale))
        moved = w / scale
        if scale == 1.0:
            expected = moved
    if rule.character().normalised:
        assert np.allclose(moved, expected, rtol=1e-10)
    else:
        assert float(run.loss[-1]) < 1e-290


def test_with_other_targets_it_ends_at_rounding_and_not_below():
    X, y = np.eye(3) * 1.7, np.array([1.0, 2.0, -3.0])
    problem = pn.Regression(lambda w, X: X @ w, jnp.zeros(3), X, y)
    run = pn.train(problem, rules.GradientDescent(), steps=4000, step_size=0.3)
    assert 0 <= float(run.loss[-1]) < 1e-30


def test_losses_may_be_negative_and_gradients_zero():
    problem = pn.Objective(lambda w, b: b @ w, jnp.ones(2), -jnp.ones((3, 2)))
    run = pn.train(problem, rules.GradientDescent(), steps=5, step_size=1.0)
    assert np.all(np.asarray(run.loss) < 0)
    assert np.isnan(np.asarray(run.log_loss)).all()
    flat = pn.Objective(
        lambda w, b: b[:, 0] + 0.0 * w[0], jnp.ones(2), jnp.ones((3, 1))
    )
    for rule in (
        rules.Adam(),
        rules.Adam(eps=0.0),
        rules.Muon(),
        rules.GradientDescent(),
    ):
        run = pn.train(flat, rule, steps=3, step_size=1.0)
        assert np.array_equal(run.last, jnp.ones(2))


@pytest.mark.slow
def test_records_sweeps_and_data_sets():
    w, X, y = data()
    problem = pn.Regression(net, w, X, y)
    run = pn.train(problem, rules.Adam(), steps=20, step_size=0.005, record=5)
    assert not hasattr(run, "margins")
    with pytest.raises(AttributeError, match="has no margins"):
        _ = run.margins
    told = run.to_xarray()
    assert set(told) == {"weights.in", "weights.out", "log_loss", "loss"}
    assert "loss=" in repr(run)
    swept = pn.sweep(
        problem,
        rules.Adam(),
        grid={"step_size": [0.01, 0.005], "seed": [0, 1, 2]},
        steps=20,
        record=5,
    )
    assert set(swept) == {"log_loss", "loss", "weights"}
    alone = float(run.loss[-1])
    assert float(swept.loss.sel(step_size=0.005, seed=0)[-1]) == pytest.approx(
        alone, rel=1e-12
    )
    assert problem.gradient(w)["in"].shape == (3, 5)
    assert apart(problem.gradient(w, jnp.arange(len(y))), problem.gradient(w)) < 1e-15


def test_a_run_resumes_bit_by_bit(tmp_path):
    w, X, y = data()
    problem = pn.Regression(net, w, X, y, label_noise=0.5)
    how = {"step_size": 0.01, "batching": batching.Shuffled(5), "key": 2}
    whole = pn.train(problem, rules.Adam(), steps=200, **how)
    pn.train(problem, rules.Adam(), steps=77, checkpoint=tmp_path, **how)
    again = pn.train(problem, rules.Adam(), steps=200, checkpoint=tmp_path, **how)
    assert apart(again.last, whole.last) == 0
    other = pn.Regression(net, w, X, y, label_noise=0.4)
    with pytest.raises(ValueError, match="holds another run: its problem differs"):
        pn.train(other, rules.Adam(), steps=200, checkpoint=tmp_path, **how)


def test_a_run_belongs_to_its_problem():
    w, X, y = data()
    problem = pn.Regression(net, w, X, y)
    run = pn.train(problem, rules.Adam(), steps=5, step_size=0.01)
    run.require_problem(pn.Regression(net, w, X, y))
    with pytest.raises(ValueError, match="problem must be the one"):
        run.require_problem(pn.Regression(net, w, X, -y))
    linear = pn.datasets.gaussian(8, 12, seed=0).problem()
    run = pn.train(linear, rules.SignDescent(), steps=200, step_size=0.005)
    wrong = pn.datasets.gaussian(8, 12, seed=1).problem()
    for call in (
        lambda: pn.limit(wrong, run),
        lambda: pn.flows.adaptive_flow(wrong, trajectory=run),
        lambda: pn.predict(wrong, rules.SignDescent(), trajectory=run),
    ):
        with pytest.raises(ValueError, match="problem must be the one"):
            call()


def test_bad_input_is_named():
    w, X, y = data()
    bad = [
        (lambda: pn.Objective(3, w, (X, y)), TypeError, "losses"),
        (lambda: pn.Objective(squares, {}, (X, y)), ValueError, "params must hold"),
        (lambda: pn.Objective(squares, w, ()), ValueError, "data must hold"),
        (
            lambda: pn.Objective(squares, w, (X, y[:5])),
            ValueError,
            "one number of",
        ),
        (lambda: pn.Objective(squares, w, (X, 2.0)), ValueError, "along axis 0"),
        (
            lambda: pn.Objective(lambda w, b: jnp.mean(squares(w, b)), w, (X, y)),
            ValueError,
            "one number a sample",
        ),
        (
            lambda: pn.Objective(lambda w, b: squares(w, b) / 0.0, w, (X, y)),
            ValueError,
            "finite at the start",
        ),
        (
            lambda: pn.Objective(
                lambda w, b: squares(w, b) if w["out"][0] > 0 else b[1], w, (X, y)
            ),
            TypeError,
            "it branches on a value",
        ),
        (lambda: pn.Regression(net, w, X, y[:, None]), ValueError, "shape of y"),
        (
            lambda: pn.Regression(net, w, X, y, label_noise=-1),
            ValueError,
            "label_noise",
        ),
        (
            lambda: pn.Regression(net, w, X, [*y[:-1], np.nan]),
            ValueError,
            "y must",
        ),
    ]
    for call, kind, text in bad:
        with pytest.raises(kind, match=text):
            call()


class Wave(pn.problems.AbstractProblem):
    """A stranger's problem: cos of the weights, of one sample."""

    @property
    def samples(self):
        return 1

    @property
    def start(self):
        return jnp.array([0.5, 1.0])

    def recorded(self, w):
        return jnp.sum(1.0 + jnp.cos(w))

    def scaled_gradient(self, w, rows=None, row_weights=None, key=None):
        return pn.problems.ScaledGradient(-jnp.sin(w), jnp.zeros(()))

    def identity(self, w):
        return self.recorded(w)


def test_a_strangers_problem_trains_and_sweeps(tmp_path):
    rule = rules.GradientDescent()
    run = pn.train(Wave(), rule, steps=300, step_size=0.5, checkpoint=tmp_path)
    assert np.allclose(run.last, np.pi, atol=1e-8)
    swept = pn.sweep(Wave(), rule, grid={"step_size": [0.1, 0.5]}, steps=300, record=4)
    assert float(swept.loss.isel(step=-1).min()) < 1e-12
