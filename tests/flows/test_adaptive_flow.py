"""The flow by what it conserves, by closed forms, and by its discrete steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import penchant as pn
from penchant.flows import ShortFlowWarning, adaptive_flow
from penchant.problems.models.networks import ReLU, SquaredReLU
from tests.flows.cases import EXPONENTIAL, linear, network

DESCENT = pn.optimizers.GradientDescent()
LOGISTIC = pn.losses.Logistic()
slow = pytest.mark.slow

MODELS = {
    "linear": linear,
    "relu": lambda loss: network(ReLU(), loss=loss),
    "squared": lambda loss: network(SquaredReLU(), loss=loss),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loss", "inside"),
    [
        pytest.param("linear", EXPONENTIAL, False, marks=slow),
        ("relu", LOGISTIC, True),
        pytest.param("linear", EXPONENTIAL, True, marks=slow),
        pytest.param("linear", LOGISTIC, False, marks=slow),
        pytest.param("linear", LOGISTIC, True, marks=slow),
        pytest.param("relu", EXPONENTIAL, False, marks=slow),
        pytest.param("relu", EXPONENTIAL, True, marks=slow),
        pytest.param("relu", LOGISTIC, False, marks=slow),
        pytest.param("squared", EXPONENTIAL, False, marks=slow),
        pytest.param("squared", EXPONENTIAL, True, marks=slow),
        pytest.param("squared", LOGISTIC, False, marks=slow),
        pytest.param("squared", LOGISTIC, True, marks=slow),
    ],
)
def test_what_adagrad_conserves_stays_constant(model, loss, inside):
    flow = adaptive_flow(
        MODELS[model](loss),
        pn.optimizers.AdaGrad(1e-2, eps_inside=inside),
        log_loss=-100.0,
        step_size=0.7,
        record=20,
        tol=1e-11,
    )
    conserved = np.asarray(flow.invariant())
    assert np.abs(conserved / conserved[0] - 1).max() < 1e-9
    assert flow.log_loss[-1] == pytest.approx(-100.0, abs=1e-6)


@pytest.mark.slow
def test_adagrad_on_one_sample_has_a_closed_form():
    # L + 2 sum sqrt(eps + x^2 S) is constant, L falls from 1 to 0
    x, eps = np.array([2.0, -0.5, 0.1]), 1e-3
    problem = pn.LinearClassification(x[None], [1], loss=EXPONENTIAL)
    flow = adaptive_flow(
        problem,
        pn.optimizers.AdaGrad(eps, eps_inside=True),
        log_loss=-2000.0,
        record=30,
    )
    rest = lambda S: np.sum(np.sqrt(eps + x**2 * S) - np.sqrt(eps)) - 0.5
    S = optimize.brentq(rest, 0.0, 10.0, xtol=1e-14)
    h = (eps + x**2 * S) ** -0.5
    assert np.allclose(np.exp(flow.log_preconditioner[-1]), h, rtol=1e-7)
    late = np.asarray(flow.weights[-1] - flow.weights[-2])
    assert np.allclose(
        late / np.linalg.norm(late), h * x / np.linalg.norm(h * x), atol=1e-7
    )
    # without eps the limit is sign(x): Qian and Qian's example
    assert np.abs(np.abs(h * x)[:2] / np.abs(h * x).max() - 1).max() < 0.05


def discrete(problem, flow, optimizer, parts):
    """The run with steps so small that the flow's time takes `parts` of them."""
    time = float(np.exp(flow.log_time[-1]))
    run = pn.train(problem, optimizer, steps=parts, step_size=time / parts, record=2)
    return problem.flat(jax.tree.map(lambda w: w[-1], run.weights))


@pytest.mark.slow
def test_gradient_descent_with_small_steps_comes_to_the_flow_at_first_order():
    problem = network(SquaredReLU())
    flow = adaptive_flow(problem, DESCENT, log_loss=-3.0, record=5, tol=1e-10)
    end = problem.flat(flow.last)
    off = [
        float(jnp.linalg.norm(discrete(problem, flow, DESCENT, n) - end))
        for n in (2000, 4000)
    ]
    assert off[1] < 2e-3 * float(jnp.linalg.norm(end))
    assert off[0] / off[1] == pytest.approx(2.0, rel=0.05)
    # momentum makes time run faster, and nothing else
    other = adaptive_flow(
        problem, pn.optimizers.GradientDescent(0.5), log_loss=-3.0, record=5, tol=1e-10
    )
    assert np.allclose(problem.flat(other.last), end, atol=1e-8)
    assert np.isclose(other.log_time[-1], flow.log_time[-1] - np.log(2), atol=1e-7)


RMSPROP = pn.optimizers.RMSProp(0.9, 1e-2, eps_inside=True)


