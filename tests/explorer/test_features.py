"""Padded to rooms, the page's numbers are the library's."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import penchant as pn
from penchant.explorer import State, compute
from penchant.explorer._features import batching
from penchant.explorer._padded import ROOMS, Padded

POINTS = State().points
OVERLAP = (*POINTS, (1.0, -0.8, 1), (0.4, 0.3, -1))
QUICK = State(steps=300)


def problem_of(state):
    X = np.array([point[:2] for point in state.points])
    y = np.array([point[2] for point in state.points])
    return pn.LinearClassification(X, y, loss=state.loss, bias=state.bias)


def trained(state):
    return pn.train(
        problem_of(state),
        state.optimizer,
        steps=state.steps,
        step_size=pn.schedules.power(state.step, state.power),
        batching=batching(state),
    )


@pytest.fixture
def compiles():
    """How many programs have been compiled, as a list of one number."""
    seen = [0]
    listen = lambda name, *_, **__: seen.__setitem__(
        0, seen[0] + ("backend_compile" in name)
    )
    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("order", ["cyclic", "shuffled", "replacement"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_padded_batches_are_the_librarys(order, size):
    theirs = pn.batching.read(size, order).batches(
        jax.random.key(3), jnp.asarray(5), 20, 8
    )
    ours = Padded(jnp.asarray(size), jnp.asarray(8), order).batches(
        jax.random.key(3), jnp.asarray(5), 20, ROOMS[0]
    )
    share = np.asarray(ours.weights)
    for t in range(20):
        inside = share[t] > 0
        want = np.ones(size) / size
        if theirs.weights is not None:
            want = np.asarray(theirs.weights[t])
        rows = np.asarray(theirs.rows[t])[want > 0]
        assert np.asarray(ours.rows[t])[inside].tolist() == rows.tolist()
        assert np.allclose(share[t][inside], want[want > 0])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch": 1},
        {"batch": 3, "order": "shuffled"},
        {"batch": 2, "order": "replacement", "eps": 1e-4},
        {"bias": True, "rule": "gd", "loss": "logistic"},
    ],
    ids=str,
)
def test_the_run_and_the_optima_are_the_librarys(changes):
    state = QUICK.but(**changes)
    shown, run = compute(state), trained(state)
    assert np.allclose(shown.weights[-1], run.last, rtol=1e-9, atol=1e-12)
    problem = problem_of(state)
    for norm in (pn.norms.L1(), pn.norms.L2(), pn.norms.Linf()):
        best = pn.max_margin(problem, norm)
        ours = shown.best[norm.label]
        assert abs(float(ours.margin - best.margin)) < 1e-8
        reached = float(problem.margins(run.last).min() / norm(run.last))
        assert abs(shown.shares[norm.label][-1] - reached / float(best.margin)) < 1e-7
    assert (
        shown.wrong(shown.now).tolist()
        == np.flatnonzero(np.asarray(problem.margins(run.last)) <= 0).tolist()
    )


@pytest.mark.parametrize("loss", ["exponential", "logistic"])
def test_without_a_line_the_minimiser_is_the_librarys(loss):
    state = QUICK.but(points=OVERLAP, rule="gd", step=1.0, power=0.0, loss=loss)
    shown = compute(state)
    assert shown.best == {}
    assert shown.told is None
    least = np.asarray(shown.minimiser.weights)
    problem = problem_of(state)
    with pytest.raises(pn.NotSeparableError) as proof:
        pn.max_margin(problem, "l2")
    run = trained(state)
    theirs = pn.diagnosis.find_minimiser(problem, run, proof.value)
    assert np.allclose(least, theirs.weights, atol=1e-9)
    assert np.abs(np.asarray(problem.gradient(jnp.asarray(least)))).max() < 1e-12
    assert len(shown.wrong(least)) == theirs.misclassified == 2
    assert np.allclose(shown.now, least, atol=1e-3)


def test_nothing_compiles_while_one_drags(compiles):
    compute(QUICK)
    compute(QUICK.but(batch=1))
    compute(QUICK.but(eps=1e-4, power=0.3))  # another case of what theory foretells
    compute(QUICK.but(b1=0.5, b2=0.99, eps=1e-3, step=0.3, power=0.25))  # and another
    compute(QUICK.but(points=OVERLAP))
    before = compiles[0]
    compute(QUICK.but(points=((2.4, 1.7, 1), *POINTS[1:])))
    compute(QUICK.but(points=((2.4, 1.7, -1), *POINTS[1:])))  # relabelled
    compute(QUICK.but(points=(*POINTS, (2.0, 2.0, 1))))  # added
    compute(QUICK.but(points=POINTS[:-1]))  # removed
    compute(QUICK.but(points=(*OVERLAP, (0.1, 0.2, -1))))
    compute(QUICK.but(batch=4, steps=500, at=0.5))
    assert compiles[0] == before


MOVES = {
    "b1": (0.0, 0.5, 0.99),
    "b2": (0.0, 0.5, 0.99, 0.999),
    "eps": (1e-12, 1e-6, 1e-3, 0.1),
    "batch": (1, 3, 6),
    "order": ("shuffled", "replacement"),
    "step": (0.001, 0.3, 3.0),
    "power": (0.0, 0.25, 1.0),
    "steps": (1000, 10_000),
}


def test_no_slider_compiles_anything(compiles):
    state = State(steps=2000)
    compute(state)
    compute(state.but(batch=2))
    compute(state.but(points=OVERLAP))
    before = compiles[0]
    for name, values in MOVES.items():
        for value in values:
            compute(state.but(**{"batch": 2 if name == "order" else 0, name: value}))
            assert compiles[0] == before, (name, value)
    # few steps have fewer records, whose number is a shape; a second time none
    compute(state.but(steps=100))
    few = compiles[0]
    compute(state.but(steps=100, b1=0.5))
    assert compiles[0] == few <= before + 8


def test_phases_are_those_that_theory_foretells():
    state = State(eps=1e-3, power=0.3, steps=20_000)
    shown = compute(state)
    told = pn.predict(
        problem_of(state),
        state.optimizer,
        step_size=pn.schedules.power(state.step, state.power),
    )
    assert [p.name for p in shown.phases] == ["throttled", "sign-like", "below ε"]
    for ours, theirs in zip(shown.phases, told.regimes, strict=True):
        assert (ours.name, ours.start, ours.end) == (
            theirs.name,
            theirs.start,
            theirs.end,
        )
    assert shown.phase.name == "below ε"
    assert compute(state.but(at=0.0)).phase.name == "throttled"
    assert compute(QUICK.but(batch=1)).phases == ()
    assert compute(QUICK.but(points=OVERLAP)).phases == ()


TIMED = """
import time
import numpy as np
from penchant.explorer import State, compute

