"""What is foretold of max margin, against draws of NumPy and SciPy alone."""

import numpy as np
import pytest
from scipy import special
from scipy.optimize import nnls

import penchant as pn
from penchant.datasets import Mixture, noises
from penchant.theory import mixture_risk
from penchant.theory.risk import (
    LogisticSteps,
    NormalisedSteps,
    conditions,
    dual_path,
    exponents,
    mixture_risks,
    ridge_path,
    risk_diagram,
    tail_risk,
)


def iso(d, length, **options):
    return Mixture(np.append(length, np.zeros(d - 1)), 1.0, **options)


TWO = np.append(np.full(5, 20.0), np.ones(1500))
"""A two-level spectrum."""


def on(spectrum, axis, length, **options):
    mean = np.zeros(len(spectrum))
    mean[axis] = length
    return Mixture(mean, spectrum, **options)


def simulated(mixture, n, seeds, ridge=0.0):
    """ρ of max margin and of least squares, and the positive shares, draw by draw."""
    rows = []
    for seed in range(seeds):
        X, y = mixture.sample(n, seed=seed)
        Z = X * y[:, None]
        K = Z @ Z.T + ridge * np.eye(n)
        L = np.linalg.cholesky(K)
        svm = nnls(L.T, np.linalg.solve(L, np.ones(n)))[0]
        plain = np.linalg.solve(K, np.ones(n))
        rho = [
            w @ mixture.mean / np.sqrt(w**2 @ mixture.variances)
            for w in (svm @ Z, plain @ Z)
        ]
        rows.append((*rho, (svm > 0).mean(), (plain > 0).all()))
    values = np.array(rows, dtype=float)
    return values.mean(0), values.std(0, ddof=1) / np.sqrt(seeds)


# --- the note's numbers


@pytest.mark.parametrize(
    ("length", "known"),
    [(1.5, 0.0249), (3.0, 0.3857), (6.0, 5.465), (12.0, 59.98), (24.0, 425.4)],
)
def test_isotropic_finite_ratio(length, known):
    assert mixture_risk(iso(10_000, length), 50).rho ** 2 == pytest.approx(
        known, rel=2e-3
    )


def test_risks_far_below_the_least_double():
    told = mixture_risk(iso(10_000, 32.0), 50)
    assert told.log_risk / np.log(10) == pytest.approx(-187, abs=2)


@pytest.mark.parametrize(
    ("axis", "known"), [(0, 2.806), (-1, 23.80)], ids=["top", "bulk"]
)
def test_two_levels_are_the_notes(axis, known):
    spectrum = np.append(np.full(5, 20.0), np.ones(5000))
    told = mixture_risk(on(spectrum, axis, 8.0), 60)
    reference = two_level_equivalent(spectrum, axis, 64.0, 60)
    assert told.interpolating**2 == pytest.approx(reference, rel=1e-9)
    assert told.interpolating**2 == pytest.approx(known, rel=1e-3)


def two_level_equivalent(lam, axis, length2, n):
    """Formula 5 of the note, by bisection."""
    low, high = 1e-9, lam.sum() / n
    for _ in range(200):
        k = 0.5 * (low + high)
        low, high = (k, high) if (lam / (lam + k)).sum() > n else (low, k)
    M = k * length2 / (lam[axis] + k)
    d2 = (lam**2 / (lam + k) ** 2).sum()
    B = k**2 * length2 * lam[axis] / (lam[axis] + k) ** 2 / (1 - d2 / n)
    return M**2 / (B + k**2 * d2 / (n - d2))


@pytest.mark.parametrize(
    ("length", "known"), [(4.0, 1.335), (10.0, 23.53), (40.0, 142.6)]
)
def test_a_fixed_number_of_flips(length, known):
    # formula 7 has ten flips of 100; leading order in n/d = .01
    from penchant.theory.risk._equivalent import Axes, least_squares

    axes = Axes(np.ones((1, 1)), np.full((1, 1), 1e4), np.full((1, 1), length**2))
    found = least_squares(axes, np.array([100.0]), np.array([0.8]))
    assert found.rho[0] ** 2 == pytest.approx(known, rel=0.015)


def test_flips_saturate():
    # e²d/(4η(1 - η)n), whatever the signal
    from penchant.theory.risk._equivalent import Axes, least_squares

    axes = Axes(np.ones((1, 1)), np.full((1, 1), 1e6), np.full((1, 1), 1e10))
    found = least_squares(axes, np.array([100.0]), np.array([0.8]))
    assert found.rho[0] ** 2 == pytest.approx(0.64e6 / (0.36 * 100), rel=1e-3)


