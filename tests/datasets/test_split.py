"""Rows held out: disjoint, of every class, the same for the same seed."""

import numpy as np
import pytest

import penchant as pn
from penchant.datasets import DataError, split

LABELS = np.repeat(["a", "b", "c"], [50, 31, 2])


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_parts_are_disjoint_whole_and_have_every_class(share):
    parts = split(LABELS, share, seed=3)
    both = np.concatenate(parts)
    assert np.array_equal(np.sort(both), np.arange(len(LABELS)))
    assert all((np.diff(part) > 0).all() for part in parts)
    for name in "abc":
        size = int((name == LABELS).sum())
        held = int((LABELS[parts.held] == name).sum())
        assert 1 <= held < size
        assert held == min(max(round(share * size), 1), size - 1)


def test_seeds_decide_and_names_of_classes_do_not():
    one, again, other = (split(LABELS, 0.3, seed).held for seed in (5, 5, 6))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    renamed = np.array([{"a": 2, "b": 0, "c": 1}[name] for name in LABELS])
    assert np.array_equal(one, split(renamed, 0.3, 5).held)


def test_every_row_is_held_out_as_often():
    # 4 of 20 each time: over 2,000 seeds a count has mean 400 and deviation 17.9
    counts = np.zeros(40)
    y = np.repeat([0, 1], 20)
    for seed in range(2_000):
        counts[split(y, 0.2, seed).held] += 1
    assert counts.sum() == 2_000 * 8
    assert np.abs(counts - 400).max() < 4.5 * 17.9


def test_a_class_that_would_vanish_is_an_error_with_its_name():
    with pytest.raises(DataError, match="class rare has one only and would vanish"):
        split(["a", "a", "b", "b", "rare"], 0.5)
    X = np.arange(10.0).reshape(5, 2)
    with pytest.raises(ValueError, match="class rare has one only"):
        pn.diagnose(X, ["a", "a", "b", "b", "rare"], "sign", steps=5, holdout=0.5)


@pytest.mark.parametrize("share", [0, 1, -0.2, 20, float("nan")])
def test_shares_lie_between_0_and_1(share):
    with pytest.raises(ValueError, match="holdout must be"):
        split([0, 0, 1, 1], share)


@pytest.mark.parametrize("share", ["x", True, None])
def test_shares_are_numbers(share):
    with pytest.raises(TypeError, match="holdout must be a number"):
        split([0, 0, 1, 1], share)


def test_standardised_by_some_rows_alone():
    data = pn.datasets.digits(("3", "8"))
    rows = split(data.labels, 0.4, 1).train
    scaled = data.standardized(rows)
    here = scaled.X[rows]
    live = here.std(axis=0) > 0
    assert np.allclose(here.mean(axis=0), 0.0, atol=1e-12)
    assert np.allclose(here[:, live].std(axis=0), 1.0)
    alone = pn.datasets.Dataset.of(data.X[rows], data.y[rows]).standardized()
    assert np.allclose(here, alone.X, atol=1e-12)
    assert any(f"over the {len(rows)} rows" in note for note in scaled.notes)
    # what the others are, changes nothing for these
    other = data.X.copy()
    other[split(data.labels, 0.4, 1).held] += 7.0
    moved = pn.datasets.Dataset.of(other, data.y).standardized(rows)
    assert np.allclose(moved.X[rows], here, atol=1e-12)
    for wrong in ([-1], [len(data.X)], [0.5], []):
        with pytest.raises(DataError, match="rows must be whole numbers"):
            data.standardized(wrong)


def test_labels_are_as_the_user_wrote_them():
    names = ["spam", "ham", "spam", "ham"]
    assert pn.datasets.Dataset.of(np.eye(4), names).labels.tolist() == names
    digits = pn.datasets.digits()
    assert digits.labels[:3].tolist() == ["0", "1", "2"]
    absorbed = pn.datasets.Dataset.of(np.eye(2), [1, 1])
    assert absorbed.labels.tolist() == [1, 1]
