import numpy as np
import pytest

import penchant as pn
from penchant import datasets
from tests.cases import paper_data


def test_gaussian_is_numpys_with_labels_absorbed():
    data = datasets.gaussian(n=7, d=4, seed=3)
    assert np.array_equal(data.X, np.random.default_rng(3).normal(size=(7, 4)))
    assert np.array_equal(data.y, np.ones(7))
    assert data.classes == ()
    assert data.features == ("x0", "x1", "x2", "x3")
    assert data.problem().binary


def test_class_centres_are_the_papers():
    data = datasets.class_centres(seed=2)
    wanted = paper_data(seed=2)
    assert np.array_equal(data.X, np.asarray(wanted.X))
    assert np.array_equal(data.y, np.asarray(wanted.y))
    assert data.classes == tuple("0123456789")
    assert data.problem().classes == 10


def test_two_centres_have_signs():
    data = datasets.class_centres(k=2, d=3, per_class=2)
    assert data.y.tolist() == [-1, -1, 1, 1]
    assert data.classes == ("0", "1")
    assert data.problem().binary


def test_without_noise_the_rows_are_the_centres():
    data = datasets.class_centres(k=3, d=4, per_class=2, sigma=0.0)
    assert np.array_equal(data.X[::2], data.X[1::2])


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (datasets.gaussian, {"n": 0}),
        (datasets.gaussian, {"d": -1}),
        (datasets.gaussian, {"seed": -1}),
        (datasets.class_centres, {"k": 1}),
        (datasets.class_centres, {"per_class": 0}),
        (datasets.class_centres, {"sigma": -0.1}),
        (datasets.class_centres, {"sigma": float("nan")}),
        (datasets.class_centres, {"sigma": float("inf")}),
    ],
)
def test_arguments_out_of_bounds_are_named(make, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        make(**wrong)


def test_digits_are_as_given():
    data = datasets.digits()
    assert data.X.shape == (1797, 64)
    assert (data.X.min(), data.X.max()) == (0.0, 16.0)
    assert data.classes == tuple("0123456789")
    assert np.bincount(data.y).tolist()[:3] == [178, 182, 177]
    assert any("3 features" in note and "pixel_0_0" in note for note in data.notes)


def test_digits_by_name_take_the_order_asked_for():
    data = datasets.digits(classes=("8", "3"))
    assert data.classes == ("8", "3")
    assert (data.y == -1).sum() == 174  # of eights
    assert (data.y == 1).sum() == 183
    assert data.problem(loss=pn.losses.Exponential()).binary
    numbers = datasets.digits(classes=(8, 3.0))
    assert np.array_equal(numbers.y, data.y)


def test_a_digit_that_is_none():
    with pytest.raises(datasets.DataError, match=r"'12'.*10 classes: '0', '1'"):
        datasets.digits(classes=("3", "12"))
