"""Arguments of wrong types, without the type checks that a session of pytest adds."""

import subprocess
import sys
from pathlib import Path

import pytest

LONG = 1_600


def failures(seed, count):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.calls", str(seed), str(count)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=True,
    )
    return done.stdout


def test_wrong_types():
    assert failures(0, 137) == ""


@pytest.mark.fuzz
def test_many_wrong_types(fresh_seed):
    assert failures(fresh_seed, LONG) == ""
