"""What was identified goes in a rule's place, marked as measured."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import penchant as pn
from penchant.optimizers import FIELDS
from tests.estimators.identification import cases

SMALL = (4, 3)


@pytest.fixture(scope="module")
def problem():
    return pn.datasets.gaussian(8, 12, seed=0).problem()


@pytest.fixture(scope="module")
def sign():
    """Signs of momentum, in optax."""
    return pn.identify(optax.chain(optax.ema(0.5), optax.sign_sgd(1.0)), shape=SMALL)


def test_predictions_say_that_the_rule_was_measured(problem, sign):
    told = pn.predict(problem, sign)
    ours = pn.predict(problem, pn.optimizers.Signum(0.5))
    assert told.norm.same(ours.norm)
    assert float(told.margin) == pytest.approx(float(ours.margin), rel=1e-6)
    marks = [a for a in told.assumptions if "measured" in a.statement]
    assert [mark.verdict for mark in marks] == [pn.Verdict.UNKNOWN]
    assert not any("measured" in a.statement for a in ours.assumptions)


def test_it_runs_as_the_rule_itself(problem, sign):
    steps = {"steps": 40, "step_size": 0.01}
    run = pn.train(problem, sign, **steps)
    bare = pn.train(problem, optax.chain(optax.ema(0.5), optax.sign_sgd(1.0)), **steps)
    assert np.allclose(run.last, bare.last, atol=1e-12)


def marked(prediction):
    return any("measured" in a.statement for a in prediction.assumptions)


@pytest.mark.slow
def test_diagnose_says_so(problem, sign):
    says = pn.diagnose(problem, sign, steps=60, step_size=0.01)
    assert says.prediction.norm.same(pn.norms.Linf())
    assert marked(says.prediction)


@pytest.mark.slow
def test_compare_says_so_of_the_measured_rule_alone(problem, sign):
    both = pn.compare(problem, {"mine": sign, "gd": "gd"}, steps=100)
    assert both["mine"].name == "mine"
    told = {name: both[name].diagnoses[0].prediction for name in ("mine", "gd")}
    assert marked(told["mine"])
    assert not marked(told["gd"])


def test_limit_reads_the_character_and_says_that_it_was_measured(problem, sign):
    run = pn.train(problem, sign, steps=300, step_size=0.01)
    found = pn.limit(problem, run)
    best = pn.max_margin(problem, pn.norms.Linf())
    assert found.norm.same(pn.norms.Linf())
    assert float(found.margin) == pytest.approx(float(best.margin), rel=1e-2)
    assert set(found.measured) == set(FIELDS)
    assert "were measured" in repr(found)


def test_a_rule_in_numpy_runs_by_its_form(problem):
    found = pn.identify(cases.adamw(b2=0.95, lr=1.0), shape=SMALL)
    rule = pn.optimizers.read(found)
    ours = pn.optimizers.Adam(0.9, 0.95, bias_correction=True)
    run = pn.train(problem, rule, steps=30, step_size=0.01)
    known = pn.train(problem, ours, steps=30, step_size=0.01)
    assert np.allclose(run.last, known.last, atol=1e-8)


def test_a_form_without_a_rule_is_for_predictions_alone(problem):
    found = pn.identify(cases.soft_polar(), shape=SMALL)
    assert pn.predict(problem, found).norm is None
    with pytest.raises(TypeError, match="only the character is known"):
        pn.train(problem, found, steps=3, step_size=0.1)


@pytest.mark.parametrize("rule", cases.OURS, ids=lambda rule: repr(rule)[:60])
def test_what_a_character_says_makes_a_rule_that_says_it(rule):
    what = rule.character()
    made = pn.optimizers.as_rule(what)
    assert made.character().evidence == what.evidence
    if isinstance(made, pn.optimizers.Described):
        exact = what.steepest or what.second is not None
        mixed = what.steps is not None and not what.steps.same(pn.norms.Linf())
        assert not exact or mixed
        return
    assert cases.differences(made.rule.character(), what) == []


def test_a_character_needs_no_black_box(problem):
    what = pn.optimizers.Adam(b2=0.95, eps=0.0).character()
    assert pn.predict(problem, what).norm.same(pn.norms.Linf())
    assert jnp.isfinite(pn.train(problem, what, steps=3, step_size=0.1).last).all()
