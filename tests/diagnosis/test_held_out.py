"""Samples held out: never trained on, counted as a plain loop counts them."""

import functools
import itertools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pytest

import penchant as pn
from penchant.diagnosis import Accuracy, Pair
from penchant.diagnosis._hold_out import hold_out
from tests.cases import same

SIGN = pn.optimizers.SignDescent()
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs/assets/result.schema.json").read_text()
)


def data(k, n=60, d=70):
    """Classes that overlap, in more dimensions than there are samples."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.normal(size=(k, d))[y] + 4.0 * rng.normal(size=(n, d)), y


@functools.cache
def held(k):
    X, y = data(k)
    return pn.diagnose(X, y, SIGN, steps=300, holdout=0.3, key=4)


@pytest.mark.parametrize("k", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_flips_are_those_that_a_plain_loop_counts(k):
    says = held(k)
    X, y = data(k)
    seen, names = says.held_out, says.chosen.names
    assert seen.names == names == ("run", *(row.label for row in says.table))

    def said(w, x):
        if k == 2:
            return int(float(np.dot(x, w)) > 0)
        return max(range(k), key=lambda c: float(np.dot(np.asarray(w)[c], x)))

    flips, right, differ = [], dict.fromkeys(names, 0), {}
    for row in seen.rows:
        told = [said(w, X[row]) for w in says.chosen.weights]
        if len(set(told)) > 1:
            flips.append(int(row))
        for name, answer in zip(names, told, strict=True):
            right[name] += answer == y[row]
        for (a, s), (b, t) in itertools.combinations(zip(names, told, strict=True), 2):
            differ[a, b] = differ.get((a, b), 0) + (s != t)
    assert seen.flips.tolist() == sorted(flips)
    assert flips  # something to count
    assert {name: found.right for name, found in seen.accuracy.items()} == right
    assert {(p.first, p.second): p.differ for p in seen.pairs} == differ
    told = says.to_dict()
    jsonschema.validate(told, SCHEMA)
    assert [f["row"] for f in told["evidence"]["held_out"]["flips"]] == sorted(flips)


def test_training_sees_the_rest_alone():
    X, y = data(2)
    parts = pn.datasets.split(y, 0.3, 4)
    assert np.array_equal(held(2).held_out.rows, parts.held)
    assert held(2).held_out.trained == len(parts.train) == held(2).settings["samples"]
    # the rest alone gives the same, bit by bit; so do others in place of those held out
    alone = pn.diagnose(X[parts.train], y[parts.train], SIGN, steps=300, key=4)
    other = X.copy()
    other[parts.held] *= -50.0
    moved = pn.diagnose(other, y, SIGN, steps=300, holdout=0.3, key=4)
    for says in (alone, moved):
        assert same(says.trajectory.weights, held(2).trajectory.weights)
        assert same(says.chosen.weights, held(2).chosen.weights)
    assert alone.held_out is None
    assert alone.to_dict()["evidence"]["held_out"] is None


def test_a_name_of_a_label_or_a_seed_of_jax_changes_no_row():
    X, y = data(2)
    problem = pn.problems.read(X, np.array(["no", "yes"])[y])
    for key in (4, np.int64(4), jax.random.key(4), jax.random.PRNGKey(4)):
        train, kept = hold_out(problem, 0.3, key)
        assert np.array_equal(kept.rows, held(2).held_out.rows)
        assert train.samples + kept.problem.samples == len(y)


def test_predictions_do_not_depend_on_lengths_and_ties_are_no_label():
    problem = pn.problems.read([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]], [0, 1, 2])
    W = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    assert problem.classify(W).tolist() == [0, 1, -1]
    assert problem.classify(1e300 * W).tolist() == [0, 1, -1]
    assert problem.classify(jnp.zeros((3, 2))).tolist() == [-1, -1, -1]
    binary = pn.problems.read([[1.0, 1.0], [0.0, -2.0], [3.0, -3.0]], [1, -1, 1])
    for length in (1e-300, 1.0, 1e300):
        assert binary.classify(length * jnp.ones(2)).tolist() == [1, -1, 0]
    right = np.asarray(binary.margins(jnp.ones(2)) > 0)
    assert np.array_equal(binary.classify(jnp.ones(2)) == binary.y, right)


@pytest.mark.parametrize("n", [1, 20, 60])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_intervals_cover_at_every_share(n, p):
    chance = [math.comb(n, m) * p**m * (1 - p) ** (n - m) for m in range(n + 1)]
    covers = [Accuracy(m, n).low <= p <= Accuracy(m, n).high for m in range(n + 1)]
    assert math.fsum(c for c, yes in zip(chance, covers, strict=True) if yes) >= 0.95


def test_intervals_by_their_definition():
    found = Accuracy(17, 20)
    tail = lambda p, ms: math.fsum(
        math.comb(20, m) * p**m * (1 - p) ** (20 - m) for m in ms
    )
    assert tail(found.low, range(17, 21)) == pytest.approx(0.025)
    assert tail(found.high, range(18)) == pytest.approx(0.025)
    assert (Accuracy(0, 5).low, Accuracy(5, 5).high) == (0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (3, 3), (1, 5), (9, 2)])
def test_chance_is_that_of_a_fair_coin(a, b):
    n = a + b
    lead = abs(a - b)
    as_far = sum(math.comb(n, m) for m in range(n + 1) if abs(2 * m - n) >= lead)
    assert Pair("u", "v", n + 1, a, b).chance == pytest.approx(as_far / 2**n)


def test_words_say_no_more_than_the_counts():
    seen = held(2).held_out
    assert f"of {seen.samples} held-out samples the optima differ" in seen.headline
    least = min(p.chance for p in seen.pairs)
    assert least * len(seen.pairs) >= 0.05  # 18 samples can't tell
    assert "too few, or the classifiers too alike" in seen.explanation
    assert seen.headline in repr(held(2))
    assert "<svg" in seen._repr_html_()


@pytest.mark.slow
def test_problems_without_a_margin_have_samples_held_out_too():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(80, 2)), np.where(rng.random(80) < 0.5, -1, 1)
    says = pn.diagnose(X, y, SIGN, steps=100, holdout=0.25)
    assert says.separable is False
    assert says.held_out.names == ("run", "minimiser")
    assert "20 samples were held out" in says.held_out.headline
    jsonschema.validate(says.to_dict(), SCHEMA)


def test_networks_refuse():
    from tests.diagnosis.test_result import network

    with pytest.raises(TypeError, match="holdout is for linear classifiers"):
        pn.diagnose(network(), SIGN, steps=5, step_size=0.1, holdout=0.2)


@pytest.mark.slow
def test_rules_are_compared_on_the_same_samples():
    X, y = data(2)
    found = pn.compare(X, y, "sign,gd", steps=200, holdout=0.3, key=4)
    seen = found.held_out
    assert seen.names == ("sign", "gd", "ℓ1", "ℓ2", "ℓ∞") == found.chosen.names
    assert np.array_equal(seen.rows, held(2).held_out.rows)
    for rule in found.rules:
        own = rule.diagnoses[0].held_out
        assert np.array_equal(own.rows, seen.rows)
        assert own.accuracy["run"].right == seen.accuracy[rule.name].right
    assert seen.headline in repr(found)
    page = found.page()
    assert '<figure id="chosen">' in page
    assert '<figure id="accuracy">' in page
