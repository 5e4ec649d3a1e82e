import math
from typing import Any

import equinox as eqx
import numpy as np

from penchant import optimizers
from penchant._checks import check_count, check_number
from penchant._plain import plain
from penchant._types import Real
from penchant.flows import memory_ages
from penchant.norms import L2, Linf
from penchant.optimizers import AbstractOptimizer, Character

SQUARE, ONE = "‖∇L‖²", "‖∇L‖₁"


class AddedTerm(eqx.Module):
    r"""What a rule's finite steps and memory add to its loss, in closed form.

    `norm` names what is added a multiple of: the gradient's square ‖∇L‖², or its
    one-norm ‖∇L‖₁ (smoothed by ε), whose term in coordinate $j$ is a factor times
    $\partial_j\|\nabla L\|_1$; None where nothing is added, or it is not known.
    `coefficient` is that factor where gradients are large against ε, `small` where they
    are small; the sign says penalised (+) or anti-penalised (−). `flip` is the $g_j^2/
    \varepsilon$ (ε inside the root; $|g_j|/\varepsilon$ outside) at which it changes
    sign, None where it does not. `memory` is the part of `coefficient` that is
    memory's. `pace` multiplies the time of steps.

    It is a statement on coefficients; whether the term is small enough to mean
    anything at some weights, [`correction`][penchant.correction] measures.
    """

    norm: str | None = eqx.field(static=True)
    coefficient: float | None = eqx.field(static=True)
    small: float | None = eqx.field(static=True)
    memory: float | None = eqx.field(static=True)
    flip: float | None = eqx.field(static=True)
    pace: float = eqx.field(static=True)
    step: int | None = eqx.field(static=True)
    source: str = eqx.field(static=True)
    statement: str = eqx.field(static=True)

    @property
    def penalises(self) -> bool | None:
        """Whether large gradients are penalised; None where nothing is added."""
        if not self.coefficient:
            return None
        return self.coefficient > 0

    def to_dict(self) -> dict[str, Any]:
        """In types that JSON has."""
        return plain({name: getattr(self, name) for name in self.__dataclass_fields__})

    def __repr__(self) -> str:
        return f"AddedTerm({self.statement} {self.source})"


def added_term(
    optimizer: AbstractOptimizer | str | object,
    *,
    step_size: Real,
    step: int | None = None,
) -> AddedTerm:
    r"""Which norm of the gradient a rule's finite steps penalise, and how much.

    | rule | what is added to the loss | source |
    |---|---|---|
    | gradient descent, any momentum | $+\kappa\|\nabla L\|^2$ | see [`modified_loss`][penchant.theory.modified.modified_loss] |
    | Adam, RMSProp, AdamW | $\frac h2\{c_{\beta_1}-c_{\beta_2}\frac{g^2}{g^2+\varepsilon}\}$ of $\|\nabla L\|_{1,\varepsilon}$: **anti**-penalised where $\beta_2>\beta_1$ and $g^2\gg\varepsilon$ | `cattaneo2024adam` |
    | NAdam | the same, its first memory $\beta_1$ times as old | `cattaneo2025memory` |
    | Lion, Signum, sign descent | nothing: signs forget sizes | `cattaneo2025memory` |

    $c_b$ is [`memory_coefficient`][penchant.flows.memory_coefficient], 1 without a
    first moment. The flip from anti-penalised to penalised is at
    $g^2/\varepsilon=c_{\beta_1}/(c_{\beta_2}-c_{\beta_1})$. With bias correction the
    sign is decided from the second step on. Decay enters the term (the Hessian product
    is along the whole step); its own pull is not part of it.

    >>> import penchant as pn
    >>> adam = pn.optimizers.Adam(0.9, 0.999, eps_inside=True, bias_correction=True)
    >>> term = pn.theory.modified.added_term(adam, step_size=1.0)
    >>> round(term.coefficient), round(term.flip, 4), term.penalises
    (-990, 0.0096, False)

    Args:
        optimizer: The rule, or its name.
        step_size: $h$.
        step: Updates made before; None for a memory that is full. Only rules with bias
            correction have a closed form at a step.

    Raises:
        TypeError: If `optimizer` is no rule.
        ValueError: If a number is out of its range, or the rule's first steps have no
            closed form.
    """  # noqa: E501
    check_number("step_size", step_size, above=0.0, finite=True)
    h = float(np.asarray(step_size))
    n = None if step is None else check_count("step", step, least=0)
    rule = optimizers.read(optimizer)
    what = rule.character()
    ages = memory_ages(rule, step=n)
    if ages is None:
        return _unknown(rule, n)
    (A1, B1), second, settled = ages
    if n is not None and not settled:
        raise ValueError(
            f"step must be None for {rule!r}: its first steps differ in size, and have "
            "no closed form. penchant.correction has them."
        )
    if second is None:
        return _of_first(what, rule, h, n, A1, B1)
    c1, c2 = 1.0 + 2.0 * B1 / A1, 1.0 + 2.0 * second[1] / second[0]
    return _of_both(what, rule, h, n, c1, c2)


