import dataclasses

import numpy as np
import pytest

import penchant as pn
from penchant import optimizers
from penchant.theory import longest_row
from tests.cases import binary, multiclass, paper_data
from tests.diagnosis.cases import LINF, SIGN, falling, kinds, past_eps, separable

LOGISTIC = pn.losses.Logistic()


def caution(says, kind):
    return next(c for c in says.warnings if c.kind == kind)


def stop_after(monkeypatch, calls):
    """Ctrl-C while the run is in its `calls`-th call of compiled code."""
    from penchant.training._train import RecordingRunner

    plain, made = RecordingRunner.__call__, []

    def interrupted(self, state, until):
        made.append(1)
        if len(made) > calls:
            raise KeyboardInterrupt
        return plain(self, state, until)

    monkeypatch.setattr(RecordingRunner, "__call__", interrupted)


def test_an_interrupted_run_is_diagnosed_as_far_as_it_went(monkeypatch):
    stop_after(monkeypatch, 6)
    says = pn.diagnose(binary(0), SIGN, steps=5_000)
    reached = int(says.trajectory.steps[-1])
    assert 1 <= reached < 5_000
    assert kinds(says)[0] == "interrupted"
    assert f"at step {reached:,} of 5,000" in says.warnings[0].headline
    assert says.to_dict()["run"]["outcome"] == "interrupted"
    assert len(says.table) == 3


def test_a_run_stopped_before_its_first_step(monkeypatch):
    stop_after(monkeypatch, 0)
    says = pn.diagnose(binary(0), SIGN, steps=5_000)
    assert int(says.trajectory.steps[-1]) == 0
    assert kinds(says)[0] == "interrupted"
    assert says.winner is None
    assert all(row.reached == 0 for row in says.table)


@pytest.mark.parametrize(
    ("optimizer", "step_size", "some"),
    [
        (optimizers.Adam(0.99, 0.5, 0.0), 1.0, True),  # b1² > b2 runs away
        (optimizers.GradientDescent(), 1.7e308, False),
    ],
    ids=["runs away", "at once"],
)
def test_a_diverged_run_is_diagnosed_up_to_there(optimizer, step_size, some):
    says = pn.diagnose(
        binary(0), optimizer, steps=5_000, step_size=step_size, norms=[LINF]
    )
    assert kinds(says)[0] == "diverged"
    assert "stalled" not in kinds(says)
    assert np.isfinite(says.trajectory.weights).all()
    assert (int(says.trajectory.steps[-1]) > 10) == some
    for row in says.table:
        assert np.isfinite([
            row.reached,
            row.increment_reached,
            row.best,
            row.upper,
        ]).all()
    assert says.to_dict()["run"]["outcome"] == "diverged"


def test_steps_too_large_end_on_a_floor():
    problem = binary(0)
    step_size = 2.0 / longest_row(problem, LINF)
    says = pn.diagnose(problem, SIGN, steps=5_000, step_size=step_size, norms=[LINF])
    assert "stalled" in kinds(says)
    assert "--step-size" in says.next[0]
    assert says.table["ℓ∞"].ratio < 0.9
    assert "above the 0.2" in caution(says, "assumptions").detail
    small = 0.1 / longest_row(problem, LINF)
    says = pn.diagnose(problem, SIGN, steps=5_000, step_size=small, norms=[LINF])
    assert "stalled" not in kinds(says)
    assert says.table["ℓ∞"].ratio > 0.98
    assert any("below the 0.2" in a.why for a in says.prediction.assumptions)


@pytest.mark.slow
def test_the_floor_of_the_note():
    # muon_spectral, section 5.4: sign descent with c = 8 stays a third below
    problem = paper_data(0)
    step_size = 8.0 / longest_row(problem, LINF)
    says = pn.diagnose(problem, SIGN, steps=10_000, step_size=step_size, norms=[LINF])
    assert abs(says.table["ℓ∞"].ratio - 0.67) < 0.01
    assert says.winner is None
    assert says.agrees is None
    assert "stalled" in kinds(says)
    assert "no other norm was compared" in says.headline


def test_steps_too_large_to_separate_at_all():
    problem = binary(0)
    step_size = 4.0 / longest_row(problem, LINF)
    says = pn.diagnose(problem, SIGN, steps=5_000, step_size=step_size, norms=[LINF])
    assert "not-separated" in kinds(says)
    assert "has not separated the data yet" in says.headline
    assert says.winner is None


