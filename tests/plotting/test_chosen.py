"""Pictures of weights and samples, bars, the plane and intervals."""

import re

import numpy as np
import pytest

from penchant import plotting
from penchant.plotting._svg import VARIABLES

W = np.linspace(-1.0, 1.0, 12).reshape(1, 3, 4)
LINE = (np.array([0.0, 1.0]), np.array([1.0, 0.0]))

DRAWN = {
    "pictures": lambda **o: plotting.weight_pictures({"run": W, "ℓ2": -W}, **o),
    "classes": lambda **o: plotting.weight_pictures(
        {"run": np.repeat(W, 3, 0)}, ["a", "b", "c"], under={"run": "xyz"}, **o
    ),
    "colours": lambda **o: plotting.weight_pictures(
        {"run": np.stack([W, -W, W], axis=-1)}, **o
    ),
    "bars": lambda **o: plotting.weight_bars(
        ["a", "b" * 80], {"run": [1.0, -0.2], "ℓ2": [0.3, -1.0]}, **o
    ),
    "samples": lambda **o: plotting.sample_pictures(
        np.stack([W[0], 0 * W[0]]), ["3 (row 1)", "8"], [["3: run"], ["8: ℓ1"]], **o
    ),
    "plane": lambda **o: plotting.plane(
        {"a": LINE, "b": LINE}, {"run": LINE, "ℓ∞": LINE}, xlabel="u", ylabel="v",
        held={"a": LINE}, **o
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", [7.2, 3.5])
@pytest.mark.parametrize("name", DRAWN)
def test_takes_its_colours_from_the_page_and_fits(name, width):
    ax = DRAWN[name](width=width)
    assert ax.figure.get_size_inches()[0] <= width + 1e-9
    svg = plotting.themed_svg(ax, "Weights")
    rest = re.sub(r"var\(--\w+, #[0-9a-f]{6}\)|base64,[^\"]*", "", svg)
    assert set(re.findall(r"var\(--(\w+), ", svg)) <= set(VARIABLES.values())
    assert set(re.findall(r"#[0-9a-f]{6}\b", rest)) <= {"#ffffff", "#000000"}
    assert svg == plotting.themed_svg(DRAWN[name](width=width), "Weights")


def test_zero_is_clear_and_signs_have_their_colours():
    ax = plotting.weight_pictures({"run": [[[-1.0, 0.0, 0.5]]]})
    red, clear, blue = np.asarray(ax.images[0].get_array())[0]
    assert (red[3], clear[3], blue[3]) == (1.0, 0.0, 0.5)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    colour = plotting.weight_pictures({"run": np.zeros((1, 2, 2, 3))})
    assert (np.asarray(colour.images[0].get_array()) == 0.5).all()


def test_runs_are_dashed_in_ink_above_the_norms():
    lines = DRAWN["plane"]().lines
    run = next(line for line in lines if line.get_label() == "run")
    norm = next(line for line in lines if line.get_label() == "ℓ∞")
    assert run.is_dashed()
    assert not norm.is_dashed()
    assert list(lines).index(run) > list(lines).index(norm)


def test_intervals_are_drawn_from_end_to_end():
    ax = plotting.interval_dots(["run"], [0.9], [(0.8, 0.95)], xlabel="% right")
    assert np.allclose(ax.lines[0].get_xdata(), [80.0, 95.0])
    assert np.allclose(ax.lines[1].get_xdata(), 90.0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: plotting.weight_pictures({}),
        lambda: plotting.weight_pictures({"run": W, "ℓ2": W[0]}),
        lambda: plotting.weight_pictures({"run": 2.0 * W}),
        lambda: plotting.weight_pictures({"run": np.nan * W}),
        lambda: plotting.weight_pictures({"run": W}, ["a", "b"]),
        lambda: plotting.weight_bars(["a"], {"run": [0.1, 0.2]}),
        lambda: plotting.weight_bars([], {}),
        lambda: plotting.sample_pictures(W, ["a", "b"]),
        lambda: plotting.sample_pictures(W[0], ["a"]),
        lambda: plotting.plane({}, {"run": ([0.0], [0.0, 1.0])}, xlabel="", ylabel=""),
        lambda: plotting.interval_dots(["a"], [0.5], [(0, 1), (0, 1)], xlabel=""),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must (be|have|hold)"):
        wrong()
