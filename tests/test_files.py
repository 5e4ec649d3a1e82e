"""Files are replaced whole or stay as they were; one process has a folder."""

import errno
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

import penchant as pn
from penchant._files import held, replacing, replacing_in, write_text
from penchant.cli import app
from penchant.training import _checkpoint as checkpoints


def test_a_file_that_fails_half_way_stays_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def half():
        with replacing(path) as file:
            file.write(b"ne")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_files_take_their_places_together_or_not_at_all(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_text("old")

    def half():
        with replacing_in(tmp_path) as fresh:
            write_text(fresh / "a", "new")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with replacing_in(tmp_path) as fresh:
        write_text(fresh / "a", "new")
        (fresh / "b").mkdir()
    assert (tmp_path / "a").read_text() == "new"
    assert not [*(tmp_path / "b").iterdir()]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_folder_is_held_by_one_process(tmp_path):
    code = "import sys; from pathlib import Path; from penchant._files import held\n"
    code += "with held('--out', Path(sys.argv[1])): pass"
    other = [sys.executable, "-c", code, str(tmp_path)]
    with held("--out", tmp_path):
        told = subprocess.run(other, capture_output=True, text=True, check=False)
        assert "is in use: process" in told.stderr
    assert subprocess.run(other, check=False).returncode == 0
    assert not [*tmp_path.iterdir()]


@pytest.fixture
def problem():
    return pn.datasets.gaussian(6, 9, seed=0).problem()


def edited(file, change):
    meta, arrays = checkpoints.load(file)
    change(meta, arrays)
    checkpoints.save(file, meta, arrays)


def truncate_steps(meta, arrays):
    arrays["steps"] = arrays["steps"][:1]


def drop_state(meta, arrays):
    del arrays["state0"]


def reshape_weights(meta, arrays):
    arrays["weights0"] = arrays["weights0"][:, :2]


@pytest.mark.parametrize("change", [truncate_steps, drop_state, reshape_weights])
def test_checkpoints_that_were_edited(tmp_path, problem, change):
    run = lambda: pn.train(
        problem, "sign", steps=20, step_size=0.1, checkpoint=tmp_path
    )
    run()
    edited(tmp_path / "checkpoint.npz", change)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        run()


def test_checkpoints_are_known_by_a_digest(tmp_path, problem):
    pn.train(problem, "sign", steps=20, step_size=0.1, checkpoint=tmp_path)
    with np.load(tmp_path / "checkpoint.npz") as file:
        arrays = {name: file[name] for name in file.files}
    arrays["log_loss"] = arrays["log_loss"] + 1.0
    np.savez(tmp_path / "checkpoint.npz", **arrays)
    with pytest.raises(ValueError, match="not as it was written"):
        pn.train(problem, "sign", steps=20, step_size=0.1, checkpoint=tmp_path)


def sweep(problem, path, steps=300):
    return pn.sweep(
        problem,
        "sign",
        grid={"step_size": [0.1, 0.2]},
        steps=steps,
        record=10,
        save=path,
    )


def test_records_from_elsewhere_are_computed_again(tmp_path, problem, monkeypatch):
    monkeypatch.setattr("penchant.training._sweep.SAVE_SECONDS", 0.0)
    path, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    whole = sweep(problem, path).log_loss.values.copy()
    sweep(pn.datasets.gaussian(6, 9, seed=1).problem(), other)
    chunk = sorted((path / "log_loss" / "c").rglob("0"))[-1]
    chunk.write_bytes((other / chunk.relative_to(path)).read_bytes())
    with pytest.warns(UserWarning, match="starts anew"):
        again = sweep(problem, path)
    assert np.array_equal(again.log_loss.values, whole)


def test_a_folder_that_no_sweep_made_is_left_alone(tmp_path, problem):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match="holds no unfinished sweep"):
        sweep(problem, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.fixture
def full_disk(monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)


def test_a_full_disk_ends_no_training(tmp_path, problem, full_disk):
    with pytest.warns(UserWarning, match="No space left"):
        run = pn.train(problem, "sign", steps=9, step_size=0.1, checkpoint=tmp_path)
    assert int(run.steps[-1]) == 9
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.filterwarnings("always")
def test_a_full_disk_leaves_the_verdict_and_no_part_of_a_report(
    tmp_path, problem, full_disk
):
    np.savez(tmp_path / "d.npz", X=problem.X, y=np.arange(problem.samples) % 2)
    words = ["diagnose", str(tmp_path / "d.npz"), "--optimizer", "sign"]
    words += ["--steps", "30", "--quiet", "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2
    assert "ratio" in told.stdout or "ℓ" in told.stdout
    said = " ".join(told.stderr.split())
    assert "can't be written: No space left on device. No report was left" in said
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
