"""What ε decides: the growth law, the crossover, and runs that were made."""

import math

import jax
import numpy as np
import pytest

import penchant as pn
from penchant.estimators import share_of_eps
from penchant.theory import Verdict
from penchant.theory.regimes import run_geometry, step_condition

RULES = pn.optimizers
GAMMA = 1.404245  # of those eight samples in the max norm


def note_problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8, 3))
    X[:, 0] += np.sign(X[:, 0])
    y = np.sign(X[:, 0])
    return pn.LinearClassification(X, y, loss=pn.losses.Exponential())


def test_growth_has_the_digits_of_the_note():
    rule = RULES.RMSProp(0.99, 0.0)
    seen = run_geometry(rule, step_size=0.01, steps=5000, gamma=GAMMA)
    assert f"{seen.growth:.8f}" == "0.00450931"
    rule = RULES.RMSProp(0.999, 0.0)
    seen = run_geometry(rule, step_size=0.01, steps=10_000, gamma=GAMMA)
    assert seen.memory == pytest.approx(7.9e5, rel=0.01)
    assert (seen.name, seen.norm) == ("throttled", None)


@pytest.mark.parametrize("eps", [1e-16, pytest.param(1e-32, marks=pytest.mark.slow)])
def test_the_crossover_is_where_a_run_crosses(eps):
    problem = note_problem()
    inside = eps / problem.samples**2  # that of the sum of losses
    rule = RULES.RMSProp(0.99, inside, eps_inside=True)
    # a typical entry far down: two support vectors share what they have
    lengths = np.abs(np.asarray(problem.X)).mean()
    told = run_geometry(rule, step_size=0.01, steps=20_000, gamma=GAMMA, entry=lengths)
    shares = [
        share_of_eps(pn.train(problem, rule, steps=int(s), step_size=0.01))
        for s in (0.85 * told.crossover, 1.15 * told.crossover)
    ]
    assert shares[0] < 0.5 < shares[1]


def test_inside_is_the_square_of_outside():
    how = {"step_size": 0.01, "steps": 3000, "gamma": GAMMA}
    inside = run_geometry(RULES.RMSProp(0.99, 1e-16, eps_inside=True), **how)
    outside = run_geometry(RULES.RMSProp(0.99, 1e-8), **how)
    assert inside.crossover == pytest.approx(outside.crossover, rel=0.01)
    assert inside.growth == pytest.approx(outside.growth, rel=0.01)


def test_geometries_come_in_order():
    rule = RULES.RMSProp(0.99, 1e-16, eps_inside=True)
    names = [
        run_geometry(rule, step_size=0.01, steps=steps, gamma=GAMMA).name
        for steps in (100, 2000, 50_000)
    ]
    assert names == ["throttled", "sign-like", "below ε"]
    late = run_geometry(rule, step_size=0.01, steps=50_000, gamma=GAMMA)
    assert late.share > 0.5
    assert late.progress > 1


def test_other_rules_and_precisions():
    how = {"step_size": 0.01, "steps": 10_000, "gamma": GAMMA}
    assert run_geometry(RULES.AdaGrad(), **how).name == "weighted"
    assert run_geometry(RULES.GradientDescent(), **how).norm == pn.norms.L2()
    single = run_geometry(RULES.RMSProp(0.9, 0.0), dtype="float32", **how)
    double = run_geometry(RULES.RMSProp(0.9, 0.0), **how)
    assert single.wall == pytest.approx(24 * math.log(2) / single.growth, rel=0.05)
    assert double.wall == pytest.approx(53 * math.log(2) / double.growth, rel=0.05)
    with pytest.raises(ValueError, match=r"dtype must be one of .*got 'int8'"):
        run_geometry(RULES.RMSProp(), dtype="int8", **how)
    with pytest.raises(TypeError, match="optimizer must be Adam"):
        run_geometry(RULES.Muon(), **how)


def test_steps_of_a_cubic_network_must_shrink_fast():
    assert step_condition(0.1, 3).verdict is Verdict.FAILS
    assert step_condition(pn.schedules.power(0.1, 0.6), 3).verdict is Verdict.FAILS
    assert step_condition(pn.schedules.power(0.1, 0.8), 3).verdict is Verdict.HOLDS
    assert step_condition(pn.schedules.power(0.1, 0.6), 1).verdict is Verdict.HOLDS
    assert step_condition(None, 3).verdict is Verdict.UNKNOWN


NETWORK = pn.networks.MLP((3, 5, 1), pn.networks.SquaredReLU())


def network_problem():
    made = note_problem()
    return pn.NetworkClassification(
        NETWORK, NETWORK.params(1), made.X, made.y, loss=made.loss, degree=3
    )


@pytest.mark.slow
def test_constants_of_the_rate_are_one():
    problem = network_problem()
    flow = pn.flows.adaptive_flow(
        problem, RULES.GradientDescent(), log_loss=-1000.0, record=40, tol=1e-7
    )
    assert abs(float(pn.estimators.norm_ratio(flow)[-1]) - 1) < 2e-3
    assert abs(float(pn.estimators.rate_constant(flow)[-1]) - 1) < 5e-2
    linear = pn.flows.adaptive_flow(
        note_problem(), RULES.GradientDescent(), log_loss=-1000.0, record=40, tol=1e-7
    )
    assert abs(float(pn.estimators.rate_constant(linear)[-1]) - 0.9993) < 3e-4


