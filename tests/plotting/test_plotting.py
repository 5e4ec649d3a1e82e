import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from penchant import plotting
from penchant.plotting._style import COLOURS, spread
from penchant.plotting._svg import VARIABLES

STEPS = np.array([1, 10, 100, 1000])
RATIOS = {"ℓ2": np.array([-0.2, 0.5, 0.8, 0.9]), "ℓ∞": np.array([0.1, 0.6, 0.9, 0.99])}

DRAWN = {
    "bars": lambda **o: plotting.ratio_bars(["ℓ2", "ℓ∞"], [0.5, -0.1], **o),
    "paths": lambda **o: plotting.ratio_paths(STEPS, RATIOS, marks={"ε": 50.0}, **o),
    "loss": lambda **o: plotting.loss_path(
        STEPS, [-1.0, -30.0, -90.0, -900.0], walls={"float32": -16.3}, **o
    ),
    "large loss": lambda **o: plotting.loss_path(STEPS, [0.0, -1.0, -2.0, -3.0], **o),
    "excess": lambda **o: plotting.excess_path(STEPS, [1.0, 0.1, 0.01, 0.0], **o),
}
every = pytest.mark.parametrize("name", DRAWN)


@pytest.fixture
def axes():
    return Figure().subplots()


@every
def test_draws_into_the_axes_given(name, axes):
    assert DRAWN[name](ax=axes) is axes
    assert axes.has_data()
    assert axes.get_xlabel()


@every
def test_draws_a_figure_of_the_size_asked_for(name):
    drawn = DRAWN[name](size=(4.0, 2.0))
    assert tuple(drawn.figure.get_size_inches()) == (4.0, 2.0)


@every
def test_takes_its_colours_from_the_page(name):
    svg = plotting.themed_svg(DRAWN[name](), 'Ratios < 1 & "more"')
    assert svg.startswith("<svg ")
    assert svg.endswith("</svg>")
    assert 'role="img"' in svg
    assert 'aria-label="Ratios &lt; 1 &amp; &quot;more&quot;"' in svg
    assert "<metadata>" not in svg
    assert "date" not in svg.lower()
    assert "var(--ink, #1b1d22)" in svg
    # no colour but by its variable, and of those only known ones
    assert set(re.findall(r"var\(--(\w+), ", svg)) <= set(VARIABLES.values())
    rest = re.sub(r"var\(--\w+, #[0-9a-f]{6}\)", "", svg)
    assert set(re.findall(r"#[0-9a-f]{6}\b", rest)) <= {"#ffffff", "#000000"}
    # its size is the page's affair
    opening = svg[: svg.index(">")]
    assert "viewBox" in opening
    assert " width=" not in opening
    assert " height=" not in opening


@every
def test_is_the_same_each_time(name):
    one, other = (plotting.themed_svg(DRAWN[name](), "title") for _ in range(2))
    assert one == other


def test_text_stays_text():
    svg = plotting.themed_svg(DRAWN["bars"](), "title")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"ℓ2", "ℓ∞", "50 %", "not separated"} <= {t.strip() for t in texts}


def test_bars_show_what_is_certain_and_what_is_not(axes):
    plotting.ratio_bars(["ℓ1", "ℓ2"], [0.8, 0.9], [0.6, 0.9], ax=axes)
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([80.0, 60.0, 90.0, 90.0])
    assert [bar.get_alpha() for bar in axes.patches] == [0.35, None, 0.35, None]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ℓ1", "ℓ2"]
    assert axes.get_yticks()[0] > axes.get_yticks()[1]  # the first one on top


