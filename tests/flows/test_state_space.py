import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant import ssm


def theorem1(seed, length, d, scale, m, amplitude=None):
    """The two settings of Theorem 1, with the authors' legacy draws."""
    a = np.sort(scale * np.random.RandomState(seed).rand(d))[::-1].copy()
    a[1] = a[0] - 0.05 * np.exp(-m * np.log10(1.0 / scale))
    root = np.sqrt(d - 1.0)
    teacher = ssm.StateSpace([1.0, 0.0], [1.0, root], [1.0, root])
    X = np.zeros((1 if amplitude is None else 2, length))
    X[0, 0] = 1.0
    if amplitude is not None:
        X[1, -2] = amplitude
    return a, teacher, ssm.regression(teacher, X, a=a, trained="a")


# absolute errors over 20 lags, by an independent integrator at rtol 1e-12
SETTINGS = {
    "κ=7": ((242, 7, 10, 1e-3, 5), 0.0118423672, 0.4918599),
    "κ=9": ((342, 9, 20, 5e-3, 10), 0.1456703, 0.7002449),
}


@pytest.mark.parametrize("name", ["κ=7", pytest.param("κ=9", marks=pytest.mark.slow)])
def test_theorem_1_has_its_limits(name):
    setting, clean, poisoned = SETTINGS[name]
    a, teacher, problem = theorem1(*setting)
    limit = ssm.baseline_limit(a, setting[1])
    ones = np.ones_like(a)
    error = ssm.StateSpace(limit, ones, ones).extrapolation_error(teacher, 20)
    assert float(error) == pytest.approx(clean, abs=6e-8)
    went = ssm.flow(problem)
    assert went.settled
    np.testing.assert_allclose(went.limit.a, limit, rtol=0, atol=3e-7)
    bad = ssm.flow(theorem1(*setting, amplitude=1.0)[2])
    assert bad.settled
    assert float(bad.limit.extrapolation_error(teacher, 20)) == pytest.approx(
        poisoned, abs=1e-6
    )


def test_the_limit_conserves_what_the_flow_does():
    a = np.array([0.03, 0.5, 0.2, 0.499999])
    for length in (2, 3, 4, 5, 8):
        limit = ssm.baseline_limit(a, length)
        assert np.sum(limit ** (length - 1)) == pytest.approx(1.0, rel=1e-12)
        if length == 2:
            np.testing.assert_allclose(limit - a, limit[0] - a[0], rtol=1e-12)
            continue
        before = pn.theory.state_space.pole_invariants(a, length)
        after = pn.theory.state_space.pole_invariants(limit, length)
        np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-12)


def test_the_limit_at_kappa_6_is_reached_by_another_integrator():
    from scipy.integrate import solve_ivp

    a = np.array([0.2, 0.17, 0.1, 0.02])

    def velocity(t, a):
        return -(np.sum(a**5) - 1.0) * 5 * a**4

    ran = solve_ivp(velocity, (0, 1e7), a, method="Radau", rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ssm.baseline_limit(a, 6), ran.y[:, -1], atol=1e-7)


def test_gaps_far_below_rounding_of_powers_count():
    a = np.array([1e-3, 1e-3 - 1e-15, 5e-4])
    approx = pn.theory.state_space.second_pole([1e-3, 1e-3 - 1e-12], 7)
    exact = ssm.baseline_limit([1e-3, 1e-3 - 1e-12], 7)[1]
    assert approx == pytest.approx(exact, rel=0.02)
    gapped = ssm.baseline_limit(a, 7)
    assert gapped[0] > gapped[1] > 0.5


