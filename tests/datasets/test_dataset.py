import dataclasses

import numpy as np
import pytest

import penchant as pn
from penchant.datasets import DataError, Dataset
from penchant.datasets._findings import findings


def make(X, y=None, classes=("a", "b"), **more):
    X = np.asarray(X, dtype=np.float64)
    y = np.where(np.arange(len(X)) % 2, 1, -1) if y is None else np.asarray(y)
    names = tuple(f"f{j}" for j in range(X.shape[1])) if X.ndim == 2 else ()
    return Dataset(X, y, names, classes, "made", **more)


def found(X, y):
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    return findings(X, y, tuple(f"f{j}" for j in range(X.shape[1])))


def test_is_frozen_and_short():
    data = make(np.eye(4), notes=("one",))
    assert repr(data) == "Dataset('made': 4 samples, 4 features, 2 classes; 1 note)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


def test_problem_has_the_loss_and_the_bias():
    data = make(np.eye(4))
    assert isinstance(data.problem().loss, pn.losses.Logistic)
    problem = data.problem(loss=pn.losses.Exponential(), bias=True)
    assert isinstance(problem.loss, pn.losses.Exponential)
    assert problem.weight_shape == (5,)
    assert np.array_equal(np.asarray(problem.y), data.y)


@pytest.mark.parametrize(
    ("X", "y", "classes", "message"),
    [
        (np.zeros((0, 2)), [], ("a", "b"), r"\(0, 2\)"),
        (np.zeros((2, 0)), [-1, 1], ("a", "b"), r"\(2, 0\)"),
        ([[np.nan], [1]], [-1, 1], ("a", "b"), "finite"),
        (np.eye(2), [0, 1], ("a", "b"), r"\[0, 1\] for 2 classes"),
        (np.eye(2), [-1, 1], (), "only \\+1 where classes is empty"),
        (np.eye(2), [1, 1], ("a",), "for 1 classes"),
        (np.eye(3), [0, 1, 3], ("a", "b", "c"), r"\[0, 1, 3\] for 3"),
    ],
)
def test_what_does_not_fit_together(X, y, classes, message):
    with pytest.raises(DataError, match=message):
        make(X, np.asarray(y, dtype=np.int64), classes)


@pytest.mark.parametrize(("X", "y"), [(np.zeros(2), [1, -1]), (np.eye(2), [1, 1, -1])])
def test_shapes(X, y):  # in the tests jaxtyping sees it first
    with pytest.raises((DataError, TypeError)):
        make(X, y)


def test_names_must_be_as_many_as_features():
    with pytest.raises(DataError, match="features must be 2 names"):
        Dataset(np.eye(2), np.array([-1, 1]), ("a",), ("a", "b"), "made")


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1e8])
def test_standardized_at_any_scale(scale, shift):
    rng = np.random.default_rng(0)
    X = scale * (rng.normal(size=(50, 3)) / max(shift, 1.0) + min(shift, 1.0))
    Z = make(X).standardized().X
    assert np.abs(Z.mean(axis=0)).max() < 1e-12
    assert np.allclose(Z.std(axis=0), 1.0, rtol=1e-12)


def test_standardized_ignores_shift_and_scale():
    X = np.random.default_rng(1).normal(size=(20, 4))
    Z = make(X).standardized().X
    moved = make(X * np.array([1.0, 3.0, 1e5, 1e-5]) + 7.0).standardized().X
    assert np.allclose(Z, moved, atol=1e-9)
    assert np.allclose(make(Z).standardized().X, Z, atol=1e-14)


def test_constant_features_become_zero_and_are_told():
    X = np.column_stack([np.full(6, 0.1), np.arange(6.0) ** 2, np.zeros(6)])
    data = make(X, notes=tuple(found(X, np.arange(6) % 2)))
    assert len(data.notes) == 2
    told = data.standardized()
    assert np.array_equal(told.X[:, [0, 2]], np.zeros((6, 2)))
    assert not any("every row" in note for note in told.notes)  # no longer true
    assert "2 constant features (f0, f2) became 0" in told.notes[-1]
    assert data.X[0, 0] == 0.1


def test_one_row_standardises_to_zero():
    data = Dataset(np.array([[3.0, -2.0]]), np.array([1]), ("a", "b"), (), "made")
    assert np.array_equal(data.standardized().X, np.zeros((1, 2)))


def test_ordinary_data_have_no_findings():
    rng = np.random.default_rng(0)
    assert found(rng.normal(size=(500, 3)), np.arange(500) % 3) == []


def test_constant_features_are_told_apart_by_what_they_do():
    zero, bias = found([[0, 3, 1.0], [0, 3, 2.0]], [-1, 1])
    assert "1 feature (f0) is 0 in every row" in zero
    assert "1 feature (f1) is constant" in bias
    assert "bias" in bias
    many = found(np.hstack([np.eye(3)[:, :1], np.zeros((3, 10))]), [0, 1, 2])
    assert "10 features (f1, f2" in many[0]
    assert "and 2 more" in many[0]


def test_the_note_on_zero_features_is_true():
    data = make([[0.0, 1.0], [0.0, -2.0], [0.0, 1.5], [0.0, -1.0]], [1, -1, 1, -1])
    run = pn.train(
        data.problem(),
        pn.optimizers.Adam(b1=0.9, b2=0.95, eps=0.0),
        steps=20,
        step_size=0.1,
        init=np.array([0.25, 0.0]),
    )
    assert np.all(np.asarray(run.weights)[:, 0] == 0.25)


def test_a_row_number_is_suspected():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.arange(12) + 100, rng.normal(size=12)])
    (note,) = found(X, np.arange(12) % 2)
    assert "(f0) grows" in note
    assert "skip" in note
    assert found(X[:8], np.arange(8) % 2) == []


@pytest.mark.parametrize("d", [1, 3, 70])
@pytest.mark.parametrize("kind", ["whole", "real"])
def test_duplicates_are_counted_as_a_dictionary_counts_them(d, kind):
    rng = np.random.default_rng(d)
    pool = (
        rng.integers(-3, 4, size=(40, d))
        if kind == "whole"
        else rng.normal(size=(40, d))
    )
    X = pool[rng.integers(40, size=9000)].astype(np.float64)
    X[X == 0] *= rng.choice([1.0, -1.0], size=(X == 0).sum())  # -0 equals 0
    y = rng.integers(3, size=9000)
    y[X[:, 0] > 0] = 0
    seen = {}
    for x, label in zip(map(tuple, (X + 0.0).tolist()), y.tolist(), strict=True):
        seen.setdefault(x, []).append(label)
    repeats = sum(len(ls) - len(set(ls)) for ls in seen.values())
    torn = sum(len(ls) for ls in seen.values() if len(set(ls)) > 1)
    notes = [note for note in found(X, y) if "rows" in note and "every" not in note]
    assert f"{repeats} of 9000 rows are duplicates" in notes[0]
    assert f"{torn} rows have the same features as a row of another" in notes[1]


def test_colliding_hashes_do_not_make_duplicates(monkeypatch):
    import penchant.datasets._findings as module

    monkeypatch.setattr(module, "_hashes", lambda X: np.zeros(len(X), dtype=np.uint64))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    assert found(X, np.arange(30) % 2) == []
    assert (
        "30 of 60 rows are dup" in found(np.vstack([X, X]), [*np.arange(30) % 2] * 2)[0]
    )