# --- against draws: three standard errors and what is of order 1/n


@pytest.mark.parametrize(
    ("mixture", "n", "seeds", "share"),
    [
        (iso(2000, 4.0), 40, 60, 0.001),
        (iso(300, 4.0), 50, 60, 0.005),
        (iso(120, 5.0), 90, 60, 0.01),
        (on(TWO, 0, 15.0), 60, 20, 0.005),
        (on(TWO, -1, 15.0), 60, 20, 0.005),
        (on(np.arange(1, 1001.0) ** -0.9, 0, 3.0), 40, 30, 0.03),
        (iso(600, 6.0, flip=0.1), 60, 60, 0.02),
    ],
    ids=["all", "some", "few", "two top", "two bulk", "power", "flips"],
)
def test_max_margin_and_least_squares_are_foretold(mixture, n, seeds, share):
    told = mixture_risk(mixture, n)
    mean, error = simulated(mixture, n, seeds)
    for i, x in enumerate((told.rho, told.interpolating)):
        assert abs(x - mean[i]) < 3.5 * error[i] + share * mean[i]
    assert abs(told.support - mean[2]) < 3.5 * error[2] + 0.02


def test_max_margin_beyond_interpolation():
    # more rows than features, and still separable: no least squares to compare with
    mixture, n = iso(100, 2.0), 130
    told = mixture_risk(mixture, n)
    assert np.isnan(told.interpolating)
    assert told.all_support == 0.0
    rho, share = [], []
    for seed in range(40):
        data = mixture.sample(n, seed=seed).problem()
        try:
            found = pn.max_margin(data, pn.norms.L2())
        except pn.NotSeparableError:
            continue
        rho.append(mixture.rho(found.weights))
        share.append(float(found.support.mean()))
    assert len(rho) > 30
    error = np.std(rho) / np.sqrt(len(rho))
    assert abs(told.rho - np.mean(rho)) < 3.5 * error + 0.01 * told.rho
    assert abs(told.support - np.mean(share)) < 0.02


def test_no_max_margin_where_draws_are_not_separable():
    told = mixture_risk(iso(50, 1.0), 400)
    assert np.isnan(told.rho)
    assert not told.holds
    assert "not separable" in told.statement
    assert told.averaging > 0


@pytest.mark.parametrize(
    ("mixture", "n"),
    [
        (iso(391, 0.0), 50),
        (iso(3000, 40.0), 30),
        (on(TWO, 0, 8.0), 30),
        (iso(500, 0.0, flip=0.1), 50),
    ],
    ids=["no signal", "signal", "two top", "flips"],
)
def test_all_rows_support_as_often_as_is_foretold(mixture, n):
    seeds = 150
    mean, _ = simulated(mixture, n, seeds)
    told = mixture_risk(mixture, n).all_support
    assert abs(mean[3] - told) < 0.05 + 3 * np.sqrt(told * (1 - told) / seeds)


@pytest.mark.slow
def test_all_rows_support_on_two_levels():
    # the note's simple formula says .83 of what is .98
    spectrum = np.append(np.full(5, 20.0), np.ones(2500))
    for length, n in ((3.0, 60), (5.0, 30), (8.0, 30)):
        mixture = on(spectrum, 0, length)
        mean, _ = simulated(mixture, n, 400)
        assert abs(mean[3] - mixture_risk(mixture, n).all_support) < 0.05


def test_the_ridge_path_is_foretold_and_ends_at_averaging():
    mixture, n = iso(300, 4.0), 50
    ridges = [0.0, 200.0, 2000.0, 1e12]
    path = ridge_path(mixture, n, ridges)
    for ridge, told in zip(ridges[:3], path.rho[:3], strict=True):
        mean, error = simulated(mixture, n, 60, ridge)
        assert abs(told - mean[1]) < 3.5 * error[1] + 0.01 * told
    told = mixture_risk(mixture, n)
    assert path.rho[0] == pytest.approx(told.interpolating)
    assert path.rho[-1] == pytest.approx(told.averaging, rel=1e-9)
    assert told.best_ridge >= path.rho.max() - 1e-9


