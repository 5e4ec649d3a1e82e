"""Maximum margins as an estimator of scikit-learn, which is imported with this module.

scikit-learn's conventions name its arrays: `coef_` `(k, d)`, `intercept_` `(k,)`.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from penchant._types import Numbers
from penchant.margins import NotSeparableError, UndecidedError, max_margin
from penchant.norms import read
from penchant.problems import LinearClassification

Array = NDArray[Any]


class NotSeparableWarning(UserWarning):
    """No weights separate the data, or none are known to: there is no margin."""


class MaxMarginClassifier(ClassifierMixin, BaseEstimator):
    r"""The linear classifier of the largest margin in any norm, certified.

    Weights are $\arg\max_{\|w\|\le1}\min_iq_i(w)$ by
    [`max_margin`][penchant.max_margin]: one vector for two classes, a row a class for
    more, with margins against every other class. In ℓ2 it is the hard-margin support
    vector machine.

    There is no penalty to choose, and so no margin for data that no weights separate.
    `fit` then warns with `NotSeparableWarning` and keeps the minimiser of the logistic
    loss, where training ends instead: `separable_` is False and `margin_` NaN. With
    `not_separable="raise"` it raises [`NotSeparableError`][penchant.NotSeparableError],
    with the proof.

    >>> from penchant.sklearn import MaxMarginClassifier
    >>> X, y = [[0.0, 1.0], [1.0, 3.0], [4.0, 1.0], [5.0, 2.0]], ["a", "a", "b", "b"]
    >>> found = MaxMarginClassifier(norm="linf").fit(X, y)
    >>> found.predict([[0.5, 1.0]]).tolist(), found.gap_ < 1e-6
    (['a'], True)

    Args:
        norm: A norm of `penchant.norms`, or its name, as in `lp:3`.
        fit_intercept: Append a feature that is 1. Its weight counts in the norm like
            any other.
        tol: Relative gap to stop at.
        not_separable: What `fit` does with data that no weights separate: "warn" or
            "raise".

    Attributes:
        classes_: `(k,)` the labels.
        coef_: `(1, d)` for two classes, else `(k, d)`; of unit norm with the intercept.
        intercept_: `(1,)` or `(k,)`.
        margin_: The margin of these weights, NaN where there is none.
        upper_bound_: What no weights beat.
        gap_: 1 - margin_ / upper_bound_.
        support_: `(s,)` indices of the support vectors.
        separable_: Whether the data are.
        n_features_in_: The number `d` of features.

    Raises:
        ValueError: On `fit`, if an argument or the data can't be used.

    Warns:
        NotSeparableWarning: On `fit`, if no weights separate the data, or that is open.
    """

    def __init__(
        self,
        norm: Any = "l2",
        *,
        fit_intercept: Any = True,
        tol: Any = 1e-9,
        not_separable: Any = "warn",
    ):
        self.norm = norm
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.not_separable = not_separable

    def fit(self, X: Numbers, y: Numbers) -> "MaxMarginClassifier":
        """Find the largest margin of examples `(n, d)` with labels `(n,)`.

        Raises:
            NotSeparableError: If no weights separate them, where that is asked for.
            UndecidedError: If that is open, where it is asked for.
            ValueError: If an argument or the data can't be used.
        """
        if self.not_separable not in ("warn", "raise"):
            raise ValueError(
                f"not_separable must be 'warn' or 'raise'; got {self.not_separable!r}."
            )
        norm = read(self.norm)
        given: Any = (X, y)  # scikit-learn's types say text, and mean arrays
        checked: Any = validate_data(self, *given, dtype=np.float64)
        examples, labels = checked
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "Classifier can't train when only one class is present: "
                f"{self.classes_[0]!r}."
            )
        binary = len(self.classes_) == 2
        problem = LinearClassification(
            examples, 2 * codes - 1 if binary else codes, bias=self.fit_intercept
        )
        try:
            best = max_margin(problem, norm, tol=self.tol)
        except (NotSeparableError, UndecidedError) as error:
            if self.not_separable == "raise":
                raise
            warnings.warn(
                f"{error} The minimiser of the logistic loss is kept in its place.",
                NotSeparableWarning,
                stacklevel=2,
            )
            W, b = _logistic(examples, codes, intercept=bool(self.fit_intercept))
            self._keep(W, b, separable=False)
            return self
        W = np.atleast_2d(np.asarray(best.weights))
        b = W[:, -1] if self.fit_intercept else np.zeros(len(W))
        self._keep(W[:, : examples.shape[1]], b, separable=True)
        self.margin_ = float(best.margin)
        self.upper_bound_ = float(best.upper_bound)
        self.gap_ = float(best.gap)
        self.support_ = np.flatnonzero(np.asarray(best.support))
        return self

    def _keep(self, W: Array, b: Array, *, separable: bool) -> None:
        self.coef_, self.intercept_ = W.copy(), b.copy()
        self.separable_ = separable
        self.margin_ = self.upper_bound_ = self.gap_ = float("nan")
        self.support_ = np.array([], dtype=np.intp)

    def decision_function(self, X: Numbers) -> Array:
        """Scores: `(n,)` for two classes, above 0 for the second; else `(n, k)`."""
        check_is_fitted(self)
        given: Any = X
        examples: Any = validate_data(self, given, dtype=np.float64, reset=False)
        scores = examples @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Numbers) -> Array:
        """The class of the largest score, `(n,)`."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return self.classes_[(scores > 0).astype(int)]
        return self.classes_[scores.argmax(axis=1)]


def _logistic(X: Array, codes: Array, *, intercept: bool) -> tuple[Array, Array]:
    """Where training on the logistic loss ends, but for a ridge of a millionth."""
    scale = float(np.abs(X).max()) or 1.0
    model = LogisticRegression(C=1e6, fit_intercept=intercept, max_iter=2000, tol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X / scale, codes)
    return model.coef_ / scale, np.broadcast_to(model.intercept_, len(model.coef_))
