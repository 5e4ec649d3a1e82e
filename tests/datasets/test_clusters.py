"""Clusters: means, labels, noise, radii, and what is refused."""

import numpy as np
import pytest

import penchant as pn
from penchant.datasets import clusters, random_means


def test_means_are_orthogonal_of_length_root_d():
    data = clusters(40, 6, 300, seed=3)
    np.testing.assert_allclose(data.means @ data.means.T, 40 * np.eye(6), atol=1e-11)
    assert data.radius == pytest.approx((40 / 6) ** 0.5)
    assert data.ceiling == pytest.approx(20**0.5)
    assert (data.y == data.labels[data.cluster]).all()


def test_noise_has_its_size_and_fresh_points_the_same_means():
    data = clusters(50, 3, 400, sigma=0.7, seed=1)
    for part in (data, data.draw(400), data.draw(400, seed=2)):
        noise = part.X - part.means[part.cluster]
        # the mean square of 20000 normals has standard error σ² √(2 / 20000)
        assert abs((noise**2).mean() - 0.49) < 4 * 0.49 * (2 / 20000) ** 0.5
    assert np.abs(data.draw(400).X - data.draw(400, seed=2).X).max() > 1
    np.testing.assert_array_equal(data.draw(9).X, data.draw(9).X)


def test_imbalance_finer_labels_and_given_means():
    data = clusters(20, 4, 100, classes=[1, -1, -1, -1])
    assert set(data.y) == {-1, 1}
    fine = clusters(20, 4, 100, classes=range(4))
    assert fine.network(8).classes == 4
    assert fine.dataset().classes == ("0", "1", "2", "3")
    means = random_means(20, 4, seed=5)
    assert np.array_equal(clusters(20, 4, 100, means=means).means, means)


def test_the_slack_is_the_ratio_of_the_two_sides():
    data = clusters(1000, 10, 50, sigma=0.01)
    noise = 4 * 0.01 * 1000**0.5 * np.log(1000)
    inner = np.abs(data.means @ data.means.T - 1000 * np.eye(10)).max()
    right, left = (1000 - noise + 1) / 10, 10 * (inner + noise + 1)
    assert data.slack.ratio == pytest.approx(right / left)
    assert data.slack.holds
    assert not clusters(1000, 10, 50).slack.holds
    assert "recalled" in data.slack.note


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"k": 1}, "k must be at least 2"),
        ({"d": 3, "k": 4}, "k must be at most d"),
        ({"sigma": -1.0}, "sigma must be >= 0"),
        ({"classes": [1, 1, 1]}, "classes must hold"),
        ({"classes": [1, -1]}, "classes must be 3 whole numbers"),
        ({"means": np.ones((2, 10))}, "means must be finite"),
        ({"n": 1}, "has none"),
    ],
)
def test_bad_clusters(given, says):
    with pytest.raises(ValueError, match=says):
        clusters(**{"d": 10, "k": 3, "n": 30, **given})


def test_powers_are_scaled_and_have_no_biases():
    network = clusters(16, 4, 40).network(6, power=3.0).apply
    assert network.input_scale == pytest.approx(0.25)
    assert not network.first_bias
    assert isinstance(network, pn.networks.TwoLayer)
