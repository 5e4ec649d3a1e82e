import numpy as np
import pytest

import penchant as pn
from penchant import ssm
from penchant.theory import state_space as theory


def teacher(d):
    """Poles 1 and 0 with response d at lag 0, as `d` states with b = c = 1 have."""
    return ssm.StateSpace([1.0, 0.0], [1.0, d - 1.0], [1.0, 1.0])


TEACHER = teacher(3)
LONG = [1.0, 0, 0, 0, 0, 0, 0]
SPECIAL = [0, 0, 0, 0, 0, 1.0, 0]
START = [1e-3, 1e-3 - 1e-8, 5e-4]


def problem(*rows, a=START):
    return ssm.regression(teacher(len(a)), list(rows), a=a, trained="a")


@pytest.mark.slow
def test_what_fits_need_not_generalise():
    teacher = ssm.StateSpace([0.9, -0.4], [1.0, 2.0], [1.0, 0.5])
    for states in (7, 10, 25):
        bad = theory.fits_without_generalising(teacher, 6, states, 5.0)
        errors = np.asarray(bad.lag_errors(teacher, 40))
        assert errors[:6].max() < 1e-11
        assert errors[6] == pytest.approx(5.0, abs=1e-10)
    with pytest.raises(ValueError, match="at least length"):
        theory.fits_without_generalising(teacher, 6, 6)


@pytest.mark.slow
def test_clean_data_generalise_and_poisoned_do_not():
    clean, bad = (
        pn.predict(problem(LONG), "gd"),
        pn.predict(problem(LONG, SPECIAL), "gd"),
    )
    assert clean.generalises is True
    assert bad.generalises is False
    assert clean.greedy == 1.0
    assert bad.greedy < 0.1
    assert clean.excitation.unseen == (0, 1, 2, 3, 4, 5)
    assert clean.holds is False  # one lag of seven does not decide the response
    assert "does not generalise" in repr(bad)
    assert bad.to_dict()["excitation"]["rank"] == 2


@pytest.mark.slow
def test_rules_that_divide_are_said_not_to_follow_the_flow():
    told = {
        name: pn.predict(problem(LONG), name).assumptions[0].verdict.value
        for name in ("gd", "adam", "sign", "adagrad")
    }
    assert told == {"gd": "holds", "adam": "fails", "sign": "fails", "adagrad": "fails"}


@pytest.mark.slow
def test_equal_poles_and_labels_of_ones_own_are_said():
    told = pn.predict(problem(LONG, a=[1e-3, 1e-3, 5e-4]), "gd")
    verdicts = {a.statement: a.verdict.value for a in told.assumptions}
    assert verdicts["the largest pole of the start stands out in float64"] == "fails"
    other = ssm.regression(TEACHER, [LONG, SPECIAL], a=START, trained="a", y=[1.0, 2.0])
    told = pn.predict(other, "gd")
    verdicts = {a.statement: a.verdict.value for a in told.assumptions}
    assert verdicts["labels are the teacher's"] == "fails"


@pytest.mark.slow
def test_a_diagnosis_holds_the_run_against_the_limit(tmp_path):
    question = problem(LONG, SPECIAL, a=[0.3, 0.2, 0.1])
    says = pn.diagnose(question, "gd", steps=20_000, step_size=0.02, progress=False)
    assert says.agrees is True
    assert says.table["the run"].error == pytest.approx(
        says.table["gradient flow's limit"].error, rel=0.05
    )
    page = says.save(tmp_path)
    assert "error over 40 lags" in page.read_text(encoding="utf-8")
    early = pn.diagnose(question, "gd", steps=3, step_size=0.02, progress=False)
    assert early.agrees is False


@pytest.mark.slow
def test_a_run_that_diverged_is_said_to_and_has_no_error():
    says = pn.diagnose(
        problem(LONG, SPECIAL, a=[0.3, 0.2, 0.1]),
        "gd",
        steps=200,
        step_size=50.0,
        progress=False,
    )
    assert "diverged" in says.headline
    assert says.agrees is not True
    assert says.winner != "the run"
    assert not np.isfinite(says.table["the run"].error)


def test_sign_descent_ends_at_its_closed_form():
    a = np.array([1e-3, 9e-4, 2e-4])
    question = problem(LONG, a=a)
    run = pn.train(question, "sign", steps=20_000, step_size=5e-5, progress=False)
    want = theory.sign_descent_error(a, 7)
    assert float(run.last.extrapolation_error(TEACHER, 20) - 0) == pytest.approx(
        want, rel=2e-3
    )


@pytest.mark.slow
def test_a_phase_diagram_has_poison_and_repair():
    found = theory.phase_diagram(
        [1e-9, 1e-5], [1e-7, 1e-3, 1.0], a0=[1e-3, 8e-4, 5e-4, 1e-4], length=7
    )
    assert found.error.shape == (2, 3)
    assert np.isfinite(found.error).all()
    single = ssm.flow(
        problem(LONG, [0, 0, 0, 0, 0, 1e-3, 0], a=[1e-3, 1e-3 - 1e-9, 5e-4, 1e-4])
    )
    want = single.limit.extrapolation_error(TEACHER, 20)
    assert found.error[0, 1] == pytest.approx(
        float(np.max(np.asarray(single.limit.lag_errors(TEACHER, 20))[1:])), rel=2e-2
    )
    assert float(want) > 0
    with pytest.raises(ValueError, match="gaps below"):
        theory.phase_diagram([1.0], [1.0], a0=[1e-3, 8e-4])
