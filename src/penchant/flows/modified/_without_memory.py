from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from penchant._checks import check_instance, check_number
from penchant._leaves import as_leaf
from penchant._types import Parameters, Real, Scalar
from penchant.flows.modified._ages import Ages
from penchant.flows.modified._algebra import add, times, zeros
from penchant.flows.modified._moments import MomentRule
from penchant.optimizers import AbstractOptimizer, Character
from penchant.problems import ScaledGradient


class Looking(eqx.Module):
    r"""The rule's own state, steps made, and $\sum_sb^{n-s-1}S_{s+1}h_sF^{(s)}$ for
    each moment: how far back it looks, in weights.
    """  # noqa: D205

    inner: Any
    count: Scalar
    way: tuple[Parameters, Parameters]


class WithoutMemoryBias(AbstractOptimizer):
    r"""A rule with the term taken out that its memory adds to the loss.

    $w\leftarrow w-hF^{(n)}+h^2sM$, $M$ being what memory adds to first order
    ([`correction`][penchant.correction]) and $s$ the `strength`: 1 cancels it, 0 is the
    rule itself, -1 doubles the effect. What is left of memory is of second order: the
    test of whether a bias is memory's is to take it out.

    $M$ is one Hessian product for each moment, on the step's own batch, along the way
    that the rule has come, discounted as the moment discounts it. With mini-batches
    that is an estimate: other batches' curvature is not asked for. Where the correction
    is no small part of the step this cancels nothing (see
    `penchant.correction(...).share_valid`), and coordinates in which the term exceeds
    the step are left as they are.

    >>> import penchant as pn
    >>> pn.flows.WithoutMemoryBias(pn.optimizers.Adam()).needs_loss
    True

    Args:
        rule: A rule whose character says which moments it has. They are read once, so
            that their decays can't be swept; the strength can.
        strength: $s$.

    Raises:
        TypeError: If `rule` is no optimizer, or its moments are not known.
    """

    rule: AbstractOptimizer
    strength: Real = eqx.field(converter=as_leaf)
    moments: MomentRule = eqx.field(repr=False)

    def __init__(self, rule: AbstractOptimizer, strength: Real = 1.0):
        check_instance("rule", rule, AbstractOptimizer, "one of penchant.optimizers")
        check_number("strength", strength, finite=True)
        # read here, on numbers: in a compiled step they would be unknown ones
        moments = MomentRule.of(rule)
        if moments is None:
            raise TypeError(
                "rule must have a character that says which moments it has; got "
                f"{rule!r}."
            )
        self.rule, self.strength, self.moments = rule, strength, moments

    @property
    def needs_loss(self) -> bool:
        return True

    def init(self, w: Parameters) -> Looking:
        return Looking(self.rule.init(w), jnp.zeros(()), (zeros(w), zeros(w)))

    def character(self) -> Character:
        return Character.unknown()

    def log_second(self, state: Looking) -> Parameters | None:
        return self.rule.log_second(state.inner)

    def update(
        self,
        gradient: ScaledGradient,
        state: Looking,
        w: Parameters,
        step_size: Scalar,
        loss: Any = None,
    ) -> tuple[Parameters, Looking]:
        assert loss is not None, "needs_loss says that it is given"
        moments = self.moments
        more = {"loss": loss} if self.rule.needs_loss else {}
        moved, inner = self.rule.update(gradient, state.inner, w, step_size, **more)
        n, h = state.count, jnp.asarray(step_size)
        ages = (moments.first, moments.second)
        weights = [None if a is None else _weights(a, n) for a in ages]
        total = jnp.stack([
            jnp.ones(()) if x is None else x[0] + x[1] * x[2] for x in weights
        ])
        # the frame of the gradient, in which moments are expanded
        frame = jnp.exp(-gradient.log_scale)
        slope = jax.grad(loss)
        products = lambda v: times(frame, jax.jvp(slope, (w,), (v,))[1])
        back = [
            zeros(w) if x is None else products(times(x[1] / h, way))
            for x, way in zip(weights, state.way, strict=True)
        ]
        M = moments.form.moved(
            gradient.direction, gradient.log_scale, total, back[0], back[1]
        )
        F = moments.form.step(gradient.direction, gradient.log_scale, w, total)
        term = jax.tree.map(lambda a, b: self.strength * h * (a + b), *M)
        term = jax.tree.map(
            lambda t, f: jnp.where(jnp.abs(t) <= jnp.abs(f), t, 0.0), term, F
        )
        moved = add(moved, term, h)
        way = []
        for age, old in zip(ages, state.way, strict=True):
            if age is None:
                way.append(old)
                continue
            gained = _sums(age, n + 1.0)
            way.append(
                jax.tree.map(
                    lambda o, a, b, b1=age.decay, s=gained: b1 * o + s * (a - b),
                    old,
                    w,
                    moved,
                )
            )
        return moved, Looking(inner, n + 1.0, (way[0], way[1]))


def _sums(age: Ages, t: Scalar) -> Scalar:
    r"""$\sum_{k<t}b^k$."""
    if not age.fades:
        return t
    if age.decay == 0.0:
        return jnp.minimum(t, 1.0)
    return -jnp.expm1(t * jnp.log(age.decay)) / (1.0 - age.decay)


def _weights(age: Ages, n: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    r"""$\alpha_n$, $\gamma_n$ and $\sum_{k<n}b^k$, as `Ages` has them on the host."""
    b, one = age.decay, jnp.ones(())
    gathered = lambda t: (1.0 - b) * _sums(age, t)
    if age.kind == "sum":
        pair = (1.0 + b * age.ahead) * one, age.mix * one
    elif not age.corrected:
        pair = (1.0 - age.mix) * one, age.mix * (1.0 - b) * one
    else:
        now = (1.0 - b) / gathered(n + 1.0)
        later = (1.0 - b) / gathered(n + 2.0)
        pair = (b * later + now, b * b * later) if age.ahead else (now, b * now)
    return *pair, _sums(age, n)
