"""A rule of ours that is what a character says."""

import numpy as np

from penchant._checks import check_instance
from penchant._types import Real
from penchant.norms import L2, Linf, Spectral
from penchant.optimizers._adagrad import AdaGrad
from penchant.optimizers._adam import Adam
from penchant.optimizers._adam_e import AdamE
from penchant.optimizers._adam_mini import AdamMini
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import (
    FIELDS,
    Character,
    Divisor,
    Evidence,
    Memory,
)
from penchant.optimizers._gradient_descent import GradientDescent
from penchant.optimizers._lion import Lion
from penchant.optimizers._measured import Described, Measured
from penchant.optimizers._muon import Muon
from penchant.optimizers._nadam import NAdam
from penchant.optimizers._shampoo import Shampoo
from penchant.optimizers._steepest_descent import SteepestDescent
from penchant.optimizers._weight_decay import WeightDecay


def as_rule(what: Character) -> AbstractOptimizer:
    """A rule that says this character, and makes steps of that form where it has one.

    What [`identify`][penchant.identify] found keeps its own rule, where that runs in
    JAX. Of the rest the form decides: a memory, a second one or none, decay. Where no
    rule of ours has it, or a field is unknown, the rule can be asked for predictions
    and not for steps.

    >>> import penchant as pn
    >>> pn.optimizers.as_rule(pn.optimizers.Adam(b2=0.95).character())
    Measured(Adam(b1=0.9, b2=0.95, eps=1e-08, eps_inside=False, bias_correction=False))
    """
    check_instance("what", what, Character, "a Character, as rule.character() gives")
    bare = Character(
        what.steps,
        what.normalised,
        what.first,
        what.second,
        what.decay,
        what.steepest,
        what.evidence,
    )
    own = getattr(what, "rule", None)
    if isinstance(own, AbstractOptimizer):
        return Measured(own, bare)
    made = _form(bare)
    if made is None:
        return Described(bare)
    if bare.decays:
        assert bare.decay is not None
        made = WeightDecay(made, bare.decay)
    return Measured(made, bare)


def _form(what: Character) -> AbstractOptimizer | None:
    if any(what.evidence[field] == Evidence.UNKNOWN for field in FIELDS):
        return None
    if what.second is not None:
        return _divided(what.first, what.second)
    return _steepest(what)


def _steepest(what: Character) -> AbstractOptimizer | None:
    first, steps = what.first, what.steps
    decay: Real = 0.0 if first is None else first.decay
    if steps is None or not what.steepest:
        return None
    if first is None or (first.plain and first.kind == "mean"):
        if isinstance(steps, L2) and not what.normalised and first is None:
            return GradientDescent()
        return SteepestDescent(steps, decay, bool(what.normalised))
    if isinstance(steps, L2) and not what.normalised and first.kind == "sum":
        usual = first.plain or first.nesterov
        return GradientDescent(decay, nesterov=first.nesterov) if usual else None
    if isinstance(steps, Linf) and what.normalised:
        return Lion(decay if first.mix is None else first.mix, decay)
    if isinstance(steps, Spectral) and what.normalised and first.nesterov:
        return Muon(decay, nesterov=True)
    return None


def _divided(first: Memory | None, second: Divisor) -> AbstractOptimizer | None:
    b1: Real = 0.0 if first is None else first.decay
    corrected = second.corrected
    if first is not None and first.corrected != corrected:
        return None
    if second.over == "factors":
        if first is None:
            return Shampoo(second.decay, second.eps, second.exponent)
        return None
    plain = first is None or first.plain
    if second.over == "blocks":
        if not plain or second.eps_inside:
            return None
        blocks = None if second.blocks is None else second.blocks
        return AdamMini(b1, second.decay, second.eps, blocks, corrected)
    if float(np.asarray(second.exponent)) != 0.5:
        if not plain or second.eps_inside:
            return None
        return AdamE(b1, second.decay, second.eps, second.exponent, corrected)
    if second.kind == "sum":
        return AdaGrad(second.eps, second.eps_inside) if first is None else None
    given = (b1, second.decay, second.eps, second.eps_inside, corrected)
    if plain:
        return Adam(*given)
    assert first is not None
    return NAdam(*given) if first.nesterov else None
