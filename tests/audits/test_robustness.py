"""The audit against exact radii, another library, torch, and what is refused."""

import dataclasses
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import penchant as pn
from penchant.audits import PGD, robustness
from penchant.audits._hinges import has_hinges, smoothed
from penchant.norms import Linf

DATA = pn.datasets.clusters(36, 4, 48, sigma=0.5)
PROBLEM = DATA.network(8)
QUICK = PGD(steps=20)


@pytest.fixture(scope="module")
def trained():
    run = pn.flows.rescaled_flow(PROBLEM, steps=800)
    assert run.separated
    return run.last


@pytest.fixture(scope="module")
def found(trained):
    return robustness(PROBLEM, trained, clusters=DATA, attack=QUICK, points=48)


def module_of(w):
    first = torch.nn.Linear(36, 8)
    last = torch.nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        for part, value in (
            (first.weight, w[0]["W"]),
            (first.bias, w[0]["b"]),
            (last.weight, w[1]["W"]),
        ):
            part.copy_(torch.tensor(np.asarray(value)))
    return torch.nn.Sequential(first, torch.nn.ReLU(), last)


def linear_problem(seed=0, n=40, d=6):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X[:, 0] += 2 * np.sign(X[:, 0])
    w = rng.normal(size=d) * 0.2 + np.eye(d)[0]
    return pn.LinearClassification(X, np.sign(X[:, 0]).astype(int)), jnp.asarray(w)


def test_all_radii_of_a_linear_classifier_are_exact():
    """Universal, ℓ2 and ℓ∞: q / <w, z>, q / |w|_2, q / |w|_1."""
    problem, w = linear_problem()
    q = np.asarray(problem.margins(w))
    y, X, v = np.asarray(problem.y), np.asarray(problem.X), np.asarray(w)
    radii = np.array([0.5, 1.0, 2.0, 4.0])
    found = robustness(problem, w, radii=radii, points=len(q), attack=QUICK)
    z = X[y == 1].mean(0) - X[y == -1].mean(0)
    z /= np.linalg.norm(z)
    exact = np.maximum(q, 0) / (v @ z)
    np.testing.assert_allclose(found.radii, exact, atol=1e-4)
    assert found.universal_radius == pytest.approx(np.median(exact), abs=1e-4)
    assert found.accuracy == (q > 0).mean()
    for attack, size, scale in (
        (found.attack, np.linalg.norm(v), 1.0),
        (found.sup_attack, np.abs(v).sum(), 6**-0.5),
    ):
        np.testing.assert_allclose(
            attack.accuracy,
            [(q / size > r * scale).mean() for r in radii],
            atol=1e-12,
        )
    best = pn.max_margin(problem, pn.norms.L2()).weights
    base = np.asarray(problem.margins(best)) / float(jnp.asarray(z) @ best)
    assert found.linear_radius == pytest.approx(np.median(base), abs=1e-3)
    # a linear model's gradient is w at every point
    A = np.stack([X[y == s].mean(0) for s in y])
    cos = (y * (A @ v)) / np.linalg.norm(v) / np.linalg.norm(A, axis=1)
    assert found.averaging == pytest.approx(np.median(cos))


@pytest.mark.slow
def test_the_universal_radius_by_one_product(trained, found):
    """The note's UNIVERSAL_FLIP on a fine grid, in NumPy."""
    W, b, v = (
        np.asarray(x) for x in (trained[0]["W"], trained[0]["b"], trained[1]["W"][0])
    )
    z = DATA.labels @ DATA.means
    z /= np.linalg.norm(z)
    P, D = DATA.X @ W.T + b, DATA.y[:, None] * (W @ z)[None]
    grid = np.linspace(0, 12, 6001)
    out = np.stack([DATA.y * (np.maximum(P - r * D, 0) @ v) <= 0 for r in grid])
    first = grid[out.argmax(0)]
    assert out.any(0).all()
    np.testing.assert_allclose(found.radii, first, atol=4e-3)
    assert found.predicted == pytest.approx(3.0)
    assert found.ceiling == pytest.approx(18**0.5)
    assert found.universal_radius / found.predicted == pytest.approx(1.0, abs=0.08)
    assert found.random_share < 0.02
    assert found.averaging > 0.9
    assert "ragile" in found.verdict


