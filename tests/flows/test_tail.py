"""The tail against the flow it continues, and the limits that are known."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.flows import adaptive_flow, tail_flow
from penchant.flows.adaptive._tail import path_of
from penchant.norms import L1, L2, Layerwise, Linf, Mahalanobis, Spectral
from penchant.problems.models.networks import MLP, Identity, ReLU, SquaredReLU
from tests.cases import multiclass
from tests.flows.cases import EPS, EXPONENTIAL, data, linear, network, unit

DESCENT = pn.optimizers.GradientDescent()
RMSPROP = pn.optimizers.RMSProp(0.9, EPS, eps_inside=True)
ADAM = pn.optimizers.Adam(0.9, 0.9, EPS, eps_inside=True)
ADAGRAD = pn.optimizers.AdaGrad(EPS, eps_inside=True)
SQUARED = network(SquaredReLU())


def at(flow, log_loss):
    """The weights of a flow at the record nearest to a log-loss."""
    i = int(np.argmin(np.abs(np.asarray(flow.log_loss) - log_loss)))
    assert abs(float(flow.log_loss[i]) / log_loss - 1) < 0.05
    return jax.tree.map(lambda w: w[i], flow.weights)


@pytest.fixture(scope="module")
def descent():
    """Gradient descent on the squared-ReLU network, to a log-loss of -10000."""
    return adaptive_flow(SQUARED, DESCENT, log_loss=-1e4, record=400, tol=1e-8)


def off_the_flow(descent):
    """How far a tail to the flow's own norm ends from it, and from its own start."""
    start, there = at(descent, -1000.0), unit(SQUARED, descent.last)
    norm = float(np.linalg.norm(np.asarray(SQUARED.flat(descent.last))))
    tail = tail_flow(SQUARED, start, log_norm=math.log(norm), turn=0.005)
    ends = (unit(SQUARED, tail.weights), unit(SQUARED, start))
    return [float(np.linalg.norm(end - there)) for end in ends]


@pytest.mark.slow
def test_the_tail_goes_where_the_flow_goes(descent):
    off, before = off_the_flow(descent)
    assert before > 0.05
    assert off < 1e-3


def test_the_limit_does_not_depend_on_the_steps_or_on_the_scale(descent):
    start = at(descent, -1000.0)
    ends = [
        tail_flow(SQUARED, start),
        tail_flow(SQUARED, start, turn=0.005),
        tail_flow(SQUARED, jax.tree.map(lambda w: 7.0 * w, start)),
    ]
    for tail in ends:
        assert tail.settled
        assert tail.margins[-1] == pytest.approx(0.287414, abs=1e-6)
        assert np.allclose(
            unit(SQUARED, tail.weights), unit(SQUARED, ends[0].weights), atol=1e-6
        )
    assert np.isclose(ends[0].log_norm, 30.0)
    assert np.isclose(np.linalg.norm(SQUARED.flat(ends[0].weights)), 1.0)
    # the normalised margin hardly ever falls: steps are finite
    assert np.diff(np.asarray(ends[1].margins)).min() > -1e-5


@pytest.mark.parametrize(
    "rule",
    [RMSPROP, pytest.param(ADAM, marks=pytest.mark.slow)],
    ids=["rmsprop", "adam"],
)
def test_with_eps_the_limit_is_that_of_gradient_descent(rule):
    flow = adaptive_flow(SQUARED, rule, log_loss=-1000.0, record=20, tol=1e-6)
    tail = tail_flow(SQUARED, flow.last)
    assert tail.margins[-1] == pytest.approx(0.287414, abs=1e-6)
    assert pn.kkt(SQUARED, tail.weights).residual < 1e-6


@pytest.mark.slow
def test_a_deep_linear_network_comes_to_the_largest_margin():
    problem = network(Identity(), (4, 4))
    flow = adaptive_flow(problem, DESCENT, log_loss=-1000.0, record=10, tol=1e-6)
    tail = tail_flow(problem, flow.last)
    best = float(pn.max_margin(linear(), L2()).margin)
    assert tail.margins[-1] == pytest.approx(best / 3**1.5, abs=1e-6)
    assert pn.kkt(problem, tail.weights).residual < 1e-6


@pytest.mark.slow
def test_adagrad_comes_to_a_point_of_its_own_weights_and_of_no_others():
    flow = adaptive_flow(SQUARED, ADAGRAD, log_loss=-1000.0, record=20, tol=1e-6)
    h = np.exp(np.asarray(flow.log_preconditioner[-1]))
    norm = Mahalanobis(jnp.asarray(h.min() / h))
    tail = tail_flow(SQUARED, flow.last, norm=norm)
    assert pn.kkt(SQUARED, tail.weights, norm).residual < 1e-5
    assert pn.kkt(SQUARED, tail.weights).residual > 0.35


def test_the_linear_limits_are_the_largest_margins():
    problem = linear()
    start = pn.max_margin(problem, L1()).weights  # a separating direction, no more
    weights = np.array([0.2, 1.0, 3.0])
    for norm in (L2(), Linf(), Mahalanobis(jnp.asarray(weights))):
        tail = tail_flow(problem, start, norm=norm)
        best = pn.max_margin(problem, norm)
        assert np.isclose(tail.margins[-1], best.margin, rtol=1e-6)
        assert pn.kkt(problem, tail.weights, norm).gap < 1e-6


