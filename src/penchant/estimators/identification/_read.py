"""From what the tests found to a character, and to sentences."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from penchant.estimators.identification import _replay
from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._degree import SCALES
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._gradients import generic
from penchant.estimators.identification._replay import Form
from penchant.estimators.identification._result import EXACT, Identification
from penchant.estimators.identification._shape import Power, exponent, fit
from penchant.estimators.identification._tightness import Tightness, tightness
from penchant.norms import (
    L1,
    L2,
    AbstractLp,
    AbstractNorm,
    Columnwise,
    Linf,
    Nuclear,
    Rowwise,
    lp,
    schatten,
)
from penchant.optimizers import (
    Blocks,
    Character,
    Divisor,
    Evidence,
    Grades,
    Memory,
)

MEASURED, UNKNOWN = Evidence.MEASURED, Evidence.UNKNOWN

LOOSE = ("length", "path", "other")
"""Ways to depend on weights that leave open what steps are at others."""

AGREES = 1e-6
"""Steps of a form that differ by no more, as a share, are the rule's own."""


def read(box: AbstractBox, name: str, found: Findings, seed: int) -> Identification:
    """The character that the findings amount to, unknown where they disagree."""
    if found.coupling is None:
        return _unreadable(box, name, found)
    degree = found.degree.degree
    normalised = None if degree is None else abs(degree) < 1e-6
    steps, between = _norm(box, found, normalised, seed)
    replay = _Replay(box, found, steps, seed)
    first, second = replay.first, replay.second
    moving = found.weights is not None and found.weights.kind in LOOSE
    fixed = found.drift < AGREES and not found.warm
    still = replay.agrees and not moving and fixed and not replay.divided_first
    grade = MEASURED if still else UNKNOWN
    tight = None if steps is None else tightness(box, steps, found.scale, seed)
    steepest = (
        replay.agrees
        and second is None
        and tight is not None
        and tight.worst >= 1.0 - AGREES
        and not replay.divided_first
    )
    factor = replay.factor
    if factor is None and tight is not None and tight.spread < 0.5 and normalised:
        factor = tight.length
    elif factor is None and tight is not None and normalised is False:
        factor = tight.gain
    if second is not None and second.over == "blocks":
        steps = None  # each block has its own length
    factor = factor if replay.agrees else None
    unit = factor
    if box.declares or (second is None and not steepest):
        unit = box.declared  # a length that is none exactly is no step size
    decay, coupled, decay_grade = _decay(
        found, unit if replay.agrees or box.declares else None
    )
    seen = MEASURED if not moving and found.drift < AGREES else UNKNOWN
    grades = Grades(
        steps=seen if found.family != "unknown" else UNKNOWN,
        normalised=UNKNOWN if normalised is None else seen,
        first=grade,
        second=grade,
        decay=decay_grade,
    )
    told = _tell(
        found, steps, between, tight, normalised, steepest, replay, decay, coupled
    )
    return Identification(
        steps if seen == MEASURED else None,
        normalised if seen == MEASURED else None,
        first if still else None,
        second if still else None,
        decay,
        steepest and still,
        grades,
        name=name,
        family=found.family,
        tightness=tight,
        between=between,
        step_size=factor,
        replayed=replay.misfit,
        coupled=coupled,
        form=replay.form if replay.agrees else None,
        told=told,
        findings=found,
        rule=box.rule,
    )


def _unreadable(box: AbstractBox, name: str, found: Findings) -> Identification:
    bare = Character.unknown()
    if found.spread > 0:
        told = (
            f"Its steps are random: fresh starts differ by {found.spread:.2g} of "
            "their length, and no test reads through that.",
        )
    else:
        told = ("Its first step does not move the weights; no test reads it.",)
    return Identification(
        evidence=bare.evidence,
        name=name,
        family=found.family,
        told=told,
        findings=found,
        rule=box.rule,
    )


