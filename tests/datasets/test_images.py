"""Samples that are images: the shape goes with the data, never guessed unsaid."""

import numpy as np
import pytest

import penchant as pn
from penchant._images import of_names, of_shape, pictures, read_image
from penchant.datasets import DataError, Dataset, load
from tests.datasets.test_idx import idx

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, size=(6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, size=(6, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1], dtype=np.uint8)


def written(tmp_path, images, kind):
    if kind == "idx":
        (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(LABELS))
        return tmp_path / "a-images-idx3-ubyte"
    np.savez(tmp_path / "a.npz", images=images, labels=LABELS)
    return tmp_path / "a.npz"


@pytest.mark.parametrize("kind", ["idx", "npz"])
@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
def test_the_shape_comes_back_with_the_data(tmp_path, images, kind):
    data = load(written(tmp_path, images, kind), scale=255)
    assert data.image == images.shape[1:]
    assert any("images of that shape" in note for note in data.notes)
    problem = data.standardized().problem(bias=True)
    assert problem.image == data.image
    some = problem.take([4, 1])
    assert some.image == data.image
    assert np.array_equal(pictures(data.X * 255, data.image).round(), images)
    assert np.array_equal(some.X, problem.X[np.array([4, 1])])


def test_planes_may_come_first():
    first = np.moveaxis(COLOUR, -1, 1)
    data = load((first, LABELS))
    assert data.image == (3, 4, 5)
    assert np.array_equal(pictures(data.X, data.image), COLOUR)
    assert pictures(np.arange(8.0), (1, 2, 4)).shape == (2, 4)
    assert pictures(np.arange(6.0), (2, 3, 1)).shape == (2, 3)


def test_what_is_asked_wins_over_what_is_seen(tmp_path):
    path = written(tmp_path, GREY, "npz")
    assert load(path, image="4x5").image == (4, 5)
    assert load(path, image=(2, 10)).image == (2, 10)
    silent = load(path, image="none")
    assert silent.image is None
    assert not any("images of that shape" in note for note in silent.notes)
    with pytest.raises(DataError, match=r"as many pixels as there are features, 20"):
        load(path, image="5x5")
    with pytest.raises(DataError, match="28x28 or 32x32x3; got 'wide'"):
        load(path, image="wide")


def test_less_than_whole_images_are_none(tmp_path):
    path = written(tmp_path, GREY, "npz")
    assert load(path, skip=("x3",)).image is None
    assert load("digits", skip=("pixel_0_0",)).image is None
    with pytest.raises(DataError, match="features, 19"):
        load(path, skip=("x3",), image="5x4")
    # a series, a table and a video are no images by their shape
    for shape in ((3,), (2, 3), (4, 40), (5, 5, 5), (2, 8, 8, 3)):
        assert of_shape(shape) is None


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        ([f"pixel{i}" for i in range(784)], (28, 28)),
        ([f"Pixel {i}" for i in range(1, 17)], (4, 4)),
        ([f"pixel_{i}_{j}" for i in range(3) for j in range(5)], (3, 5)),
        ([f"{i}x{j}" for i in range(1, 5) for j in range(1, 5)], (4, 4)),
        ([f"pixel{i}" for i in range(785)], None),  # no square
        ([f"pixel{i}" for i in range(2, 18)], None),  # some are missing
        ([f"pixel{i}" for i in reversed(range(16))], None),  # in another order
        ([f"{i}x{j}" for j in range(4) for i in range(4)], None),  # by columns
        ([f"x{i}" for i in range(16)], None),  # any features
        ([f"pixel{i}" for i in range(9)], None),  # too few to be sure
        ([*[f"pixel{i}" for i in range(15)], "label2"], None),
        ([], None),
    ],
)
def test_names_that_say_it_and_names_that_do_not(names, shape):
    assert of_names(names) == shape


def test_a_guess_from_names_is_said(tmp_path):
    rows = RNG.integers(0, 9, size=(6, 16))
    lines = [",".join([*(f"pixel{j}" for j in range(16)), "label"])]
    lines += [",".join([*map(str, row), "ab"[i % 2]]) for i, row in enumerate(rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    data = load(tmp_path / "a.csv")
    assert data.image == (4, 4)
    assert any("images of 4 × 4 pixels, row by row" in note for note in data.notes)
    assert load(tmp_path / "a.csv", image="none").image is None


def test_the_digits_are_known_to_be_images():
    data = pn.datasets.digits(("3", "8"))
    assert data.image == data.problem().image == (8, 8)
    assert not any("pixels" in note for note in data.notes)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ((2, 2), ValueError),
        ((6,), ValueError),
        ((1, 2, 3, 1), ValueError),
        ((2, -3), ValueError),
        ((2, 3, 2), ValueError),
        ("0x6", ValueError),
        ("2x", ValueError),
        (6, TypeError),
        ((2.0, 3.0), TypeError),
        ((True, 6), TypeError),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused(image, error):
    with pytest.raises(error, match="image must"):
        read_image(image, 6)


def test_constructors_check_it():
    X = np.arange(12.0).reshape(2, 6)
    with pytest.raises(ValueError, match="image must"):
        pn.LinearClassification(X, [0, 1], image=(2, 2))
    with pytest.raises(DataError, match="image must"):
        Dataset(X, np.array([-1, 1]), tuple("abcdef"), ("u", "v"), "d", image=(2, 2))


def test_examples_take_a_shape_and_problems_have_their_own():
    X = RNG.normal(size=(6, 20))
    assert pn.problems.read(X, LABELS, image="5x4").image == (5, 4)
    assert pn.datasets.Dataset.of(X, LABELS, image=(5, 4)).image == (5, 4)
    with pytest.raises(TypeError, match="image goes with examples"):
        pn.problems.read(pn.problems.read(X, LABELS), image="5x4")