@pytest.mark.parametrize(
    "kind", ["network", pytest.param("linear", marks=pytest.mark.slow)]
)
def test_several_classes_come_to_the_support_vector_machine(kind):
    problem = multiclass(0, k=3, d=4, n=12)
    best = float(pn.max_margin(problem, L2()).margin)
    if kind == "network":
        net = MLP((4, 3))
        problem = pn.NetworkClassification(
            net, [{"W": np.zeros((3, 4))}], problem.X, problem.y, loss=problem.loss
        )
    run = pn.train(
        problem,
        DESCENT,
        steps=200,
        step_size=pn.schedules.loss_based(),
        record=2,
    )
    tail = tail_flow(problem, jax.tree.map(lambda w: w[-1], run.weights))
    assert tail.margins[-1] == pytest.approx(best, rel=1e-3)
    assert tail.margins[-1] <= best * (1 + 1e-6)


@pytest.mark.parametrize(
    "activation",
    [ReLU(), pytest.param(SquaredReLU(), marks=pytest.mark.slow)],
    ids=repr,
)
def test_margins_never_fall_in_the_spectral_norm_per_layer(activation):
    problem, norm = network(activation), Layerwise(Spectral())
    muon = pn.optimizers.Muon(0.0)
    run = pn.train(problem, muon, steps=500, step_size=0.02, record=2)
    tail = tail_flow(problem, run.last, norm=norm, log_norm=25.0)
    margins = np.asarray(tail.margins)
    assert (np.diff(margins) > -1e-8 * margins[1:]).all()
    assert pn.kkt(problem, run.last, norm).gap > 1e-3
    assert pn.kkt(problem, tail.weights, norm).gap < 1e-6
    assert float(norm(tail.weights)) == pytest.approx(1.0)


def test_permuting_samples_changes_nothing():
    X, y = data()
    other = pn.LinearClassification(X[::-1].copy(), y[::-1].copy(), loss=EXPONENTIAL)
    ends = [tail_flow(p, np.array([1.0, 0.0, 0.0])).weights for p in (linear(), other)]
    assert np.allclose(*ends, atol=1e-6)


def test_what_a_tail_refuses():
    problem = linear()
    good = np.array([1.0, 0.0, 0.0])
    with pytest.raises(pn.NotSeparatedError, match="8 of 8"):
        tail_flow(problem, -good)
    with pytest.raises(TypeError, match="norm must be L2"):
        tail_flow(problem, good, norm=L1())
    with pytest.raises(ValueError, match="one positive weight for each of the 3"):
        tail_flow(problem, good, norm=Mahalanobis(jnp.ones(4)))
    with pytest.raises(ValueError, match="turn must be"):
        tail_flow(problem, good, turn=0.0)
    with pytest.raises(ValueError, match="shape"):
        tail_flow(problem, np.ones(4))
    apply = lambda w, X: X @ w["W"] + w["b"]
    params = {"W": np.ones(3), "b": np.array(1.0)}
    biased = pn.NetworkClassification(
        lambda w, X: apply(w, X) ** 3 + apply(w, X), params, *data(), loss=EXPONENTIAL
    )
    with pytest.raises(pn.NotHomogeneousError, match="must be homogeneous"):
        tail_flow(biased, params)


@pytest.mark.slow
def test_few_steps_reach_what_they_reach():
    tail = tail_flow(linear(), np.array([1.0, 0.0, 0.0]), most_steps=3)
    assert tail.log_norm < 30
    assert not tail.settled
    assert "still turning" in repr(tail)
    problem, start = wide()
    stuck = tail_flow(problem, start, most_steps=2, turn=1e-12)
    assert not stuck.settled  # steps that became short are no sign of rest
    ends = list(itertools.pairwise(np.asarray(tail.log_norms)))
    assert all(b > a for a, b in ends)


def wide():
    """Forty ReLU units on sixty samples, trained until only least margins matter."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 8))
    X[:, 0] += np.sign(X[:, 0])
    net = MLP((8, 40, 1), ReLU())
    problem = pn.NetworkClassification(
        net, net.params(1), X, np.sign(X[:, 0]), loss=EXPONENTIAL
    )
    rates = pn.schedules.loss_based()
    run = pn.train(problem, DESCENT, steps=2500, step_size=rates, record=40)
    deep = int(np.argmax(np.asarray(run.log_loss) < -300.0))
    return problem, jax.tree.map(lambda w: w[deep], run.weights)


@pytest.mark.slow
def test_margins_never_fall_where_relu_units_slide_along_kinks():
    problem, start = wide()
    tail = tail_flow(problem, start, log_norm=60.0)
    assert tail.log_norm == pytest.approx(60.0)
    margins = np.asarray(tail.margins)
    assert (np.diff(margins) > -1e-11 * margins[1:]).all()
    before = pn.kkt(problem, start).gap
    assert before > 0.1
    assert pn.kkt(problem, tail.weights).gap < 1e-3


@pytest.mark.slow
def test_adagrad_slow_modes_end():
    problem = network(ReLU())
    flow = adaptive_flow(problem, ADAGRAD, log_loss=-1000.0, record=20, tol=1e-6)
    h = np.exp(np.asarray(flow.log_preconditioner[-1]))
    norm = Mahalanobis(jnp.asarray(h.min() / h))
    residuals = []
    for log_norm in (30.0, 400.0):
        tail = tail_flow(problem, flow.last, norm=norm, log_norm=log_norm)
        residuals.append(float(pn.kkt(problem, tail.weights, norm).residual))
    assert residuals[0] > 1e-4
    assert residuals[1] < 1e-8


def test_a_path_that_is_continued_is_one_path():
    start = np.array([1.0, 0.0, 0.0])
    whole = tail_flow(linear(), start, log_norm=6.0)
    path = path_of(linear(), linear().read(start), pn.norms.L2())
    path.follow(6.0, 0.02, 5)
    assert path.tail().log_norm < 6.0
    path.follow(6.0, 0.02, 1000)
    assert path.tail().steps == whole.steps
    assert bool(jnp.all(path.tail().weights == whole.weights))