def _norm(
    box: AbstractBox, found: Findings, normalised: bool | None, seed: int
) -> tuple[AbstractNorm | None, tuple[float, float] | None]:
    """The norm in which first steps are steepest, and the exponents it lies between."""
    coupling, power, family = found.coupling, found.power, found.family
    assert coupling is not None
    if coupling.single and family == "entry-wise":
        return L1(), None
    u = box.first(found.scale * generic(box.shape, seed))
    if family == "unitarily invariant" and np.linalg.matrix_rank(u) == 1:
        return Nuclear(), None
    if power is None or not math.isfinite(power.alpha):
        return None, None
    p = _exponent(power)
    ends = (p, p) if power.exact else power.between
    straight = normalised or abs((found.degree.degree or 0.0) - 1.0) < 1e-6
    if family == "unitarily invariant":
        if not straight:
            return None, ends
        return (schatten(p) if p != 2.0 else L2()), ends
    if family in ("row-wise", "column-wise"):
        if not normalised:
            return None, ends
        kind = Rowwise if family == "row-wise" else Columnwise
        if math.isinf(p):
            return Linf(), ends
        return kind(_lp(p), _over(box, found, _lp(p), seed)), ends
    if family in ("entry-wise", "jointly normalised", "permutation-invariant"):
        if math.isinf(p) and power.alpha > -1e-6:
            return Linf(), ends
        if power.alpha < 0:
            return None, None
        whole = coupling.factor or not normalised
        unit = normalised and coupling.factor
        linear = abs(power.alpha - 1.0) < 1e-6
        if linear and whole:
            return L2(), ends
        return (_lp(p), ends) if unit else (None, ends)
    return None, None


def _lp(p: float) -> AbstractLp:
    return lp(p)


def _exponent(power: Power) -> float:
    r"""The exponent of the norm; $\infty$ where the interval holds that."""
    low, high = power.interval
    if power.exact:
        near = power.p
        whole = round(near, 6) if math.isfinite(near) else near
        return whole if abs(near - whole) < 1e-6 * abs(near) else near
    if low <= 0.0 <= high or power.alpha <= 0:
        return math.inf
    return power.p


def _over(
    box: AbstractBox, found: Findings, inner: AbstractLp, seed: int
) -> AbstractLp:
    """How lines are combined: each on its own, or by an ℓp norm of their norms."""
    assert found.coupling is not None
    if found.coupling.single:
        return L1()
    if not found.coupling.factor:
        return Linf()
    xs, ys = [], []
    for i in range(4):
        g = generic(box.shape, seed + i) * np.exp(
            np.random.default_rng(seed + i).uniform(-2, 2, (box.shape[0], 1))
        )
        u = box.first(found.scale * g)
        dual = jax.vmap(inner.dual)(jnp.asarray(g))
        xs.append(np.asarray(dual))
        ys.append(np.asarray(jax.vmap(inner)(jnp.asarray(u))))
    power = fit(xs, ys, [np.full(len(x), i) for i, x in enumerate(xs)], 0.0)
    return _lp(max(1.0, exponent(power.alpha)))


