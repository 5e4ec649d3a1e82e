import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray

import penchant as pn
from tests.cli.conftest import table

PATHS = Path(pn.__file__).parents[1], Path(__file__).parents[2]

# one step a call and a save after each: slow enough to be stopped at any speed
DRIVER = """
import signal
import penchant.training._train as training
from penchant.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
training.CHUNK_SECONDS = training.SAVE_SECONDS = 0.0
main()
"""
COMMAND = ["diagnose", "data.csv", "--optimizer", "adam", "--steps", "20000",
           "--norms", "linf"]  # fmt: skip


def final_weights(folder):
    with xarray.open_zarr(folder / "trajectory.zarr", consolidated=False) as run:
        assert int(run["step"][-1]) == 20_000
        return np.asarray(run["weights"][-1])


def test_a_run_that_was_stopped_goes_on(run, here, blank_pages):
    table(here / "data.csv")
    report = here / "report"
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *COMMAND, "--out", "report"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not list(report.glob("unfinished-*/checkpoint.npz")):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130, complaints
    assert "Traceback" not in complaints
    assert "The run was interrupted at step" in said

    # what was reached is reported, and what is needed to go on is left
    result = json.loads((report / "result.json").read_text("utf-8"))
    assert result["run"]["outcome"] == "interrupted"
    assert 1 <= result["run"]["steps"] < 20_000
    assert result["warnings"][0]["kind"] == "interrupted"
    assert (report / "report.html").exists()
    (left,) = report.glob("unfinished-*")

    # the same command again finishes, with the weights of a run never stopped
    assert run(*COMMAND, "--out", "report", "--quiet").exit_code == 0
    assert not left.exists()
    assert run(*COMMAND, "--out", "whole", "--quiet").exit_code == 0
    assert np.array_equal(final_weights(report), final_weights(here / "whole"))
    result = json.loads((report / "result.json").read_text("utf-8"))
    assert result["run"]["outcome"] == "complete"


def test_another_command_does_not_go_on_with_it(run, here, monkeypatch, blank_pages):
    from penchant.training._train import RecordingRunner

    table(here / "data.csv")
    plain, made = RecordingRunner.__call__, []

    def interrupted(self, state, until):
        made.append(1)
        if len(made) == 6:
            raise KeyboardInterrupt
        return plain(self, state, until)

    monkeypatch.setattr(RecordingRunner, "__call__", interrupted)
    command = [*COMMAND[:-4], "--steps", "2000", "--norms", "linf", "--quiet"]
    assert run(*command, "--out", "report").exit_code == 130
    assert len(list((here / "report").glob("unfinished-*"))) == 1
    other = [*command, "--b1", "0.5", "--out", "report"]
    assert run(*other).exit_code == 0
    # its own run is done; the first one's is still there to go on with
    assert len(list((here / "report").glob("unfinished-*"))) == 1


def test_an_interrupt_before_training_is_no_traceback(run, here, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("penchant.diagnosis.linear._catalogue.find_max_margin", stop)
    told = run("diagnose", table(here / "data.csv"), "--quiet")
    assert told.exit_code == 130
    assert "interrupted" in told.stderr


AT_EACH = {
    "what theory foretells": ("what theory foretells", {"ℓ2"}),
    "largest ℓ1": ("the ℓ1 margin", {"ℓ2"}),
    "margins of the run, ℓ2": ("the ℓ2 margin", {"ℓ1"}),
    "margins of the run, ℓ∞": ("the ℓ∞ margin", {"ℓ1", "ℓ2"}),
}


def stopped(here, stage, *more, noise=False):
    table(here / "data.csv", n=40 if noise else 8, noise=noise)
    command = ["diagnose", "data.csv", "--optimizer", "sign", "--steps", "200"]
    return subprocess.run(
        [sys.executable, "-m", "tests.cli.interrupted", *command, *more],
        cwd=here,
        env=os.environ
        | {"STAGE": stage, "PYTHONPATH": os.pathsep.join(map(str, PATHS))},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", AT_EACH)
def test_ctrl_c_after_the_run_reports_what_is_there(here, run, stage):
    missing, rows = AT_EACH[stage]
    told = stopped(here, stage, "--out", "report")
    assert told.returncode == 130, told.stderr
    assert "Traceback" not in told.stderr
    result = json.loads((here / "report" / "result.json").read_text("utf-8"))
    assert result["run"]["steps"] == 200
    assert result["run"]["outcome"] == "complete"
    caution = result["warnings"][0]
    assert caution["kind"] == "interrupted"
    assert missing in caution["detail"]
    assert {row["norm"] for row in result["table"]} >= rows
    assert (here / "report" / "report.html").exists()
    # the run is kept, and the same command finishes without running it again
    assert list((here / "report").glob("unfinished-*"))
    again = run("diagnose", "data.csv", "--optimizer", "sign", "--steps", "200",
                "--out", "report", "--quiet")  # fmt: skip
    assert again.exit_code == 0
    result = json.loads((here / "report" / "result.json").read_text("utf-8"))
    assert len(result["table"]) == 3
    assert not list((here / "report").glob("unfinished-*"))


@pytest.mark.slow
def test_ctrl_c_while_the_minimiser_is_looked_for(here):
    told = stopped(here, "minimiser", "--out", "report", noise=True)
    assert told.returncode == 130, told.stderr
    result = json.loads((here / "report" / "result.json").read_text("utf-8"))
    assert result["separable"] is False
    assert "minimiser" in result["warnings"][0]["detail"]


@pytest.mark.slow
def test_ctrl_c_while_the_report_is_written_waits_for_it(here):
    told = stopped(here, "writing", "--out", "report")
    assert told.returncode == 0, told.stderr
    assert (here / "report" / "report.html").exists()
    assert json.loads((here / "report" / "result.json").read_text("utf-8"))["table"]
