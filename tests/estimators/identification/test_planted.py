"""Rules of the tests' own making are described rightly."""

import math

import numpy as np
import pytest

import penchant as pn
from penchant.optimizers import FIELDS
from tests.estimators.identification import cases

SMALL = (8, 4)


def test_rows_that_are_normalised():
    found = pn.identify((cases.zeros, cases.rows), shape=SMALL)
    assert found.steps.label == pn.norms.Rowwise().label
    assert found.steepest
    assert found.normalised
    assert float(found.first.decay) == pytest.approx(0.9, abs=1e-9)
    assert found.second is None
    assert found.decay is None
    assert all(found.evidence[field] == "measured" for field in FIELDS)
    assert found.headline.startswith(
        "Row-wise ℓ2 steepest descent (exactly), memory 10"
    )


def test_schatten_4_whose_rows_are_clipped():
    found = pn.identify((cases.zeros, cases.schatten_4_with_rows_clipped), shape=SMALL)
    assert found.family == "unitarily invariant"
    assert found.steps.p == pytest.approx(4.0, abs=1e-6)
    assert found.steepest
    assert float(found.first.decay) == pytest.approx(0.8, abs=1e-6)
    assert 0.05 < found.findings.degree.breaks < 10.0
    assert any("rows no longer count" in line for line in found.told)


def test_adam_over_blocks_of_columns():
    found = pn.identify(cases.block_adam(), shape=SMALL)
    assert found.family == "block-wise"
    assert found.second.over == "blocks"
    blocks = np.asarray(found.second.blocks.numbers)
    assert (blocks == blocks[:1]).all()
    assert blocks[0, 0] == blocks[0, 1] != blocks[0, 2] == blocks[0, 3]
    assert float(found.second.decay) == pytest.approx(0.99, abs=1e-6)
    assert float(found.second.eps) == pytest.approx(1e-7, rel=1e-6)
    assert found.second.corrected
    assert found.replayed < 1e-9
    # each block is as long as the step size in its root mean square
    assert isinstance(found.norm, pn.norms.Blockwise)
    assert found.norm.count == 2
    assert found.tightness.worst == pytest.approx(1.0, abs=1e-9)
    assert found.tightness.length == pytest.approx(1.0, rel=1e-9)
    assert found.headline.startswith("Root mean square of 2 blocks steps")
    assert found.steps is None


def test_adam_as_written():
    found = pn.identify(cases.adamw(beside=0.1), shape=SMALL)
    truth = pn.optimizers.AdamW(weight_decay=0.1, bias_correction=True).character()
    assert cases.differences(found, truth) == []
    assert found.step_size == pytest.approx(0.01, rel=1e-9)


def test_betas_the_wrong_way_round():
    found = pn.identify(cases.adamw(b1=0.999, b2=0.9), shape=SMALL)
    truth = pn.optimizers.Adam(0.999, 0.9, bias_correction=True).character()
    assert cases.differences(found, truth) == []


def test_decay_applied_twice():
    found = pn.identify(cases.adamw(beside=0.1, through=0.05), shape=SMALL)
    assert float(found.decay) == pytest.approx(0.1, rel=1e-6)
    assert found.coupled == pytest.approx(0.05, rel=1e-6)
    assert any("applied twice" in line for line in found.told)


def test_decay_through_the_gradient_is_no_decoupled_one():
    found = pn.identify(cases.adamw(through=0.05), shape=SMALL)
    assert found.decay is None
    assert found.evidence["decay"] == "measured"
    assert found.coupled == pytest.approx(0.05, rel=1e-6)


def test_a_soft_polar_map_is_placed_between_norms():
    found = pn.identify(cases.soft_polar(0.1), shape=SMALL)
    low, high = found.between
    assert found.family == "unitarily invariant"
    # the map's own slopes lie between 0 and 1, so its norms between ∞ and 2
    assert 2.0 < low < high < math.inf
    assert not found.steepest
    assert found.tightness.worst < found.tightness.median < 1.0
    softer = pn.identify(cases.soft_polar(1.0), shape=SMALL).between
    assert softer[1] < high


def test_a_rule_in_jax_has_its_step_size():
    found = pn.identify((cases.zeros, cases.in_jax), shape=SMALL)
    assert found.step_size == pytest.approx(0.1)
    assert float(found.first.decay) == pytest.approx(0.7, abs=1e-9)
    assert found.steepest


