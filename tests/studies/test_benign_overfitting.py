import numpy as np
import pytest

import penchant as pn
from penchant import studies
from penchant.studies import Preset
from penchant.studies.benign_overfitting import _rates, _setup, _spectra, _support

STUDY = studies.find("benign-overfitting")


def test_the_study_has_the_figures_of_the_paper_and_beyond():
    assert {"rates", "spectra", "plane"} <= {*STUDY.figures}
    assert {"rare-weak", "flips", "descent", "support", "bias"} <= {*STUDY.figures}


def test_flipped_rows_have_the_law_of_flipped_rows():
    mixture = _setup.isotropic(3, 5.0)
    clean = np.vstack([_setup.signed(mixture, 100, s) for s in range(20)])
    turned = np.vstack([_setup.signed(mixture, 100, s, flips=100) for s in range(20)])
    error = 1.0 / np.sqrt(len(clean))
    assert np.all(np.abs(clean.mean(0) - mixture.mean) < 4 * error)
    assert np.all(np.abs(turned.mean(0) + mixture.mean) < 4 * error)
    assert np.abs(np.cov(turned.T) - np.eye(3)).max() < 6 * error


def test_lines_know_their_statistical_error():
    values = np.random.default_rng(0).normal(2.0, 1.0, 100)
    line = _setup.held("x", values, expected=2.0, share=0.0)
    assert line.passed
    assert line.high - line.low == pytest.approx(8 * values.std(ddof=1) / 10)
    # a prediction that is off by more than its error falls short
    assert not _setup.held("x", values, expected=2.6, share=0.0).passed


def test_lengths_give_the_leading_order_that_was_asked_for():
    spectrum = np.arange(1.0, 301.0) ** -0.7
    square = float(spectrum @ spectrum)
    length2 = _spectra.length_of(spectrum[4], square, 40) ** 2
    leading = 40 * length2**2 / (40 * length2 * spectrum[4] + square)
    assert leading == pytest.approx(4.0)


@pytest.mark.parametrize("seed", [0, 3])
def test_tiny_figures_pass(seed):
    figures = (
        _rates.tight(_rates.Draws(2), seed),
        _spectra.noise(_spectra.Sizes((0.9,), 1500, 12), seed),
        _support.bias(_support.Sizes(0, 4, 0), seed),
        _support.descent(_support.Sizes(0, 6, 4000), seed),
    )
    for figure in figures:
        assert figure.lines
        assert all(line.passed for line in figure.lines), figure.lines


def test_rules_that_are_wrong_would_be_seen():
    # the leading order in place of the finite ratio, in the strong regime
    line = _setup.held(
        "ρ",
        _setup.rhos(_setup.isotropic(200, 4.0), 60, 20, 0),
        expected=(60 * 4.0**4 / (60 * 16.0 + 200)) ** 0.5,
        share=0.005,
    )
    assert not line.passed
    told = pn.theory.mixture_risk(_setup.isotropic(200, 4.0), 60)
    assert abs(told.rho - line.measured) < abs(line.expected - line.measured)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_quick_preset_passes(seed):
    for name, experiment in STUDY.figures.items():
        figure = experiment(Preset.QUICK, seed)
        assert all(line.passed for line in figure.lines), (name, figure.lines)
