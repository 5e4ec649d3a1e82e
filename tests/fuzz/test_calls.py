"""Arguments of wrong types, without the type checks that a session of pytest adds."""

import pytest

from tests.fuzz.calls import watched

LONG = 1_600


def test_wrong_types():
    assert watched(0, 137) == []


@pytest.mark.fuzz
def test_many_wrong_types(fresh_seed):
    assert watched(fresh_seed, LONG) == []