@pytest.mark.slow
def test_surrogate_margins_fall_no_faster_than_bounded():
    problem = network_problem()
    rule = RULES.AdaGrad(1e-4, eps_inside=True)
    flow = pn.flows.adaptive_flow(problem, rule, log_loss=-50.0, record=400, tol=1e-9)
    logs, bound = pn.estimators.surrogate_margins(flow)
    excess = np.diff(np.asarray(logs)) - np.asarray(bound)
    assert np.isfinite(excess).sum() > 100
    assert np.nanmin(excess) > -1e-7


def test_predictions_of_networks_name_a_geometry():
    problem = network_problem()
    norm = lambda rule, **how: pn.predict(problem, rule, **how).norm
    assert norm(RULES.GradientDescent()) == pn.norms.L2()
    assert norm(RULES.Adam()) == pn.norms.L2()
    assert norm(RULES.Adam(0.9, 0.99, 0.0)) == pn.norms.Linf()
    assert norm(RULES.SignDescent()) == pn.norms.Linf()
    assert norm(RULES.Muon()) is None
    assert norm(RULES.AdaGrad()) is None
    run = pn.train(problem, RULES.AdaGrad(), steps=500, step_size=0.05)
    told = pn.predict(problem, RULES.AdaGrad(), trajectory=run)
    assert isinstance(told.norm, pn.norms.Mahalanobis)
    assert told.weights is None
    assert "KKT point" in repr(told)


@pytest.mark.slow
def test_diagnosis_of_a_network_goes_to_its_limit(tmp_path):
    problem = network_problem()
    says = pn.diagnose(problem, RULES.Adam(), steps=2000, step_size=0.01)
    assert says.winner == pn.norms.L2()
    assert says.agrees is True
    assert says.now.residual > 0.3
    assert says.limit.kkt_residual < 1e-8
    assert says.table[0].limit_margin == pytest.approx(0.287414, abs=1e-6)
    page = says.save(tmp_path).read_text()
    assert "KKT point of the ℓ2 margin" in page
    assert (tmp_path / "trajectory.zarr").is_dir()
    assert '"agrees": true' in (tmp_path / "result.json").read_text()


def test_a_network_that_does_not_separate_is_said_to():
    problem = network_problem()
    rule = RULES.GradientDescent()
    start = jax.tree.map(lambda w: -w, problem.params)
    says = pn.diagnose(problem, rule, steps=1, step_size=1e-9, init=start)
    assert says.separable is None
    assert says.limit is None
    assert "wrong side" in says.verdict
    with pytest.raises(TypeError, match="step_size must be given for a network"):
        pn.diagnose(problem, rule, steps=1)


def crossing_of(problem, rule, step_size, near):
    """The step at which ε has half a say, by bisection over runs."""
    low, high = 1, int(2 * near)
    while high - low > 1 + low // 500:
        middle = (low + high) // 2
        run = pn.train(problem, rule, steps=middle, step_size=step_size, record=2)
        past = share_of_eps(run) > 0.5
        low, high = (low, middle) if past else (middle, high)
    return high


ONE_SAMPLE = [
    (0.9, 0.99, 0.01, 1e-8),
    (0.9, 0.999, 0.01, 1e-8),
    (0.0, 0.999, 0.01, 1e-8),
    (0.9, 0.99, 0.01, 1e-6),
    (0.5, 0.9, 0.1, 1e-10),
]


@pytest.mark.sampled
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("b1", "b2", "eta", "eps"), ONE_SAMPLE)
def test_one_sample_of_equal_entries_crosses_where_foretold(b1, b2, eta, eps, inside):
    # geometry and entry are exact here, and throttled runs keep their first v
    problem = pn.LinearClassification(
        np.full((1, 4), 0.6), [1], loss=pn.losses.Exponential()
    )
    rule = RULES.Adam(b1, b2, eps**2 if inside else eps, eps_inside=inside)
    how = {"step_size": eta, "steps": 100_000, "gamma": 2.4, "entry": 0.6}
    told = run_geometry(rule, **how).crossover
    by_predict = pn.predict(problem, rule, step_size=eta).regimes[-1].start
    assert by_predict == pytest.approx(told, rel=2e-3)
    measured = crossing_of(problem, rule, eta, told)
    assert measured == pytest.approx(told, rel=0.03)


@pytest.mark.slow
def test_predict_and_run_geometry_have_one_engine():
    problem = pn.datasets.gaussian(10, 30, seed=4).problem()
    best = pn.max_margin(problem, pn.norms.Linf())
    rule = RULES.Adam(0.9, 0.99, 1e-6)
    told = pn.predict(problem, rule, step_size=0.01).regimes
    pull = np.abs(np.asarray(problem.pull(best.pairs))).ravel()
    seen = run_geometry(
        rule, step_size=0.01, steps=10**6, gamma=best.margin, entry=pull.mean()
    )
    # entries differ little here: the same step to some per cent by either route
    assert told[-1].start == pytest.approx(seen.crossover, rel=0.1)
    assert told[-1].name is pn.theory.regimes.RegimeName.BELOW_EPS
    assert seen.name is told[-1].name
    measured = crossing_of(problem, rule, 0.01, told[-1].start)
    assert measured == pytest.approx(told[-1].start, rel=0.05)
