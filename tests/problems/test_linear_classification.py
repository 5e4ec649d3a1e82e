import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from tests.cases import binary, multiclass, random_weights

LOSSES = (pn.losses.Exponential(), pn.losses.Logistic(), pn.losses.PairLog())


@pytest.mark.sampled
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("make", [binary, multiclass])
def test_scaled_gradient_is_the_gradient_of_the_mean_loss(make, loss):
    problem = make(0, loss=loss)
    w = random_weights(problem.weight_shape)
    wanted = jax.grad(lambda w: jnp.exp(problem.log_loss(w)))(w)
    assert jnp.allclose(problem.scaled_gradient(w).value(), wanted, rtol=1e-10)


@pytest.mark.parametrize("make", [binary, multiclass])
def test_batch_gradients_average_to_the_full_one(make):
    problem = make(1)
    w = random_weights(problem.weight_shape)
    n = problem.samples
    parts = [problem.scaled_gradient(w, jnp.arange(i, i + 2)) for i in range(0, n, 2)]
    mean = sum(part.value() for part in parts) / len(parts)
    assert jnp.allclose(mean, problem.scaled_gradient(w).value(), rtol=1e-10)
    # a padded batch of two counts as the batch of two
    padded = problem.scaled_gradient(
        w, jnp.array([0, 1, 1]), jnp.array([0.5, 0.5, 0.0])
    )
    assert jnp.allclose(padded.value(), parts[0].value(), rtol=1e-12)


@pytest.mark.parametrize("make", [binary, multiclass])
def test_pull_is_the_adjoint_of_pair_margins(make):
    problem = make(2)
    w = random_weights(problem.weight_shape)
    m = problem.pair_margins(w)
    q = jnp.where(jnp.isinf(m), 0.0, jax.random.normal(jax.random.key(1), m.shape))
    both = jnp.sum(q * jnp.where(jnp.isinf(m), 0.0, m))
    assert jnp.allclose(both, jnp.sum(problem.pull(q) * w), rtol=1e-10)


def test_margins_against_a_loop():
    problem = multiclass(3, k=3, d=4, n=9)
    W = np.asarray(random_weights((3, 4)))
    for x, y, q in zip(
        np.asarray(problem.X),
        np.asarray(problem.y),
        np.asarray(problem.margins(jnp.asarray(W))),
        strict=True,
    ):
        scores = W @ x
        assert np.isclose(q, min(scores[y] - scores[c] for c in range(3) if c != y))


def test_two_classes_as_multi_class_are_the_binary_problem():
    problem = binary(4, loss=pn.losses.Logistic())
    labels = (np.asarray(problem.y) + 1) // 2
    twin = pn.LinearClassification(
        problem.X, labels, loss=pn.losses.Logistic(), classes=2
    )
    signs = pn.LinearClassification(
        problem.X, problem.y, loss=pn.losses.Logistic(), classes=2
    )
    assert np.array_equal(signs.y, twin.y)
    w = random_weights(problem.weight_shape)
    W = jnp.stack([-w / 2, w / 2])
    assert twin.weight_shape == (2, w.size)
    assert jnp.allclose(twin.margins(W), problem.margins(w))
    assert jnp.allclose(twin.log_loss(W), problem.log_loss(w))


def test_one_data_set_has_one_geometry_whatever_its_labels_are_called():
    X = np.eye(4)
    make = lambda y: pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    signs = make([-1, 1, 1, -1])
    for y in ([0, 1, 1, 0], [False, True, True, False], ["no", "yes", "yes", "no"]):
        told = make(y)
        assert told.binary
        assert told.classes == 2
        assert told.weight_shape == (4,)
        assert np.array_equal(told.y, signs.y)
    assert told.names == ("no", "yes")
    assert "n=4, d=4, two classes" in repr(told)
    three = make(["b", "c", "a", "b"])
    assert (three.classes, three.binary, three.names) == (3, False, ("a", "b", "c"))
    assert np.array_equal(three.y, [1, 2, 0, 1])
    for y, text in (
        ([1, 1, 1, 1], "one sign only"),
        ([0, 1, 2, 0], "y holds 3 classes"),
    ):
        with pytest.raises(ValueError, match=text):
            pn.LinearClassification(X, y, loss=pn.losses.Logistic(), classes=2)
    with pytest.raises(ValueError, match="one class only"):
        make(["a"] * 4)


def test_no_precision_wall_in_the_gradient():
    # softmax minus one-hot is exactly 0 in the true class beyond a margin of 36.8
    problem = multiclass(0)
    W = pn.max_margin(problem, pn.norms.Frobenius()).weights
    directions = [problem.scaled_gradient(c * W).direction for c in (500.0, 5e3, 5e5)]
    for d in directions:
        assert jnp.all(jnp.isfinite(d))
        assert jnp.max(jnp.abs(d)) > 1e-3
    log_losses = [problem.log_loss(c * W) for c in (500.0, 5e5)]
    assert jnp.allclose(log_losses[1] / log_losses[0], 1000.0, rtol=0.05)


def test_bias_is_one_more_feature():
    X = np.arange(6.0).reshape(3, 2)
    problem = pn.LinearClassification(
        X, [1, -1, 1], loss=pn.losses.Logistic(), bias=True
    )
    assert problem.weight_shape == (3,)
    assert jnp.array_equal(problem.X[:, 2], jnp.ones(3))


def test_single_precision_and_integers_are_taken_as_float64():
    for X in (
        np.ones((2, 3), np.float32),
        np.ones((2, 3), int),
        [[1, 2, 3], [4, 5, 6]],
    ):
        problem = pn.LinearClassification(X, [1, -1], loss=pn.losses.Logistic())
        assert problem.X.dtype == jnp.float64


GOOD = np.eye(3)


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.ones(3), [1, 1, 1], r"shape \(n, d\).*got shape \(3,\)"),
        (np.ones((0, 3)), [], "at least one sample"),
        (np.ones((3, 0)), [1, 1, 1], "one feature"),
        (np.where(GOOD == 1, np.nan, 0), [1, 1, 1], "row 0, column 0: nan"),
        (np.where(GOOD == 1, np.inf, 0), [1, 1, 1], "3 entries are NaN or infinite"),
        (GOOD, [1, -1], r"y must have shape \(3,\)"),
        (GOOD, [0.5, 1, 1], "whole numbers; got 0.5"),
        (GOOD, [np.nan, 1, 1], "whole numbers"),
        (GOOD, [0, 0, 0], "one class only"),
        (GOOD, [0, 2, 2], "every class 0..2; missing: 1"),
        (GOOD, [-2, 1, 1], "got values -2, 1"),
    ],
)
def test_bad_data_is_refused_with_what_was_seen(X, y, words):
    with pytest.raises(ValueError, match=words):
        pn.LinearClassification(X, y, loss=pn.losses.Logistic())


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="array of numbers"):
        pn.LinearClassification([["a", "b"]], [1], loss=pn.losses.Logistic())
    with pytest.raises(TypeError, match="loss"):
        pn.LinearClassification(GOOD, [1, 1, 1], loss=3)
    with pytest.raises(ValueError, match="no loss 'hinge'; have: logistic, exp"):
        pn.LinearClassification(GOOD, [1, 1, 1], loss="hinge")
