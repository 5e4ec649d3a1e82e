"""`penchant match`, on logs and on saved runs."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import penchant as pn
from penchant import cli


def called(*words):
    return CliRunner().invoke(cli.app, ["match", *map(str, words)])


@pytest.fixture
def log(tmp_path):
    rng = np.random.default_rng(0)
    w, weights, gradients = rng.normal(size=4), [], []
    for _ in range(40):
        weights.append(w)
        gradients.append(rng.normal(size=4))
        w = w - 0.1 * (gradients[-1] + 0.25 * w)
    path = tmp_path / "steps.npz"
    np.savez(path, weights=[*weights, w], gradients=gradients, step_size=0.1)
    return path


def test_steps_that_were_logged(log):
    told = called(log, "--penalties", "ridge,l1", "--json")
    assert told.exit_code == 0, told.output
    says = json.loads(told.stdout)
    assert says["identifiable"]
    ridge, l1 = (p["coefficient"] for p in says["penalties"])
    assert ridge == pytest.approx(0.25)
    assert l1 == pytest.approx(0.0, abs=1e-12)
    shown = called(log).stdout
    assert "Ridge 0.25" in shown
    assert "Conventions" in shown


def test_an_endpoint_that_was_logged(tmp_path):
    w = np.array([1.0, -2.0, 3.0])
    np.savez(tmp_path / "end.npz", weights=w, gradient=-0.2 * w)
    told = called(tmp_path / "end.npz", "--penalties", "ridge", "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["penalties"][0]["coefficient"] == pytest.approx(0.2)
    both = called(tmp_path / "end.npz", "--penalties", "ridge,l1:9")
    assert both.exit_code == 5
    assert "NOT identifiable" in both.stdout


def test_a_run_that_penchant_saved(tmp_path):
    data = pn.datasets.gaussian(30, 3, seed=0)
    X, y = np.asarray(data.X), np.asarray(data.y)
    y = np.where(np.arange(30) % 3 > 0, y, -y)
    file = tmp_path / "data.npz"
    np.savez(file, X=X, y=y)
    problem = pn.LinearClassification(X, y)
    run = pn.train(problem, pn.optimizers.GradientDescent(), steps=30, step_size=0.1)
    run.to_xarray().to_zarr(
        tmp_path / "trajectory.zarr", mode="w", consolidated=False, zarr_format=3
    )
    told = called(tmp_path, "--data", file, "--json")
    found = json.loads(told.stdout)["penalties"][0]["coefficient"]
    ours = pn.estimators.match(problem, run.last, ["ridge"])
    assert found == pytest.approx(ours.coefficients[0])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"theta": np.ones(3)}, "must hold weights; it has theta (3,)"),
        ({"weights": np.ones((3, 2))}, "must hold gradients"),
        (
            {"weights": np.ones((3, 2)), "gradients": np.ones((2, 2))},
            "has no step_size",
        ),
        (
            {
                "weights": np.ones((3, 2)),
                "gradients": np.ones((3, 2)),
                "step_size": 1.0,
            },
            "one for each of 2",
        ),
    ],
)
def test_files_that_lack_something(tmp_path, arrays, words):
    np.savez(tmp_path / "x.npz", **arrays)
    told = called(tmp_path / "x.npz", "--json")
    assert told.exit_code == 2
    assert words in json.loads(told.stdout)["error"]


def test_other_bad_input(tmp_path, log):
    assert called(tmp_path).exit_code == 2
    assert called(log, "--penalties", "rigde").exit_code == 2
    told = called(log, "--penalties", "power", "--json")
    assert "needs a number" in told.stdout
    (tmp_path / "no.npz").write_bytes(b"nothing")
    assert called(tmp_path / "no.npz").exit_code == 2
