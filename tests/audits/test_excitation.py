import numpy as np
import pytest

import penchant as pn
from penchant import audits, ssm

rng = np.random.default_rng(0)
TEACHER = ssm.StateSpace([1.0, 0.0], [1.0, 2.0], [1.0, 1.0])
LONG = [1.0, 0, 0, 0, 0, 0, 0]
SPECIAL = [0, 0, 0, 0, 0, 1.0, 0]


def test_excitation_is_the_spectrum_of_the_second_moments():
    X = rng.normal(size=(30, 5)) * [1.0, 2.0, 0.0, 1.0, 3.0]
    seen = audits.excitation(X)
    M = X[:, ::-1].T @ X[:, ::-1] / 30
    np.testing.assert_allclose(seen.energy, np.diag(M), rtol=1e-12)
    np.testing.assert_allclose(
        seen.spectrum, np.linalg.eigvalsh(M)[::-1], rtol=1e-10, atol=1e-12
    )
    assert (seen.rank, seen.free, seen.unseen) == (4, 1, (2,))
    assert seen.lag_one == pytest.approx(M[1, 1] / np.trace(M))
    assert "lags 2 are never excited" in repr(seen)


def test_excitation_of_any_units_and_of_nothing():
    X = rng.normal(size=(8, 4))
    small, large = audits.excitation(1e-150 * X), audits.excitation(1e150 * X)
    assert small.rank == large.rank == 4
    assert small.condition == pytest.approx(large.condition, rel=1e-9)
    none = audits.excitation(np.zeros((3, 2)))
    assert (none.rank, none.free) == (0, 2)
    assert "every input is 0" in repr(none)
    for wrong in (np.zeros((3, 0)), np.zeros(3), [[np.nan]]):
        with pytest.raises(ValueError, match="X must"):
            audits.excitation(wrong)


def test_scores_are_shares_of_gamma_0():
    X = rng.normal(size=(12, 5))
    problem = ssm.regression(TEACHER, X, a=[0.4, 0.2])
    w = problem.start
    scores = audits.poison_scores(problem, w)
    terms = np.asarray(problem.residuals(w)) * X[:, -2]
    assert scores.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(scores, np.abs(terms) / np.abs(terms).sum(), rtol=1e-12)
    # the sum of the signed terms is γ⁰
    assert 2 * terms.mean() == pytest.approx(float(ssm.gamma(problem, w)[0]), rel=1e-12)


def test_scores_of_baseline_sequences_are_0():
    problem = ssm.regression(TEACHER, [LONG, LONG], a=[0.4, 0.2])
    assert not audits.poison_scores(problem).any()
    short = ssm.regression(TEACHER, [[1.0]], a=[0.4, 0.2])
    assert not audits.poison_scores(short).any()


@pytest.mark.slow
def test_leaving_the_special_sequence_out_is_what_helps():
    a = [1e-3, 1e-3 - 1e-8, 5e-4]
    problem = ssm.regression(TEACHER, [LONG, SPECIAL], a=a, trained="a")
    found = audits.leave_one_out(problem)
    assert np.argmax(found.scores) == np.nanargmax(found.change) == 1
    assert found.error[1] < 0.1 * found.base
    alone = ssm.flow(ssm.regression(TEACHER, [LONG], a=problem.start.a, trained="a"))
    assert found.error[1] == pytest.approx(alone.limit_error, rel=1e-9)
    with pytest.raises(ValueError, match="two examples or more"):
        audits.leave_one_out(ssm.regression(TEACHER, [LONG], a=[0.1]))
    with pytest.raises(TypeError, match="linear teacher"):
        audits.leave_one_out(ssm.regression(None, [LONG, SPECIAL], y=[1, 1], a=[0.1]))


@pytest.mark.slow
def test_defences_side_by_side():
    a = [1e-3, 1e-3 - 1e-8, 5e-4]
    problem = ssm.regression(TEACHER, [LONG, SPECIAL], a=a, trained="a")
    found = audits.defences(problem)
    names = [row.name for row in found.rows]
    assert names == ["stopped", "longer", "drop", "reweight", "decay", "bounded"]
    assert found["longer"].error == pytest.approx(ssm.flow(problem).limit_error)
    assert found["drop"].error < 0.5 * found["longer"].error
    assert np.isfinite(found["bounded"].error)
    assert found["decay"].loss > found["longer"].loss
    assert found.best.error == min(r.error for r in found.rows if r.error == r.error)
    with pytest.raises(KeyError, match="no row 'prayer'"):
        found["prayer"]


def test_the_audit_of_sequences_without_a_teacher():
    X = np.array([LONG, SPECIAL, LONG])
    found = audits.audit_sequences(X, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(found.scores, [0.0, 1.0, 0.0])
    assert found.order[0] == 1
    assert "1 of 3 examples holds 90 %" in found.headline
    assert found.to_dict()["excitation"]["rank"] == 2
    bare = audits.audit_sequences(np.array([LONG]))
    assert bare.scores is None
    assert "No input has energy at lag 1" in bare.headline


def test_sequences_are_read_from_files(tmp_path):
    X, y = rng.normal(size=(4, 3)), rng.normal(size=4)
    np.savez(tmp_path / "a.npz", X=X, y=y)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    table = np.column_stack([X, y])
    lines = [",".join(map(repr, map(float, row))) for row in table]
    (tmp_path / "b.csv").write_text("x1,x2,x3,y\n" + "\n".join(lines))
    (tmp_path / "c.csv").write_text("\n".join(lines))
    for source in ("a.npz", "b.csv"):
        read = pn.datasets.load_sequences(tmp_path / source)
        np.testing.assert_array_equal(read.X, X)
        np.testing.assert_array_equal(read.y, y)
    pair = pn.datasets.load_sequences(f"{tmp_path / 'X.npy'},{tmp_path / 'y.npy'}")
    np.testing.assert_array_equal(pair.y, y)
    assert pn.datasets.load_sequences(tmp_path / "c.csv").X.shape == (4, 4)
    for text, message in (
        ("", "empty"),
        ("1,2\n3", "cells"),
        ("1,a\n2,b", "no number"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(pn.datasets.DataError, match=message):
            pn.datasets.load_sequences(tmp_path / "bad.csv")
    with pytest.raises(pn.datasets.DataError, match="no column 'z'"):
        pn.datasets.load_sequences(tmp_path / "b.csv", target="z")


def test_pairs_and_names_that_files_do_not_have(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", np.ones((3, 4)))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.save("one.npy", np.ones((3, 1)))
    for source, target, message in (
        ("X.npy", "y", "have no names"),
        ("X.npy,junk.npz", None, "a pair must be"),
        ("X.npy,X.npy,X.npy", None, "a pair must be"),
        ("junk.npz", None, "no array of numbers"),
    ):
        with pytest.raises(pn.datasets.DataError, match=message):
            pn.datasets.load_sequences(source, target=target)
    short = pn.datasets.load_sequences("one.npy")
    assert "no lag 1" in pn.audits.audit_sequences(short.X).headline
