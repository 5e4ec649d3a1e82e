"""Diagnoses that several files look at, made once."""

import dataclasses
import functools

import numpy as np

import penchant as pn
from penchant.theory import longest_row
from tests.cases import binary, multiclass

SIGN = pn.optimizers.SignDescent()
LINF = pn.norms.Linf()


def falling(problem, reach=4.0):
    """Steps that fall like t^-1/2 whatever the run's length, the first `reach`/R."""
    return pn.schedules.power(reach / longest_row(problem, LINF), 0.5)


@functools.cache
def separable():
    """Sign descent on eight samples: everything as it should be."""
    problem = binary(0)
    return pn.diagnose(problem, SIGN, steps=5_000, step_size=falling(problem))


@functools.cache
def past_eps():
    """Adam, long after its gradients have fallen below ε: most cautions."""
    problem = binary(0, loss=pn.losses.Logistic())
    rule = pn.optimizers.Adam(0.9, 0.95)
    return pn.diagnose(
        problem,
        rule,
        steps=20_000,
        step_size=falling(problem),
        about={"data": "<b>x</b> & co"},
    )


@functools.cache
def several():
    """Muon on four classes, in all usual norms."""
    rule, step_size = pn.optimizers.Muon(0.9), 0.03
    return pn.diagnose(multiclass(0), rule, steps=3_000, step_size=step_size)


def noisy(loss=None, extra=False):
    """Labels that no weights explain; with features that add nothing, if `extra`."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.where(X[:, 0] + rng.normal(size=60) > 0, 1, -1)
    if extra:
        X = np.hstack([X, X[:, :1] + X[:, 1:2], np.zeros((60, 1))])
    return pn.LinearClassification(X, y, loss=loss or pn.losses.Logistic())


@functools.cache
def overlapping():
    """Gradient descent where there is no margin."""
    return pn.diagnose(noisy(), pn.optimizers.GradientDescent(), steps=2_000)


@functools.cache
def open_question():
    """The fake of a diagnosis whose solver could not decide separability."""
    return dataclasses.replace(
        overlapping(),
        separable=None,
        minimiser=None,
        regime="undecided",
        headline="It is not decided whether any weights separate these data.",
    )


EVERY = (separable, past_eps, several, overlapping, open_question)


def undecided(monkeypatch):
    """A solver that gives up before it knows whether the classes overlap."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 20)), np.arange(60) % 3
    problem = pn.LinearClassification(X, y, loss=pn.losses.Logistic())
    monkeypatch.setattr(
        "penchant.diagnosis.linear._catalogue.is_exact", lambda problem, norm: False
    )
    monkeypatch.setattr("penchant.diagnosis.linear._catalogue.WORK", 0.0)
    monkeypatch.setattr("penchant.margins._solvers.separate.ENTRIES", 0)
    return pn.diagnose(problem, SIGN, steps=20, step_size=1e-3)


def kinds(diagnosis):
    return [caution.kind for caution in diagnosis.warnings]
