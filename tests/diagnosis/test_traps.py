"""Runs that invite a verdict they don't bear: sentences that must not appear."""

import numpy as np
import pytest

import penchant as pn
from penchant import batching, norms, optimizers
from penchant.theory import longest_row
from tests.cases import binary
from tests.diagnosis.cases import SIGN

EXPONENTIAL, LOGISTIC = pn.losses.Exponential(), pn.losses.Logistic()


def started_far_on_the_wrong_side():
    """The increment is perfect, and every sample is misclassified."""
    problem = binary(0)
    w = np.asarray(pn.max_margin(problem, norms.L2()).weights)
    rule = optimizers.SteepestDescent(norms.L2())
    return pn.diagnose(problem, rule, steps=500, step_size=1e-3, init=-100 * w)


def one_feature():
    X, y = [[1.0], [-2.0], [0.5]], [1, -1, 1]
    problem = pn.LinearClassification(X, y, loss=EXPONENTIAL)
    return pn.diagnose(problem, SIGN, steps=300)


def symmetric_rows():
    """All norms have one optimum, the row itself."""
    X = np.vstack([np.ones((3, 4)), -np.ones((2, 4))]) * [1.0, 1.0, 1.0, 1.0]
    problem = pn.LinearClassification(X, [1, 1, 1, -1, -1], loss=EXPONENTIAL)
    return pn.diagnose(problem, optimizers.GradientDescent(), steps=400)


def one_norm_asked_for():
    return pn.diagnose(binary(0), SIGN, steps=3_000, norms=[norms.Linf()])


def steps_ten_times_too_large():
    problem = binary(0)
    step_size = 2.0 / longest_row(problem, norms.Linf())
    return pn.diagnose(problem, SIGN, steps=3_000, step_size=step_size)


def runaway_moments():
    """b1 > b2: the assumption fails, and the run blows up."""
    rule = optimizers.Adam(0.99, 0.5, 0.0)
    return pn.diagnose(binary(0), rule, steps=2_000, step_size=1.0)


def no_second_memory():
    rule = optimizers.Adam(0.9, 0.0, 0.0)
    return pn.diagnose(binary(0), rule, steps=2_000, step_size=0.01)


def adagrad_unsettled():
    problem = binary(0)
    X = np.asarray(problem.X) * np.geomspace(0.1, 10.0, 12)
    problem = pn.LinearClassification(X, problem.y, loss=EXPONENTIAL)
    return pn.diagnose(problem, optimizers.AdaGrad(), steps=12, step_size=0.1)


def two_classes_in_two_rows():
    """Muon at a constant step that overshoots: most of a share, and no progress."""
    problem = binary(0)
    y = (np.asarray(problem.y) > 0).astype(int)
    problem = pn.LinearClassification(problem.X, y, loss=LOGISTIC, classes=2)
    step_size = 2.0 / longest_row(problem, norms.Spectral())
    return pn.diagnose(problem, optimizers.Muon(), steps=2_000, step_size=step_size)


CONFIRMED = "the run confirms it"
TRAPS = [
    (started_far_on_the_wrong_side, (CONFIRMED, " %", "picks", "heading for the")),
    (one_feature, (CONFIRMED, "picks the", "not gone far enough")),
    (symmetric_rows, (CONFIRMED, "picks the")),
    (one_norm_asked_for, (CONFIRMED, "picks the")),
    (steps_ten_times_too_large, (CONFIRMED, "not gone far enough", "more steps may")),
    (runaway_moments, (CONFIRMED, "foretells")),
    (no_second_memory, (CONFIRMED, "foretells")),
    (adagrad_unsettled, (CONFIRMED,)),
    pytest.param(
        two_classes_in_two_rows,
        (CONFIRMED, "not gone far enough"),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("made", "never"), TRAPS, ids=lambda x: getattr(x, "__name__", "")
)
def test_no_more_is_said_than_the_run_shows(made, never):
    says = made()
    for sentence in never:
        assert sentence not in says.verdict
    assert says.agrees is not True
    assert "−-" not in repr(says)


def test_what_is_said_instead():
    assert "misclassified" in started_far_on_the_wrong_side().headline
    assert "can't be told apart here" in one_feature().headline
    assert "no other norm was compared" in one_norm_asked_for().headline
    assert "can neither confirm nor refute it" in steps_ten_times_too_large().heading


@pytest.mark.slow
def test_the_other_basin_is_the_one_foretold():
    """A start in the other basin reaches the other limit, and theory says so."""
    problem = pn.datasets.bistable().problem(loss=EXPONENTIAL)
    rule = optimizers.Adam(0.9, 0.95, 0.0)
    found = []
    for third in (2.0, -2.0):
        says = pn.diagnose(
            problem,
            rule,
            batching=batching.Cyclic(1),
            steps=100_000,
            step_size=1e-3,
            init=[0.0, 0.0, third],
        )
        limit = np.asarray(says.prediction.weights)
        w = np.asarray(says.trajectory.increment())
        apart = 1 - limit @ w / np.linalg.norm(limit) / np.linalg.norm(w)
        assert apart < 1e-6
        assert "near no norm" not in says.headline
        found.append(limit / np.linalg.norm(limit))
        assert len(says.table) >= 3 + (says.prediction.norm is not None)
    assert np.linalg.norm(found[0] - found[1]) > 0.1
