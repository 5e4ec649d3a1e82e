"""The study of sharpness: its tools by other routes; figures that can fall short."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

import penchant as pn
from penchant import studies
from penchant.studies import Preset
from penchant.studies.adam_sharpness import (
    _flow,
    _recovery,
    _scales,
    _sensing,
    _setup,
    _table,
)
from tests.cases import missed

STUDY = studies.find("adam-sharpness")


def test_the_study_has_the_figures_of_the_paper_and_beyond():
    assert set(STUDY.figures) == {
        "table", "ellipse", "flow", "samples", "powers", "clock", "sensing", "deep",
        "steps", "memory", "epsilon", "shampoo",
    }  # fmt: skip


def test_a_projection_in_closed_form_is_that_of_the_library():
    powers, w = (2, 1), np.array([1.7, 0.5])
    problem = _setup.monomial(powers, (2.0, 1.0), noise=0.0)
    S = _setup.diagonal_of(w, powers) ** -0.5
    want = pn.flows.project(problem, jnp.asarray(w), preconditioner=jnp.asarray(S))
    assert np.allclose(_setup.onto_monomial(w, powers, S), want, atol=1e-8)
    h = np.diag(np.asarray(pn.measures.gauss_newton(problem, jnp.asarray(w))))
    assert np.allclose(_setup.diagonal_of(w, powers), h)


def test_basis_pursuit_is_that_of_a_linear_program():
    for n in (12, 20):  # too few samples for the signal, and enough
        task = _setup.recovery(40, n, 3, 0.1, 1)
        X, y = np.asarray(task.quiet.X), np.asarray(task.quiet.y)
        beta, gap = _setup.basis_pursuit(X, y)
        best = linprog(np.ones(80), A_eq=np.hstack([X, -X]), b_eq=y)
        assert abs(gap) <= 1e-6
        assert np.abs(X @ beta - y).max() < 1e-8
        assert np.abs(beta).sum() == pytest.approx(best.fun, rel=2e-6)


def test_least_nuclear_norm_certifies_itself():
    sizes = _sensing.Sizes(6, 1, 26, 2, (0.0, 0), None, (0.0, 0))
    task = _sensing.task(sizes, 0)
    M, gap = _setup.least_nuclear(task.A, np.asarray(task.quiet.y))
    assert gap <= 1e-6
    assert np.abs(M - task.truth).max() < 1e-3
    # a bound that no feasible matrix is below: not the truth's own norm either
    assert np.linalg.norm(M, "nuc") <= np.linalg.norm(task.truth, "nuc") * (1 + 1e-5)


@pytest.mark.parametrize("exponent", [0.5, 0.25])
def test_the_flow_by_hand_is_that_of_the_library(exponent, monkeypatch):
    monkeypatch.setattr(_flow, "SETTLED", 60.0)  # then the memory's rate is constant
    at = np.linspace(0.0, 1.0, 5)
    hand = _flow.followed(exponent, at, printed=False)
    problem = _setup.monomial(_flow.POWERS, _flow.START)
    rule = pn.optimizers.AdamE(0.0, 0.999, 0.0, exponent)
    flow = pn.flows.slow_flow(
        problem, rule, noise=1.0, time=1.0, rate=_flow.RATE, record=5
    )
    assert np.allclose(hand[:, :2], flow.weights, atol=1e-7)
    assert np.allclose(hand[:, 2:], flow.second, rtol=1e-6)
    # and as printed it is another, which leaves x^2 y = 1
    printed = _flow.followed(exponent, at, printed=True)[-1]
    assert abs(printed[0] ** 2 * printed[1] - 1.0) > 0.1


@pytest.mark.slow
def test_a_run_that_stops_early_falls_short(monkeypatch):
    sizes = _table.Sizes(4, 0.02, ("SGD",))
    assert missed(_table.table(sizes, 0)) == []
    early = _table.CASES["SGD"]._replace(time=0.02)
    monkeypatch.setitem(_table.CASES, "SGD", early)
    short = [line.what for line in missed(_table.table(sizes, 0))]
    assert short == ["SGD: farthest entry of the runs' end from the closed form"]


@pytest.mark.slow
def test_shampoos_loop():
    assert missed(_table.shampoo(200)) == []


@pytest.mark.slow
@pytest.mark.parametrize("figure", STUDY.figures)
def test_every_figure_comes_out(figure):
    assert missed(STUDY.run(seed=0, figure=figure)) == []


@pytest.mark.slow
def test_recovery_has_the_order_of_its_table():
    """At d = 200: Adam ahead of AdamE ahead of SGD, at a million steps each."""
    million = {name: m._replace(cuts=(1_000_000,)) for name, m in
               _recovery.METHODS.items()}  # fmt: skip
    for n in (25, 30, 40):
        sgd, adam, adame = (
            np.mean([
                next(iter(_recovery.ended(name, million[name], n, seed).values()))
                for seed in range(3)
            ])
            for name in ("SGD", "Adam", "AdamE, λ = ¼")
        )
        assert adam < adame < sgd, (n, adam, adame, sgd)


@pytest.mark.slow
def test_large_steps_at_their_five_digits():
    every = _scales.Sizes(tuple(range(len(_scales.ENDS))), 2, 1.0)
    assert missed(_scales.steps(every)) == []


@pytest.mark.slow
def test_the_papers_scale():
    assert missed(_recovery.clock(Preset.FULL)) == []
