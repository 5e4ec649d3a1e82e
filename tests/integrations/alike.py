"""Whether two probes recorded the same."""

import math

import pytest


@pytest.fixture
def plan(monkeypatch):
    """Curvature after 10 and 24 steps, looks every 20, however long anything takes."""
    from penchant.integrations import _plan, _session
    from penchant.integrations.torch import _steps

    fixed = lambda *_: _plan.Plan((10, 24), (10, 24), 64, "fixed for a test", True)
    monkeypatch.setattr(_steps, "make_plan", lambda *_: (fixed(), 1))
    monkeypatch.setattr(_steps, "affords", lambda *_: True)
    monkeypatch.setattr(_steps.Steps, "_affords", lambda *_: True)
    monkeypatch.setattr(_session, "look_every", lambda *_: _plan.STATE_EVERY)
    monkeypatch.setattr(_session, "short_of", lambda *_: 0)


def lines(recording):
    """Records without the clock's."""
    return [{k: v for k, v in r.items() if k != "time"} for r in recording.records]


def assert_same(a, b, tolerance=1e-6, place=""):
    """Structures of numbers that agree, relatively."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], tolerance, f"{place}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, tolerance, f"{place}[{i}]")
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b), place
    elif isinstance(a, float):
        close = math.isclose(a, b, rel_tol=tolerance, abs_tol=1e-12)
        assert close, f"{place}: {a} and {b}"
    else:
        assert a == b, place
