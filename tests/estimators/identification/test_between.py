"""Maps that are no power are placed between norms, by intervals that hold the truth."""

import numpy as np
import pytest

from penchant.estimators.identification import _shape
from penchant.estimators.identification._identify import as_box

SHAPE = (12, 6)
SEEDS = 40


def newton_schulz(s):
    """Five steps, as in Muon."""
    for _ in range(5):
        s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
    return s


def express(s):
    """Three steps of Polar Express."""
    steps = ((8.2872, -23.5959, 17.3004), (4.1071, -2.9478, 0.5448))
    for a, b, c in (*steps, (3.9487, -2.9089, 0.5518)):
        s = a * s + b * s**3 + c * s**5
    return s


def soft(s):
    return s / (s + 0.1 * s[0])


@pytest.fixture(params=[newton_schulz, express, soft], ids=lambda f: f.__name__)
def box(request):
    def update(g, state, w):
        U, s, Vt = np.linalg.svd(g / np.linalg.norm(g), full_matrices=False)
        return -(U * request.param(s)) @ Vt, state

    return as_box(update, SHAPE)


def test_intervals_hold_the_exponent_of_all_spectra(box, monkeypatch):
    found = [_shape.of_singular_values(box, 1.0, 7 * seed) for seed in range(SEEDS)]
    monkeypatch.setattr(_shape, "TRIES", 800)
    truth = _shape.of_singular_values(box, 1.0, 10**6).alpha
    held = sum(x.interval[0] <= truth <= x.interval[1] for x in found)
    assert held >= 33  # of 40 at 95 %: fewer than one time in a thousand
    apart = np.std([x.alpha for x in found])
    half = np.mean([0.5 * (x.interval[1] - x.interval[0]) for x in found])
    assert 1.2 < half / apart < 4.0
    assert not found[0].exact
