"""Each rule says what it is, and does what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import penchant as pn
from penchant import norms, optimizers as rules
from penchant.problems import ScaledGradient
from tests.optimizers.test_optimizers import EVERY, every_rule

ETA = 0.05


def steps(rule, gradients, log_scales, w):
    """The steps that a rule makes on given gradients, each divided by its length."""
    state, moved = rule.init(w), []
    for g, s in zip(gradients, log_scales, strict=True):
        gradient = ScaledGradient(g, jnp.asarray(s))
        after, state = rule.update(gradient, state, w, jnp.asarray(ETA))
        moved.append((w - after) / ETA)
    return moved


def draws(count, shape=(4, 6), seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return [jax.random.normal(key, shape) for key in keys]


@every_rule
def test_every_rule_of_ours_is_known(rule):
    what = rule.character()
    assert what.known
    assert all(what.evidence[field] == "proved" for field in ("steps", "first"))
    second = what.second
    odd = second is not None and (
        second.over == "blocks" or float(second.exponent) not in (0.5, 0.25)
    )
    odd |= second is not None and second.over == "entries" and what.adaptive is None
    odd |= second is not None and second.over == "factors" and not what.normalised
    # steps of other powers, or of blocks, have a length in no norm that has a name
    assert (what.steps is None) if odd else isinstance(what.steps, norms.AbstractNorm)
    assert "proved" in repr(what)


@pytest.mark.parametrize("rule", [r for r in EVERY if r.character().steepest], ids=repr)
def test_steepest_steps_are_steepest_for_the_memory_that_is_said(rule):
    what = rule.character()
    gradients = draws(6)
    moved = steps(rule, gradients, [0.0] * 6, jnp.zeros((4, 6)))
    m = jnp.zeros((4, 6))
    for g, step in zip(gradients, moved, strict=True):
        if what.first is None:
            ahead = m = g
        else:
            b = float(what.first.decay)
            add = 1.0 if what.first.kind == "sum" else 1.0 - b
            mix = b if what.first.mix is None else float(what.first.mix)
            # the direction weighs the old memory by `mix`, in a sum as in a mean
            fresh = (1.0 - mix) / (1.0 - b if what.first.kind == "sum" else 1.0)
            ahead = mix * m + (add if what.first.mix is None else fresh) * g
            m = b * m + add * g
        length = 1.0 if what.normalised else float(what.steps.dual(ahead))
        assert float(what.steps(step)) == pytest.approx(length, rel=1e-9)
        gain = float(jnp.sum(ahead * step))
        best = float(what.steps.dual(ahead)) * float(what.steps(step))
        assert gain == pytest.approx(best, rel=1e-9)


@every_rule
def test_normalised_rules_ignore_the_scale_but_for_eps(rule):
    what = rule.character()
    gradients = draws(3)
    at = [steps(rule, gradients, [s] * 3, jnp.zeros((4, 6)))[-1] for s in (0.0, -30.0)]
    same = bool(jnp.allclose(*at, rtol=1e-9, atol=0))
    has_eps = what.second is not None and what.second.outside > 0
    assert same == (what.normalised and not has_eps)


@pytest.mark.parametrize(
    "rule",
    [
        rules.Adam(0.9, 0.99, 1e-4),
        rules.Adam(0.8, 0.95, 1e-3, eps_inside=True, bias_correction=True),
        rules.RMSProp(0.9, 1e-3),
        rules.AdaGrad(1e-3),
        rules.AdamW(0.9, 0.99, 1e-4, weight_decay=0.3),
    ],
    ids=repr,
)
def test_the_divisor_that_is_said_is_the_one_that_divides(rule):
    what, w = rule.character(), jnp.zeros(5)
    state, m = rule.init(w), jnp.zeros(5)
    for count, g in enumerate(draws(7, (5,)), start=1):
        b1 = what.b1
        m = b1 * m + (1.0 - b1) * g
        before = w
        w, state = rule.update(
            ScaledGradient(g, jnp.zeros(())), state, w, jnp.asarray(ETA)
        )
        log_v = rule.log_second(state)
        log_below = what.second.log_below(log_v, jnp.log(float(count)))
        corrected = m
        if what.second.corrected:
            # exactly by powers: the character's form is of continuous time
            exact = 1.0 - float(what.second.decay) ** count
            log_below = what.second.log_below(log_v - jnp.log(exact))
            corrected = m / (1.0 - b1**count)
        decay = 0.0 if what.decay is None else float(what.decay)
        step = corrected * jnp.exp(-log_below) + decay * before
        assert np.allclose(before - w, ETA * step, rtol=1e-9)


def test_adamw_is_adam_with_decay_and_agrees_with_the_frameworks():
    rule = rules.AdamW(0.9, 0.99, 1e-6, 0.1, bias_correction=True)
    assert rule == rules.WeightDecay(
        rules.Adam(0.9, 0.99, 1e-6, bias_correction=True), 0.1
    )
    w = jnp.linspace(-1.0, 1.0, 8)
    tx = optax.adamw(ETA, 0.9, 0.99, 1e-6, weight_decay=0.1)
    v = torch.tensor(np.asarray(w), requires_grad=True)
    theirs = torch.optim.AdamW([v], ETA, (0.9, 0.99), 1e-6, weight_decay=0.1)
    state, ours, other, memory = rule.init(w), w, w, tx.init(w)
    for g in draws(200, (8,)):
        gradient = ScaledGradient(g, jnp.zeros(()))
        ours, state = rule.update(gradient, state, ours, jnp.asarray(ETA))
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = tx.update(g, memory, other)
        other = optax.apply_updates(other, updates)
        v.grad = torch.tensor(np.asarray(g))
        theirs.step()
    assert np.allclose(ours, other, rtol=0, atol=1e-12)
    assert np.allclose(ours, v.detach().numpy(), rtol=0, atol=1e-12)


class Stranger(rules.AbstractOptimizer):
    """Sign steps, of which the rule says nothing."""

    def init(self, w):
        return None

    def update(self, gradient, state, w, step_size):
        step = jax.tree.map(jnp.sign, gradient.direction)
        return jax.tree.map(lambda w, d: w - step_size * d, w, step), None


class Introduced(Stranger):
    """The same, which says what it is."""

    def character(self):
        return rules.Character(norms.Linf(), True, steepest=True)


class Registered(Stranger):
    """The same, with a prediction of its own."""


def problem():
    return pn.datasets.gaussian(8, 20, seed=3).problem()


def test_a_stranger_is_unknown_and_never_the_max_norm():
    what = Stranger().character()
    assert not what.known
    assert what.steps is None
    told = pn.predict(problem(), Stranger())
    assert told.norm is None
    assert told.alternatives == ()
    assert "does not say what it is" in told.statement
    for rule in (Stranger(), rules.FromOptax(optax.sgd(1.0))):
        with pytest.raises(TypeError, match="no other limit can be followed"):
            pn.limit(problem(), pn.train(problem(), rule, steps=40, step_size=0.1))


def test_one_that_says_what_it_is_gets_the_theorems_for_that():
    told = pn.predict(problem(), Introduced())
    assert told.norm == norms.Linf()
    assert told.source == "fan2025spectral, Theorem 1"
    run = pn.train(problem(), Introduced(), steps=400, step_size=0.05)
    assert pn.limit(problem(), run).norm == norms.Linf()


def test_a_prediction_can_be_registered_for_a_class_of_rules():
    @pn.predict.register(Registered)
    def foretold(setting):
        assert isinstance(setting.optimizer, Registered)
        return setting.predict(norms.L1(), "of my own", "As I say.", ())

    class Special(Registered):
        """Its subclasses are covered too."""

    assert pn.predict(problem(), Special()).source == "of my own"
    assert pn.predict(problem(), Stranger()).norm is None
    with pytest.raises(TypeError, match="kind"):
        pn.predict.register(norms.L1)