@pytest.mark.slow
def test_the_written_network_along_the_universal_direction():
    network, w = pn.networks.from_clusters(DATA.means, DATA.labels)
    test = DATA.draw(60)
    found = robustness(network, w, test.X, test.y, clusters=DATA, attack=QUICK)
    # on the means a unit of the other class comes on at √(dk)/2
    assert found.universal_radius == pytest.approx(math.sqrt(36 * 4) / 2, rel=0.08)
    assert found.own == pytest.approx(1.0)
    assert found.averaging == pytest.approx(2**-0.5, abs=0.02)
    assert found.verdict.startswith("No fragility found")
    assert "No proof" in found.verdict


def test_zero_outputs_count_as_wrong_and_are_said():
    network, w = pn.networks.from_clusters(DATA.means, DATA.labels)
    X = np.concatenate([DATA.means, 0.4 * DATA.means])  # half-way units are off
    y = np.concatenate([DATA.labels, DATA.labels])
    found = robustness(network, w, X, y, clusters=DATA, attack=QUICK)
    assert found.zeros == 0.5
    assert found.accuracy == 0.5
    assert (found.radii[4:] == 0).all()
    assert any("exactly 0" in note for note in found.notes)
    assert found.verdict.startswith("Only 50%")


def test_attacks_against_foolbox(trained, found):
    """Radii that half of the points survive, by another library's ℓ2 attack."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox
    module = module_of(trained).eval()

    class Two(torch.nn.Module):
        def forward(self, x):
            out = 0.01 * module(x)  # large logits have no gradient in float32
            return torch.cat([-out, out], dim=1)

    bound = 20.0
    model = foolbox.PyTorchModel(Two().eval(), bounds=(-bound, bound), device="cpu")
    X = torch.tensor(DATA.X, dtype=torch.float32)
    y = torch.tensor((DATA.y > 0).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attack = foolbox.attacks.L2ProjectedGradientDescentAttack(
            steps=60, rel_stepsize=2.5 / 60
        )
        _, _, success = attack(model, X, y, epsilons=list(found.attack.radii))
    theirs = 1 - success.double().mean(dim=1).numpy()
    # ours has a universal start besides; neither may be weaker by more than a few
    assert (found.attack.accuracy <= theirs + 0.07).all()
    assert (theirs - found.attack.accuracy).max() < 0.2
    assert theirs.min() < 0.5 < theirs.max()


def test_a_torch_module_is_the_same_function(trained, found):
    module = module_of(trained)
    apply, w = pn.torch.apply(module)
    x = jnp.asarray(DATA.X[:5])
    exact = PROBLEM.apply(trained, x)
    # the module's own weights are float32
    np.testing.assert_allclose(apply(w, x)[:, 0], exact, atol=1e-4)
    slope = lambda f: jax.grad(lambda x: jnp.sum(f(x)))(x)
    ours = slope(lambda x: PROBLEM.apply(trained, x))
    np.testing.assert_allclose(slope(lambda x: apply(w, x)), ours, atol=1e-4)
    soft = slope(lambda x: apply.smoothed(8.0)(w, x))
    same = slope(smoothed(lambda x: PROBLEM.apply(trained, x), 8.0))
    np.testing.assert_allclose(soft, same, atol=1e-4)
    few = PGD(steps=4, starts=1)
    other = robustness(
        apply, w, DATA.X, DATA.y, clusters=DATA, attack=few, points=4, draws=2
    )
    np.testing.assert_allclose(other.radii, found.radii, rtol=1e-3)
    assert module.training  # the one given stays as it is


def test_smooth_hinges_are_found_wherever_they_are():
    x = jnp.linspace(-2, 2, 7)
    for function in (
        lambda x: jax.nn.relu(x),
        lambda x: jnp.maximum(x, 0.0),
        jax.jit(lambda x: jnp.maximum(0.0, x)),
        lambda x: jax.nn.relu(jax.nn.relu(x) + x),
    ):
        assert has_hinges(function, x)
        soft = jax.grad(lambda x, f=function: jnp.sum(smoothed(f, 8.0)(x)))(x)
        assert (np.asarray(soft) > 0).all()
        np.testing.assert_allclose(smoothed(function, 1e4)(x), function(x), atol=1e-3)
    assert not has_hinges(jnp.tanh, x)
    np.testing.assert_array_equal(smoothed(jnp.tanh, 8.0)(x), jnp.tanh(x))


def test_smooth_hinges_find_what_a_dead_gradient_hides():
    """A network that is locally constant: the plain gradient is 0, the radius 1.5."""

    def apply(w, X):
        return 1.0 - 4.0 * jnp.maximum(X[:, 0] - 1.25, 0.0)

    X = np.zeros((4, 3))
    X[:, 1] = [0.1, 0.2, 0.3, 5.0]
    y = np.array([1, 1, 1, -1])
    found = robustness(apply, (), X, y, radii=[1.4, 1.6], points=3, attack=PGD())
    np.testing.assert_array_equal(found.attack.accuracy, [1.0, 0.0])


@pytest.mark.slow
def test_several_classes_have_a_direction_each():
    fine = pn.datasets.clusters(36, 4, 48, sigma=0.3, classes=range(4))
    w = jnp.asarray(fine.means)  # the nearest mean, as all have one length
    apply = lambda w, X: X @ w.T
    found = robustness(apply, w, fine.X, fine.y, clusters=fine, attack=QUICK)
    assert found.accuracy == 1.0
    # away from the own mean by a, towards the others' average: a = √(d · 3/4) · …
    z = fine.means[0] - fine.means[1:].mean(0)
    lead = fine.X @ fine.means.T
    i = np.flatnonzero(fine.y == 0)[0]
    rate = (fine.means[0] - fine.means[1:]) @ z / np.linalg.norm(z)
    exact = ((lead[i, 0] - lead[i, 1:]) / rate).min()
    assert found.radii[i] == pytest.approx(exact, abs=1e-3)


def test_attacks_grow_with_the_radius_and_say_their_points(found):
    for attack in (found.attack, found.sup_attack):
        assert (np.diff(attack.accuracy) <= 0).all()
        assert attack.flipped.shape == (48,)
    assert isinstance(found.sup_attack.pgd.norm, Linf)
    told = found.to_dict()
    assert told["attack"]["accuracy"] == found.attack.accuracy.tolist()
    assert told["notes"] == []
    assert dataclasses.is_dataclass(found)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"X": None}, "both be given"),
        ({"X": DATA.X[:, :5]}, "shape"),
        ({"y": DATA.y[:9]}, "y must"),
        ({"clusters": DATA.cluster[:5]}, "clusters must be 48 whole numbers"),
        ({"clusters": np.zeros(48, dtype=int)}, "clusters overlap"),
        ({"radii": [2.0, 1.0]}, "radii must be positive"),
        ({"X": np.full((48, 36), np.nan)}, "finite"),
    ],
)
def test_what_is_refused(trained, given, says):
    with pytest.raises(ValueError, match=says):
        robustness(PROBLEM, trained, **{"X": DATA.X, "y": DATA.y, **given})


def test_points_and_averages_that_coincide():
    X = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    apply = lambda w, X: X[:, 0] - 0.5
    with pytest.raises(ValueError, match="averages of the classes must differ"):
        robustness(apply, (), X[[0, 1]], [1, -1])
    with pytest.raises(ValueError, match="coincide"):
        robustness(apply, (), X, [1, -1, 1, -1], attack=QUICK, points=1)


@pytest.mark.slow
def test_points_that_nothing_separates_have_no_linear_baseline():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = np.where(X[:, 0] * X[:, 1] > 0, 1, -1)
    X = np.concatenate([X, X + np.array([8.0, 0.0]) * y[:, None]])
    y = np.concatenate([y, y])
    apply = lambda w, X: X[:, 0] * X[:, 1]
    found = robustness(apply, (), X, y, attack=QUICK, points=3, draws=2)
    assert math.isnan(found.linear_radius)
    assert any("No linear classifier" in note for note in found.notes)
