"""Every rule of ours, given as a black box, is what it says it is."""

import pytest

import penchant as pn
from penchant.optimizers import FIELDS
from tests.estimators.identification import cases

FAST = (3, 7, 11)
"""A sign, Adam with its ε, and decay."""


def marked():
    slow = lambda i: [] if i in FAST else [pytest.mark.slow]
    return [
        pytest.param(rule, marks=slow(i), id=repr(rule)[:70])
        for i, rule in enumerate(cases.OURS)
    ]


@pytest.mark.sampled
@pytest.mark.parametrize("rule", marked())
def test_ours(rule):
    found = pn.identify(rule)
    assert cases.differences(found, rule.character()) == []
    assert all(found.evidence[field] == "measured" for field in FIELDS)
    assert found.step_size is None or found.step_size == pytest.approx(1.0, abs=0.2)
