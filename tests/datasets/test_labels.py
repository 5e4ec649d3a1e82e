import numpy as np
import pytest

from penchant.datasets import DataError, load


@pytest.fixture
def read(tmp_path):
    def read(labels, **asked):
        rows = "".join(f"{i * i},{label}\n" for i, label in enumerate(labels))
        path = tmp_path / "data.csv"
        path.write_text("a,y\n" + rows)
        return load(path, **asked)

    return read


def test_two_classes_are_signs_and_more_are_numbered(read):
    assert read("bab").y.tolist() == [1, -1, 1]
    assert read("cabb").y.tolist() == [2, 0, 1, 1]
    assert read(["0", "1", "1"]).y.tolist() == [-1, 1, 1]
    assert read(["1", "-1", "1"]).classes == ("-1", "1")


def test_numbers_are_ordered_as_numbers_and_text_as_text(read):
    assert read(["10", "9", "10", "2"]).classes == ("2", "9", "10")
    assert read(["10", "9", "10", "x"]).classes == ("10", "9", "x")


def test_spellings_of_one_number_are_one_class(read):
    data = read(["1.0", "1", "+1", "2", "2.00"])
    assert data.classes == ("1", "2")
    assert data.y.tolist() == [-1, -1, -1, 1, 1]


def test_classes_keeps_these_in_this_order(read):
    data = read("abcabc", classes=("c", "a"))
    assert data.classes == ("c", "a")
    assert data.y.tolist() == [1, -1, 1, -1]
    assert data.X[:, 0].tolist() == [0, 4, 9, 25]
    assert read("abcabc", classes=("c", "a", "b")).y.tolist() == [1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    "classes", [("3", "8"), ("3.0", "8"), (3, 8), np.array([3, 8])]
)
def test_classes_match_as_numbers(read, classes):
    assert read(["3.0", "8", "5", "3"], classes=classes).y.tolist() == [-1, 1, -1]


def test_unlabelled_rows_are_of_no_chosen_class(read):
    assert len(read(["a", "", "b", "c"], classes=("a", "b")).X) == 2


def test_unknown_classes(read):
    with pytest.raises(DataError, match=r"'z', 'q'; it holds 3 classes: 'a', 'b', 'c'"):
        read("abcabc", classes=("z", "a", "q"))
    with pytest.raises(DataError, match=r"holds 40 classes: '0', .*'9' and 30 more"):
        read([*range(40)] * 2, classes=("a", "b"))


@pytest.mark.parametrize("classes", [(), ("a",), ("a", "a"), ("1", "1.0")])
def test_classes_must_be_two_and_distinct(read, classes):
    with pytest.raises(DataError, match="at least two classes, each once"):
        read("ab", classes=classes)


@pytest.mark.parametrize("argument", ["classes", "skip"])
def test_a_string_is_no_sequence_of_names(read, argument):
    with pytest.raises(TypeError, match=rf"{argument} must be a sequence.*'ab'"):
        read("ab", **{argument: "ab"})


def test_one_class(read):
    with pytest.raises(DataError, match=r"two classes; all 3 rows have the label 'a'"):
        read("aaa")
    with pytest.raises(DataError, match=r"the only row has the label 'a'.*absorbed"):
        read("a")


def test_regression_targets(read):
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match=r"column 'y' holds 60 distinct.*regression"):
        read(rng.normal(size=60))
    with pytest.raises(DataError, match="regression"):
        read(np.repeat(rng.normal(size=30), 100))
    with pytest.raises(DataError, match="regression"):
        read(rng.normal(size=3000))
    assert len(read([0.5, 1.5, 2.5] * 9).classes) == 3


def test_labels_that_name_rows(read):
    with pytest.raises(DataError, match="another label in each of its 30 rows"):
        read([f"id{i}" for i in range(30)])
    with pytest.raises(DataError, match=r"at most 1000 classes.*'id0'"):
        read([f"id{i}" for i in range(1500)] * 2)
    assert len(read([f"id{i}" for i in range(1000)] * 2).classes) == 1000
    chosen = read([f"id{i}" for i in range(1500)] * 2, classes=("id1", "id1400"))
    assert len(chosen.X) == 4
    with pytest.raises(DataError, match="holds more than 1000 classes"):
        read([f"id{i}" for i in range(1500)] * 2, classes=("id1", "no"))


def test_a_class_that_vanishes_is_told(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,b,y\n1,1,u\n2,3,v\n3,,w\n4,5,u\n9,9,v\n7,7,x\n")
    data = load(path, drop_missing=True)
    assert data.classes == ("u", "v", "x")
    assert any("1 of 4 classes (w) has no row" in note for note in data.notes)
    data = load(path, classes=("w", "v", "u"), drop_missing=True)
    assert data.classes == ("v", "u")
    assert data.y.tolist() == [1, -1, 1, -1]
    with pytest.raises(DataError, match=r"label 'u', none has 'w'.*more rows"):
        load(path, classes=("w", "u"), drop_missing=True)
