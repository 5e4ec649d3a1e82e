"""Random options of the command line end in a result or in a sentence."""

import traceback

import numpy as np
import pytest
from typer.testing import CliRunner

from penchant.cli import app

LONG = 400
NUMBERS = ("0", "1", "-1", "0.9", "1e-320", "1e300", "nan", "inf", "", "x", "9" * 30)
WORDS = {
    "--target": ("label", "y", "", "\x1b[31m"),
    "--features": ("X", "a"),
    "--classes": ("0,1", "1,0", "0", ",", "0,0", "a,b"),
    "--skip": ("x0", "x0,x1", "y", ","),
    "--rows": ("4", "all", *NUMBERS),
    "--missing": ("-", ","),
    "--one-hot": ("all", "x0"),
    "--decimal": (".", ",", ";"),
    "--scale": NUMBERS,
    "--loss": ("logistic", "exponential", "pairlog", "x", ""),
    "--optimizer": (
        *("gd", "steepest", "sign", "signum", "adam", "adamw", "rmsprop", "adagrad"),
        *("muon", "spectral", "shampoo", "lion", "x", "", "ADAM"),
    ),
    "--norm": (
        "l1",
        "l2",
        "linf",
        "lp:3",
        "lp:1e9",
        "lp:0",
        "schatten:1.5",
        "x",
        "lp:",
    ),
    "--b1": NUMBERS,
    "--b2": NUMBERS,
    "--eps": NUMBERS,
    "--weight-decay": NUMBERS,
    "--momentum": NUMBERS,
    "--polar": ("exact", "ns:5", "ns:0", "cubic:x", "", "ns:99999999999"),
    "--batch-size": ("1", "3", "8", "9", "0", "-1", "9" * 30, "x"),
    "--order": ("cyclic", "shuffled", "replacement", "x", ""),
    "--step-size": ("0.1", "0.1*t^-0.5", "auto", "1*t^-1e300", "*t^-", *NUMBERS),
    "--seed": ("0", "-1", "9" * 30, str(2**63 - 1)),
    "--steps": ("3", "1e1", "0", "-5", "nan", "inf", "2.5", "1e300"),
    "--norms": ("l2,linf", "l2", "x", ",", "l2,l2"),
}
FLAGS = ("--drop-missing", "--standardize", "--bias", "--eps-inside", "--json")
FLAGS += ("--bias-correction", "--nesterov")
OF_DIAGNOSE = ("--steps", "--norms")


def failure(folder, seed, share=0.25):
    """What went wrong with one command; None where all was well."""
    rng = np.random.default_rng([seed, 77])
    command = "diagnose" if rng.random() < share else "predict"
    words = [command, str(folder / "d.npz")]
    if command == "diagnose":
        words += ["--steps", "3", "--out", str(folder / "out"), "--quiet"]
    known = [w for w in WORDS if command == "diagnose" or w not in OF_DIAGNOSE]
    for name in rng.choice(known, size=rng.integers(0, 4), replace=False):
        values = WORDS[name]
        words += [str(name), values[rng.integers(len(values))]]
    words += [flag for flag in FLAGS if rng.random() < 0.06]
    told = CliRunner().invoke(app, words)
    if told.exit_code in (0, 2, 3) and "Traceback" not in told.output:
        return None
    trace = "".join(traceback.format_exception(told.exception)[-2:])
    return f"seed {seed}: {' '.join(map(repr, words))}: {told.exit_code} {trace}"


@pytest.fixture
def folder(tmp_path):
    X = np.random.default_rng(0).normal(size=(8, 12))
    np.savez(tmp_path / "d.npz", X=X, y=np.arange(8) % 2)
    return tmp_path


def test_random_options(folder):
    told = [failure(folder, seed, share=0.0) for seed in range(8)]
    assert not any(told), "\n".join(filter(None, told))


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
def test_many_random_options(folder, fresh_seed):
    told = [failure(folder, fresh_seed + i) for i in range(LONG)]
    bad = [text for text in told if text]
    assert not bad, f"{len(bad)} of {LONG}\n" + "\n".join(bad[:5])
