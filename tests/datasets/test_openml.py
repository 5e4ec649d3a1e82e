import urllib.error
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.datasets
from sklearn.utils import Bunch

from penchant.datasets import DataError, load

X = np.array([[1.0, 0.0], [2.0, 1.0], [4.0, 2.0]])


@pytest.fixture
def openml(monkeypatch):
    """What fetch_openml returns, or raises."""
    calls = []

    def serve(answer=None, warning=None, **fields):
        def fetch(name, **asked):
            calls.append((name, asked))
            if warning:
                warnings.warn(warning, UserWarning, stacklevel=1)
            if isinstance(answer, BaseException):
                raise answer
            whole = {
                "data": X,
                "target": np.array(["u", "v", "v"], dtype=object),
                "feature_names": ["a", "b"],
                "target_names": ["kind"],
                "categories": {},
            }
            return Bunch(**(whole | fields))

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
        return calls

    return serve


def test_the_declared_target_and_names(openml):
    calls = openml()
    data = load("openml:Some-Name")
    assert np.array_equal(data.X, X)
    assert data.classes == ("u", "v")
    assert data.features == ("a", "b")
    assert data.name == "openml:Some-Name"
    name, asked = calls[0]
    assert name == "Some-Name"
    assert asked["as_frame"] is False
    assert asked["target_column"] == "default-target"
    load("openml:x", target="other")
    assert calls[1][1]["target_column"] == "other"


def test_sparse_features_are_written_out(openml):
    openml(data=scipy.sparse.csr_matrix(X))
    assert np.array_equal(load("openml:x").X, X)
    openml(data=scipy.sparse.csr_matrix((2**20, 2**20)))
    with pytest.raises(DataError, match="too large"):
        load("openml:x")


def test_categories_are_text_not_places(openml):
    openml(categories={"b": ["red", "green", "blue"]})
    with pytest.raises(DataError, match=r"'b' \(e\.g\. 'red'\)"):
        load("openml:x")
    assert load("openml:x", skip=("b",)).features == ("a",)


@pytest.mark.parametrize(
    ("categories", "column"),
    [(["5", "10", "20"], [5, 10, 20]), (["TRUE", "FALSE", "true"], [1, 0, 1])],
)
def test_categories_that_are_numbers_are_these(openml, categories, column):
    openml(categories={"b": categories})
    assert load("openml:x").X[:, 1].tolist() == column


def test_missing_categories_stay_missing(openml):
    holes = X.copy()
    holes[0, 1] = np.nan
    openml(data=holes, categories={"b": ["5", "10", "20"]})
    with pytest.raises(DataError, match=r"'b' \(1 row\)"):
        load("openml:x")


def test_missing_labels(openml):
    openml(target=np.array(["u", None, "v"], dtype=object))
    with pytest.raises(DataError, match=r"the target 'kind' \(1 row\)"):
        load("openml:x")


def test_warnings_become_notes(openml):
    openml(warning="Multiple active versions\nof x exist.")
    assert "OpenML: Multiple active versions of x exist." in load("openml:x").notes


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route to host"),
        urllib.error.HTTPError("https://openml.org", 404, "not found", None, None),
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
    ],
)
def test_without_a_connection(openml, error):
    openml(error)
    with pytest.raises(DataError, match=r"openml:x.*connection.*file") as seen:
        load("openml:x")
    assert seen.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [ValueError("STRING"), IndexError("index"), EOFError()]
)
def test_what_scikit_learn_can_not_read(openml, error):
    openml(error)
    with pytest.raises(DataError, match="openml:x"):
        load("openml:x")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "it has none"),
        (np.zeros((3, 2)), "it has 2"),
        (np.array([0.5, 1.25, 3.5]), "regression"),
    ],
)
def test_targets_that_are_no_labels(openml, target, message):
    openml(target=target)
    with pytest.raises(DataError, match=message):
        load("openml:x")


def test_without_a_name():
    with pytest.raises(DataError, match="openml:NAME"):
        load("openml:")
