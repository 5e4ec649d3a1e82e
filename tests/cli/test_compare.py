import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import penchant as pn
from tests.cli.conftest import table

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/comparison.schema.json").read_text()
)


@pytest.mark.slow
def test_several_rules_on_one_page(run, here, blank_pages):
    name = table(here / "data.csv")
    told = run(
        "compare", name, "--optimizers", "gd,adam:eps=0,b2=.95,sign", "--steps", 300,
        "--out", "page", "--quiet", "--loss", "exponential",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    found = json.loads((here / "page/comparison.json").read_text("utf-8"))
    jsonschema.validate(found, SCHEMA)
    assert [rule["name"] for rule in found["rules"]] == [
        "gd",
        "adam:eps=0,b2=.95",
        "sign",
    ]
    assert "b2=0.95, eps=0," in found["rules"][1]["optimizer"]
    assert found["settings"]["loss"] == "Exponential()"
    assert found["headline"] in told.stdout.replace("\n", " ")
    page = (here / "page/comparison.html").read_text("utf-8")
    assert "adam:eps=0,b2=.95" in page
    assert page.count("report.html") == 3
    for folder in (here / "page/runs").iterdir():
        kept = {path.name for path in folder.iterdir()}
        assert kept == {"report.html", "result.json", "trajectory.zarr"}
    assert (here / "page/comparison.svg").read_text("utf-8").startswith("<svg")


@pytest.mark.slow
def test_seeds_give_intervals_where_there_is_chance(run, here, blank_pages):
    name = table(here / "data.csv")
    told = run(
        "compare", name, "--optimizers", "adam:batch=2,sign", "--seeds", 2,
        "--steps", 300, "--json",
    )  # fmt: skip
    found = json.loads(told.stdout)
    jsonschema.validate(found, SCHEMA)
    drawn, fixed = found["rules"]
    assert (drawn["seeds"], fixed["seeds"]) == ([0, 1], [0])
    share = drawn["shares"]["ℓ2"]
    assert share["low"] <= share["mean"] <= share["high"] <= 1.0
    assert fixed["shares"]["ℓ2"]["low"] is None


def test_data_without_a_margin_compare_alignments(run, here, blank_pages):
    name = table(here / "data.csv", n=60, d=4, noise=True)
    told = run("compare", name, "--optimizers", "gd,sign", "--steps", 300, "--quiet")
    assert told.exit_code == 3
    assert "by alignment" in told.stdout
    found = json.loads((here / "penchant-comparison/comparison.json").read_text())
    jsonschema.validate(found, SCHEMA)
    assert found["separable"] is False
    assert all(not rule["shares"] for rule in found["rules"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gd,adm", "no optimizer 'adm'; have: gd, sgd"),
        ("adam:beta=.9", "no setting 'beta' of adam; have: momentum"),
        ("adam:eps", "written name=value"),
        ("adam:eps=x", "eps of adam must be a number; got 'x'"),
        ("gd,gd", "gd comes twice"),
        ("gd:eps=0", "--eps is no option of gd"),
        ("adam:batch=99", "batch size must be at most the number of samples"),
        (",", "at least one rule"),
    ],
)
def test_what_can_not_be_read_is_said_before_the_first_run(run, here, text, said):
    name = table(here / "data.csv")
    told = run("compare", name, "--optimizers", text, "--quiet")
    assert told.exit_code == 2
    assert said in told.stderr.replace("\n", " ")


def test_frameworks_defaults_reach_the_run(run, here, blank_pages):
    name = table(here / "data.csv")
    told = run(
        "diagnose", name, "--optimizer", "adamw", "--like", "torch", "--steps", 20,
        "--betas", ".8,.9", "--json",
    )  # fmt: skip
    settings = json.loads(told.stdout)["settings"]
    assert settings["optimizer"].startswith("WeightDecay(rule=Adam(b1=0.8, b2=0.9")
    assert "bias_correction=True" in settings["optimizer"]
    assert settings["step_size"] == "Constant(scale=0.001)"
    assert any("adamw as in torch" in note for note in settings["notes"])


@pytest.mark.slow
def test_names_and_options_that_people_type(run, here, blank_pages):
    name = table(here / "data.csv", n=40, d=60)
    told = run(
        "diagnose", name, "--optimizer", "sgd", "--momentum", 0.9, "--nesterov",
        "--lr", 0.01, "--weight-decay", 0.1, "--steps", 20, "--json",
    )  # fmt: skip
    settings = json.loads(told.stdout)["settings"]
    assert settings["batching"] == "Shuffled(size=32)"
    assert "momentum=0.9, nesterov=True" in settings["optimizer"]
    assert "decay=0.1" in settings["optimizer"]
    assert settings["step_size"] == "Constant(scale=0.01)"
    told = run("predict", name, "--optimizer", "muon", "--momentum", 0.5, "--json")
    assert told.exit_code == 0
    told = run("predict", name, "--betas", ".9", "--json")
    assert "--betas must be two numbers" in json.loads(told.stdout)["error"]
    told = run("predict", name, "--betas", ".9,.99", "--b1", 0.5, "--json")
    assert "--betas and --b1 say the same" in json.loads(told.stdout)["error"]
    assert run("--version").stdout.strip() == f"penchant {pn.__version__}"


def test_the_shell_is_offered_verbs_and_names(here):
    def offered(line):
        told = subprocess.run(
            [str(Path(sys.executable).with_name("penchant"))],
            env={
                "_PENCHANT_COMPLETE": "complete_bash",
                "COMP_WORDS": line,
                "COMP_CWORD": str(len(line.split(" ")) - 1),
                "PYTHONPATH": str(Path(pn.__file__).parents[1]),
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return told.stdout.split()

    assert {"diagnose", "compare", "certify", "predict"} <= set(offered("penchant "))
    names = offered("penchant diagnose digits --optimizer ad")
    assert {"adam", "adamw", "adagrad"} <= set(names)


@pytest.fixture
def head(here):
    """Data with labels 0 and 1, and weights of the largest ℓ2 margin with a bias."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 30)), np.arange(20) % 2
    np.savez(here / "data.npz", X=X, y=y)
    problem = pn.problems.read(X, y, bias=True)
    return np.asarray(pn.max_margin(problem, "l2").weights)


def certified(run, file, *more):
    told = run("certify", "data.npz", file, "--json", *more)
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


@pytest.mark.slow
def test_weights_in_any_file_are_certified(run, here, head):
    w, b = head[:-1], head[-1:]
    np.savez(here / "rows.npz", weight=w[None, :], bias=b)
    np.savez(here / "columns.npz", kernel=w[:, None], b=b)
    two = {"fc.weight": np.stack([-w, w]), "fc.bias": np.stack([-b[0], b[0]])}
    np.savez(here / "pair.npz", **two)
    for file in ("rows.npz", "columns.npz", "pair.npz"):
        found = certified(run, file)
        assert found["winner"] == "ℓ2", file
        assert found["table"][1]["ratio"] == pytest.approx(1.0, abs=1e-6)
        assert found["table"][1]["alignment"] <= 1.0
    np.save(here / "plain.npy", w)
    assert certified(run, "plain.npy")["misclassified"] >= 0
    told = run("certify", "data.npz", "rows.npz")
    assert "the ℓ2 solution" in told.stdout.replace("\n", " ")


def test_torchs_files_are_read_by_weights_only(run, here, head):
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(30, 1).double()
    with torch.no_grad():
        layer.weight[:] = torch.tensor(head[None, :-1].copy())
        layer.bias[:] = torch.tensor(head[-1:].copy())
    model = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.ReLU(), layer)
    torch.save(model.state_dict(), here / "model.pt")
    found = certified(run, "model.pt", "--key", "2")
    assert found["winner"] == "ℓ2"
    torch.save(model, here / "whole.pt")
    told = run("certify", "data.npz", "whole.pt")
    assert told.exit_code == 2
    assert "never loaded" in told.stderr.replace("\n", " ")
    told = run("certify", "data.npz", "model.pt")
    assert "it has 2 that may be" in told.stderr.replace("\n", " ")


def test_safetensors_are_read(run, here, head):
    safetensors = pytest.importorskip("safetensors.numpy")
    layer = {"fc.weight": head[None, :-1].copy(), "fc.bias": head[-1:].copy()}
    safetensors.save_file(layer, here / "model.safetensors")
    found = certified(run, "model.safetensors")
    assert found["winner"] == "ℓ2"
    (here / "broken.safetensors").write_bytes(b"no tensors")
    told = run("certify", "data.npz", "broken.safetensors")
    assert told.exit_code == 2
    assert "can't be read as weights" in told.stderr.replace("\n", " ")


def test_weights_that_do_not_fit_are_said(run, here, head):
    np.save(here / "short.npy", np.ones(7))
    for file, said in (
        ("short.npy", "must have shape (30,), (1, 30), (2, 30)"),
        ("none.npy", "is no file"),
        ("head.onnx", "weights are read from .npy, .npz"),
    ):
        told = run("certify", "data.npz", file)
        assert told.exit_code == 2
        assert said in told.stderr.replace("\n", " ")