class _Replay:
    """The form of the rule's memories, and whether it makes the rule's steps."""

    def __init__(
        self, box: AbstractBox, found: Findings, norm: AbstractNorm | None, seed: int
    ):
        self.box, self.found, self.seed = box, found, seed
        self.norm = L2() if norm is None else norm
        self.first: Memory | None = None
        self.second: Divisor | None = None
        self.form: Form | None = None
        self.factor: float | None = None
        self.misfit = math.nan
        self.agrees = False
        self.eps = (0.0, 0.0)
        self._choose()
        if self.form is not None:
            self.agrees = self.misfit <= max(AGREES, 10.0 * found.rounding)
            self._read()

    @property
    def divided_first(self) -> bool:
        """Whether gradients are divided first: no character says that."""
        form = self.form
        return form is not None and form.after and form.decay > 0

    def _choose(self) -> None:
        found, kernel = self.found, self.found.kernel
        if kernel is None or not math.isfinite(kernel.decay):
            return
        if not 0.0 <= kernel.decay < 1.0:
            return
        fitted = found.fit
        if kernel.how == "threshold" or fitted is None or fitted.form.kind == "none":
            self._map()
        else:
            self._groups(fitted.form)

    def _map(self) -> None:
        """Steps that are a map of one memory."""
        found, kernel = self.found, self.found.kernel
        assert kernel is not None
        power = 0.5 * (1.0 - (found.degree.degree or 0.0))
        decay, mix = kernel.decay, kernel.mix
        make = lambda mix, ahead, after: Form(
            decay, mix, ahead, "none", 0.0, False, power, after
        )
        forms = [make(mix, "", False)]
        if found.fit is not None:
            forms = [found.fit.form]
        elif decay > 0:
            forms += [make(decay**2, "", False), make(decay**2, "each", False)]
        fits = [
            (_replay.of_map(self.box, form, found.scale, self.seed), form)
            for form in forms
        ]
        self.misfit, self.form = min(fits, key=lambda pair: pair[0])

    def _groups(self, form: Form) -> None:
        """Steps divided by memories of squares, of entries or what is coupled."""
        found, box = self.found, self.box
        assert found.coupling is not None
        self.form = form
        age = 1.0 if form.corrected or form.kind == "sum" else 1.0 - form.second
        limit = found.threshold
        if limit is not None and limit.kind == "eps":
            self.eps = (limit.inside * age, limit.outside * age**form.power)
        shape = box.shape
        numbers = {
            "entries": np.arange(int(np.prod(shape))),
            "all": np.zeros(int(np.prod(shape)), int),
        }
        if len(shape) == 2:
            k, d = shape
            numbers["rows"] = np.repeat(np.arange(k), d)
            numbers["columns"] = np.tile(np.arange(d), k)
        if found.coupling.blocks is not None:
            numbers["blocks"] = found.coupling.blocks.ravel()
        self.over = found.coupling.pattern
        # a factor common to all entries is one memory for all of them
        if self.over == "entries" and found.coupling.factor:
            self.over = "all"
        near = found.scale
        if limit is not None and limit.kind == "eps":
            near = max(limit.scale * 3.0, 1e-12)
        if found.matrix and len(shape) == 2:
            self.over = "factors"
            tried = [
                _replay.of_factors(box, form, self.eps[0], s, self.seed)
                for s in (found.scale, near)
            ]
        elif self.over in numbers:
            groups = numbers[self.over]
            tried = [
                _replay.of_groups(box, form, groups, self.eps, s, self.seed)
                for s in (found.scale, near)
            ]
        else:
            self.misfit = math.inf
            return
        self.misfit = max(misfit for misfit, _ in tried)
        self.factor = tried[0][1]

    def _read(self) -> None:
        form, found = self.form, self.found
        assert form is not None
        assert found.coupling is not None
        if form.decay > 0:
            kind, self.factor = self._kind(form)
            mix = None if abs(form.mix - form.decay) < 1e-9 else form.mix
            self.first = Memory(
                _round(form.decay),
                kind,
                None if mix is None else _round(mix),
                form.ahead != "",
            )
        if form.kind == "none":
            return
        inside = self.eps[0] > 0
        eps = self.eps[0] if inside else self.eps[1]
        over: Any = {"entries": "entries", "factors": "factors"}.get(
            self.over, "blocks"
        )
        blocks = None
        if over == "blocks":
            blocks = self._blocks()
        degree = found.degree.degree or 0.0
        power = 0.25 * (1.0 - degree) if over == "factors" else 0.5 * (1.0 - degree)
        kind: Any = form.kind
        self.second = Divisor(
            kind,
            1.0 if kind == "sum" else _round(form.second),
            eps,
            inside,
            form.corrected,
            _round(power),
            over,
            blocks,
        )

    def _blocks(self) -> Blocks:
        shape = self.box.shape
        if self.over == "all":
            return Blocks()
        if self.over == "blocks":
            assert self.found.coupling is not None
            return Blocks.read(self.found.coupling.blocks)
        row, column = np.indices(shape)
        return Blocks.read(row if self.over == "rows" else column)

    def _gain(self) -> float:
        """The length of a first step as a share of the gradient's dual norm."""
        G = self.found.scale * generic(self.box.shape, self.seed)
        u = jnp.asarray(self.box.first(G))
        return float(self.norm(u) / self.norm.dual(jnp.asarray(G)))

    def _kind(self, form: Form) -> tuple[Any, float | None]:
        """Mean or sum of linear rules, by the step size declared; else a mean.

        Without a step size known they are one rule: then a sum.
        """
        degree = self.found.degree.degree
        if degree is None or abs(degree - 1.0) > 1e-6 or form.kind != "none":
            return "mean", self.factor
        gain, declared = self._gain(), self.box.declared
        fresh = 1.0 if form.ahead == "one" else 1.0 - form.mix
        if abs(gain / (declared * fresh) - 1.0) < 1e-6 or form.ahead:
            return "mean", gain / fresh
        return "sum", gain * (1.0 - form.decay) / fresh


