"""Rules of optax and torch: all that their sources say, found from their steps."""

import numpy as np
import pytest

import penchant as pn
from tests.estimators.identification import strangers

EXACT = 1e-6


def number(x):
    return None if x is None else float(np.asarray(x))


def near(seen, wanted):
    if seen is None or wanted is None:
        return seen is wanted
    return abs(seen - wanted) <= EXACT * abs(wanted)


def holds(constant, wanted):
    """To a millionth, or where the rule computes in few digits to three errors."""
    room = 0.0 if constant.exact else 3.0 * constant.error
    return abs(constant.value - wanted) <= max(EXACT * abs(wanted), room)


def differences(found, truth):
    """Where what was identified is not what the source says."""
    law = "" if found.law is None else found.law.law.form
    known = found.form is not None or found.law is not None
    seen = found.constants
    why = found.why.get("second", "")
    right = {
        f"family {found.family}": found.family == truth.family,
        f"degree {found.findings.degree.degree}": abs(
            (found.findings.degree.degree or 0.0) - truth.degree
        )
        < EXACT,
        f"known {known}": known == (truth.law is not None),
        f"law {law}": truth.law is None
        or ((truth.law == "") == (law == "") and truth.law in law),
        f"constants {seen}": set(seen) == set(truth.constants)
        and all(holds(x, truth.constants[name]) for name, x in seen.items()),
        f"decay {found.decay}": near(number(found.decay), truth.decay),
        f"coupled {found.coupled}": near(found.coupled, truth.coupled),
        f"ε inside: {truth.inside}": truth.inside is None
        or (found.second is not None and found.second.eps_inside == truth.inside),
        f"why {why}": truth.unknown in why
        and (truth.law is None or (truth.unknown == "") == (why == "")),
    }
    return [what for what, is_so in right.items() if not is_so]


FAST = ("clip", "adamax")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in strangers.OPTAX
    ],
)
def test_optax(name):
    truth = strangers.OPTAX[name]
    assert differences(pn.identify(truth.make()), truth) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", strangers.held_out())
@pytest.mark.parametrize("key", [41, 57])
def test_constants_and_seeds_that_nothing_was_tuned_on(name, key):
    truth = strangers.held_out()[name]
    found = pn.identify(truth.make(), key=key, shape=(12, 5))
    assert differences(found, truth) == []


@pytest.mark.slow
def test_torch():
    pytest.importorskip("torch")
    wrong = {}
    for name, truth in strangers.torch_rules().items():
        differ = differences(pn.identify(truth.make()), truth)
        if differ:
            wrong[name] = differ
    assert not wrong


@pytest.mark.slow
def test_torch_rules_for_sparse_gradients_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="could not step: it raised RuntimeError"):
        pn.identify(torch.optim.SparseAdam)


@pytest.mark.slow
def test_torch_rules_that_need_a_closure_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="asks for a closure"):
        pn.identify(torch.optim.LBFGS)


@pytest.mark.slow
def test_polar_maps_lie_between_norms():
    """Closer to the spectral norm the better the map; none of these is a power."""
    o = pn.optimizers
    found = {
        "five": pn.identify(o.Muon(0.0, o.NewtonSchulz(5))),
        "express": pn.identify(o.Muon(0.0, o.PolarExpress(5))),
        "cubic": pn.identify(o.Muon(0.0, o.CubicNewtonSchulz(5))),
    }
    for says in found.values():
        low, high = says.between
        assert says.family == "unitarily invariant"
        assert 2.0 < low < high
    assert found["cubic"].between[1] < found["five"].between[0]
    assert np.isinf(found["five"].between[1])
    assert np.isinf(found["express"].between[1])
    tight = {name: says.tightness.median for name, says in found.items()}
    assert tight["express"] > tight["five"]
