"""Data that are separable by a hair: how far off separation is, and what to do."""

import numpy as np
import pytest

import penchant as pn
from penchant.diagnosis.linear._tightness import Tightness


def columns_of_unlike_units(*, seed):
    """What one column decides, beside one a thousand times as large that decides none.

    Labels follow the small column, whose values stay away from 0; the large one is the
    same for both classes.
    """
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(60) % 2, 1.0, -1.0)
    small = y * rng.uniform(0.02, 0.05, 60)
    large = rng.uniform(300.0, 1500.0, 60)
    return np.column_stack([small, large]), y


def test_units_are_told_apart_from_tight_data():
    X, y = columns_of_unlike_units(seed=4)
    raw = pn.LinearClassification(X, y)
    margin = float(pn.max_margin(raw, "l2").margin)
    seen = Tightness.of(raw, margin)
    assert seen.tight
    assert seen.units
    # neither scale nor order of the whole data matters
    again = Tightness.of(pn.LinearClassification(7.0 * X[::-1], y[::-1]), 7.0 * margin)
    np.testing.assert_allclose(again.share, seen.share, rtol=1e-12)
    np.testing.assert_allclose(again.spread, seen.spread, rtol=1e-12)
    alike = (X - X.mean(axis=0)) / X.std(axis=0)
    easy = pn.LinearClassification(alike, y)
    seen = Tightness.of(easy, float(pn.max_margin(easy, "l2").margin))
    assert not seen.tight


def test_a_perceptron_keeps_to_the_bound_that_is_quoted():
    rng = np.random.default_rng(8)
    y = np.where(np.arange(40) % 2, 1.0, -1.0)
    X = np.column_stack([y * rng.uniform(0.05, 0.1, 40), rng.normal(size=40)])
    problem = pn.LinearClassification(X, y)
    share = Tightness.of(problem, float(pn.max_margin(problem, "l2").margin)).share
    w, corrections = np.zeros(2), 0
    while True:
        wrong = np.flatnonzero(y * (X @ w) <= 0)
        if wrong.size == 0:
            break
        w = w + y[wrong[0]] * X[wrong[0]]
        corrections += 1
        assert corrections <= share**-2
    assert corrections > 10


@pytest.mark.sampled
@pytest.mark.parametrize("seed", [4, 11])
def test_an_unseparated_run_is_told_to_standardise(seed):
    X, y = columns_of_unlike_units(seed=seed)
    said = pn.diagnose(X, y, "gd", steps=3_000, progress=False)
    (caution,) = [c for c in said.warnings if c.kind == "not-separated"]
    assert "by a hair" in caution.detail
    assert "Columns differ in scale" in caution.detail
    assert said.next[0].endswith("--standardize")
    # what it says to do does separate them
    alike = (X - X.mean(axis=0)) / X.std(axis=0)
    after = pn.diagnose(alike, y, "gd", steps=3_000, progress=False)
    assert not [c for c in after.warnings if c.kind == "not-separated"]
