"""The estimator against scikit-learn's own checks, and a peer."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator

import penchant as pn
from penchant.sklearn import MaxMarginClassifier, NotSeparableWarning

CHECKS = list(estimator_checks_generator(MaxMarginClassifier()))


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    CHECKS,
    ids=lambda value: getattr(getattr(value, "func", None), "__name__", ""),
)
def test_passes_scikit_learns_own_checks(estimator, check):
    check(estimator)


def blobs(k, seed=0, n=60, d=4):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return 6.0 * rng.normal(size=(k, d))[y] + rng.normal(size=(n, d)), y


def test_is_the_hard_margin_support_vector_machine_in_l2():
    X, y = blobs(2)
    ours = MaxMarginClassifier(fit_intercept=False).fit(X, y)
    # without an intercept: mirrored data have one of 0
    svm = SVC(kernel="linear", C=1e8, tol=1e-9)
    svm.fit(np.vstack([X, -X]), np.concatenate([y, 1 - y]))
    theirs = svm.coef_ / np.linalg.norm(svm.coef_)
    np.testing.assert_allclose(ours.coef_, theirs, atol=1e-5)
    assert ours.gap_ < 1e-6
    assert ours.margin_ == pytest.approx(1 / np.linalg.norm(svm.coef_), rel=1e-5)


@pytest.mark.parametrize("norm", ["l1", "linf", "spectral", pn.norms.Lp(3.0)])
def test_several_classes_in_any_norm(norm):
    X, y = blobs(3)
    names = np.array(["ant", "bee", "cat"])[y]
    found = MaxMarginClassifier(norm).fit(X, names)
    assert found.score(X, names) == 1.0
    scores = found.decision_function(X)
    assert scores.shape == (60, 3)
    others = np.where(np.eye(3, dtype=bool)[y], -np.inf, scores).max(axis=1)
    least = (scores[np.arange(60), y] - others).min()
    assert least == pytest.approx(found.margin_, rel=1e-6)
    W = np.hstack([found.coef_, found.intercept_[:, None]])
    assert float(pn.norms.read(norm)(jnp.asarray(W))) == pytest.approx(1.0, rel=1e-9)
    assert found.margin_ <= found.upper_bound_ * (1 + 1e-12)


def test_goes_into_pipelines_and_grid_searches():
    X, y = blobs(2)
    pipe = make_pipeline(StandardScaler(), MaxMarginClassifier())
    search = GridSearchCV(pipe, {"maxmarginclassifier__norm": ["l1", "l2"]}, cv=3)
    search.fit(X, y)
    assert search.best_score_ > 0.9
    assert clone(pipe).get_params()["maxmarginclassifier__norm"] == "l2"


def test_data_that_nothing_separates_are_said():
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 1, 0, 1])
    with pytest.raises(pn.NotSeparableError, match="not linearly separable"):
        MaxMarginClassifier(not_separable="raise").fit(X, y)
    with pytest.warns(NotSeparableWarning, match="minimiser of the logistic loss"):
        found = MaxMarginClassifier().fit(X, y)
    assert found.separable_ is False
    assert np.isnan(found.margin_)
    problem = pn.problems.read(X, y, bias=True)
    w = jnp.append(jnp.asarray(found.coef_[0]), found.intercept_[0])
    assert float(jnp.abs(problem.gradient(w)).max()) < 1e-4
    with pytest.raises(ValueError, match="not_separable must be"):
        MaxMarginClassifier(not_separable="svm").fit(X, y)
    with pytest.raises(ValueError, match="no norm 'l9'"):
        MaxMarginClassifier("l9").fit(X, y)


def test_is_handed_out_on_first_touch():
    assert pn.sklearn.MaxMarginClassifier is MaxMarginClassifier
