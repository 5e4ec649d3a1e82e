"""`penchant sweep`: a file of settings, the runs' margins, and what is refused."""

import json

import numpy as np
import pytest
import xarray
from typer.testing import CliRunner

import penchant as pn
from penchant import cli
from tests.cases import binary

FILE = """
data = "{data}"
optimizer = "adam"
b1 = 0.5
loss = "exponential"
steps = 60
record = 4
step-size = "0.1*t^-0.5"

[grid]
b2 = [0.9, 0.99]
eps = {{log = [1e-8, 1e-2, 3]}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with data and a file of settings, in which the command runs."""
    problem = binary(0)
    table = np.column_stack([np.asarray(problem.X), np.asarray(problem.y)])
    head = ",".join([f"x{i}" for i in range(table.shape[1] - 1)] + ["label"])
    np.savetxt(tmp_path / "data.csv", table, delimiter=",", header=head, comments="")
    (tmp_path / "runs.toml").write_text(FILE.format(data="data.csv"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli.app, ["sweep", *words])


def test_a_grid_of_runs_each_with_its_margins(folder):
    done = run("runs.toml", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["store"] == "runs.zarr"
    assert len(said["runs"]) == 6
    with xarray.open_zarr(folder / "runs.zarr", consolidated=False) as stored:
        assert dict(stored.log_loss.sizes) == {"b2": 2, "eps": 3, "step": 4}
        end = stored.isel(step=-1).sel(b2=0.99, eps=1e-8, method="nearest")
        w, log_loss = end.weights.to_numpy(), float(end.log_loss)
    row = next(r for r in said["runs"] if r["b2"] == 0.99 and r["eps"] < 1e-7)
    assert row["log loss"] == log_loss
    problem = binary(0)
    rule = pn.optimizers.Adam(0.5, 0.99, 1e-8)
    alone = pn.train(
        problem, rule, steps=60, record=4, step_size=pn.schedules.power(0.1, 0.5)
    )
    assert np.allclose(w, alone.last, rtol=1e-6)  # labels came from a table of text
    for norm in (pn.norms.L2(), pn.norms.Linf()):
        reached = np.min(np.asarray(problem.margins(alone.last))) / norm(alone.last)
        share = float(reached / pn.max_margin(problem, norm).margin)
        told = row[f"{norm.label} share"]
        assert told is None if share <= 0 else told == pytest.approx(share, rel=1e-5)
    again = run("runs.toml")
    assert again.exit_code == 0
    assert "All records: runs.zarr" in again.output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("b1 =", "beta =", "'beta' is no setting of a sweep; have: b1, b2,"),
        ("[grid]", "[grid", "runs.toml is not TOML"),
        ("[grid]", "[gird]", "'gird' is no setting"),
        ("b2 = [0.9, 0.99]", "b2 = 0.9", "grid: b2 must be a list, {log ="),
        ("[1e-8, 1e-2, 3]", "[0, 1e-2, 3]", "grid: eps = {'log': [0, 0.01, 3]} is"),
        ("b2 = [0.9, 0.99]", "b3 = [0.9]", "grid can't vary 'b3'; have: b1, b2"),
        ("steps = 60", "steps = 'many'", "steps must be a number; got 'many'"),
        ("step-size = ", "# ", "give step-size, as a setting or in"),
    ],
)
def test_what_the_file_gets_wrong_is_named(old, new, words, folder):
    text = (folder / "runs.toml").read_text()
    assert old in text
    (folder / "runs.toml").write_text(text.replace(old, new))
    done = run("runs.toml", "--json")
    assert done.exit_code == 2, done.output
    assert words in json.loads(done.stdout)["error"]
    assert not (folder / "runs.zarr").exists()


def test_no_file_no_traceback(folder):
    done = run("none.toml", "--json")
    assert done.exit_code == 2
    assert "none.toml can't be read: No such file" in json.loads(done.stdout)["error"]