def test_averaging_is_the_mean_of_the_rows():
    mixture, n = on(TWO, 0, 15.0, flip=0.1), 40
    rho = []
    for seed in range(200):
        X, y = mixture.sample(n, seed=seed)
        rho.append(mixture.rho(y @ X))
    error = np.std(rho) / np.sqrt(len(rho))
    told = mixture_risk(mixture, n).averaging
    assert abs(told - np.mean(rho)) < 3.5 * error + 0.01 * told


# --- identities


def test_many_at_once_are_each_alone():
    mixtures = [iso(d, m) for d, m in ((50, 1.0), (400, 3.0), (9000, 10.0))]
    many = mixture_risks(mixtures, [20, 30, 40])
    steep = [on(np.arange(1, 101.0) ** -a, 3, 2.0) for a in (0.0, 0.5, 1.2)]
    rough = mixture_risks([*steep, iso(60, 2.0, flip=0.1)], 30)
    for mixture, n, rho in zip(mixtures, (20, 30, 40), many.rho, strict=True):
        assert mixture_risk(mixture, n).rho == pytest.approx(rho, rel=1e-9)
    for mixture, rho, share in zip(steep, rough.rho, rough.support, strict=False):
        told = mixture_risk(mixture, 30)
        assert told.rho == pytest.approx(rho, rel=1e-8)
        assert told.support == pytest.approx(share, rel=1e-7)
    assert many.to_dict()["rho"] == many.rho.tolist()


def test_an_isotropic_vector_is_a_number():
    a = mixture_risk(iso(200, 3.0), 30)
    b = mixture_risk(on(np.full(200, 1.0) * (1 + 1e-13 * np.arange(200)), 0, 3.0), 30)
    assert a.rho == pytest.approx(b.rho, rel=1e-9)


def test_units_change_nothing():
    a = mixture_risk(iso(200, 3.0), 30)
    b = mixture_risk(Mixture(1e6 * iso(200, 3.0).mean, 1e12), 30)
    assert a.rho == pytest.approx(b.rho, rel=1e-10)
    assert a.all_support == pytest.approx(b.all_support, rel=1e-9)


def test_max_margin_is_blind_to_rare_signals():
    each = [Mixture.rare_weak(1000, s, 4 / s**0.5) for s in (1, 40)]
    rho = [mixture_risk(mixture, 50).rho for mixture in each]
    assert rho[0] == pytest.approx(rho[1], rel=1e-12)


def test_slopes_of_the_two_regimes():
    # ρ² goes like ‖μ‖⁴ n/d where n‖μ‖² ≪ d, like ‖μ‖² where it is ≫
    rho = lambda n, d, m: mixture_risk(iso(d, m), n).rho ** 2
    slope = lambda a, b: np.log2(b / a)
    n, d = 30, 60_000
    assert slope(rho(n, d, 1.0), rho(n, d, 2.0)) == pytest.approx(4.0, abs=0.01)
    assert slope(rho(n, d, 4e3), rho(n, d, 8e3)) == pytest.approx(2.0, abs=0.05)
    assert slope(rho(n, d, 1.0), rho(2 * n, d, 1.0)) == pytest.approx(1.0, abs=0.01)
    assert slope(rho(n, d, 1.0), rho(n, 2 * d, 1.0)) == pytest.approx(-1.0, abs=0.01)


def test_exponents_are_as_loose_as_measured():
    # μ off the top of a steep spectrum: the bound's n‖Σ‖² is what is not tight
    spectrum = np.arange(1, 20_001.0) ** -0.9
    n, square = 40, (spectrum**2).sum()
    for axis, low, high in ((0, 0.4, 8.0), (-1, 35.0, 60.0)):
        lam = spectrum[axis]
        m2 = (4 * n * lam + np.sqrt(16 * (n * lam) ** 2 + 16 * n * square)) / (2 * n)
        upper, lower = exponents(on(spectrum, axis, np.sqrt(m2)), n)
        assert lower.value == pytest.approx(4.0)
        assert upper.value < lower.value
        assert low < upper.implied < high
    spread = conditions(iso(2500, 1.0), 25)
    assert spread[0].ratio == pytest.approx(20.0)
    assert spread[1].ratio == pytest.approx(2.0)


