"""States that make one point each."""

from dataclasses import dataclass
from types import MappingProxyType

from penchant.explorer._state import State


@dataclass(frozen=True)
class Preset:
    """A state that makes a point, one that it is held against, and three sentences.

    Args:
        name: In addresses, as `?preset=NAME`.
        title: The point.
        says: Three sentences.
        state: What is shown.
        other: What is shown for comparison.
        this: What the first is called beside the second.
        that: What the second is called.
    """

    name: str
    title: str
    says: tuple[str, str, str]
    state: State
    other: State
    this: str
    that: str


_ONE = State(
    view="weights", data="rademacher", b2=0.95, batch=1, step=0.1, steps=20_000
)
_EPS = State(eps=1e-3, step=0.1, power=0.3, steps=20_000)
_MUON = State(
    view="weights", data="centres", rule="muon", b1=0.0, polar="ns:5", steps=5000
)
_KINK = State(
    view="landscape", landscape="ellipse", b2=0.9996, eps=1e-3, step=0.02, power=0.0,
    steps=40_000,
)  # fmt: skip
_BENT = State(
    view="landscape", landscape="valley", rule="gd", step=0.012, power=0.0,
    steps=1500, noise=0.0, x=2.8, y=3.5,
)  # fmt: skip
_PAIR = State(
    view="landscape", landscape="pair", batch=1, step=0.3, steps=20_000, x=0.5, y=1.5
)
_OVER = State(
    points=(*State().points, (1.0, -0.8, 1), (0.4, 0.3, -1)), step=0.1, steps=3000
)

_ALL = (
    Preset(
        "batch-size-one",
        "Batch size 1 turns Adam's ℓ∞ into ℓ2",
        (
            "Every row of these data has entries of one size, only the signs differ.",
            "Adam that sees one sample a step then ends at the largest ℓ2 margin.",
            "Shown all samples at every step, the same Adam ends at the largest ℓ∞ "
            "margin: the batch size, not the rule alone, picks the solution.",
        ),
        _ONE,
        _ONE.but(batch=0),
        "one sample a step",
        "all samples a step",
    ),
    Preset(
        "epsilon-decides",
        "ε decides",
        (
            "While gradients are large against ε, Adam's steps have the size of the "
            "step size in every weight, which leads to the largest ℓ∞ margin.",
            "The loss falls, and so do gradients: once they are below ε it divides by "
            "ε alone, and Adam is momentum, on its way to ℓ2.",
            "With ε = 0 the second half never comes.",
        ),
        _EPS,
        _EPS.but(eps=0.0),
        "ε = 0.001",
        "ε = 0",
    ),
    Preset(
        "newton-schulz",
        "Five Newton–Schulz steps are not spectral",
        (
            "Muon with the exact polar factor makes steepest steps in the spectral "
            "norm, and its spectral margin leads all others by far.",
            "Five Newton–Schulz steps leave singular values between about 0.7 and 1.2, "
            "and small ones smaller still.",
            "The rule then loses spectral margin and gains in ℓ2: what it picks is no "
            "longer the spectral solution.",
        ),
        _MUON,
        _MUON.but(polar="exact"),
        "five Newton–Schulz steps",
        "the exact polar factor",
    ),
    Preset(
        "kink",
        "Adam goes to the kink",
        (
            "All points of the ellipse fit equally well; label noise drives the rule "
            "along them, slowly.",
            "Gradient descent goes to the flattest tip, where tr H is least; Adam "
            "lowers the sum of roots of H's diagonal and goes where one of its "
            "entries is 0, a kink.",
            "A run with steps of 0.02 hovers a few steps beside the kink; the slow "
            "flow ends at it but for ε.",
        ),
        _KINK,
        _KINK.but(rule="gd", eps=0.0, step=0.03),
        "Adam",
        "gradient descent",
    ),
    Preset(
        "finite-steps",
        "Finite steps bend the path",
        (
            "The gradient flow from here ends at one point of the valley; gradient "
            "descent, whose steps are finite, ends at another, lower down.",
            "The corrected flow, to second order in the step size, makes up for most "
            "of the difference.",
            "The correction is the gradient of a penalty on steep places, and grows "
            "with the step size.",
        ),
        _BENT,
        _BENT.but(step=0.003),
        "steps of 0.012",
        "steps of 0.003",
    ),
    Preset(
        "two-limits",
        "The start decides between two limits",
        (
            "On these two samples, Adam with one sample a step has two stable limits; "
            "a colour says which one a run from there tends to.",
            "Neither is the largest ℓ2 or ℓ∞ margin, which lies between them and "
            "repels.",
            "With both samples at every step there is one limit for every start.",
        ),
        _PAIR,
        _PAIR.but(batch=0),
        "one sample a step",
        "both samples a step",
    ),
    Preset(
        "overlap",
        "No line separates: the loss has a minimiser",
        (
            "Two of these points are on the wrong side of any line through the origin "
            "that fits the others.",
            "There is no margin to maximise: the loss has one minimiser, and every "
            "rule that converges ends there.",
            "Open circles are the points that the run leaves misclassified.",
        ),
        _OVER,
        _OVER.but(rule="gd", step=1.0),
        "Adam",
        "gradient descent",
    ),
)  # fmt: skip

PRESETS = MappingProxyType({preset.name: preset for preset in _ALL})
"""By name, states that make one point each."""
