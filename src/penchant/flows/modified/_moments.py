r"""Rules made of moments of past gradients: their expansion in closed form.

On frozen full-batch gradients the moments are $A_ng$ and $A'_ng^2$, so the step is
$F^{(n)}=\Phi(A_ng,A'_ng^2)+\lambda w$, and what the past adds is, for each moment, one
vector $W=\sum_{s<n}\frac{h_s}{h_n}T_{n,s}F^{(s)}$, $T_{n,s}$ being the share of the
moment that is older than step $s$: its derivative along the past is that along $W$.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_instance
from penchant._types import Parameters, Scalar, Tree
from penchant.flows.modified._ages import Ages, Host
from penchant.flows.modified._algebra import add, gradient_map, times, zeros
from penchant.norms import L2, AbstractNorm
from penchant.optimizers import AbstractOptimizer, Divisor
from penchant.problems import AbstractProblem, ScaledGradient

NODES = 20
"""Chebyshev nodes on a range of steps [a, 2a]: relative errors of 1e-14."""

WIDE = 256
"""Nodes in a table of steps, at least."""

AT_ONCE = 1 << 20
"""Numbers that steps at several nodes hold at once."""

FIRST = 32
"""The first steps, which are summed one by one."""


class Coefficients(eqx.Module):
    r"""What a moment rule needs to know of the past at one step.

    `total` are $A_n$ and $A'_n$. `decays` are $\sum_s\frac{h_s}{h_n}T_{n,s}$ for both
    moments. The sum over past steps is one over nodes, of which `at` `(J, 2)` has the
    totals and `weights` `(2, J)` the weights for both moments.
    """

    total: Any
    decays: Any
    at: Any
    weights: Any


class Expansion(eqx.Module):
    r"""$F$, and what of the correction is memory's and discretisation's, by moment.

    Each of `memory` and `half` is a triple: what goes through the first moment, through
    the second, and through the weights themselves (decay).
    """

    F: Parameters
    memory: tuple[Parameters, Parameters, Parameters]
    half: tuple[Parameters, Parameters, Parameters]
    singular: Parameters
    gradient: ScaledGradient
    HF: Parameters


class Form(eqx.Module):
    r"""What a moment rule makes of its moments: a divisor or a norm, and decay.

    The lengths of its memories are not in it: they come in as coefficients, so that one
    compiled program serves rules with all of them. `two` says that there is a second
    moment, `constant` that frozen gradients make the same step every time.
    """

    divisor: Divisor | None
    norm: AbstractNorm | None
    normalised: bool = eqx.field(static=True)
    decay: Any
    two: bool = eqx.field(static=True)
    constant: bool = eqx.field(static=True)

    def direction(self, g: Parameters, log_scale: Scalar, total: Array) -> Parameters:
        r"""$\Phi(A\,g,A'g^2)$ for a gradient in a frame, without decay."""
        m = times(total[0], g)
        if self.divisor is None:
            return self._steepest(m, log_scale)
        below, _ = self._below(log_scale, total[1])
        frame = self._frame(log_scale)
        return jax.tree.map(lambda m, d: frame * _safe(m, below(d)), m, g)

    def step(
        self, g: Parameters, log_scale: Scalar, w: Parameters, total: Array
    ) -> Parameters:
        r"""$F=\Phi+\lambda w$."""
        return add(self.direction(g, log_scale, total), w, self.decay)

    def _steepest(self, m: Parameters, log_scale: Scalar) -> Parameters:
        norm = self.norm
        assert norm is not None
        if norm.same(L2()) and not self.normalised:
            return times(jnp.exp(log_scale), m)
        found = jax.tree.map(norm.steepest, m)
        if self.normalised:
            return found
        return jax.tree.map(
            lambda d, m: jnp.exp(log_scale) * norm.dual(m) * d, found, m
        )

    def _frame(self, log_scale: Scalar) -> Scalar:
        """Of a ratio, 1 for square roots: m is in the frame $e^s$, v in its square."""
        assert self.divisor is not None
        power = 1.0 - 2.0 * jnp.asarray(self.divisor.exponent)
        return jnp.where(power == 0.0, 1.0, jnp.exp(power * log_scale))

    def _below(self, log_scale: Scalar, total: Array) -> Any:
        """What divides, in the frame; and the derivative of its logarithm in |d|."""
        divisor = self.divisor
        assert divisor is not None
        p = jnp.asarray(divisor.exponent)
        log_eps = jnp.log(jnp.asarray(divisor.eps))
        if divisor.eps_inside:
            eps = jnp.exp(log_eps - 2.0 * log_scale)
            inner = lambda d: total * d**2 + eps
            below = lambda d: inner(d) ** p
            # d log((v + eps)^p) = p dv / (v + eps), dv = 2 d y
            slope = lambda d: _safe(2.0 * p * d, inner(d))
            return below, slope
        eps = jnp.exp(log_eps - 2.0 * p * log_scale)
        root = lambda d: (total * d**2) ** p
        below = lambda d: root(d) + eps
        # d log(v^p + eps) = p v^(p - 1) dv / (v^p + eps)
        slope = lambda d: _safe(2.0 * p * root(d), (root(d) + eps) * total * d)
        return below, slope

    def moved(
        self,
        g: Parameters,
        log_scale: Scalar,
        total: Array,
        through_first: Parameters,
        through_second: Parameters,
    ) -> tuple[Parameters, Parameters]:
        r"""The derivative of $\Phi$ when $m$ moves by `through_first` and
        $v$ by $2g\,\cdot$ `through_second`, apart.
        """  # noqa: D205
        if self.divisor is None:
            m = times(total[0], g)
            step = lambda m: self._steepest(m, log_scale)
            _, out = jax.jvp(step, (m,), (through_first,))
            return out, zeros(g)
        below, slope = self._below(log_scale, total[1])
        frame = self._frame(log_scale)
        one = jax.tree.map(lambda y, d: frame * _safe(y, below(d)), through_first, g)
        two = jax.tree.map(
            lambda y, d: -frame * _safe(total[0] * d, below(d)) * slope(d) * y,
            through_second,
            g,
        )
        return one, two

    def expand(
        self, problem: AbstractProblem, w: Parameters, known: Coefficients
    ) -> Expansion:
        """Everything at frozen weights, full batch: a gradient and its products."""
        g, products = gradient_map(problem, w)
        d, s = g.direction, g.log_scale
        F = self.step(d, s, w, known.total)
        HF = products(F)
        if self.constant:
            past = [times(known.decays[i], HF) for i in range(2)]
        else:
            W = self.past(d, s, w, known)
            past = [products(W[0]), products(W[1]) if self.two else zeros(d)]
        memory = self.moved(d, s, known.total, past[0], past[1])
        half = self.moved(
            d,
            s,
            known.total,
            times(0.5 * known.total[0], HF),
            times(0.5 * known.total[1], HF),
        )
        return Expansion(
            F=F,
            memory=(*memory, zeros(w)),
            half=(*half, times(0.5 * self.decay, F)),
            singular=self._singular(d, s, known.total, HF),
            gradient=g,
            HF=HF,
        )

    def past(
        self, d: Parameters, s: Scalar, w: Parameters, known: Coefficients
    ) -> list[Parameters]:
        r"""$W$ for both moments."""
        if known.at.shape[0] == 1:
            then = self.direction(d, s, known.at[0])
            parts = [times(known.weights[i, 0], then) for i in range(2)]
        else:
            block = _block(known.at.shape[0], sum(x.size for x in jax.tree.leaves(w)))
            cut = lambda x: x.reshape(-1, block, 2)

            def nodes(sums: Tree, inputs: Tree) -> Any:
                totals, q = inputs
                then = jax.vmap(lambda total: self.direction(d, s, total))(totals)
                gained = [
                    jax.tree.map(lambda x, i=i: jnp.tensordot(q[:, i], x, 1), then)
                    for i in range(2)
                ]
                return [add(sums[i], gained[i]) for i in range(2)], None

            begin = [zeros(w), zeros(w)]
            inputs = cut(known.at), cut(known.weights.T)
            parts, _ = jax.lax.scan(nodes, begin, inputs)
        return [add(parts[i], w, self.decay * known.decays[i]) for i in range(2)]

    def _singular(
        self, d: Parameters, s: Scalar, total: Array, HF: Parameters
    ) -> Parameters:
        """Entries that divide 0 by 0 here, and do not next to here."""
        if self.divisor is None:
            if not self.normalised:
                return jax.tree.map(lambda d: jnp.zeros(d.shape, bool), d)
            return jax.tree.map(lambda d, u: (d == 0) & (u != 0), d, HF)
        below, _ = self._below(s, total[1])
        return jax.tree.map(lambda d, u: (below(d) == 0) & (u != 0), d, HF)


class MomentRule(eqx.Module):
    """A rule that its character describes: two memories, and what it makes of them."""

    first: Ages
    second: Ages | None
    form: Form

    @classmethod
    def of(cls, optimizer: AbstractOptimizer) -> "MomentRule | None":
        """What the character says; None where it leaves something open."""
        what = optimizer.character()
        if not what.known or what.normalised is None:
            return None
        first = Ages.of_first(what.first)
        if first is None:
            return None
        decay = jnp.asarray(0.0 if what.decay is None else what.decay)
        if what.second is None:
            if not what.steepest or what.steps is None:
                return None
            settled = what.normalised or first.settled
            form = Form(None, what.steps, what.normalised, decay, False, settled)
            return cls(first, None, form)
        if what.second.over != "entries":
            return None
        second = Ages.of_second(what.second)
        settled = first.settled and second.settled
        return cls(first, second, Form(what.second, None, True, decay, True, settled))

    @property
    def fades(self) -> bool:
        """Whether it forgets."""
        return self.first.fades and (self.second is None or self.second.fades)

    @property
    def length(self) -> float:
        """Steps after which the past of a step is complete but for rounding."""
        lengths = [self.first.length]
        if self.second is not None:
            lengths.append(self.second.length)
        return max(lengths)

    @property
    def scalar(self) -> bool:
        """Whether past steps differ from the present one by a number alone."""
        if self.form.divisor is None:
            return True
        return float(np.asarray(self.form.divisor.eps)) == 0.0

    @property
    def constant(self) -> bool:
        """Whether frozen gradients make the same step every time."""
        return self.form.constant

    def _sizes(self, n: Host) -> Host:
        """Of a step on frozen gradients, relative, where that is a number."""
        one = np.ones_like(n, dtype=float)
        if self.second is None:
            return one if self.form.normalised else self.first.total(n) * one
        assert self.form.divisor is not None
        power = float(np.asarray(self.form.divisor.exponent))
        return self.first.total(n) / self.second.total(n) ** power * one

    def coefficients(
        self, step: int | None, h: Float[np.ndarray, " n1"] | None = None
    ) -> Coefficients:
        r"""At a step, `h` being $h_0,\dots,h_n$ if steps differ; or in the limit."""
        return jax.tree.map(jnp.asarray, self._host(step, h))

    @property
    def _moments(self) -> list[Ages]:
        return [self.first, *([] if self.second is None else [self.second])]

    def _host(
        self, step: int | None, h: Host | None = None, nodes: int = FIRST
    ) -> Coefficients:
        moments = self._moments
        if step is None:
            limits = [m.limit() for m in moments]
            return _coefficients([a for a, _ in limits], [b for _, b in limits])
        n = np.asarray(float(step))
        total = [float(m.total(n)) for m in moments]
        ages = [_weighted_age(m, step, h) for m in moments]
        if self.constant:
            return _coefficients(total, ages)
        if self.scalar:
            here = float(self._sizes(n))
            size = lambda s: self._sizes(s) / here
            shares = [_weighted_age(m, step, h, size) for m in moments]
            return _coefficients(total, ages, shares)
        places, rows = _nodes(moments, step, h, nodes)
        at = np.stack([m.total(places) for m in moments], axis=1)
        found = _coefficients(total, ages)
        if len(moments) == 1:
            at, rows = np.repeat(at, 2, axis=1), np.pad(rows, ((0, 1), (0, 0)))
        return Coefficients(found.total, found.decays, at, rows)

    def totals(self, begin: int, end: int) -> Coefficients:
        """What the plain flow needs of the steps from `begin` to before `end`."""
        n = np.arange(begin, end, dtype=float)
        columns = [m.total(n) for m in self._moments]
        columns += [np.ones_like(n) for _ in range(2 - len(columns))]
        total = np.stack(columns, axis=1)
        return Coefficients(
            total, 0.0 * total, total[:, None, :], 0.0 * total[:, :, None]
        )

    def tables(self, begin: int, end: int, h: Host) -> Coefficients:
        """The coefficients of the steps from `begin` to before `end`, stacked.

        `h` are the step sizes of all steps before `end`.
        """
        if self.constant or self.scalar:
            return self._scalar_tables(begin, end, h)
        settled = 2.0 * self.length
        varies = h if np.any(h != h[0]) else None
        doublings = max(0.0, np.ceil(np.log2(max(len(h), FIRST) / FIRST)))
        # one length for all short runs: their program is compiled once
        nodes = max(WIDE, FIRST + NODES * int(doublings))
        first = end if varies is not None else math.ceil(min(end, settled))
        each = [self._host(n, varies, nodes) for n in range(begin, first)]
        if max(begin, first) < end:  # the steps of a full memory are all the same
            full, extra = self._host(None), nodes - 1
            full = Coefficients(
                full.total,
                full.decays,
                np.pad(full.at, ((0, extra), (0, 0)), mode="edge"),
                np.pad(full.weights, ((0, 0), (0, extra))),
            )
            each += [full] * (end - max(begin, first))
        return jax.tree.map(lambda *x: np.stack(x), *each)

    def _scalar_tables(self, begin: int, end: int, h: Host) -> Coefficients:
        moments = self._moments
        one = np.ones(end)
        sizes = one if self.constant else self._sizes(np.arange(end, dtype=float))
        pairs = [m.table(end, sizes, h) for m in moments]
        total = [a for a, _ in pairs] + [one for _ in range(2 - len(moments))]
        shares = [b for _, b in pairs] + [0.0 * one for _ in range(2 - len(moments))]
        decays = shares
        if not self.constant:
            decays = [m.table(end, one, h)[1] for m in moments]
            decays += [0.0 * one for _ in range(2 - len(moments))]
        cut = lambda columns: np.stack(columns, axis=1)[begin:end]
        total, shares, decays = cut(total), cut(shares), cut(decays)
        return Coefficients(total, decays, total[:, None, :], shares[:, :, None])


def _block(nodes: int, parameters: int) -> int:
    """How many nodes are taken at once: a power of two that divides their number."""
    size = 1
    while nodes % (2 * size) == 0 and 2 * size * parameters <= AT_ONCE:
        size *= 2
    return size


def _coefficients(
    total: list[float], ages: list[float], shares: list[float] | None = None
) -> Coefficients:
    """Of a rule whose past steps are one number times the present: a single node."""
    missing = 2 - len(total)
    totals = np.array([*total, *[1.0] * missing])
    decays = np.array([*ages, *[0.0] * missing])
    rows = decays if shares is None else np.array([*shares, *[0.0] * missing])
    return Coefficients(totals, decays, totals[None, :], rows[:, None])


def _weighted_age(ages: Ages, n: int, h: Host | None, size: Any = None) -> float:
    r"""$\sum_{s<n}\frac{h_s}{h_n}a_sT_{n,s}$; the age alone for equal steps."""
    if n == 0:
        return 0.0
    if h is None and size is None:
        return float(ages.age(np.asarray(float(n))))
    # past the length of the memory a tail is below rounding
    first = 0 if not ages.fades else max(0, n - int(min(ages.length, 1e9)) - 1)
    total, block = 0.0, 1 << 20
    for begin in range(first, n, block):
        s = np.arange(begin, min(begin + block, n), dtype=float)
        weight = ages.tail(n, s)
        if h is not None:
            weight = weight * h[s.astype(int)] / h[n]
        if size is not None:
            weight = weight * size(s)
        total += float(np.sum(weight))
    return total


def _nodes(
    moments: list[Ages], n: int, h: Host | None, least: int
) -> tuple[Host, Host]:
    """Nodes for sums over steps before `n`, and their weights for each moment.

    Steps are smooth in $s$ but near the first: they are interpolated on ranges that
    double, the tails in the weights are exact.
    """
    # past the length of the memories tails are below rounding: nodes stay, at weight 0
    length = max(m.length for m in moments)
    oldest = 0 if np.isinf(length) else max(0, n - int(np.ceil(length)) - 1)
    places: list[Host] = [np.arange(min(n, FIRST), dtype=float)]
    rows: list[Host] = [np.stack([_tails(m, n, places[0], h) for m in moments])]
    begin = FIRST
    while begin < n:
        end = min(2 * begin, n)
        if end - begin <= NODES:
            s = np.arange(begin, end, dtype=float)
            places.append(s)
            rows.append(np.stack([_tails(m, n, s, h) for m in moments]))
        else:
            x = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
            at = 0.5 * (begin + end - 1) + 0.5 * (end - 1 - begin) * x
            weights = np.zeros((len(moments), NODES))
            for low in range(max(begin, oldest), end, 1 << 16):
                s = np.arange(low, min(low + (1 << 16), end), dtype=float)
                basis = _lagrange(s, at)
                tails = np.stack([_tails(m, n, s, h) for m in moments])
                weights += tails @ basis
            places.append(at)
            rows.append(weights)
        begin = end
    nodes, weights = np.concatenate(places), np.concatenate(rows, axis=1)
    # one compiled program for many steps: nodes are padded to a few lengths
    size = least
    while size < len(nodes):
        size *= 2
    extra = size - len(nodes)
    nodes = np.concatenate([nodes, np.full(extra, nodes[0] if n else 0.0)])
    return nodes, np.pad(weights, ((0, 0), (0, extra)))


def _tails(ages: Ages, n: int, s: Host, h: Host | None) -> Host:
    tails = ages.tail(n, s)
    return tails if h is None else tails * h[s.astype(int)] / h[n]


def _lagrange(s: Host, at: Host) -> Host:
    """Values at `s` of the polynomials that are 1 at one Chebyshev node each."""
    k = np.arange(len(at))
    bary = (-1.0) ** k * np.sin(np.pi * (k + 0.5) / len(at))
    gap = s[:, None] - at[None, :]
    hit = gap == 0
    terms = bary[None, :] / np.where(hit, 1.0, gap)
    values = terms / np.sum(terms, axis=1, keepdims=True)
    exact = hit.any(axis=1)
    values[exact] = hit[exact].astype(float)
    return values


def _safe(above: Array, below: Array) -> Array:
    """0 where both, or what divides, is 0."""
    some = below != 0
    return jnp.where(some, above / jnp.where(some, below, 1.0), 0.0)


def memory_ages(
    optimizer: AbstractOptimizer, *, step: int | None = None
) -> tuple[tuple[float, float], tuple[float, float] | None, bool] | None:
    r"""Of each moment $A_n=\sum_k\omega_k$ and $B_n=\sum_kk\omega_k$: weight and age.

    >>> import penchant as pn
    >>> first, second, _ = pn.flows.memory_ages(pn.optimizers.Adam(0.5, 0.75))
    >>> first, second
    ((1.0, 1.0), (1.0, 3.0))

    Args:
        optimizer: A rule.
        step: Updates made before; None for a memory that is full.

    Returns:
        A pair for the first moment, one for the second or None without, and whether
        steps on frozen gradients are the same from the first one on; None of a rule
        whose moments are not known, or are never full.
    """
    check_instance(
        "optimizer", optimizer, AbstractOptimizer, "one of penchant.optimizers"
    )
    rule = MomentRule.of(optimizer)
    if rule is None or (step is None and not rule.fades):
        return None

    def pair(ages: Ages) -> tuple[float, float]:
        if step is None:
            total, age = ages.limit()
            return round(total, 12), round(age, 12)
        n = np.asarray(float(step))
        return float(ages.total(n)), float(ages.age(n))

    second = None if rule.second is None else pair(rule.second)
    return pair(rule.first), second, rule.constant
