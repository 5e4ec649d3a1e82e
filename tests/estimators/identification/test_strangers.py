"""Rules of optax and torch: families right in all, constants where there are any."""

import numpy as np
import pytest

import penchant as pn
from tests.estimators.identification import strangers

EXACT = 1e-6


def differences(found, family, wanted):
    wrong = [] if found.family == family else [f"{found.family} for {family}"]
    if wanted is None:
        both = found.evidence["first"], found.evidence["second"]
        return wrong if both == ("unknown", "unknown") else [*wrong, f"claims {both}"]
    number = lambda x: None if x is None else float(np.asarray(x))
    first, second = found.first, found.second
    mix = None if first is None or first.plain else first.mix
    seen = {
        "b1": None if first is None else first.decay,
        "b2": None if second is None else second.decay,
        "mix": mix,
        "decay": found.decay,
        "coupled": found.coupled,
        "eps": None if second is None else second.eps,
    }
    for name, value in seen.items():
        asked, got = wanted.get(name), number(value)
        same = asked is None and got is None
        if asked is not None and got is not None:
            same = abs(got - asked) <= EXACT * abs(asked)
        if not same:
            wrong.append(f"{name} {got} for {asked}")
    inside = None if second is None else second.eps_inside
    if inside != wanted.get("inside", inside):
        wrong.append(f"eps inside: {inside}")
    return wrong


FAST = ("clip",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
        for name in strangers.OPTAX
    ],
)
def test_optax(name):
    make, family, wanted = strangers.OPTAX[name]
    assert differences(pn.identify(make()), family, wanted) == []


@pytest.mark.slow
def test_torch():
    pytest.importorskip("torch")
    wrong = {}
    for name, (rule, family, wanted) in strangers.torch_rules().items():
        differ = differences(pn.identify(rule), family, wanted)
        if differ:
            wrong[name] = differ
    assert not wrong


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
