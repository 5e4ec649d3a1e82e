"""`--holdout` and `--image` on the command line."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import penchant as pn
from tests.cli.conftest import table

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/result.schema.json").read_text()
)


@pytest.mark.slow
def test_training_is_standardised_without_what_is_held_out(run, here, blank_pages):
    name = table(here / "data.csv", n=20, d=30)
    told = run(
        "diagnose", name, "--optimizer", "sign", "--steps", 50, "--quiet",
        "--holdout", ".25", "--standardize", "--seed", 3, "--norms", "l2",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    found = json.loads((here / "penchant-report/result.json").read_text("utf-8"))
    jsonschema.validate(found, SCHEMA)
    held = found["evidence"]["held_out"]
    data = pn.datasets.load(here / "data.csv")
    parts = pn.datasets.split(data.labels, 0.25, 3)
    assert held["rows"] == parts.held.tolist()
    assert found["settings"]["samples"] == held["trained"] == len(parts.train)
    assert held["headline"] in told.stdout.replace("\n", " ")
    # the same from its parts
    Z = data.standardized(parts.train).problem().take(parts.train)
    assert np.allclose(np.asarray(Z.X).std(axis=0), 1.0)
    alone = pn.max_margin(Z, "l2")
    assert np.isclose(found["table"][0]["best"], float(alone.margin), rtol=1e-6)


def test_what_does_not_fit_is_bad_input(run, here):
    name = table(here / "data.csv")
    for option, value, why in (
        ("--holdout", "20", "holdout must be"),
        ("--image", "5x5", "as many pixels as there are features, 12"),
        ("--image", "wide", "28x28 or 32x32x3"),
    ):
        told = run("diagnose", name, option, value, "--quiet")
        assert told.exit_code == 2
        assert why in told.output.replace("\n", " ")
