import functools
import math

import numpy as np
import pytest

import penchant as pn
from penchant.estimators import share_of_eps
from penchant.theory.regimes import adam_growth
from tests.cases import binary, paper_data

# eta, b1, b2
CASES = [
    (0.01, 0.0, 0.99),
    (0.01, 0.9, 0.99),
    (0.1, 0.9, 0.95),
    (0.03, 0.5, 0.9),
    (0.3, 0.0, 0.999),
]


@functools.cache
def notes_data():
    """Eight Gaussian samples in three dimensions, apart along the first."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    return pn.LinearClassification(X, np.sign(X[:, 0]), loss=pn.losses.Exponential())


def gamma(problem):
    return float(pn.max_margin(problem, pn.norms.Linf()).margin)


def growth(eta, b1, b2, g=1.404245):
    return float(adam_growth(g, eta, b1, b2))


@pytest.mark.parametrize(("eta", "b1", "b2"), CASES)
def test_growth_solves_its_equation(eta, b1, b2):
    def excess(r, scaled):  # of the right side, which falls, over r, which rises
        damped = (1 - b1) / (1 - b1 * math.exp(r))
        below = (1 - b2 * math.exp(2 * r)) / (1 - b2)
        return 1.404245 * scaled * damped * math.sqrt(max(below, 0.0)) - r

    for scale in (1e-4, 1e-2, 1.0, 3.0):
        r = growth(scale * eta, b1, b2)
        assert 0 < r < -0.5 * math.log(b2)
        width = 1e-10 * r + 1e-15
        assert excess(r - width, scale * eta) > 0 > excess(r + width, scale * eta)


@pytest.mark.parametrize(("b1", "b2"), [(0.0, 0.9), (0.9, 0.999), (0.5, 0.5)])
def test_growth_between_its_limits(b1, b2):
    assert np.isclose(growth(1e-7, b1, b2), 1.404245e-7, rtol=1e-3)
    most = -0.5 * math.log(b2)
    assert np.isclose(growth(1e7, b1, b2), most, rtol=1e-6)
    grid = adam_growth(1.404245, np.geomspace(1e-7, 1e2, 40), b1, b2)
    assert np.all(np.diff(grid) > 0)
    assert np.all(grid < most)


def test_growth_depends_on_gamma_times_eta_only():
    assert np.isclose(growth(0.01, 0.9, 0.99, 2.0), growth(0.02, 0.9, 0.99, 1.0))


def test_growth_refuses_decays_without_a_limit():
    for b1, b2, said in ((0.9, 0.81, "b1"), (0.9, 1.0, "b2"), (0.0, 0.0, "b2")):
        with pytest.raises(ValueError, match=f"{said} must be"):
            adam_growth(1.0, 0.1, b1, b2)
    with pytest.raises(ValueError, match="gamma must be"):
        adam_growth(0.0, 0.1, 0.5, 0.9)


def test_numbers_of_the_note():
    # homogeneous_adaptive, section 5 item 6
    assert abs(gamma(notes_data()) - 1.404245) < 5e-7
    euclidean = pn.max_margin(notes_data(), pn.norms.L2())
    assert abs(float(euclidean.margin) - 1.213682) < 5e-7
    assert abs(growth(0.01, 0.0, 0.99) - 4.50931e-3) < 5e-9


def late_growth(problem, rule, eta, steps=40_000):
    run = pn.train(problem, rule, steps=steps, step_size=eta, record=4)
    least = np.asarray(run.margins).min(axis=1)
    return (least[-1] - least[-2]) / np.diff(np.asarray(run.steps))[-1]


@pytest.mark.parametrize(
    ("eta", "b1", "b2", "tolerance"),
    [
        (0.01, 0.0, 0.99, 1e-5),
        (0.01, 0.9, 0.99, 1e-5),
        (0.1, 0.9, 0.95, 1e-5),
        (0.05, 0.5, 0.9, 1e-5),
        (0.01, 0.9, 0.999, 0.01),  # its memory fades over 10^6 steps
    ],
)
def test_growth_is_what_runs_do(eta, b1, b2, tolerance):
    rule = pn.optimizers.Adam(b1, b2, 0.0)
    measured = late_growth(notes_data(), rule, eta)
    assert np.isclose(
        measured, growth(eta, b1, b2, gamma(notes_data())), rtol=tolerance
    )


def test_growth_of_rmsprop_and_of_other_data():
    rule = pn.optimizers.RMSProp(0.99, 0.0)
    measured = late_growth(notes_data(), rule, 0.01)
    assert np.isclose(measured, 4.50931e-3, rtol=1e-5)
    problem = binary(0, d=5, n=4)
    rule = pn.optimizers.Adam(0.9, 0.95, 0.0)
    measured = late_growth(problem, rule, 0.01)
    foretold = growth(0.01, 0.9, 0.95, gamma(problem))
    assert np.isclose(measured, foretold, rtol=0.01)


def crossing(problem, rule, step_size, around):
    """The step at which half of the step is decided by ε, within 2 %."""
    low, high = 0, int(4 * around)
    while high - low > 0.02 * around:
        middle = (low + high) // 2
        run = pn.train(problem, rule, steps=middle, step_size=step_size, record=2)
        low, high = (low, middle) if share_of_eps(run) > 0.5 else (middle, high)
    return high


POWER = pn.schedules.power(0.1, 0.5)
CROSSOVERS = [
    (pn.optimizers.Adam(0.0, 0.99, 1e-8), 0.01),
    (pn.optimizers.Adam(0.9, 0.99, 1e-16), 0.01),
    (pn.optimizers.Adam(0.9, 0.99, 1e-16, eps_inside=True), 0.01),
    (pn.optimizers.Adam(0.9, 0.999, 1e-8), 0.01),
    (pn.optimizers.Adam(0.9, 0.95, 1e-8), POWER),
    (pn.optimizers.Adam(0.9, 0.99, 1e-16), POWER),
    (pn.optimizers.RMSProp(0.9, 1e-8), 0.1),
]


@pytest.mark.sampled
@pytest.mark.parametrize(("rule", "step_size"), CROSSOVERS, ids=repr)
def test_where_eps_takes_over(rule, step_size):
    told = pn.predict(notes_data(), rule, step_size=step_size)
    last = told.regimes[-1]
    assert last.name == "below ε"
    assert math.isinf(last.end)
    assert repr(told.at(last.start).norm) == "L2()"
    assert told.at(last.start - 1).name != "below ε"
    measured = crossing(notes_data(), rule, step_size, last.start)
    assert abs(measured / last.start - 1) < 0.25


def test_crossovers_of_the_note():
    # measured there with ε inside the root: b = .9, then b = .99, at eta = .01
    seen = {
        (0.9, 1e-8): 842,
        (0.9, 1e-16): 1583,
        (0.9, 1e-32): 3076,
        (0.99, 1e-8): 2294,
        (0.99, 1e-16): 4331,
        (0.99, 1e-32): 8425,
    }
    for (b2, eps), step in seen.items():
        rule = pn.optimizers.RMSProp(b2, eps, eps_inside=True)
        told = pn.predict(notes_data(), rule, step_size=0.01)
        assert abs(told.regimes[-1].start / step - 1) < 0.25


@pytest.mark.parametrize(
    ("b2", "expected"), [(0.95, 3.8e3), (0.99, 9.5e4), (0.999, 9.5e6)]
)
def test_end_of_the_throttle_for_power_laws(b2, expected):
    # muon_spectral, section 5.6: eta_0 = .1, a = 1/2 on the paper's data
    problem = paper_data(0)
    rule = pn.optimizers.Adam(0.9, b2, 0.0)
    told = predicted_on_paper_data(problem, rule)
    throttled, signs = told.regimes
    assert (throttled.name, signs.name) == ("throttled", "sign-like")
    assert throttled.norm is None
    assert throttled.end == signs.start
    closed = (2 * 15.418961 * 0.1 / (1 - b2)) ** 2
    assert abs(throttled.end / closed - 1) < 0.01
    assert abs(throttled.end / expected - 1) < 0.02
    # the first step at which the condition holds
    eta = lambda t: 0.1 * (t + 1.0) ** -0.5
    assert 15.418961 * eta(throttled.end) <= (1 - b2) / 2 * 1.001


_SEEN = {}


def predicted_on_paper_data(problem, rule):
    """Margins of this problem take a second or two: once is enough."""
    from penchant.theory._predict import predict_from

    def best(norm):
        if repr(norm) not in _SEEN:
            _SEEN[repr(norm)] = pn.max_margin(problem, norm, tol=1e-6)
        return _SEEN[repr(norm)]

    steps = pn.schedules.power(0.1, 0.5, offset=1)
    return predict_from(best, problem, rule, pn.batching.FullBatch(), steps)


def test_regimes_that_need_no_step_size():
    told = pn.predict(notes_data(), pn.optimizers.Adam(eps=0.0))
    assert told.regimes == ()
    told = pn.predict(notes_data(), pn.optimizers.Adam())
    (regime,) = told.regimes
    assert regime.name == "below ε"
    assert told.to_dict()["regimes"][0]["start"] is None  # it is not known


def test_small_steps_are_sign_like_from_the_start():
    told = pn.predict(notes_data(), pn.optimizers.Adam(0.9, 0.9, 0.0), step_size=1e-3)
    (regime,) = told.regimes
    assert (regime.name, regime.start, regime.end) == ("sign-like", 0.0, math.inf)


def test_memory_too_long_for_its_steps_ends_in_no_regime_but_eps():
    # the margin reaches -log(ε) before the moments have faded
    told = pn.predict(notes_data(), pn.optimizers.Adam(0.9, 0.999, 1e-8), step_size=0.1)
    assert [r.name for r in told.regimes] == ["throttled", "below ε"]
    assert told.regimes[0].end == told.regimes[1].start