def test_a_norm_has_one_colour_in_every_figure(axes):
    plotting.ratio_paths(STEPS, RATIOS, ax=axes)
    lines = [line.get_color() for line in axes.lines[:2]]
    assert lines == [COLOURS["ℓ2"], COLOURS["ℓ∞"]]
    bar = plotting.ratio_bars(["ℓ∞"], [0.5]).patches[0]
    hue = [int(COLOURS["ℓ∞"][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    assert bar.get_facecolor()[:3] == pytest.approx(hue)


def test_paths_show_percents_and_marks(axes):
    proved = {label: 0.5 * np.abs(ratio) for label, ratio in RATIOS.items()}
    marks = {"at 50": 50.0, "at 5e5": 5e5}
    plotting.ratio_paths(STEPS, RATIOS, proved, marks=marks, ax=axes)
    assert np.allclose(axes.lines[0].get_ydata(), 100 * RATIOS["ℓ2"])
    assert axes.get_xscale() == "log"
    texts = [t.get_text() for t in axes.texts]
    assert "at 50" in texts
    assert "at 5e5" not in texts  # after the end of the run
    assert len(axes.collections) == 2  # a band a norm


def test_a_band_where_it_is_given_and_no_other(axes):
    plotting.ratio_paths(STEPS, RATIOS, {"ℓ∞": 0.5 * RATIOS["ℓ∞"]}, ax=axes)
    assert len(axes.collections) == 1


def test_phases_are_named_from_the_first_shown(axes):
    marks = {"one": 0.0, "two": 1.0, "three": 100.0, "four": 1e4}
    plotting.ratio_paths(STEPS[1:], {"ℓ2": RATIOS["ℓ2"][1:]}, marks=marks, ax=axes)
    # at step 10, where the axes begin, the second is going on, and the first is over
    named = {t.get_text(): t.xy[0] for t in axes.texts if t.get_text() != "ℓ2"}
    assert named == {"two": 10, "three": 100}


def test_axes_of_less_than_two_decades_have_plain_numbers():
    steps = np.array([3_000, 5_000, 9_000, 20_000])
    drawn = plotting.ratio_paths(steps, {"ℓ2": np.array([0.1, 0.2, 0.3, 0.4])})
    ticks = [t.get_text() for t in drawn.get_xticklabels()]
    assert ticks == ["5,000", "10,000", "20,000"]


def ticks(axes):
    return {t.get_text(): t.get_position()[1] for t in axes.get_yticklabels()}


def test_tiny_losses_are_losses_on_the_axis(axes):
    # e^-1000 and far below are no floats; the axis says them all the same
    log_loss = np.array([-1.0, -30.0, -1000.0, -1e6])
    walls = {"float32": -16.3, "float64": -36.8, "beyond": -1e7}
    plotting.loss_path(STEPS, log_loss, walls=walls, ax=axes)
    assert axes.get_ylabel() == "training loss"
    shown = axes.lines[0].get_ydata()
    assert np.allclose(shown, log_loss / np.log(10.0))
    assert np.all(np.diff(axes.transData.transform(np.c_[STEPS, shown])[:, 1]) < 0)
    assert [t.get_text() for t in axes.texts] == ["float32", "float64"]
    told = ticks(axes)
    assert told["10⁻¹⁰⁰"] == -100.0
    assert told["1"] == 0.0
    assert told["10⁻¹⁰⁰⁰⁰⁰"] == -1e5


@pytest.mark.parametrize(
    ("log10", "told"),
    [
        ([0.0, -1.0, -3.0, -4.5], ["1", "10⁻¹", "10⁻²", "10⁻³", "10⁻⁴", "10⁻⁵"]),
        ([0.0, -0.1, -0.2, -0.31], ["0.5", "1"]),
        ([0.5, 0.5, 0.49, 0.49], ["3.09", "3.16"]),
        ([0.5, 0.5, 0.5, 0.5], ["3.16"]),
        ([4.2, 1.0, -8.0, -80.0], ["10⁻¹⁰", "10⁻¹", "1", "10⁵"]),
        ([0.0, -9.0, -11.0, -14.5], ["1", "10⁻³", "10⁻⁶", "10⁻⁹", "10⁻¹²", "10⁻¹⁵"]),
    ],
    ids=str,
)  # fmt: skip
def test_ticks_of_losses_are_what_they_say(log10, told):
    drawn = plotting.loss_path(STEPS, np.array(log10) * np.log(10.0))
    found = ticks(drawn)
    assert sorted(found) == sorted(told)
    for text, power in found.items():
        digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        raised = text.startswith("10") and text[2:]
        value = float(f"1e{text[2:].translate(digits)}") if raised else float(text)
        assert np.isclose(10.0**power, value, rtol=5e-3)


def test_no_excess_is_left_out(axes):
    plotting.excess_path(STEPS, [1.0, 0.1, 0.0, 0.01], ax=axes)
    left_out = np.isnan(axes.lines[0].get_ydata())
    assert np.array_equal(left_out, [False, False, True, False])


@pytest.mark.parametrize("steps", [[0], [1], [1, 2]], ids=str)
def test_runs_of_hardly_a_step(steps):
    ones = np.ones(len(steps))
    for drawn in (
        plotting.ratio_paths(steps, {"ℓ2": 0.0 * ones}),
        plotting.loss_path(steps, -ones),
        plotting.excess_path(steps, 0.0 * ones),
    ):
        assert "<svg " in plotting.themed_svg(drawn, "hardly a step")  # and no warning


def test_labels_are_moved_apart():
    placed = spread([50.0, 50.5, 90.0, 99.0, 99.5], 6.0)
    assert np.all(np.diff(placed) >= 6.0 - 1e-9)
    assert max(placed) <= 99.5 + 1e-9
    assert spread([10.0, 50.0], 6.0) == [10.0, 50.0]
    assert spread([], 6.0) == []
