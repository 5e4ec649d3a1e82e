import numpy as np
import pytest

import penchant as pn
from penchant import datasets


def test_gaussian_is_numpys_with_labels_absorbed():
    data = datasets.gaussian(n=7, d=4, seed=3)
    assert np.array_equal(data.X, np.random.default_rng(3).normal(size=(7, 4)))
    assert np.array_equal(data.y, np.ones(7))
    assert data.classes == ()
    assert data.features == ("x0", "x1", "x2", "x3")
    assert data.problem().binary


def test_class_centres_are_the_papers():
    data = datasets.class_centres(seed=2)
    rng = np.random.default_rng(2)
    centres, y = rng.normal(size=(10, 25)), np.repeat(np.arange(10), 50)
    assert np.array_equal(data.X, centres[y] + 0.1 * rng.normal(size=(500, 25)))
    assert np.array_equal(data.y, y)
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


def test_scaled_rademacher_rows_have_one_size_each():
    data = datasets.scaled_rademacher(n=6, d=9, seed=4)
    assert np.array_equal(np.abs(data.X), np.arange(1.0, 7.0)[:, None] * np.ones(9))
    assert np.linalg.matrix_rank(data.X) == 6
    assert not np.array_equal(data.X, datasets.scaled_rademacher(n=6, d=9, seed=5).X)
    given = datasets.scaled_rademacher(signs=datasets.PAPER_SIGNS, scales=[1, 1, 2, 3])
    assert given.X.tolist() == [[1] * 4, [1, 1, 1, -1], [2, 2, -2, -2], [3, -3, 3, -3]]


def test_the_least_row_of_a_shifted_diagonal_decides():
    X = datasets.shifted_diagonal([0.7, 1.1, 4.0], 0.3).X
    assert np.array_equal(np.diag(X), [0.7, 1.1, 4.0])
    assert set(X[~np.eye(3, dtype=bool)]) == {0.3}
    # sign(x_1) has no more margin on x_1 than on the others
    assert (X @ np.sign(X[0]) >= np.abs(X[0]).sum()).all()


def test_bistable_rows_are_mirror_images():
    X = datasets.bistable(5, 1, 0.5).X
    assert np.array_equal(X[0], [5, 1, 0.5])
    assert np.array_equal(X[1], X[0][[1, 0, 2]] * [1, 1, -1])
    assert datasets.pitchfork(6, 2) == pytest.approx(1.07331, abs=5e-6)
    assert datasets.pitchfork(3, 3) == 0


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (datasets.scaled_rademacher, {"n": 51}),
        (datasets.scaled_rademacher, {"d": 0}),
        (datasets.scaled_rademacher, {"signs": [[1, 0.5]]}),
        (datasets.scaled_rademacher, {"signs": [1, -1]}),
        (datasets.scaled_rademacher, {"scales": [1, 2]}),
        (datasets.scaled_rademacher, {"scales": -np.ones(10)}),
        (datasets.shifted_diagonal, {"diagonal": [2.0, 1.0]}),
        (datasets.shifted_diagonal, {"diagonal": [-1.0, 1.0]}),
        (datasets.shifted_diagonal, {"diagonal": []}),
        (datasets.shifted_diagonal, {"shift": 1.5}),
        (datasets.bistable, {"p": 0.0}),
        (datasets.bistable, {"q": -1.0}),
        (datasets.bistable, {"r": float("nan")}),
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
