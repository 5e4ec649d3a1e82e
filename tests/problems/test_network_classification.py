"""Networks as problems: gradients, degrees, and what is refused at the door."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import penchant as pn
from penchant.problems.models.networks import (
    CNN,
    MLP,
    Identity,
    LeakyReLU,
    ReLU,
    SquaredReLU,
)
from tests.cases import binary, multiclass

LOSSES = (pn.losses.Exponential(), pn.losses.Logistic(), pn.losses.PairLog())
LOGISTIC = pn.losses.Logistic()
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)
every_kind = pytest.mark.parametrize("k", [1, 3], ids=["binary", "3 classes"])

NETWORKS = {
    # network: its degree, and those of its layers
    MLP((3, 1)): (1.0, [1]),
    MLP((3, 4, 1)): (2.0, [1, 1]),
    MLP((3, 4, 3, 1)): (3.0, [1, 1, 1]),
    MLP((3, 4, 4, 1), Identity()): (3.0, [1, 1, 1]),
    MLP((3, 5, 1), SquaredReLU()): (3.0, [2, 1]),
    MLP((3, 4, 4, 1), SquaredReLU()): (7.0, [4, 2, 1]),
    MLP((3, 4, 1), LeakyReLU(0.1)): (2.0, [1, 1]),
    MLP((3, 4, 1), LeakyReLU(0.0)): (2.0, [1, 1]),
    MLP((3, 4, 4, 1), ReLU(), first_bias=True): (3.0, [1, 1, 1]),
    MLP((3, 4, 1), SquaredReLU(), first_bias=True): (3.0, [2, 1]),
    MLP((3, 4, 2)): (2.0, [1, 1]),
}
every_network = pytest.mark.parametrize("network", NETWORKS, ids=repr)


def network_problem(network, n=8, seed=0, loss=LOGISTIC, params=None):
    """Two separable classes, or several about random centres."""
    rng = np.random.default_rng(seed)
    k, d = network.sizes[-1], network.sizes[0]
    X = rng.normal(size=(n, d))
    if k == 1:
        X[:, 0] += np.sign(X[:, 0])
        y = np.sign(X[:, 0])
    else:
        y = np.arange(n) % k
        X = 3.0 * rng.normal(size=(k, d))[y] + 0.3 * X
    params = network.params(seed) if params is None else params
    classes = 2 if k == 2 else None
    return pn.NetworkClassification(network, params, X, y, loss=loss, classes=classes)


def relu_with_biases(w, X):
    return jax.nn.relu(X @ w["A"] + w["a"][None]) @ w["B"] + w["c"]


BIASED = {
    "A": np.ones((3, 4)),
    "a": np.ones(4),
    "B": np.ones(4),
    "c": np.array(0.5),
}
X5 = np.random.default_rng(5).normal(size=(5, 3))
Y5 = [1, -1, 1, -1, 1]


SQUARED = network_problem(MLP((3, 4, 4, 1), SquaredReLU(), first_bias=True))
FOUR = network_problem(MLP((3, 2, 4)), n=8)


def leaves_close(a, b, **tolerance):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.allclose(x, y, **tolerance) for x, y in pairs)


@pytest.mark.sampled
@every_loss
@every_kind
def test_scaled_gradient_is_the_gradient_of_the_mean_loss(k, loss):
    problem = network_problem(MLP((3, 6, k)), loss=loss)
    w = problem.start
    wanted = jax.grad(lambda w: jnp.exp(problem.log_loss(w)))(w)
    assert leaves_close(problem.scaled_gradient(w).value(), wanted, rtol=1e-10)


@every_kind
def test_gradients_stay_exact_where_losses_underflow(k):
    problem = network_problem(MLP((3, 12, k), SquaredReLU()))
    # separate by training, then scale up until no loss is a float
    run = pn.train(
        problem,
        pn.optimizers.GradientDescent(),
        steps=300,
        step_size=pn.schedules.loss_based(),
        record=2,
    )
    last = jax.tree.map(lambda x: x[-1], run.weights)
    factor = (2000.0 / problem.margins(last).min()) ** (1 / 3)
    w = jax.tree.map(lambda x: factor * x, last)
    assert -2100 < problem.log_loss(w) < -1900
    g = problem.scaled_gradient(w)
    assert jnp.exp(g.log_scale) == 0
    G = jax.tree.map(
        lambda d: d * jnp.exp(g.log_scale - problem.log_loss(w)), g.direction
    )
    assert leaves_close(G, jax.grad(problem.log_loss)(w), rtol=1e-9, atol=1e-12)


@pytest.mark.sampled
@every_loss
@every_kind
def test_batch_gradients_average_to_the_full_one(k, loss):
    problem = network_problem(MLP((3, 6, k)), n=6, loss=loss)
    w = problem.start
    parts = [
        problem.scaled_gradient(w, jnp.arange(i, i + 2)).value() for i in range(0, 6, 2)
    ]
    mean = jax.tree.map(lambda *g: sum(g) / 3.0, *parts)
    assert leaves_close(mean, problem.scaled_gradient(w).value(), rtol=1e-10)
    padded = problem.scaled_gradient(
        w, jnp.array([0, 1, 1]), jnp.array([0.5, 0.5, 0.0])
    )
    assert leaves_close(padded.value(), parts[0], rtol=1e-12)


@pytest.mark.parametrize(
    "make", [binary, pytest.param(multiclass, marks=pytest.mark.slow)]
)
def test_a_network_of_one_layer_is_the_linear_problem(make):
    linear = make(0)
    k, d = (1, *linear.weight_shape)[-2:]
    network = MLP((d, k))
    params = [{"W": np.zeros((k, d))}]
    problem = pn.NetworkClassification(
        network, params, linear.X, linear.y, loss=linear.loss, degree=1.0
    )
    W = np.random.default_rng(0).normal(size=(k, d))
    w = jnp.asarray(W.reshape(linear.weight_shape))
    there = [{"W": jnp.asarray(W)}]
    assert np.allclose(problem.margins(there), linear.margins(w), rtol=1e-12)
    G = problem.scaled_gradient(there).value()[0]["W"]
    g = linear.scaled_gradient(w).value()
    assert np.allclose(np.reshape(G, g.shape), g, rtol=1e-10)
    for optimizer in (pn.optimizers.GradientDescent(), pn.optimizers.Adam(eps=0.0)):
        how = {"steps": 300, "step_size": 0.02, "record": 5}
        ours = pn.train(problem, optimizer, batching=pn.batching.Cyclic(3), **how)
        theirs = pn.train(linear, optimizer, batching=pn.batching.Cyclic(3), **how)
        flat = np.reshape(ours.weights[0]["W"], theirs.weights.shape)
        assert np.allclose(flat, theirs.weights, rtol=1e-8, atol=1e-10)
        assert np.allclose(ours.log_loss, theirs.log_loss, rtol=1e-8)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(0, 10**6), st.floats(-2.0, 3.0))
def test_soft_margins_lie_below_margins_by_at_most_log_k_minus_1(seed, log_scale):
    k = 4
    rng = np.random.default_rng(seed)
    problem = FOUR
    w = problem.unflat(np.exp(log_scale) * jnp.asarray(rng.normal(size=14)))
    q, soft = np.asarray(problem.margins(w)), np.asarray(problem.soft_margins(w))
    slack = 1e-12 * (1 + np.abs(q))
    assert (soft <= q + slack).all()
    assert (soft >= q - np.log(k - 1) - slack).all()
    # cross-entropy is the logistic loss of the soft margin
    wanted = np.log(np.logaddexp(0.0, -soft[soft < 500]))
    assert np.allclose(problem.log_losses(w)[soft < 500], wanted, atol=1e-9)


def test_with_two_classes_soft_margins_are_margins():
    problem = network_problem(MLP((3, 4, 1)))
    assert np.allclose(
        problem.soft_margins(problem.start), problem.margins(problem.start)
    )


@every_network
def test_degrees_of_ready_networks(network):
    degree, layers = NETWORKS[network]
    problem = network_problem(network)
    assert network.degree == degree
    assert problem.degree == degree
    assert problem.homogeneity.error < 1e-10
    assert list(problem.homogeneity.layers.values()) == layers
    # and a claim of it passes
    pn.NetworkClassification(
        network, problem.params, problem.X, problem.y, loss=LOGISTIC, degree=degree
    )


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.floats(0.05, 20.0), st.integers(0, 10**6))
def test_margins_scale_with_the_degree(factor, seed):
    problem = SQUARED
    p = problem.parameters
    w = problem.unflat(jnp.asarray(np.random.default_rng(seed).normal(size=p)))
    grown = jax.tree.map(lambda x: factor * x, w)
    wanted = factor**problem.degree * problem.margins(w)
    assert np.allclose(problem.margins(grown), wanted, rtol=1e-9, atol=1e-12)


def test_flat_and_unflat_are_inverse_and_parameters_counts_them():
    problem = network_problem(MLP((3, 4, 2), first_bias=True))
    assert problem.parameters == 3 * 4 + 4 + 4 * 2
    v = jnp.arange(float(problem.parameters))
    assert np.array_equal(problem.flat(problem.unflat(v)), v)


def test_a_leaky_unit_of_slope_0_and_1_is_relu_and_identity():
    X = jnp.asarray(X5)
    for slope, other in ((0.0, ReLU()), (1.0, Identity())):
        w = MLP((3, 4, 1)).params(0)
        leaky = MLP((3, 4, 1), LeakyReLU(slope))(w, X)
        assert np.allclose(leaky, MLP((3, 4, 1), other)(w, X))


# --- what has no degree ---


def test_biases_leave_no_degree_and_a_claim_names_the_bias():
    problem = pn.NetworkClassification(relu_with_biases, BIASED, X5, Y5, loss=LOGISTIC)
    assert problem.degree is None
    assert problem.homogeneity.layers["c"] is None
    with pytest.raises(pn.NotHomogeneousError, match="homogeneous without c, a bias"):
        pn.NetworkClassification(
            relu_with_biases, BIASED, X5, Y5, loss=LOGISTIC, degree=2.0
        )
    # it can be trained and measured all the same
    run = pn.train(problem, pn.optimizers.Adam(), steps=20, step_size=0.01)
    assert np.isfinite(run.log_loss).all()


def test_saturating_units_leave_no_degree():
    apply = lambda w, X: jnp.tanh(X @ w["A"]) @ w["B"]
    params = {"A": np.ones((3, 4)), "B": np.ones(4)}
    problem = pn.NetworkClassification(apply, params, X5, Y5, loss=LOGISTIC)
    assert problem.degree is None
    assert problem.homogeneity.layers == {"A": None, "B": 1.0}
    with pytest.raises(pn.NotHomogeneousError, match="saturating activations"):
        pn.NetworkClassification(apply, params, X5, Y5, loss=LOGISTIC, degree=2.0)


def test_a_wrong_claim_says_what_was_measured():
    with pytest.raises(pn.NotHomogeneousError, match=r"degree must be 2.*got 3"):
        pn.NetworkClassification(
            MLP((3, 4, 1)), MLP((3, 4, 1)).params(0), X5, Y5, loss=LOGISTIC, degree=3.0
        )
    with pytest.raises(ValueError, match="degree must be > 0"):
        pn.NetworkClassification(
            MLP((3, 4, 1)), MLP((3, 4, 1)).params(0), X5, Y5, loss=LOGISTIC, degree=-1.0
        )


def test_degrees_need_not_be_whole():
    apply = lambda w, X: jnp.sqrt(jnp.abs(X @ w["A"])) @ w["B"]
    params = {"A": np.ones((3, 4)), "B": np.ones(4)}
    problem = pn.NetworkClassification(apply, params, X5, Y5, loss=LOGISTIC)
    assert problem.degree == pytest.approx(1.5, abs=1e-9)


# --- bad input ---


def linear_apply(w, X):
    return X @ w


def make(apply=linear_apply, params=None, X=X5, y=Y5, loss=LOGISTIC, **rest):
    params = np.ones(3) if params is None else params
    return pn.NetworkClassification(apply, params, X, y, loss=loss, **rest)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"apply": lambda w, X: (X @ w, X)}, TypeError, "apply must return one array"),
        ({"apply": lambda w, X: X}, ValueError, r"apply must return shape \(5,\) or "
         r"\(5, 1\) for two classes and 5 samples; got \(5, 3\)"),
        ({"apply": lambda w, X: jnp.sum(X @ w)}, ValueError, r"got \(\)"),
        ({"y": [0, 1, 2, 0, 1]}, ValueError, r"apply must return shape \(5, 3\) for 3 "
         "classes"),
        ({"apply": lambda w, X: 0.0 * (X @ w)}, ValueError, "apply.* is 0 at random"),
        ({"params": np.array([1.0, np.nan, 0.0])}, ValueError, "params must be finite"),
        ({"params": {}}, ValueError, "params must hold at least one array"),
        ({"params": [np.ones(3), True]}, TypeError, "params must.*leaf of type bool"),
        ({"params": [np.ones(3), "relu"]}, TypeError, "params must.*leaf of type str"),
        ({"params": [np.ones(3), jax.nn.relu]}, TypeError, "params.*eqx.partition"),
        ({"y": [1, -1, 1]}, ValueError, r"y must have shape \(5,\)"),
        ({"y": [0.5, 1, 1, 1, 1]}, ValueError, "y must.*whole numbers; got 0.5"),
        ({"y": [0, 2, 2, 0, 2]}, ValueError, "y must hold every class.*missing: 1"),
        ({"y": [-2, 1, 1, 1, 1]}, ValueError, "y must.*got values -2, 1"),
        ({"X": "no"}, TypeError, "X must be an array of numbers"),
        ({"X": np.ones((0, 3)), "y": []}, ValueError, "X must.*at least one sample"),
        ({"X": np.where(np.eye(5, 3) == 1, np.inf, 0)}, ValueError,
         r"X must be finite; 3 .*\(0, 0\): inf"),
    ],
)  # fmt: skip
def test_bad_input_is_named(given, error, words):
    with pytest.raises(error, match=words):
        make(**given)


@pytest.mark.parametrize(
    "wrong", [{"apply": 3}, {"loss": 2}, {"degree": "one"}], ids=repr
)
def test_wrong_kinds_are_refused(wrong):
    with pytest.raises(TypeError):
        make(**wrong)


@pytest.mark.parametrize("odd", [np.array([True, False, True]), np.ones(3) * 1j])
def test_parameters_must_be_real_numbers(odd):
    with pytest.raises(TypeError, match="params must"):
        make(params=odd)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ([{"W": np.ones((4, 3))}], TypeError, "init must be a pytree like"),
        ([{"W": np.ones((4, 2))}, {"W": np.ones((1, 4))}], ValueError, r"\(4, 3\)"),
        ([{"W": np.ones((4, 3))}, {"W": np.full((1, 4), np.nan)}], ValueError, "NaN"),
        ([{"W": np.ones((4, 3))}, {"W": "a"}], TypeError, "init must hold arrays"),
    ],
)
def test_read_refuses_other_parameters(wrong, error, words):
    problem = network_problem(MLP((3, 4, 1)))
    with pytest.raises(error, match=words):
        problem.read(wrong, "init")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MLP((3,)), "features and outputs"),
        (lambda: MLP((3, 0, 1)), "sizes must be at least 1"),
        (lambda: LeakyReLU(2.0), "slope must be"),
        (lambda: CNN((6, 8, 1), 2), "multiples of 4"),
        (lambda: CNN((8, 8), 2), "height, width, channels"),
    ],
)
def test_networks_of_no_shape_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


# --- models from elsewhere ---


def test_an_equinox_model():
    model = eqx.nn.MLP(
        3, "scalar", 4, 1, use_bias=False, use_final_bias=False, key=jax.random.key(0)
    )
    params, static = eqx.partition(model, eqx.is_inexact_array)
    apply = lambda w, X: jax.vmap(eqx.combine(w, static))(X)
    problem = pn.NetworkClassification(apply, params, X5, Y5, loss=LOGISTIC)
    assert problem.degree == 2.0
    # the same as ours with those weights
    W = [{"W": layer.weight} for layer in model.layers]
    ours = MLP((3, 4, 1))(W, problem.X)
    assert np.allclose(problem.scores(problem.start)[:, 0], ours)
    run = pn.train(problem, pn.optimizers.Adam(), steps=20, step_size=0.01)
    assert run.log_loss[-1] < problem.log_loss(problem.start)
    assert isinstance(
        eqx.combine(problem.unflat(problem.flat(params)), static), eqx.nn.MLP
    )


def test_a_flax_model():
    nn = pytest.importorskip("flax.linen")
    model = nn.Sequential([nn.Dense(4, use_bias=False), nn.relu, nn.Dense(1)])
    with jax.numpy_dtype_promotion("standard"):  # flax starts in single precision
        params = model.init(jax.random.key(0), X5)
        problem = pn.NetworkClassification(model.apply, params, X5, Y5, loss=LOGISTIC)
        assert problem.degree is None  # the last layer's bias
        run = pn.train(problem, pn.optimizers.Adam(), steps=20, step_size=0.01)
    assert run.log_loss[-1] < problem.log_loss(problem.start)


# --- the convolutional network ---

SMALL = CNN((8, 4, 2), 3, channels=(3, 2), hidden=5)


def convolve(X, W):
    """SAME cross-correlation by loops."""
    size, half = W.shape[0], W.shape[0] // 2
    padded = np.pad(X, ((0, 0), (half, half), (half, half), (0, 0)))
    n, h, w, _ = X.shape
    out = np.zeros((n, h, w, W.shape[3]))
    for i in range(h):
        for j in range(w):
            patch = padded[:, i : i + size, j : j + size, :]
            out[:, i, j] = np.tensordot(patch, W, axes=3)
    return out


def pool(Z):
    n, h, w, c = Z.shape
    out = np.zeros((n, h // 2, w // 2, c))
    for i in range(h // 2):
        for j in range(w // 2):
            out[:, i, j] = Z[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max(axis=(1, 2))
    return out


def test_the_convolutional_network_against_loops():
    params = SMALL.params(0)
    params[0]["b"] = jnp.array([0.3, -0.2, 0.1])
    X = np.random.default_rng(0).normal(size=(4, 8, 4, 2))
    first, second, third, last = (np.asarray(layer["W"]) for layer in params)
    relu = lambda Z: np.maximum(Z, 0.0)
    Z = pool(relu(convolve(X, first) + np.asarray(params[0]["b"])))
    Z = pool(relu(convolve(Z, second)))
    wanted = relu(Z.reshape(4, -1) @ third) @ last
    assert np.allclose(SMALL(params, jnp.asarray(X)), wanted, rtol=1e-12, atol=1e-12)


def test_networks_that_differ_in_numbers_alone_share_a_program():
    # what is measured of them differs by rounding, and must not be a part of the type
    def problem(seed):
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(7, 5)), [0, 1, 2, 0, 1, 2, 0]
        network = MLP((5, 4, 3))
        return pn.NetworkClassification(network, network.params(seed), X, y)

    traced = []

    @eqx.filter_jit
    def least(problem):
        traced.append(problem)
        return jnp.min(problem.margins(problem.start))

    found = [float(least(problem(seed))) for seed in range(5)]
    assert len(traced) == 1
    assert len(set(found)) == 5


@pytest.mark.slow
def test_the_convolutional_network_trains_and_has_degree_4():
    X = np.random.default_rng(0).normal(size=(6, 8, 4, 2))
    problem = pn.NetworkClassification(
        SMALL, SMALL.params(0), X, [0, 1, 2, 0, 1, 2], loss=LOGISTIC, degree=4.0
    )
    assert problem.homogeneity.layers == dict.fromkeys("0123", 1.0)
    run = pn.train(problem, pn.optimizers.Adam(), steps=60, step_size=0.02, record=3)
    assert run.log_loss[-1] < run.log_loss[0] - 0.3
    assert CNN((28, 28, 1), 10).params(0)[2]["W"].shape == (7 * 7 * 64, 1024)


def test_initial_weights_have_the_variance_asked_for():
    W = MLP((400, 300, 1)).params(0)[0]["W"]
    assert np.std(W) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    W = MLP((400, 300, 1)).params(0, scale=0.5)[0]["W"]
    assert np.std(W) == pytest.approx(0.5, rel=0.02)
    same = MLP((3, 4, 1)).params(jax.random.key(7))
    assert leaves_close(same, MLP((3, 4, 1)).params(7))


def test_two_outputs_are_two_rows_whatever_two_classes_are_called():
    X, names = np.eye(4, 3) + 0.1, np.array(["a", "b", "b", "a"])
    w = np.random.default_rng(0).normal(size=(3, 2))
    apply = lambda w, X: X @ w
    problems = [
        pn.NetworkClassification(apply, w, X, y, loss=LOGISTIC)
        for y in (names, names == "b", np.where(names == "b", 1, -1))
    ]
    for problem in problems:
        assert (problem.classes, problem.binary) == (2, False)
        assert np.array_equal(problem.y, [0, 1, 1, 0])
        assert np.allclose(
            problem.margins(w),
            np.where(names == "b", 1, -1) * (X @ (w[:, 1] - w[:, 0])),
        )
