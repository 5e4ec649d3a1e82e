import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import penchant as pn
from penchant.datasets import Mixture, noises

LAWS = (
    noises.Gaussian(),
    noises.Rademacher(),
    noises.Uniform(),
    noises.StudentT(6.0),
)


@pytest.mark.parametrize("noise", LAWS, ids=repr)
def test_entries_have_mean_0_variance_1_and_their_third_moment(noise):
    u = noise.draw(np.random.default_rng(0), (400_000,))
    error = np.std(u) / np.sqrt(u.size)
    assert abs(u.mean()) < 4 * error
    for seen, told in ((u**2, 1.0), (np.abs(u) ** 3, noise.third)):
        assert abs(seen.mean() - told) < 4 * seen.std() / np.sqrt(u.size) + 1e-12


def test_the_third_moment_of_student_by_quadrature():
    v = 5.0
    law = stats.t(v, scale=np.sqrt((v - 2) / v))
    told = law.expect(lambda x: np.abs(x) ** 3)
    assert noises.StudentT(v).third == pytest.approx(told, rel=1e-6)
    assert noises.StudentT(3.0).third == np.inf


def test_samples_have_the_mixtures_moments():
    mixture = Mixture([2.0, 0.0, -1.0], [4.0, 1.0, 0.25], flip=0.2)
    drawn = mixture.sample(40_000, seed=3)
    X, y = drawn
    assert X is drawn.X
    assert y is drawn.y
    assert np.array_equal(drawn.flipped, drawn.y != drawn.clean)
    Z = X * drawn.clean[:, None]
    root = np.sqrt(len(Z))
    assert np.all(np.abs(Z.mean(0) - mixture.mean) < 4 * np.sqrt([4, 1, 0.25]) / root)
    Q = (Z - mixture.mean) / np.sqrt(mixture.variances)
    assert np.abs(Q.T @ Q / len(Q) - np.eye(3)).max() < 4 * 2**0.5 / root
    assert abs(drawn.flipped.mean() - 0.2) < 4 * 0.4 / root
    assert abs((drawn.clean == 1).mean() - 0.5) < 4 * 0.5 / root


def test_a_seed_means_one_sample_and_a_generator_goes_on():
    mixture = Mixture.rare_weak(6, 2, 1.0)
    again = mixture.sample(4, seed=5)
    assert np.array_equal(mixture.sample(4, seed=5).X, again.X)
    rng = np.random.default_rng(5)
    assert np.array_equal(mixture.sample(4, seed=rng).X, again.X)
    assert not np.array_equal(mixture.sample(4, seed=rng).X, again.X)


def test_the_risk_is_the_share_of_errors():
    mixture = Mixture([1.0, 0.5], [2.0, 0.5])
    w = np.array([1.0, -0.3])
    drawn = mixture.sample(200_000, seed=1)
    wrong = drawn.clean * (drawn.X @ w) < 0
    risk = np.exp(mixture.log_risk(w))
    assert abs(wrong.mean() - risk) < 4 * np.sqrt(risk / len(wrong))
    biased = drawn.clean * (drawn.X @ w + 0.7) < 0
    risk = np.exp(mixture.log_risk(w, bias=0.7))
    assert abs(biased.mean() - risk) < 4 * np.sqrt(risk / len(wrong))


def test_log_risks_far_below_the_least_double():
    # log Φ(-ρ) → -ρ²/2 - log ρ - ½ log 2π - 1/ρ² + 5/(2ρ⁴)
    for rho in (40.0, 1e3, 1e8):
        told = Mixture([rho, 0.0], 1.0).log_risk([1.0, 0.0])
        tail = -0.5 * rho**2 - np.log(rho) - 0.5 * np.log(2 * np.pi) - rho**-2
        tail += 2.5 * rho**-4
        assert told == pytest.approx(tail, rel=1e-11)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_risk_is_free_of_lengths_and_takes_batches(scale):
    rng = np.random.default_rng(0)
    mixture = Mixture(rng.normal(size=5), rng.uniform(0.5, 2, size=5))
    W = rng.normal(size=(7, 5))
    batch = mixture.log_risk(scale * W)
    assert batch.shape == (7,)
    single = [mixture.log_risk(w) for w in W]
    np.testing.assert_allclose(batch, single, rtol=1e-12)
    np.testing.assert_allclose(mixture.log_risk(jnp.asarray(W)), single, rtol=1e-12)
    biased = mixture.log_risk(scale * W, bias=scale * np.full(7, 0.3))
    np.testing.assert_allclose(biased, mixture.log_risk(W, bias=0.3), rtol=1e-12)