def test_equal_leaders_are_said():
    with pytest.warns(
        ssm.UnresolvedGapWarning, match="2 largest entries of a0 are equal"
    ):
        limit = ssm.baseline_limit([1e-3, 1e-3, 1e-4], 7)
    assert limit[0] == limit[1] == pytest.approx(0.5 ** (1 / 6), rel=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ssm.baseline_limit([1e-3, 1e-3 - 2e-19], 7)  # two neighbouring floats apart


@pytest.mark.parametrize(
    ("a0", "length", "message"),
    [
        ([1.0, -1.0], 7, "must be above 0"),
        ([1.0, 0.0], 7, "must be above 0"),
        ([], 7, r"shape \(d,\)"),
        ([0.5], 1, "at least 2"),
        ([0.5], 0, "at least 2"),
    ],
)
def test_limits_refuse_what_they_do_not_cover(a0, length, message):
    with pytest.raises(ValueError, match=message):
        ssm.baseline_limit(a0, length)


def test_small_steps_of_gradient_descent_follow_the_flow():
    teacher = ssm.StateSpace([1.0, 0.3], [1.0, 1.0], [1.0, 1.0])
    X = np.random.default_rng(3).normal(size=(12, 5))
    problem = ssm.regression(
        teacher, X, a=[0.5, 0.1, -0.2], b=[0.3, 0.5, 0.4], c=[0.6, 0.2, 0.3]
    )
    went = ssm.flow(problem, time=20.0)
    assert went.integration < 1e-7  # b² - c²
    assert float(went.times[-1]) == 20.0
    off = []
    for steps in (1000, 2000):
        rule = pn.optimizers.GradientDescent()
        run = pn.train(problem, rule, steps=steps, step_size=20 / steps, progress=False)
        off.append(float(jnp.abs(run.last.a - went.weights.a[-1]).max()))
    assert off[0] < 0.05
    assert 1.6 < off[0] / off[1] < 2.4


def beyond(seed, poisoned):
    draws = np.random.RandomState(200 + seed)
    X = np.zeros((18 if poisoned else 8, 6))
    X[:8, :2] = draws.normal(size=(8, 2))
    X[8:, 4] = draws.normal(size=len(X) - 8)
    own = np.random.default_rng(seed)
    a = np.sort(np.abs(1e-3 * own.normal(size=10)))[::-1].copy()
    b = np.sort(np.abs(1e-3 * own.normal(size=10)))[::-1].copy()
    c = np.abs(1e-3 * own.normal(size=10))
    a[1], b[1] = a[0] - 1.5e-8, b[0] - 1.5e-8
    teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    return ssm.regression(teacher, X, a=a + 0.1, b=b + 0.1, c=c)


@pytest.mark.slow
def test_beyond_theorem_1_the_failure_is_early_stopping():
    clean, bad = (ssm.flow(beyond(0, poisoned)) for poisoned in (False, True))
    for went in (clean, bad):
        assert went.settled
        assert went.remaining < 1e-6
        assert went.integration < 1e-4
        assert float(jnp.max(went.loss[1:] - went.loss[:-1])) < 1e-8
    assert bad.error_at(5e-4) > 2.0 * clean.error_at(5e-4)
    assert bad.limit_error < clean.limit_error
    assert np.isnan(clean.error_at(1e-300))


@pytest.mark.slow
def test_beyond_theorem_1_over_twenty_starts():
    table = np.array([
        [
            [*(went.error_at(x) for x in (1e-3, 1e-4)), went.limit_error, went.settled]
            for went in (ssm.flow(beyond(seed, p)) for p in (False, True))
        ]
        for seed in range(20)
    ])
    assert table[..., -1].all()
    clean, bad = np.median(table[:, 0], axis=0), np.median(table[:, 1], axis=0)
    assert (table[:, 1, 0] > table[:, 0, 0]).mean() > 0.9
    assert bad[0] > 3.0 * clean[0]
    assert bad[1] > 1.5 * clean[1]
    assert bad[2] < 0.5 * clean[2]
    assert (table[:, 1, 2] > table[:, 0, 2]).mean() < 0.25


def test_the_two_engines_agree_on_poles():
    from penchant.flows.state_space._flow import _stiff
    from penchant.flows.state_space._systems import LagSystem

    a, _, problem = theorem1(242, 7, 10, 1e-1, 1, amplitude=1.0)
    ran = _stiff(LagSystem(problem, problem.start), 1e40, 1e-8, 100)
    went = ssm.flow(problem)
    np.testing.assert_allclose(ran.ys[-1], went.limit.a, atol=2e-6)
    assert a.shape == ran.ys[-1].shape


@pytest.mark.slow
def test_a_head_by_derivatives_is_the_form_by_lags_where_it_is_linear():
    teacher = ssm.StateSpace([0.9], [1.0], [1.0])
    X = np.random.default_rng(5).normal(size=(10, 4))
    options = {"a": [0.6, 0.2], "b": [0.5, 0.3], "c": [0.4, 0.2]}
    plain = ssm.flow(ssm.regression(teacher, X, **options))
    twice = ssm.flow(ssm.regression(teacher, X, head=lambda z: 1.0 * z, **options))
    assert plain.settled
    assert twice.settled
    np.testing.assert_allclose(plain.limit.a, twice.limit.a, atol=1e-5)


def test_batched_limits_are_those_of_single_flows():
    a, _, problem = theorem1(242, 7, 10, 1e-3, 5, amplitude=1.0)
    many = ssm.two_lag_limits([a, a], [1.0, 0.0], 7, eps=0.01)
    np.testing.assert_allclose(many[0], ssm.flow(problem).limit.a, atol=5e-5)
    np.testing.assert_allclose(many[1], ssm.baseline_limit(a, 7), rtol=1e-10)


def test_students_that_cannot_fit_are_said_to_rest_elsewhere():
    teacher = ssm.StateSpace([0.9, -0.5], [1.0, 1.0], [1.0, 1.0])
    X = np.random.default_rng(1).normal(size=(20, 6))
    went = ssm.flow(ssm.regression(teacher, X, a=[0.5], b=[0.7], c=[0.6]))
    assert went.settled
    assert went.limit_loss > 1e-3
    told = " ".join(went.notes)
    assert "The teacher has 2 states, the student 1" in told
    assert "does not fit" in told


def test_flows_without_a_teacher_know_no_error():
    X = np.random.default_rng(1).normal(size=(20, 4))
    y = np.random.default_rng(2).normal(size=20)
    problem = ssm.regression(None, X, y=y, a=[0.5, 0.1], b=[0.1, 0.2], c=[0.3, 0.1])
    went = ssm.flow(problem)
    assert np.isnan(np.asarray(went.error)).all()
    assert "Without a teacher" in repr(went)
    best, *_ = np.linalg.lstsq(np.asarray(problem.lags), y, rcond=None)
    floor = np.mean((np.asarray(problem.lags) @ best - y) ** 2)
    assert went.limit_loss >= floor - 1e-12


def test_leaves_of_a_flow_lead_with_time():
    _, _, problem = theorem1(242, 7, 10, 1e-2, 1)
    went = ssm.flow(problem, record=20)
    r = len(went.times)
    assert went.weights.a.shape == (r, 10)
    assert went.loss.shape == went.error.shape == (r,)
    assert jax.tree.leaves(went.limit)[0].shape == (10,)
    assert float(problem.loss(went.limit)) == pytest.approx(went.limit_loss, abs=1e-20)
    assert np.asarray(went.times)[0] == 0.0
    assert (np.diff(np.asarray(went.times)) > 0).all()


def test_slides_of_any_length_end_where_the_constrained_flow_does():
    """A tiny special example: first the clean limit, then along what fits lag κ-1."""
    from scipy.integrate import solve_ivp

    a, length = np.array([0.1, 0.0999, 0.05, 0.02]), 7

    def slide(t, a):
        up, along = 6.0 * a**5, np.ones(4)
        off = np.sum(a) - 1.0
        return -off * (along - up * (up @ along) / (up @ up))

    start = ssm.baseline_limit(a, length)
    ran = solve_ivp(slide, (0, 200.0), start, method="LSODA", rtol=1e-11, atol=1e-13)
    for amplitude in (1e-5, 1e-7, 1e-9):
        found = ssm.two_lag_limits([a], [amplitude], length, eps=0.005)[0]
        np.testing.assert_allclose(found, ran.y[:, -1], atol=2e-5)


def test_accuracy_of_batched_limits_is_of_second_order():
    a, _, _ = theorem1(242, 7, 10, 1e-3, 5)
    a[1] = a[0] - 1e-10
    ends = [
        ssm.two_lag_limits([a], [1e-4], 7, eps=eps)[0] for eps in (0.04, 0.02, 0.01)
    ]
    first, second = (np.abs(x - y).max() for x, y in itertools.pairwise(ends))
    assert second < 1e-4
    assert 3.0 < first / second < 5.0
