import numpy as np
import pytest

from penchant import studies
from penchant.studies import Preset
from penchant.studies.robustness import _main, _others, _setup

STUDY = studies.find("robustness")


def test_the_study_has_its_tables():
    assert {"main", "sweeps", "variants", "kkt", "remedies"} <= {*STUDY.figures}
    assert {"published", "sphere", "reconstruction"} <= {*STUDY.figures}


def test_flips_of_aligned_groups_are_the_derived_radius():
    """Two units, one a class, of equal margins: √(d/k) on the means, exactly."""
    import penchant as pn

    data = pn.datasets.clusters(40, 8, 60, sigma=0.0)
    network = pn.networks.TwoLayer(40, 2, first_bias=True)
    plus = data.means[data.labels > 0].sum(0)
    minus = data.means[data.labels < 0].sum(0)
    first = {"W": np.stack([plus, minus]), "b": np.zeros(2)}
    flips = _setup.flips(network, [first, {"W": np.array([[1.0, -1.0]])}], data, data)
    np.testing.assert_allclose(flips, 1.0, atol=1e-9)


@pytest.mark.slow
def test_a_small_sweep_and_the_area_under_a_curve():
    sizes = _main.Sweeps((60, 120, 240), (2, 4, 6), 48, 12, 500)
    lines = _main.sweeps(sizes, seed=3).lines
    assert abs(lines[0].measured - 0.5) < 0.12
    assert abs(lines[2].measured + 0.5) < 0.12
    assert _main._auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875


def test_directions_are_counted_once():
    W = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1e-9, 1e-9]])
    w = [{"W": W, "b": np.zeros(4)}, {"W": np.ones((1, 4))}]
    assert _others._directions(w) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("figure", STUDY.figures)
def test_quick_numbers_come_out(figure, seed):
    result = STUDY.run(seed=seed, preset=Preset.QUICK, figure=figure)
    assert [line for line in result.lines if not line.passed] == []
