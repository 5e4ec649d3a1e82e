"""What a terminal and a notebook show."""

import pydoc

import numpy as np
import pytest

import penchant as pn
from penchant._help import plain_formula
from tests.cases import multiclass

NAMES = (
    pn.diagnose, pn.compare, pn.examine, pn.train, pn.predict, pn.max_margin,
    pn.certify,
    pn.LinearClassification, pn.optimizers.Adam, pn.optimizers.GradientDescent,
    pn.norms.Linf, pn.Trajectory, pn.losses.Logistic, pn.batching.Shuffled,
)  # fmt: skip


@pytest.mark.parametrize("thing", NAMES, ids=lambda thing: thing.__name__)
def test_help_can_be_read_in_a_terminal(thing):
    text = pydoc.plain(pydoc.render_doc(thing))
    # what dataclasses and equinox add about themselves is not ours
    text = text.partition("Data and other attributes defined here")[0]
    for noise in ("\\le", "\\frac", "\\eta", "$", "][penchant"):
        assert noise not in text, noise


@pytest.mark.parametrize(
    ("tex", "plain"),
    [
        (r"\varepsilon\ge0", "ε≥0"),
        (r"\beta_1m+(1-\beta_1)g", "β₁m+(1-β₁)g"),
        (r"e^{-10^6}", "e^(-10⁶)"),
        (r"\|w\|_\infty = \max_i |w_i|", "‖w‖_∞ = maxᵢ |wᵢ|"),
        (r"\dfrac{m}{\sqrt v+\varepsilon}", "m/(√v+ε)"),
        (r"\frac aR\sqrt{T/(t+2)}", "a/R√(T/(t+2))"),
        (r"\frac1{2\lambda}+\tfrac12", "1/(2λ)+1/2"),
        (r"w\in\mathbb R^d", "w∈ R^d"),
    ],
)
def test_formulas_in_letters(tex, plain):
    assert plain_formula(tex) == plain


def results():
    dataset = pn.datasets.gaussian(10, 20, seed=0)
    problem = dataset.problem()
    rule = pn.optimizers.Adam()
    run = pn.train(problem, rule, steps=50, step_size=0.01)
    yield dataset
    yield pn.datasets.digits(("3", "8"))
    yield run
    yield pn.max_margin(problem, "l2")
    yield pn.predict(problem, rule, step_size=0.01)
    yield pn.predict(problem, "gd")
    yield pn.diagnose(problem, "sign", steps=50)
    yield pn.compare(problem, "gd,sign", steps=50)
    yield pn.examine(problem, np.asarray(run.last))


@pytest.mark.slow
def test_results_show_themselves_in_a_notebook():
    for result in results():
        page = result._repr_html_()
        assert page.startswith("<div"), type(result)
        assert "<script" not in page
        drawable = not (isinstance(result, pn.Prediction) and not result.regimes)
        assert ("<svg" in page) == drawable, type(result)


def test_plots_are_drawn_where_they_are_asked_to_be():
    from matplotlib.figure import Figure

    run = pn.train(multiclass(0), "sign", steps=20, step_size=0.1)
    ax = Figure().subplots()
    assert run.plot(ax=ax) is ax
    assert pn.datasets.class_centres(seed=0).plot(ax=ax) is ax
    with pytest.raises(ValueError, match="no regimes"):
        pn.predict(multiclass(0), "gd").plot()