def test_rotated_weights_see_the_diagonal_spectrum():
    rng = np.random.default_rng(2)
    V, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    lam, mu, w = rng.uniform(0.5, 3, 4), rng.normal(size=4), rng.normal(size=4)
    Sigma = V @ np.diag(lam) @ V.T
    rho = (mu @ w) / np.sqrt(w @ Sigma @ w)
    assert Mixture(V.T @ mu, lam).rho(V.T @ w) == pytest.approx(rho, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"mean": [[1.0]]}, ValueError, "mean"),
        ({"mean": [np.nan]}, ValueError, "mean"),
        ({"mean": [np.inf, 1.0]}, ValueError, "mean must be finite"),
        ({"mean": ["a"]}, TypeError, "mean"),
        ({"spectrum": 0.0}, ValueError, "spectrum must be > 0"),
        ({"spectrum": [1.0, 2.0, 3.0]}, ValueError, r"shape \(2,\)"),
        ({"flip": 0.5}, ValueError, "flip"),
        ({"flip": -0.1}, ValueError, "flip"),
        ({"noise": "normal"}, TypeError, "datasets.noises"),
    ],
)
def test_bad_mixtures_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        Mixture(**{"mean": [1.0, 2.0], "spectrum": 1.0, **arguments})


@pytest.mark.parametrize("df", [2.0, 0.0, np.inf, np.nan])
def test_student_needs_a_variance(df):
    with pytest.raises(ValueError, match="df"):
        noises.StudentT(df)


def test_bad_weights_and_counts_are_refused():
    mixture = Mixture([1.0, 2.0], 1.0)
    for w in ([0.0, 0.0], [1.0], [np.nan, 1.0], [[1.0, 0.0], [0.0, 0.0]]):
        with pytest.raises(ValueError, match="weights"):
            mixture.log_risk(w)
    with pytest.raises(ValueError, match="bias"):
        mixture.log_risk([1.0, 0.0], bias=[1.0, 2.0])
    with pytest.raises(ValueError, match="s must be at most"):
        Mixture.rare_weak(3, 4, 1.0)
    with pytest.raises(ValueError, match="n must"):
        mixture.sample(0)


def test_noise_that_is_not_gaussian_has_no_exact_risk():
    mixture = Mixture([1.0, 2.0], 1.0, noise=noises.Uniform())
    with pytest.raises(TypeError, match=r"tail_risk"):
        mixture.log_risk([1.0, 0.0])
    assert mixture.rho([1.0, 0.0]) == 1.0


@pytest.mark.parametrize("noise", LAWS, ids=repr)
@pytest.mark.parametrize("d", [1, 4, 200])
def test_tail_risks_lie_within_their_error(noise, d):
    mixture = Mixture(np.full(d, 1.2 / np.sqrt(d)), 1.0, noise=noise)
    w = np.linspace(1.0, 1.5, d)
    found = pn.theory.risk.tail_risk(mixture, w)
    rng, draws = np.random.default_rng(d), 100_000
    wrong = 0
    for _ in range(10):
        wrong += np.sum(noise.draw(rng, (draws // 10, d)) @ w < -mixture.mean @ w)
    seen = wrong / draws
    noise_of_it = 4 * np.sqrt(max(seen, 1e-4) / draws)
    assert abs(float(found) - seen) <= found.error + noise_of_it
    assert found.error <= {1: 1e-5, 4: 1e-6, 200: 0.05}[d] or not found.exact


def test_tail_risks_that_have_a_closed_form():
    tail = pn.theory.risk.tail_risk
    # one uniform entry: (√3 - ρ)/(2√3); two: a triangle's corner
    root = np.sqrt(3.0)
    one = tail(Mixture([0.5, 0.0], 1.0, noise=noises.Uniform()), [1.0, 0.0])
    assert abs(one.value - (root - 0.5) / (2 * root)) <= one.error
    two = tail(Mixture([1.0, 1.0], 1.0, noise=noises.Uniform()), [1.0, 1.0])
    assert two.value == pytest.approx((2 * root - 2) ** 2 / 24, abs=1e-7)
    student = tail(Mixture([0.8], 1.0, noise=noises.StudentT(4.0)), [1.0])
    law = stats.t(4.0, scale=np.sqrt(0.5))
    assert student.value == pytest.approx(law.cdf(-0.8), abs=1e-9)
    a = np.array([0.3, 1.0, 0.7, 0.2])
    signs = np.array(list(itertools.product((-1, 1), repeat=4)))
    rademacher = tail(Mixture(0.4 * a, 1.0, noise=noises.Rademacher()), a)
    assert rademacher.exact
    assert rademacher.value == np.mean(signs @ a < -0.4 * a @ a)