def energy(flow, eta, eps, rate):
    """What the loss lost, and what memory and its fading account for."""
    t = np.exp(np.asarray(flow.log_time))
    v = np.exp(np.asarray(flow.log_memory))
    held = 2.0 / rate * np.sum(np.sqrt(eps + v) - np.sqrt(eps), axis=1)
    faded = np.trapezoid(np.sum(v / np.sqrt(eps + v), axis=1), t)
    lost = np.exp(float(flow.log_loss[0])) - np.exp(float(flow.log_loss[-1]))
    return lost, eta * (held[-1] - held[0] + faded)


def test_rmsprop_keeps_its_energy_balance():
    errors = []
    for record in (500, 1500):
        flow = adaptive_flow(
            linear(), RMSPROP, log_loss=-8.0, step_size=0.2, record=record, tol=1e-6
        )
        lost, found = energy(flow, 0.2, 1e-2, 0.1)
        errors.append(abs(found / lost - 1))
    # what is left is the trapezoidal sum over the records: ninefold for a third of them
    assert errors[1] < 2e-4
    assert errors[0] / errors[1] == pytest.approx(9.0, rel=0.1)


@slow
def test_discrete_rmsprop_comes_to_its_flow_at_first_order():
    # steps k times smaller with memory k times longer
    problem, eta = linear(), 0.1
    flow = adaptive_flow(
        problem, RMSPROP, log_loss=-3.0, step_size=eta, record=5, tol=1e-9
    )
    time = float(np.exp(flow.log_time[-1]))
    off = []
    for k in (200, 400):
        rule = pn.optimizers.RMSProp(1 - 0.1 / k, 1e-2, eps_inside=True)
        steps = round(time * k)
        run = pn.train(problem, rule, steps=steps, step_size=eta / k, record=2)
        off.append(float(run.log_loss[-1] - flow.log_loss[-1]))
    assert abs(off[1]) < 0.01
    assert abs(off[1]) < 0.75 * abs(off[0])


def test_adam_without_memory_of_steps_is_rmsprop():
    how = {"log_loss": -50.0, "step_size": 0.1, "record": 6}
    adam = pn.optimizers.Adam(0.9, 0.9, 1e-2, eps_inside=True)
    ours = adaptive_flow(linear(), adam, **how)
    theirs = adaptive_flow(linear(), RMSPROP, **how)
    assert np.array_equal(ours.weights, theirs.weights)


@pytest.mark.slow
def test_a_flow_goes_on_from_a_run_with_its_memory():
    problem, rule = linear(), pn.optimizers.AdaGrad(1e-2, eps_inside=True)
    run = pn.train(problem, rule, steps=500, step_size=0.05, record=5)
    flow = adaptive_flow(problem, trajectory=run, log_loss=-20.0, record=5)
    v = problem.flat(run.state.optimizer.value)
    held = np.log(v) + 2 * float(run.state.optimizer.log_frame)
    assert np.allclose(flow.log_memory[0], held)
    assert np.array_equal(flow.weights[0], run.weights[-1])
    assert float(flow.step_size) == 0.05
    assert np.exp(flow.log_time[0]) == pytest.approx(500)
    assert np.ptp(np.asarray(flow.invariant())) < 1e-8


def test_what_a_flow_refuses():
    problem = linear()
    with pytest.raises(TypeError, match=r"have|must be GradientDescent.*got Muon"):
        adaptive_flow(problem, pn.optimizers.Muon())
    with pytest.raises(TypeError, match="optimizer must be given"):
        adaptive_flow(problem)
    with pytest.raises(ValueError, match="log_loss must be below that of the start"):
        adaptive_flow(problem, DESCENT, init=np.array([9.0, 0, 0]), log_loss=-1.0)
    with pytest.raises(ValueError, match="step_size must be > 0"):
        adaptive_flow(problem, DESCENT, step_size=-1.0)
    with pytest.raises(ValueError, match="tol must be"):
        adaptive_flow(problem, DESCENT, tol=0.5)
    with pytest.raises(TypeError, match="the invariant is AdaGrad's"):
        adaptive_flow(problem, DESCENT, log_loss=-3.0, record=2).invariant()
    zero = network()
    dead = jax.tree.map(jnp.zeros_like, zero.start)
    with pytest.raises(pn.flows.ZeroGradientError, match="all parameters 0"):
        adaptive_flow(zero, DESCENT, init=dead)


def test_a_flow_that_runs_out_of_steps_says_so():
    with pytest.warns(ShortFlowWarning, match="above the -1000 asked for, within 40"):
        flow = adaptive_flow(linear(), DESCENT, record=30, most_steps=40)
    assert 1 < len(flow.log_loss) < 30
    assert flow.log_loss[-1] > -1000.0
