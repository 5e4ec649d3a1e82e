import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pytest
import typer

import penchant as pn
from tests.cli.conftest import app, table


@pytest.mark.slow
def test_digits_write_a_report(run, here):
    told = run(
        "diagnose", "digits", "--classes", "3,8", "--optimizer", "gd",
        "--steps", "2e2", "--norms", "l2", "--out", "report", "--quiet",
    )  # fmt: skip
    assert told.exit_code == 0
    written = {p.name for p in (here / "report").iterdir()}
    assert written == {"report.html", "result.json", "trajectory.zarr"}
    result = json.loads((here / "report" / "result.json").read_text("utf-8"))
    assert [row["norm"] for row in result["table"]] == ["ℓ2"]
    assert result["settings"]["labels"] == "3, 8"
    assert result["settings"]["steps"] == 200
    assert result["headline"] in told.stdout.replace("\n", " ")
    assert "report/report.html" in told.stdout


def test_json_is_the_result_and_nothing_else(run, here, blank_pages):
    name = table(here / "data.csv")
    told = run("diagnose", name, "--optimizer", "sign", "--steps", 500, "--json")
    assert told.exit_code == 0
    folder = here / "penchant-report"
    assert json.loads(told.stdout) == json.loads(
        (folder / "result.json").read_text("utf-8")
    )
    assert told.stderr == ""


def test_options_reach_the_run(run, here, blank_pages):
    name = table(here / "data.csv", d=11)
    told = run(
        "diagnose", name, "--optimizer", "adam", "--b1", 0.5, "--b2", 0.75, "--eps", 0,
        "--bias-correction", "--batch-size", 4, "--order", "cyclic", "--seed", 3,
        "--step-size", "0.1*t^-0.8", "--steps", 64, "--loss", "exponential", "--bias",
        "--standardize", "--norms", "linf,lp:3", "--json",
    )  # fmt: skip
    assert told.exit_code == 0
    settings = json.loads(told.stdout)["settings"]
    assert settings["optimizer"] == (
        "Adam(b1=0.5, b2=0.75, eps=0, eps_inside=False, bias_correction=True)"
    )
    assert settings["batching"] == "Cyclic(size=4)"
    assert settings["step_size"] == "Power(scale=0.1, exponent=0.8, offset=2)"
    assert settings["loss"] == "Exponential()"
    assert (settings["bias"], settings["features"]) == (True, 12)
    assert any("Standardised" in note for note in settings["notes"])


def test_separability_that_is_not_decided_exits_with_5(run, here, monkeypatch):
    name = table(here / "data.csv", n=60, d=4, noise=True)
    monkeypatch.setattr("penchant.margins._solvers.separate.ENTRIES", 0)
    told = run("predict", name, "--optimizer", "sign", "--json")
    assert told.exit_code == 5
    assert "not decided" in json.loads(told.stdout)["error"]


def test_data_without_a_margin_exit_with_3_and_a_report(run, here, blank_pages):
    name = table(here / "data.csv", n=60, d=4, noise=True)
    told = run("diagnose", name, "--optimizer", "gd", "--steps", 200, "--quiet")
    assert told.exit_code == 3
    assert "not linearly separable" in told.stdout
    assert (here / "penchant-report" / "report.html").exists()
    told = run("predict", name, "--optimizer", "gd")
    assert told.exit_code == 3
    assert "not linearly separable" in told.stderr


def test_check_fails_unless_theory_is_confirmed(run, here, blank_pages):
    name = table(here / "data.csv")
    arguments = (
        "diagnose",
        name,
        "--optimizer",
        "sign",
        "--quiet",
        "--json",
        "--check",
    )
    assert run(*arguments, "--steps", 3_000).exit_code == 0
    told = run(*arguments, "--steps", 2)  # too early to say
    assert told.exit_code == 4
    assert json.loads(told.stdout)["agrees"] is None
    assert run(*arguments[:-1], "--steps", 2).exit_code == 0


def test_predict_says_what_theory_knows(run, here):
    name = table(here / "data.csv")
    told = run("predict", name, "--optimizer", "sign", "--step-size", "0.1*t^-0.5")
    assert told.exit_code == 0
    assert "Prediction(ℓ∞ max margin" in told.stdout
    assert told.stdout.count("holds:") == 5
    told = run("predict", name, "--optimizer", "adam", "--json")
    result = json.loads(told.stdout)
    assert result["norm"] == "ℓ2"
    assert result["regimes"][0]["name"] == "below ε"
    problem = pn.datasets.load(here / name).problem()
    assert result == pn.predict(problem, pn.optimizers.Adam()).to_dict()


def test_studies_are_listed_and_run_by_name(run):
    names = [study["name"] for study in json.loads(run("studies", "--json").stdout)]
    listing = run("studies").stdout
    assert all(name in listing for name in names)
    told = run("reproduce", "smith2031nothing")
    assert told.exit_code == 2
    assert "no study 'smith2031nothing'" in told.stderr
    assert all(name in told.stderr for name in names)


def test_data_are_for_studies_that_take_any(run, tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, X=np.eye(6), y=np.arange(6) % 2)
    given = ("--data", str(file), "--out", str(tmp_path / "out"))
    told = run("reproduce", "per-sample-adam", *given)
    assert told.exit_code == 2
    assert "per-sample-adam takes no data" in told.stderr
    told = run("reproduce", "spectral-descent", "--figure", "closed-forms", *given)
    assert told.exit_code == 2
    assert "have: network" in " ".join(told.stderr.split())
    told = run("reproduce", "spectral-descent", "--data", "nowhere.npz")
    assert told.exit_code == 2
    assert "nowhere.npz" in told.stderr


def commands():
    return typer.main.get_command(app).commands


@pytest.mark.parametrize("name", commands())
def test_help_has_every_option_and_exit_code(run, name):
    text = run(name, "--help").stdout
    for parameter in commands()[name].params:
        for option in parameter.opts:
            assert option in (text if option.startswith("-") else text.lower())
    if name == "diagnose":
        for code in ("0 done", "2 bad", "3 the data", "4 with --check", "130 inter"):
            assert code in text.replace("\n", " ")


def test_help_lists_the_commands_and_every_optimizer(run):
    text = run("--help").stdout
    verbs = (
        "diagnose compare certify identify match predict sweep explore audit probe "
        "studies reproduce"
    )
    assert set(commands()) == set(verbs.split())
    for name in commands():
        assert name in text
    shown = " ".join(run("diagnose", "--help").stdout.split())
    for name in pn.optimizers.OPTIMIZERS:
        assert name in shown


@pytest.mark.parametrize("name", pn.optimizers.OPTIMIZERS)
def test_every_optimizer_by_its_name(name):
    given = {"norm": "l1"} if name == "steepest" else {}
    rule = pn.optimizers.read(name.upper(), **given)
    assert isinstance(rule, pn.optimizers.AbstractOptimizer)


def test_the_entry_point_is_a_program_of_its_own():
    (entry,) = importlib.metadata.entry_points(name="penchant")
    assert entry.value == "penchant.cli:main"
    told = subprocess.run(
        [sys.executable, "-m", "penchant.cli", "predict", "nowhere.csv"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("error: nowhere.csv is no file")