def _round(x: float) -> float:
    """A constant as its author wrote it, where it is that to a billionth."""
    for digits in range(1, 8):
        near = float(f"{x:.{digits}g}")
        if abs(near - x) <= 1e-9 * max(abs(x), abs(1.0 - x)):
            return near
    return x


def _decay(
    found: Findings, factor: float | None
) -> tuple[float | None, float | None, Evidence]:
    """Decay beside the step, decay through the gradient, and what that is worth."""
    of = found.weights
    if of is None or of.kind in LOOSE:
        return None, None, UNKNOWN
    if of.kind == "none":
        return None, None, MEASURED
    if of.kind == "coupled":
        return None, _round(of.rate), MEASURED
    through = _round(of.through) if of.kind == "both" else None
    if factor is None or not factor > 0:
        return None, through, UNKNOWN
    return _round(of.rate / factor), through, MEASURED


def _tell(
    found: Findings,
    steps: AbstractNorm | None,
    between: tuple[float, float] | None,
    tight: Tightness | None,
    normalised: bool | None,
    steepest: bool,
    replay: _Replay,
    decay: float | None,
    coupled: float | None,
) -> tuple[str, ...]:
    """What was found, a sentence each; the first says what the rule is."""
    head = [_geometry(found, steps, tight, normalised, replay)]
    if replay.agrees:
        head += _memories(replay)
    else:
        head.append("memories in no form known here")
    limit = found.threshold
    if limit is not None and limit.kind == "eps":
        head.append(f"ε matters below |g| = {limit.scale:.1g}")
    elif limit is not None and limit.kind == "floor":
        head.append(f"its divisor has a floor at |g| = {limit.scale:.1g}")
    elif limit is not None:
        head.append(f"clips gradients above |g| = {limit.scale:.3g}")
    if decay is not None:
        head.append(f"decoupled decay {decay:.6g}")
    if coupled is not None:
        head.append(f"decay {coupled:.6g} through the gradient")
    first = ", ".join(head)
    told = [first[:1].upper() + first[1:] + "."]
    power = found.power
    apart = between is not None and between[0] < between[1]
    if power is not None and not power.exact and between is not None and apart:
        what = "singular values" if found.matrix else "entries"
        low, high = between
        told.append(
            f"As a map of {what} it lies between the exponents {_number(low)} and "
            f"{_number(high)} (95 %), and is a power of neither."
        )
    if tight is not None and tight.worst < 1.0 - AGREES:
        told.append(
            f"First steps reach {tight.worst:.4f} of the steepest at worst, "
            f"{tight.median:.4f} in the median."
        )
    if not replay.agrees:
        why = (
            "none was found"
            if replay.form is None
            else (f"the nearest is off by {replay.misfit:.2g} of a step")
        )
        told.append(f"No combination of memories makes its steps: {why}.")
    of = found.weights
    if of is not None and of.kind == "length":
        told.append("Steps are as long as the weights are.")
    elif of is not None and of.kind == "other":
        told.append("Steps depend on the weights, in no way known here.")
    elif of is not None and of.kind == "path":
        told.append("Steps depend on where the weights have been since the start.")
    elif of is not None and of.kind == "decoupled" and decay is None:
        told.append(f"Each step takes {of.rate:.4g} of the weights away.")
    elif of is not None and of.kind == "both":
        told.append("Decay is applied twice: beside the step and through the gradient.")
    if found.drift >= AGREES:
        told.append(
            f"It moves weights whose gradients are 0, by {found.drift:.2g} of a step "
            "for gradients of size 1: noise, or a drift."
        )
    if found.warm:
        told.append("Its first steps are of another kind than those after them.")
    if found.degree.breaks is not None:
        told.append(_break(found))
    if found.dead == "moves":
        told.append("A coordinate whose gradient is always 0 moves.")
    elif found.dead.startswith("is not"):
        told.append("A coordinate whose gradient is always 0 gets 0/0.")
    if found.rounding > 0:
        told.append(
            f"It computes in few digits: steps are smooth to {found.rounding:.1g}."
        )
    for form in found.formats:
        if form.why:
            told.append(f"In {form.name} it can't step: {form.why}")
        elif math.isnan(form.low):
            told.append(f"In {form.name} its steps are others at every scale.")
        elif form.low > 2.0 * SCALES[0]:
            told.append(
                f"In {form.name} steps are others below |g| = {form.low:.0g}: its "
                "memory underflows."
            )
    return tuple(told)