def test_the_diagram_has_the_notes_risks_and_edges():
    told = risk_diagram(60, [1.4, 2.0, 2.4], [0.3, 0.5])
    risk = np.exp(told.log_risk)
    np.testing.assert_allclose(risk[0], [0.0046, 0.088, 0.26], rtol=0.07)
    assert risk[1, 2] == pytest.approx(9e-4, rel=0.07)
    assert told.benign.tolist() == [[True, True, False], [True, True, True]]
    assert told.known_before.tolist() == [[False, False, False], [True, False, False]]
    # a benign cell that no earlier bound covers
    assert told.benign[1, 2]
    assert not told.known_before[1, 2]
    single = mixture_risk(iso(3600, 60**0.3), 60)
    assert told.log_risk[0, 1] == pytest.approx(single.log_risk, rel=1e-9)
    whole = risk_diagram(60, np.linspace(1.1, 2.4, 14), np.linspace(0.0, 1.0, 11))
    assert np.isfinite(whole.log_risk).all()
    assert whole.plot().get_xlabel().startswith("p")


# --- gradient descent


@pytest.mark.parametrize("rule", [LogisticSteps(), NormalisedSteps()], ids=repr)
def test_the_path_starts_at_averaging_and_goes_to_max_margin(rule):
    mixture = iso(200, 3.0)
    data = mixture.sample(30, seed=0).problem()
    path = dual_path(data, steps=3000, rule=rule)
    mean = np.asarray(data.y) @ np.asarray(data.X)
    first = path.weights[0]
    assert mean @ first == pytest.approx(np.linalg.norm(mean) * np.linalg.norm(first))
    best = float(pn.max_margin(data, "l2").margin)
    gap = 1.0 - path.margin / best
    assert np.all(gap > -1e-12)
    assert gap[-1] < gap[len(gap) // 2] < gap[0]


def test_gaps_fall_at_their_rates():
    data = iso(200, 3.0).sample(30, seed=0).problem()
    best = float(pn.max_margin(data, "l2").margin)
    quick = dual_path(data, steps=8000, rule=NormalisedSteps(), records=200)
    slow = dual_path(data, steps=20_000, records=200)
    at = lambda path, t: 1 - path.margin[np.searchsorted(path.steps, t)] / best
    # 1/t: four times the steps, a fourth of the gap
    assert at(quick, 2000) / at(quick, 8000) == pytest.approx(4.0, rel=0.2)
    # 1/log t: the gap times log t stands
    ratio = at(slow, 2000) * np.log(2000) / (at(slow, 20_000) * np.log(20_000))
    assert ratio == pytest.approx(1.0, abs=0.15)


def test_the_path_is_plain_gradient_descent():
    data = iso(40, 2.0).sample(12, seed=1).problem()
    path = dual_path(data, steps=50)
    Z = np.asarray(data.X) * np.asarray(data.y)[:, None]
    w, pace = np.zeros(40), 4 * 12 / np.linalg.eigvalsh(Z @ Z.T)[-1]
    for _ in range(50):
        w += pace * (special.expit(-Z @ w) @ Z) / 12
    np.testing.assert_allclose(path.weights[-1], w, rtol=1e-10)


# --- the door


def test_assumptions_say_what_is_not_known():
    gaussian = mixture_risk(iso(200, 3.0), 30)
    assert gaussian.holds
    assert gaussian.assumptions[0].verdict.value == "holds"
    other = mixture_risk(iso(200, 3.0, noise=noises.StudentT(5.0)), 5)
    verdicts = [a.verdict.value for a in other.assumptions]
    assert verdicts[:2] == ["unknown", "unknown"]
    assert other.rho == mixture_risk(iso(200, 3.0), 5).rho
    assert "err" in gaussian.statement
    assert "ρ=" in repr(gaussian)


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="mixture"):
        mixture_risk("mixture", 5)
    with pytest.raises(ValueError, match="n must be at least 2"):
        mixture_risk(iso(5, 1.0), 1)
    with pytest.raises(ValueError, match="one or more"):
        mixture_risks([], 5)
    with pytest.raises(ValueError, match="n must be"):
        mixture_risks([iso(5, 1.0)], 1)
    with pytest.raises(ValueError, match="no flips"):
        exponents(iso(5, 1.0, flip=0.1), 3)
    with pytest.raises(ValueError, match="ridges"):
        ridge_path(iso(5, 1.0), 3, [-1.0])
    with pytest.raises(ValueError, match="p must be"):
        risk_diagram(10, [0.5], [0.1])
    with pytest.raises(ValueError, match="batch"):
        tail_risk(iso(5, 1.0), np.ones((2, 5)))
    three = pn.datasets.class_centres(k=3, d=4, per_class=2).problem()
    with pytest.raises(ValueError, match="two classes"):
        dual_path(three, steps=3)
