import math

import numpy as np
import pytest

import penchant as pn
from penchant import measures


def test_the_factor_of_a_root_is_gammas():
    for k in (1, 2, 3, 8, 40):
        told = math.sqrt(2 / k) * math.gamma((k + 1) / 2) / math.gamma(k / 2)
        assert measures.root_factor(k) == pytest.approx(told, rel=1e-12)
    draws = np.random.default_rng(0).normal(size=(200_000, 2))
    mean = np.sqrt(np.mean(draws**2, axis=1)).mean()
    assert mean == pytest.approx(measures.root_factor(2), abs=3e-3)


def test_a_pooled_root_is_unbiased_and_one_of_each_part_is_not():
    """Coordinates share few directions, so that errors are those of the parts."""
    draws = np.random.default_rng(1)
    directions = draws.normal(size=(6, 300)) * np.array([3, 2, 1, 1, 0.5, 0.3])[:, None]
    exact = float(np.sum(np.sqrt(np.sum(directions**2, axis=0))))
    pooled, each, hits = [], [], 0
    for _ in range(200):
        g = draws.normal(size=(8, 2, 6)) @ directions
        parts = np.mean(g**2, axis=1)
        found = measures.root_trace(parts, 2)
        pooled.append(found.value)
        each.append(np.mean(np.sum(np.sqrt(parts), axis=1)))
        hits += found.covers(exact)
    assert np.mean(pooled) / exact == pytest.approx(1.0, abs=0.03)
    assert np.mean(each) / exact < 0.9
    assert hits / 200 >= 0.88


def test_a_mean_is_left_as_it_is():
    x = np.random.default_rng(2).normal(size=9)
    left_out = [float(np.mean(np.delete(x, i))) for i in range(9)]
    found = measures.jackknife(float(x.mean()), left_out)
    assert found.value == pytest.approx(x.mean())
    assert found.error == pytest.approx(x.std(ddof=1) / 3)
    with pytest.raises(ValueError, match="left_out must be at least 2"):
        measures.jackknife(1.0, [1.0])


def test_the_bracket_holds_the_eigenvalue_of_all():
    """From few noisy matrices of many, as a probe set is of a run's data."""
    draws = np.random.default_rng(3)
    spectrum = np.linspace(0.2, 1.5, 12)
    held = above = 0
    for _ in range(60):
        few = []
        for _ in range(8):
            X = draws.normal(size=(24, 12)) * np.sqrt(spectrum)
            few.append(X.T @ X / 24)
        mean = np.mean(few, axis=0)
        values, U = np.linalg.eigh(mean)
        v = U[:, -1]
        halves = [
            np.linalg.eigh(np.mean(h, axis=0))[1][:, -1] for h in (few[:4], few[4:])
        ]
        across = [
            u @ A @ u
            for u, part in zip(halves, (few[4:], few[:4]), strict=True)
            for A in part
        ]
        found = measures.bracket(across, [v @ A @ v for A in few], 0.0, values[-1])
        held += found.lower <= spectrum[-1] <= found.upper
        above += values[-1] > spectrum[-1]
    assert held >= 54
    assert above > 45  # which is why one eigenvalue would not do


def test_a_bracket_of_one_part_has_no_error_of_sampling():
    found = pn.measures.bracket([], [3.0], 0.25)
    assert (found.lower, found.upper) == (3.0, 3.25)
    assert not found.wide
    assert measures.Bracket(-1.0, 2.0).wide