def _break(found: Findings) -> str:
    """What changes where lengths leave one straight part for another."""
    at = found.degree.breaks
    above = found.above
    told = f"Above |g| = {at:.2g} it is another rule"
    if above is not None:
        free = [n for n in ("row scales", "column scales") if above.holds(n)]
        if free:
            what = " and ".join(name.split()[0] for name in free)
            told += f": the lengths of {what}s no longer count, as if they were clipped"
    return told + "."


def _geometry(
    found: Findings,
    steps: AbstractNorm | None,
    tight: Tightness | None,
    normalised: bool | None,
    replay: _Replay,
) -> str:
    if steps is None:
        degree = found.degree.degree
        size = "" if degree is None else f", of degree {degree:.4g} in the gradient"
        return f"{found.family} steps in no norm that has a name{size}"
    if isinstance(steps, L2) and not normalised:
        return "gradient descent" if replay.agrees else "steps along the gradient"
    gap = math.nan if tight is None else 1.0 - tight.worst
    exact = "exactly" if gap < EXACT else f"to {gap:.1g}"
    kind = f"{steps.label} steepest descent ({exact})"
    if not replay.agrees:
        kind = f"first steps as of {kind}"
    if replay.agrees and replay.second is not None:
        kind = f"{steps.label} steps as long as the step size, not steepest"
    return kind if normalised else f"{kind}, as long as the gradient"


def _memories(replay: _Replay) -> list[str]:
    told = []
    first, second = replay.first, replay.second
    if first is None:
        told.append("no memory of gradients")
    else:
        decay = float(np.asarray(first.decay))
        told.append(f"memory {1.0 / (1.0 - decay):.3g} steps (decay {decay:.6g})")
        if not first.plain:
            told.append(
                "looking ahead" if first.nesterov else "mixed with the gradient"
            )
    if replay.divided_first:
        told.append("gradients being normalised before they are remembered")
    if second is not None:
        whole = Character(second=second).told_second
        told.append(whole.split(", ")[0])
    return told


def _number(p: float) -> str:
    return "∞" if math.isinf(p) else f"{p:.4g}"