X = np.random.default_rng(0).normal(size=(20, 2)) + 2.0
X[10:] *= -1.0
points = [(*map(float, x), 1 if i < 10 else -1) for i, x in enumerate(X)]
taken = []
for i in range(4):
    points[0] = (points[0][0] + 0.01, *points[0][1:])
    begun = time.process_time()
    compute(State(points=tuple(points)))
    taken.append(time.process_time() - begun)
print(min(taken[1:]))
"""


@pytest.mark.slow
def test_twenty_points_take_less_than_a_fifth_of_a_second():
    # in a process of its own, where no types are checked at run time
    found = subprocess.run(
        [sys.executable, "-c", TIMED], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) < 0.2


def test_theory_is_asked_for_full_batches():
    assert compute(QUICK).told == "ℓ∞"
    assert compute(QUICK.but(rule="gd")).told == "ℓ2"
    assert compute(QUICK.but(batch=1)).told is None


def test_explore_takes_points_or_weights():
    few = pn.LinearClassification([[1.0, 2.0], [-1.0, 0.5]], [1, -1], bias=True)
    state, given = pn.explorer.state_of(few)
    assert state.points == ((1.0, 2.0, 1), (-1.0, 0.5, -1))
    assert (state.bias, state.loss, given) == (True, "logistic", None)
    digits = pn.datasets.digits(("3", "8"))
    state, given = pn.explorer.state_of(digits)
    assert (state.view, state.data) == ("weights", "given")
    assert given.samples == 357
    with pytest.raises(TypeError, match="LinearClassification"):
        pn.explore("digits")
