"""Seeds of the random tests: printed, so that what failed can be run again.

`make fuzz` draws 10 000 inputs from a new seed; PENCHANT_FUZZ_SEED gives it an old one.
The ordinary suite draws a few hundred, always the same.
"""

import os
import secrets

import pytest


def pytest_configure(config):
    given = os.environ.get("PENCHANT_FUZZ_SEED")
    config.fuzz_seed = secrets.randbits(32) if given is None else int(given)


def pytest_report_header(config):
    return f"fuzz: PENCHANT_FUZZ_SEED={config.fuzz_seed}"


@pytest.fixture
def fresh_seed(pytestconfig):
    """Of the long run; the report's header shows it."""
    return pytestconfig.fuzz_seed