def _unknown(rule: AbstractOptimizer, n: int | None) -> AddedTerm:
    said = f"No closed form is known for {rule!r}: penchant.correction replays it."
    return AddedTerm(None, None, None, None, None, 1.0, n, "", said)


def _of_first(
    what: Character,
    rule: AbstractOptimizer,
    h: float,
    n: int | None,
    A: float,
    B: float,
) -> AddedTerm:
    name = type(rule).__name__
    assert what.steps is not None
    if what.normalised:
        if what.steps.same(Linf()):
            said = f"{name} adds nothing: signs forget the gradient's size."
            key = "cattaneo2025memory"
            return AddedTerm(None, 0.0, 0.0, 0.0, None, 1.0, n, key, said)
        said = (
            f"{name}'s steps are normalised: what is added turns them, and no norm of "
            "the gradient is known to be penalised. penchant.correction has the term."
        )
        return AddedTerm(None, None, None, None, None, 1.0, n, "", said)
    if not what.steps.same(L2()):
        return _unknown(rule, n)
    kappa = h * (0.5 * B + 0.25 * A)
    plain_rule = what.first is None
    key = "barrett2021implicit" if plain_rule else "cattaneo2025memory"
    if not plain_rule and what.first_is_sum and what.first and what.first.plain:
        key = "ghosh2023implicit"
    said = f"{name} penalises {SQUARE}: {kappa:.3g} of it is added to the loss"
    said += "." if plain_rule else f", {0.5 * h * B:.3g} of that by its memory."
    return AddedTerm(SQUARE, kappa, kappa, 0.5 * h * B, None, A, n, key, said)


def _of_both(
    what: Character,
    rule: AbstractOptimizer,
    h: float,
    n: int | None,
    c1: float,
    c2: float,
) -> AddedTerm:
    second = what.adaptive
    if second is None:
        return _unknown(rule, n)
    name = type(getattr(rule, "rule", rule)).__name__
    large, small = 0.5 * h * (c1 - c2), 0.5 * h * c1
    eps = float(np.asarray(second.eps))
    flip = c1 / (c2 - c1) if c2 > c1 and eps > 0 else None
    key = "cattaneo2024adam"
    if what.first is not None and not what.first.plain:
        key = "cattaneo2025memory"
    if math.isclose(c1, c2, rel_tol=1e-12):
        said = f"{name} adds nothing where gradients are large against ε: b1 = b2."
    else:
        way = "penalises" if large > 0 else "anti-penalises"
        said = f"{name} {way} {ONE}: {large:+.3g} of its gradient is added"
        if flip is not None:
            unit = "g²" if second.eps_inside else "|g|"
            said += f", and {small:+.3g} where {unit} < {flip:.2g} ε"
        said += "."
    # for eps -> 0 the discretisation's half steps cancel: all of it is memory's
    return AddedTerm(ONE, large, small, large, flip, 1.0, n, key, said)
