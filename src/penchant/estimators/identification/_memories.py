"""Of which memories a rule is made: those whose replay makes the rule's own steps."""

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from penchant.estimators.identification import _replay
from penchant.estimators.identification._box import AbstractBox
from penchant.estimators.identification._findings import Findings
from penchant.estimators.identification._gradients import generic
from penchant.estimators.identification._laws import AGREES, NEAR, LawFit, best_law
from penchant.estimators.identification._replay import Form
from penchant.measures import Estimate
from penchant.norms import L2, AbstractNorm
from penchant.optimizers import Blocks, Divisor, Memory

LOUD = 1e6
"""How much larger gradients are where a law does not hold at the scale of the tests."""

COARSE = 1e-3
"""A law that is off by more is not taken for the rule's, in however few digits."""

EXACT = 1e-9
"""Replays that differ by no more are the rule's steps to rounding."""


class Replay:
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
        self.misfit = self.near_eps = math.nan
        self.agrees = self.odd_eps = False
        self.law: LawFit | None = None
        self.eps = (0.0, 0.0)
        self.over = "entries"
        within = max(AGREES, 10.0 * found.rounding)
        self._choose()
        if self.form is not None:
            self.agrees = self.misfit <= within
            self._read()
            if self.agrees and self.near_eps > within:
                self.second, self.odd_eps = None, True
        if not self.agrees:
            self._by_law(min(within, COARSE))

    @property
    def divided_first(self) -> bool:
        """Whether gradients are divided first: no character says that."""
        form = self.form
        return form is not None and form.after and form.decay > 0

    @property
    def known(self) -> bool:
        """Whether a form or a law makes the rule's steps."""
        return self.agrees or self.law is not None

    def _by_law(self, within: float) -> None:
        """A law in place of a form, where one makes the steps."""
        # a memory that does not start at 0 counts as long as gradients are small
        scale = self.found.scale
        for each in (scale, LOUD * scale):
            law = best_law(self.box, each, self.seed)
            if law is None or law.misfit > NEAR:
                return
            if law.misfit <= within:
                break
        else:
            return
        self.law, self.misfit, self.factor = law, law.misfit, law.factor
        self.form, self.first, self.second = None, None, None
        if law.law.mean:
            decay = rounded(next(iter(law.constants.values())))
            self.first = Memory(decay, "mean", None, corrected=True)

    def constants(self) -> dict[str, Estimate]:
        """The numbers in the form or law that makes the steps, with their errors."""
        if self.law is not None:
            return {
                name: _estimate(value, self.law.errors[name], self.misfit)
                for name, value in self.law.constants.items()
            }
        form = self.form
        if form is None or not self.agrees:
            return {}
        named = {}
        if form.decay != 0:
            named["first decay"] = form.decay
        if abs(form.mix - form.decay) > EXACT:
            named["mix"] = form.mix
        if form.kind == "mean":
            named["second decay"] = form.second
        fields = {"first decay": "decay", "mix": "mix", "second decay": "second"}
        told = {}
        for name, value in named.items():
            error = max(self.misfit, self.found.rounding) * _lever(form, fields[name])
            told[name] = _estimate(value, error, self.misfit)
        eps = max(self.eps)
        if form.kind != "none" and eps > 0 and not self.odd_eps:
            told["eps"] = _estimate(eps, self.misfit * eps, self.misfit)
        return told

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
        self.misfit, self.factor = tried[0]
        self.near_eps = tried[1][0]

    def _read(self) -> None:
        form, found = self.form, self.found
        assert form is not None
        assert found.coupling is not None
        if form.decay > 0:
            kind, self.factor = self._kind(form)
            mix = None if abs(form.mix - form.decay) < 1e-9 else form.mix
            self.first = Memory(
                rounded(form.decay),
                kind,
                None if mix is None else rounded(mix),
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
            1.0 if kind == "sum" else rounded(form.second),
            eps,
            inside,
            form.corrected,
            rounded(power),
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


def _estimate(value: float, error: float, misfit: float) -> Estimate:
    """A constant; exact where steps are replayed to rounding."""
    exact = misfit < EXACT
    how = f"steps replayed to {misfit:.0e}"
    return Estimate(rounded(value), error, exact=exact, how=how)


def _lever(form: Form, field: str) -> float:
    """How much a constant changes for a relative change of all steps of a form."""
    rng = np.random.default_rng(0)
    a = rng.choice([-1.0, 1.0], _replay.LONG) * rng.uniform(0.5, 2.0, _replay.LONG)
    step = 1e-6
    moved = dataclasses.replace(form, **{field: getattr(form, field) + step})
    seen, other = form.along(a), moved.along(a)
    apart = float(np.max(np.abs(other - seen)) / np.max(np.abs(seen)))
    return step / max(apart, 1e-300)


def rounded(x: float) -> float:
    """A constant as its author wrote it, where it is that to a billionth."""
    for digits in range(1, 8):
        near = float(f"{x:.{digits}g}")
        if abs(near - x) <= 1e-9 * abs(x):
            return near
    return x
