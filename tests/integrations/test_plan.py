"""What is planned: by costs alone, so that every number here is arithmetic."""

import dataclasses
import itertools
import math

import pytest

from penchant.integrations import _plan
from penchant.integrations._plan import Costs, Plan, make_plan

COSTS = Costs(
    light=0.4, fixed=0.1, edge=0.02, batches=0.1, product=0.05, tops=3, colds=3
)


def looks(every, until):
    seen, step = [], 0
    while (step := _plan.next_look(step, every)) <= until:
        seen.append(step)
    return seen


def test_looks_are_early_doubling_and_regular():
    assert looks(20, 100) == [1, 2, 5, 10, 20, 40, 60, 80, 100]
    assert looks(60, 200) == [1, 2, 5, 10, 20, 40, 60, 80, 120, 160, 180]
    assert looks(10**6, 200) == [1, 2, 5, 10, 20, 40, 80, 160]
    assert _plan.next_look(59) == 60


@pytest.mark.parametrize("look", [1e-4, 1e-3, 5e-3, 0.2])
@pytest.mark.parametrize("step", [1e-4, 5e-3, 1.0])
def test_looks_stay_within_a_hundredth_of_the_time(look, step):
    every = _plan.look_every(look, step)
    assert every % 20 == 0
    assert look / every <= 0.01 * step
    if every > 20:  # and are no rarer than that asks for, by what later ones take
        least = _plan.DEARER * look / (0.01 * step)
        assert every - 20 < least * (1 + 1e-9)
    assert _plan.look_every(look, 0.0) == 20


@pytest.mark.parametrize("dear", [0.3, 2.0, 9.0])
def test_looks_that_turn_out_dearer_are_left_out_until_they_are_earned(dear):
    # foretold for looks of .05 s between steps of .2 s; they take `dear` times that
    step_seconds, look, until = 0.2, 0.05 * dear, 40_000
    every = _plan.look_every(0.05, step_seconds)
    step, spent, seen = 0, 0.0, []
    while True:
        wait = _plan.short_of(spent, look, step * step_seconds, step)
        step = _plan.next_look(step, every, wait)
        if step > until:
            break
        spent += look
        seen.append(step)
    assert spent <= 0.0101 * until * step_seconds
    assert {1, 2, 5, 10, 20, 40, 80, 160, 20_480} <= set(seen)
    if dear < 1:  # none is left out
        assert set(range(every, until, every)) <= set(seen)


def spent_of(plan, costs, factor):
    """What a plan takes, counted probe by probe."""
    total, colds = 0.0, costs.colds
    for step in plan.steps[1:]:
        total += costs.fixed + (costs.light - costs.fixed) * factor
        if step in plan.edge:
            cold = _plan.COLD if plan.warm == _plan.WARM else _plan.THIN
            n = colds * cold + (costs.tops - colds) * plan.warm * _plan.MORE
            products = _plan.LATER * n * costs.product
            total += factor * (products + costs.edge) + costs.batches
            colds = 0
    return total


@pytest.mark.parametrize("overhead", [0.01, 0.03, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("steps", [300, 1000, 3000, 30_000, 1_000_000])
def test_a_plan_stays_within_its_budget_or_says_by_how_much_not(steps, overhead):
    first, unit = 0.7, 0.01
    plan, factor = make_plan(COSTS, unit, overhead, steps, 128, 1024, first)
    taken = (first + spent_of(plan, COSTS, factor)) / (steps * unit)
    assert plan.share == pytest.approx(taken, rel=1e-9)
    assert plan.steps[0] == 10
    assert plan.steps[-1] == steps
    assert set(plan.edge) <= set(plan.steps)
    assert plan.examples == 128 * factor
    short = plan.why.startswith("the run is short")
    assert short == (taken > overhead)
    if short:
        assert len(plan.steps) == 3
        assert f"about {100 * taken:.0f} % of its time" in plan.why
    else:
        # the next larger set would not have fitted, or there is none
        larger = _plan.candidates(steps)[1:]
        if factor < 8:
            whole = dataclasses.replace(plan, steps=(10, *larger), edge=(10, *larger))
            whole.warm = _plan.WARM
            assert first + spent_of(whole, COSTS, 2 * factor) > overhead * steps * unit


def test_more_budget_never_buys_less():
    bought = []
    for overhead in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0):
        plan, factor = make_plan(COSTS, 0.01, overhead, 3000, 128, 1024, 0.7)
        if not plan.why.startswith("the run is short"):
            bought.append((factor, len(plan.edge), plan.warm, len(plan.steps)))
    assert len(set(bought)) >= 4  # every kind of thinning was met
    for less, more in itertools.pairwise(bought):
        assert less <= more


def test_without_a_total_a_probe_is_due_when_it_has_been_earned():
    plan, factor = make_plan(COSTS, 0.01, 0.05, None, 128, 1024, 0.7)
    assert factor == 1
    spent = 0.7
    for step in plan.steps[1:6]:
        spent += COSTS.lights() + (step in plan.edge) * 0.5
        assert spent <= 0.05 * step * 0.01 * 1.5
    assert len(plan.steps) > 10


def test_a_plan_is_read_as_it_was_written_also_an_older_one():
    plan, _ = make_plan(COSTS, 0.01, 0.2, 3000, 128, 1024, 0.7)
    plan.every = 60
    assert Plan.read(plan.to_dict()) == plan
    kept = {"steps": [10], "edge": [10], "examples": 128, "why": ""}
    old = Plan.read(kept)
    assert old.made
    assert old.every == 0
    assert Plan.read(None) is None
    assert math.isnan(old.share)
    assert not Plan.read(Plan().to_dict()).made


def test_costs_of_two_optimizers_add_up():
    other = dataclasses.replace(COSTS, product=0.2, tops=2, colds=1)
    both = COSTS + other
    assert both.lights() == pytest.approx(COSTS.lights() + other.lights())
    same = COSTS + COSTS
    assert same.edges(4, 2.0) == pytest.approx(2 * COSTS.edges(4, 2.0))
    assert Costs().edges(3) == Costs().lights() == 0.0


def test_what_can_be_said_before_the_first_step():
    told = _plan.foretold(3000, 0.05, None, (128, 1024))
    assert "1, 2, 5, 10 and every 20 or more steps" in told
    assert "10, 30, 90, 270, 810, 2,430, 3,000 steps on 128 to 1,024" in told
    assert "within 5 %" in told
    assert "30 steps" not in _plan.foretold(None, 0.05, 20, None)