def test_walls_of_precision_are_named_once_they_are_passed():
    # cross-entropy freezes at 16.3 in float32 and at 36.8 in float64
    for steps, walls in ((20, ()), (300, ("float32",)), (5_000, ("float32", "64"))):
        problem = binary(0, loss=LOGISTIC)
        says = pn.diagnose(problem, SIGN, steps=steps, step_size=0.06, norms=[LINF])
        least = float(np.min(says.trajectory.margins[-1]))
        passed = [wall for wall in (16.3, 36.8) if least > wall]
        assert len(passed) == len(walls)
        assert ("precision" in kinds(says)) == bool(passed)
        for wall, text in zip(passed, walls, strict=True):
            assert f"{text} at margin {wall:g}" in caution(says, "precision").detail


def test_walls_of_the_exponential_loss_are_further_away():
    says = separable()
    assert 36.8 < float(np.min(says.trajectory.margins[-1])) < 87.3
    assert "precision" not in kinds(says)


@pytest.mark.slow
def test_eps_that_decides_is_named():
    says = past_eps()
    said = caution(says, "eps")
    assert "ε = 1e-08 now decides 99 %" in said.headline
    start = says.prediction.regimes[-1].start
    assert f"crossover near step {start:,.0f}" in said.detail
    assert says.regime == "below ε"
    assert repr(says.predicted) == "L2()"
    problem, rule = binary(0, loss=LOGISTIC), optimizers.Adam(0.9, 0.95)
    early = pn.diagnose(problem, rule, steps=200, step_size=1e-3, norms=[LINF])
    assert "eps" not in kinds(early)
    assert repr(early.predicted) == "Linf()"
    assert repr(early.prediction.norm) == "L2()"


@pytest.mark.slow
def test_a_gap_that_grows_is_said_and_has_no_rate():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(60, 4)), rng.normal(size=4)
    y = np.where(X @ w > 0, 1, -1)
    X = X + 0.2 * np.outer(y, w) / np.linalg.norm(w)
    problem = pn.LinearClassification((X - X.mean(0)) / X.std(0), y, loss=LOGISTIC)
    step_size = falling(problem)
    says = pn.diagnose(problem, optimizers.Adam(), steps=3_000, step_size=step_size)
    said = caution(says, "not-converged")
    assert says.convergence.exponent < 0
    assert said.detail == "Over the last decade of steps the gap has not fallen."


def test_what_is_left_is_extrapolated():
    says = separable()
    fit = says.convergence
    assert fit.gap == pytest.approx(1 - says.table["ℓ∞"].ratio, rel=1e-9)
    assert abs(fit.exponent - 0.5) < 0.05  # eta ~ t^-1/2: the gap goes like 1/sum(eta)
    low, high = fit.needed_range
    assert low <= fit.needed <= high
    # the prophecy, fulfilled
    problem = binary(0)
    longer = pn.diagnose(
        problem,
        SIGN,
        steps=int(fit.needed),
        step_size=falling(problem),
        norms=[LINF],
    )
    assert longer.convergence.gap == pytest.approx(0.01, rel=0.1)


@pytest.mark.slow
def test_loose_brackets_are_owned_up_to(monkeypatch):
    monkeypatch.setattr(
        "penchant.diagnosis.linear._catalogue.is_exact", lambda problem, norm: False
    )
    monkeypatch.setattr("penchant.diagnosis.linear._catalogue.WORK", 0.0)
    problem = multiclass(0, k=3, d=20, n=60)  # the shape of the one not decided
    says = pn.diagnose(problem, SIGN, steps=500, norms=[LINF])
    (row,) = says.table
    assert row.upper > 1.001 * row.best
    assert "ℓ∞ ±" in caution(says, "bounds").detail
    best = pn.max_margin(problem, LINF)
    assert row.best <= float(best.margin) * (1 + 1e-9) <= row.upper * (1 + 1e-9)


@pytest.mark.slow
def test_weights_without_a_gradient_are_counted():
    X = np.asarray(binary(0).X) * np.repeat([0.0, 1.0], [2, 10])
    problem = pn.LinearClassification(X, binary(0).y, loss=LOGISTIC)
    says = pn.diagnose(problem, optimizers.AdaGrad(), steps=500, norms=[LINF])
    assert caution(says, "frozen").headline.startswith("2 weights")


def test_cautions_are_sentences():
    for said in (*past_eps().warnings, *separable().warnings):
        assert set(dataclasses.asdict(said)) == {"kind", "headline", "detail"}
        assert said.headline[-1] in ".:"
        assert said.detail[-1] == "."
        assert repr(said) == f"{said.headline} {said.detail}"
