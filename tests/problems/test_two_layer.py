"""Two-layer networks: degrees, gates, the robust one, and the space of the examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.problems.models.networks import Frozen, Trained, TwoLayer

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 9)))
Y = np.array([1, -1, 1, -1, 1, 1])


def drawn(network, seed=0):
    leaves, tree = jax.tree.flatten(network.params(seed))
    rng = np.random.default_rng(seed)
    return jax.tree.unflatten(
        tree, [jnp.asarray(rng.normal(size=leaf.shape)) for leaf in leaves]
    )


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("head", [Trained(), Frozen()])
def test_degrees_in_the_parameters_and_in_the_input(power, head):
    network = TwoLayer(9, 6, power=power, head=head, first_bias=False)
    w = drawn(network)
    scaled = jax.tree.map(lambda x: 1.7 * x, w)
    out = network(w, X)
    np.testing.assert_allclose(network(scaled, X), 1.7**network.degree * out)
    np.testing.assert_allclose(network(w, 1.7 * X), 1.7**power * out)


def test_against_the_formula():
    network = TwoLayer(9, 6, power=3.0, input_scale=0.5)
    w = drawn(network)
    W, b, v = (np.asarray(a) for a in (w[0]["W"], w[0]["b"], w[1]["W"][0]))
    size = np.sqrt((W**2).sum(1) + b**2)
    Z = np.maximum(0.5 * np.asarray(X) @ W.T + b, 0)
    np.testing.assert_allclose(network(w, X), (Z**3 / size**2) @ v)
    dead = [{"W": 0.0 * w[0]["W"], "b": 0.0 * w[0]["b"]}, w[1]]
    grad = jax.grad(lambda w: jnp.sum(network(w, X)))(dead)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_two_relu_networks_are_one():
    mlp = pn.networks.MLP((9, 5, 1), pn.networks.ReLU(), first_bias=True)
    w = drawn(mlp)
    np.testing.assert_allclose(TwoLayer(9, 5)(w, X), mlp(w, X))


def test_gates_change_derivatives_and_not_values():
    network = TwoLayer(9, 5)
    w = drawn(network)
    on = (network.inputs(w, X) > 0).astype(float)
    np.testing.assert_allclose(network.gated(w, X, on), network(w, X))
    np.testing.assert_allclose(network.gated(w, X, 1 - on), network(w, X))
    slope = lambda f: jax.grad(lambda w: jnp.sum(f(w)))(w)
    for a, b in zip(
        jax.tree.leaves(slope(lambda w: network.gated(w, X, on))),
        jax.tree.leaves(slope(lambda w: network(w, X))),
        strict=True,
    ):
        np.testing.assert_allclose(a, b)


def test_frozen_heads_have_a_group_a_class():
    np.testing.assert_allclose(
        Frozen(0.2).matrix(1, 4), [[0.2, 0.2, -0.2, -0.2]], atol=0
    )
    np.testing.assert_allclose(
        Frozen().matrix(3, 6),
        np.repeat(np.eye(3), 2, axis=1) / 2,
    )
    assert len(TwoLayer(9, 6, outputs=3, head=Frozen()).params(0)) == 1


@pytest.mark.parametrize("d", [16, 100])
def test_the_written_network_is_right_and_robust_to_half_the_length(d):
    k = 6
    data = pn.datasets.clusters(d, k, 60, sigma=0.0, seed=d)
    network, w = pn.networks.from_clusters(data.means, data.labels)
    out = data.y * np.asarray(network(w, jnp.asarray(data.X)))
    np.testing.assert_allclose(out, 2.0)
    # along its own mean a unit goes off at half the mean's length, and not before
    own = data.means[data.cluster] / np.sqrt(d)
    at = lambda r: (
        data.y * np.asarray(network(w, jnp.asarray(data.X - r * np.sqrt(d) * own)))
    )
    assert (at(0.499) > 0).all()
    assert np.allclose(at(0.501), 0)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("network", "classes"),
    [
        (TwoLayer(9, 4), None),
        (TwoLayer(9, 4, power=3.0, first_bias=False, input_scale=1 / 3), None),
        (TwoLayer(9, 6, outputs=3, head=Frozen()), [0, 1, 2, 0, 1, 2]),
        (pn.networks.MLP((9, 4, 4, 1)), None),
    ],
)
def test_the_space_of_the_examples_has_the_same_network(network, classes):
    labels = Y if classes is None else classes
    problem = pn.NetworkClassification(network, network.params(0), X, labels)
    w = drawn(network, 3)
    inside = pn.problems.row_space(problem)
    assert inside.problem.X.shape == (6, 7)
    dropped = inside.drop(w)
    np.testing.assert_allclose(inside.problem.scores(dropped), problem.scores(w))
    size = lambda tree: sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(tree))
    assert size(dropped) == pytest.approx(size(w))
    for a, b in zip(
        jax.tree.leaves(inside.lift(dropped, w)), jax.tree.leaves(w), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-13)
    # gradients too: dropping is their projection
    g = problem.scaled_gradient(w)
    h = inside.problem.scaled_gradient(dropped)
    assert float(h.log_scale) == pytest.approx(float(g.log_scale))
    np.testing.assert_allclose(
        np.linalg.norm(inside.problem.flat(h.direction)),
        np.linalg.norm(problem.flat(g.direction)),
    )


def test_the_space_of_examples_where_it_saves_nothing():
    wide = np.random.default_rng(1).normal(size=(30, 5))
    y = np.sign(wide[:, 0]).astype(int)
    network = TwoLayer(5, 4)
    problem = pn.NetworkClassification(network, network.params(0), wide, y)
    assert pn.problems.row_space(problem) is None
    own = lambda w, X: X @ w
    plain = pn.NetworkClassification(own, jnp.ones(9), X, Y)
    assert pn.problems.row_space(plain) is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TwoLayer(0, 4), "features must be at least 1"),
        (lambda: TwoLayer(4, 4, power=0.5), "power must be >= 1"),
        (lambda: TwoLayer(4, 2, outputs=3, head=Frozen()), "width must be at least 3"),
        (lambda: Frozen(-1.0), "size must be > 0"),
        (lambda: pn.networks.from_clusters(np.eye(3), [1, 2, 1]), "labels must be -1"),
        (lambda: pn.networks.from_clusters(np.zeros((2, 3)), [1, -1]), "none of them"),
        (lambda: pn.networks.from_clusters(np.eye(3), [1, -1]), r"\(k, d\)"),
    ],
)
def test_bad_networks(call, says):
    with pytest.raises(ValueError, match=says):
        call()
