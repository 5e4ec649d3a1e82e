"""Each preset makes its point in numbers, and its Python makes the same numbers."""

import contextlib
import io
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from penchant.explorer import PRESETS, State, code, compute, figure, png, svg

# runs of which only the end counts: the short ones stand for all in the fast suite
slow = pytest.mark.slow


def last(shown):
    return {label: float(share[-1]) for label, share in shown.shares.items()}


@pytest.fixture(scope="module")
def both():
    made = {}

    def of(name):
        if name not in made:
            preset = PRESETS[name]
            made[name] = compute(preset.state), compute(preset.other)
        return made[name]

    return of


def test_the_list():
    assert list(PRESETS) == [preset.name for preset in PRESETS.values()]
    for preset in PRESETS.values():
        assert len(preset.says) == 3
        assert all(text.endswith(".") for text in preset.says)
        assert preset.state != preset.other


@slow
def test_batch_size_one_turns_linf_into_l2(both):
    one, whole = map(last, both("batch-size-one"))
    assert one["ℓ2"] > 0.99 > 0.7 > one["ℓ∞"]
    assert whole["ℓ∞"] > 0.99 > 0.96 > whole["ℓ2"]


def test_epsilon_decides(both):
    with_eps, without = map(last, both("epsilon-decides"))
    assert max(with_eps, key=with_eps.get) == "ℓ2"
    assert max(without, key=without.get) == "ℓ∞"
    assert min(with_eps["ℓ2"], without["ℓ∞"]) > 0.998


@slow
def test_five_newton_schulz_steps_are_not_spectral(both):
    five, exact = both("newton-schulz")
    lead = lambda shown: last(shown)["spectral"] - last(shown)["ℓ2"]
    assert lead(exact) > 0.1 > 0.02 > lead(five)
    ends = lambda shown: {k: a[-1] for k, a in shown.alignments.items()}
    assert max(ends(exact), key=ends(exact).get) == "spectral"
    assert max(ends(five), key=ends(five).get) == "ℓ2"


@slow
def test_adam_goes_to_the_kink(both):
    adam, gd = both("kink")
    kink, tip = adam.spots["least tr Diag(H)^½"], adam.spots["least tr H"]
    off = lambda shown, name, at: np.linalg.norm(shown.ends[name] - np.array(at))
    assert off(adam, "run", kink) < 4 * PRESETS["kink"].state.step
    assert off(adam, "slow flow", kink) < 0.01
    assert off(gd, "run", tip) < 0.01
    assert off(gd, "slow flow", tip) < 0.01


@slow
def test_finite_steps_bend_the_path(both):
    for shown in both("finite-steps"):
        ends = shown.ends
        off = {name: np.linalg.norm(end - ends["run"]) for name, end in ends.items()}
        assert off["corrected flow"] < 0.35 * off["flow"]


@slow
def test_the_start_decides_between_two_limits(both):
    one, whole = both("two-limits")
    assert len(one.limits) == 2
    counts = [(one.z == kind).mean() for kind in (-1, 0, 1)]
    assert counts[0] < 0.05
    assert min(counts[1:]) > 0.4
    assert np.allclose(whole.limits, [[0.5**0.5, 0.5**0.5, 0.0]], atol=1e-6)
    assert (whole.z == 0).all()


def test_without_a_line_every_rule_ends_at_the_minimiser(both):
    for shown in both("overlap"):
        least = np.asarray(shown.minimiser.weights)
        assert np.allclose(shown.now, least, rtol=1e-3)
        assert len(shown.wrong(least)) == 2


def printed(state):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code(state), {})
    return out.getvalue()


@pytest.mark.parametrize(
    "state", [State(steps=300), State(steps=300, batch=3, order="shuffled", bias=True)]
)
def test_the_python_makes_the_numbers_of_the_page(state):
    shown, text = compute(state), printed(state)
    for label, share in last(shown).items():
        assert re.search(rf"^{label} .* {share:.4f}$", text, re.MULTILINE)


@slow
@pytest.mark.parametrize("name", PRESETS)
def test_the_python_of_every_preset(both, name):
    shown, text = both(name)[0], printed(PRESETS[name].state)
    if hasattr(shown, "paths") and shown.paths.keys() > {"run"}:
        end = [round(float(x), 3) for x in shown.ends["run"]]
        assert f"run {end}" in text
    elif hasattr(shown, "shares"):
        for label, share in last(shown).items():
            assert re.search(rf"^{label} .* {share:.4f}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    "state",
    [
        State(steps=50),
        State(points=PRESETS["overlap"].state.points, steps=50),
        State(view="weights", steps=50),
        State(view="weights", data="centres", rule="sign", steps=50),
    ],
)
def test_figures_are_drawn(state):
    shown = compute(state)
    assert [float(side) for side in figure(shown).get_size_inches()] == [7.2, 4.05]
    assert ET.fromstring(svg(shown)).tag.endswith("svg")
    image = png(shown)
    assert image[:4] == b"\x89PNG"
    assert int.from_bytes(image[16:20]) == 1920
    assert int.from_bytes(image[20:24]) == 1080


@slow
def test_held_out_samples_flip():
    state = State(view="weights", data="digits", steps=2000)
    shown = compute(state)
    X, y = shown.held
    says = np.sign(X @ shown.now)
    for label, rows in shown.flips.items():
        other = np.sign(X @ np.asarray(shown.best[label].weights))
        assert rows.tolist() == np.flatnonzero(says != other).tolist()
        assert shown.errors[label] == (other != y).sum()
    assert any(len(rows) for rows in shown.flips.values())
