"""From a run to its limit at infinite time, stage by stage."""

import json

import jax
import numpy as np
import pytest

import penchant as pn
from penchant.norms import L2, Layerwise, Linf, Mahalanobis, Spectral
from penchant.optimizers import AdaGrad, Adam, GradientDescent, Muon, SignDescent
from penchant.problems.models.networks import Identity
from tests.cases import multiclass
from tests.flows.cases import EXPONENTIAL, data, linear, network

LINEAR, SQUARED = linear(), network()
SPECTRAL_DESCENT = pn.optimizers.SteepestDescent(Spectral())


def run_of(problem, rule, steps=2000, step_size=0.02):
    return pn.train(problem, rule, steps=steps, step_size=step_size, record=2)


@pytest.fixture(scope="module")
def descent():
    return pn.limit(SQUARED, run_of(SQUARED, GradientDescent(), 5000, 0.1))


def test_gradient_descent(descent):
    assert isinstance(descent.norm, L2)
    assert descent.margin == pytest.approx(0.287414, abs=1e-6)
    assert descent.margin_l2 == pytest.approx(0.287414, abs=1e-6)
    assert descent.kkt_residual < 1e-6
    assert descent.settled
    assert np.isclose(descent.log_norm, 30.0)


def test_stages_say_where_they_handed_over(descent):
    assert [s.name for s in descent.stages] == ["run", "flow", "tail"]
    run, flow, tail = descent.stages
    assert run.steps == 5000
    assert flow.log_loss == pytest.approx(-1000, rel=1e-3)
    assert run.log_loss > flow.log_loss > tail.log_loss
    assert run.log_norm < flow.log_norm < tail.log_norm
    assert run.residual > flow.residual > tail.residual
    assert run.turned == 0
    assert flow.turned > 0.01
    text = repr(descent)
    assert "settled" in text
    assert "least margins alone" in text


def test_it_is_json(descent):
    found = json.loads(json.dumps(descent.to_dict()))
    assert found["norm"] == "ℓ2"
    assert found["margin"] == pytest.approx(0.287414, abs=1e-6)
    assert [s["name"] for s in found["stages"]] == ["run", "flow", "tail"]
    assert found["settled"] is True


@pytest.mark.parametrize(
    "rule",
    [
        Adam(0.9, 0.9, 1e-2),
        pytest.param(Adam(0.9, 0.99, 1e-3, eps_inside=True), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_adam_with_eps_comes_to_l2(rule):
    found = pn.limit(LINEAR, run_of(LINEAR, rule))
    best = float(pn.max_margin(LINEAR, L2()).margin)
    assert isinstance(found.norm, L2)
    assert found.margin == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    "rule",
    [
        Adam(0.9, 0.9, 0.0),
        pytest.param(SignDescent(), marks=pytest.mark.slow),
        pytest.param(pn.optimizers.Signum(), marks=pytest.mark.slow),
    ],
    ids=repr,
)
def test_rules_that_ignore_the_scale_come_to_linf(rule):
    found = pn.limit(LINEAR, run_of(LINEAR, rule, 200))
    best = float(pn.max_margin(LINEAR, Linf()).margin)
    assert isinstance(found.norm, Linf)
    assert [s.name for s in found.stages] == ["run", "tail"]
    assert found.margin == pytest.approx(best, rel=1e-6)
    assert found.kkt.gap < 1e-6


def test_adagrad_comes_to_the_norm_of_its_own_accumulators():
    rule = AdaGrad(1e-6, eps_inside=True)
    found = pn.limit(LINEAR, run_of(LINEAR, rule, 3000, 0.05))
    assert isinstance(found.norm, Mahalanobis)
    best = float(pn.max_margin(LINEAR, found.norm).margin)
    assert found.margin == pytest.approx(best, rel=1e-6)
    assert found.kkt_residual < 1e-6
    assert found.margin_l2 < pn.max_margin(LINEAR, L2()).margin


def test_normalised_descent_in_a_norm():
    for norm in (L2(), Linf()):
        rule = pn.optimizers.SteepestDescent(norm)
        found = pn.limit(LINEAR, run_of(LINEAR, rule, 200))
        best = float(pn.max_margin(LINEAR, norm).margin)
        assert found.margin == pytest.approx(best, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Muon(0.9), SPECTRAL_DESCENT], ids=repr)
def test_muon_on_a_linear_problem_comes_to_the_spectral_margin(rule):
    problem = multiclass(0, k=3, d=4, n=12)
    found = pn.limit(problem, run_of(problem, rule, 300), log_norm=20.0)
    best = pn.max_margin(problem, Spectral(), tol=1e-9).margin
    assert isinstance(found.norm, Spectral)
    assert [s.name for s in found.stages] == ["run", "tail"]
    assert found.margin == pytest.approx(float(best), rel=1e-6)
    assert found.kkt_residual < 1e-6


@pytest.mark.slow
def test_muon_on_a_network_comes_to_a_point_of_the_norm_per_layer():
    problem = network(Identity(), (4, 4))
    run = run_of(problem, Muon(0.0), 500, 0.01)
    found = pn.limit(problem, run, log_norm=20.0)
    assert found.norm == Layerwise(Spectral())
    assert found.kkt_residual < 1e-6
    norm = float(found.norm(run.last))
    before = float(np.min(problem.margins(run.last))) / norm**problem.degree
    assert before < found.margin * (1 + 1e-9)
    # of layers of spectral norm 1 the first may be any vector, the others keep it
    best = float(pn.max_margin(linear(), L2()).margin)
    assert found.margin == pytest.approx(best, rel=1e-6)


def test_what_has_no_limit_that_can_be_followed():
    run = run_of(SQUARED, Muon(0.9, pn.optimizers.NewtonSchulz()), 300)
    with pytest.raises(TypeError, match="approximate polar factors"):
        pn.limit(SQUARED, run)
    run = run_of(LINEAR, pn.optimizers.SteepestDescent(pn.norms.L1()), 300)
    with pytest.raises(TypeError, match="got SteepestDescent"):
        pn.limit(LINEAR, run)


def test_a_run_that_has_not_separated():
    run = pn.train(
        LINEAR, GradientDescent(), steps=1, step_size=1e-3, init=[-1.0, 0.0, 0.0]
    )
    with pytest.raises(pn.NotSeparatedError, match="Train for longer"):
        pn.limit(LINEAR, run)


def test_a_network_without_a_degree():
    apply = lambda w, X: np.tanh(1.0) * (X @ w["W"]) + w["b"] ** 2
    params = {"W": np.ones(3), "b": np.array(0.5)}
    problem = pn.NetworkClassification(apply, params, *data(), loss=EXPONENTIAL)
    run = run_of(problem, GradientDescent(), 10)
    with pytest.raises(pn.NotHomogeneousError, match=r"problem\.homogeneity"):
        pn.limit(problem, run)


def test_other_things_are_refused(descent):
    with pytest.raises(TypeError):
        pn.limit(SQUARED, jax.tree.map(lambda w: w, descent.weights))
    with pytest.raises(TypeError):
        pn.limit("problem", descent)