@pytest.mark.parametrize("key", [1, 2, 3])
def test_other_gradients_say_the_same(key):
    found = pn.identify(cases.adamw(b2=0.98, eps=1e-5), shape=SMALL, key=key)
    truth = pn.optimizers.Adam(0.9, 0.98, 1e-5, bias_correction=True).character()
    assert cases.differences(found, truth) == []


def test_forms_that_no_rule_of_ours_has_are_unknown_and_not_none():
    """AdaMax divides by a largest, AMSGrad by the largest of means."""

    def adamax(g, state, w):
        m, v = (np.zeros_like(g),) * 2 if state is None else state
        m, v = 0.9 * m + 0.1 * g, np.maximum(0.99 * v, np.abs(g))
        return -m / v, (m, v)

    found = pn.identify(adamax, shape=SMALL)
    assert found.family == "entry-wise"
    assert found.steps.same(pn.norms.Linf())
    assert found.second is None
    assert found.evidence["second"] == "unknown"
    assert found.findings.sizes.kind == "max"
    assert not found.steepest


def test_every_test_is_of_about_a_hundred_updates():
    found = pn.identify(cases.adamw(), shape=(16, 8))
    assert sum(found.findings.tally.values()) == found.findings.updates
    assert max(found.findings.tally.values()) <= 100


def test_a_reason_stands_where_a_part_is_unknown():
    found = pn.identify(lambda g, t, w: (-g / (t or 1), (t or 1) + 1), shape=SMALL)
    reasons = dict.fromkeys(
        field for field in FIELDS if found.evidence[field] == "unknown"
    )
    assert reasons
    assert set(found.why) == set(reasons)
    assert all(found.why.values())


def test_trust_ratios_are_read_at_weights_that_are_not_zero():
    """Momentum of gradients as long as the weights: LARS, of the tests' own making."""

    def update(g, m, w):
        size, length = np.linalg.norm(w), np.linalg.norm(g)
        trust = size / length if size > 0 < length else 1.0
        m = (0.0 if m is None else 0.7 * m) + trust * g
        return -0.1 * m, m

    found = pn.identify(update, shape=SMALL)
    assert found.findings.origin
    assert found.family == "jointly normalised"
    assert found.constants["first decay"].value == pytest.approx(0.7, abs=1e-9)
    assert found.why["first"] == "steps are as long as the weights are"


def test_a_rule_that_warms_up_is_read_after_it():
    """Ten plain steps, then signs: what RAdam does."""

    def update(g, t, w):
        t = 1 if t is None else t + 1
        return (-g if t < 5 else -np.sign(g)), t

    found = pn.identify(update, shape=SMALL)
    assert found.family == "entry-wise"
    assert found.evidence["first"] == "unknown"
    assert any("another kind" in line for line in found.told)


def test_steps_that_depend_on_where_the_weights_have_been():
    def update(g, start, w):
        start = w.copy() if start is None else start
        return -g * (1.0 + np.linalg.norm(w - start)), start

    found = pn.identify(update, shape=SMALL)
    assert found.findings.weights.kind == "path"
    assert found.evidence["decay"] == "unknown"
    assert not found.steepest


def test_steps_as_long_as_the_weights():
    def update(g, state, w):
        size = np.linalg.norm(w)
        return -(size if size > 0 else 1.0) * g / np.linalg.norm(g), state

    found = pn.identify(update, shape=SMALL)
    assert found.findings.weights.kind == "length"
    assert found.evidence["normalised"] == "unknown"


def test_momentum_of_steps_that_were_normalised_first():
    def update(g, state, w):
        m, v = (np.zeros_like(g),) * 2 if state is None else state
        v = 0.95 * v + 0.05 * g**2
        m = 0.9 * m + g / (np.sqrt(v) + 1e-8)
        return -0.01 * m, (m, v)

    found = pn.identify(update, shape=SMALL)
    assert found.form.after
    assert found.form.decay == pytest.approx(0.9, abs=1e-6)
    assert found.form.second == pytest.approx(0.95, abs=1e-6)
    # a character has no field for that order, so it is not called Adam
    assert found.evidence["second"] == "unknown"


def test_noise_is_not_taken_for_the_rule(tmp_path):
    rng = np.random.default_rng(0)

    def random(g, state, w):
        return -g + 0.1 * rng.standard_normal(g.shape), state

    found = pn.identify(random, shape=SMALL)
    assert found.family == "random"
    assert found.findings.spread == pytest.approx(0.1, rel=0.5)
    assert found.save(tmp_path / "report").is_file()
    assert all(found.evidence[field] == "unknown" for field in FIELDS)
