import functools
import math
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._keys import as_key
from penchant._plain import plain
from penchant._types import Key, Numbers, Parameters, Scalar, StepSize, Tree
from penchant.flows.modified._algebra import add, gradient_map, times, zeros
from penchant.flows.modified._choose import Engine
from penchant.flows.modified._kinks import kinks_of_loss, kinks_of_rule
from penchant.flows.modified._moments import Coefficients, Form, MomentRule
from penchant.flows.modified._replay import EVERY, Increment, Order, replay
from penchant.optimizers import AbstractOptimizer, FromOptax
from penchant.problems import AbstractProblem, ScaledGradient, of_dataset
from penchant.training import schedules
from penchant.training.batching import AbstractBatching

VALID = 0.3
"""Below this share of the step a correction is one: beyond, it makes things worse.

Measured over bins of coordinates: `test_the_threshold_is_where_it_stops_helping`.
"""

ENOUGH = 0.5
"""Share of coordinates that must be valid for a correction to be quoted."""

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the validity that are kept."""

SETTLED = 1e-9
"""A replay in the limit is done when twice the steps change it by less."""

ROUNDED = 1e-6
"""Below this a change that no longer falls is rounding, and the replay is done too."""

LONGEST = 1 << 17
"""Most steps replayed in search of the limit."""

STRAIGHT = 0.3
"""A gradient that leaves its tangent by more, over the way memory looks back, bends."""

if TYPE_CHECKING:
    Kind: TypeAlias = Literal["flow", "map"]
else:
    Kind = str  # another word is refused at the door, in a sentence


class SinglePrecisionWarning(UserWarning):
    """Weights of a run in single precision, whose rounding is of this size itself."""


class Spread(eqx.Module):
    """Validities of the coordinates that move, which are `count`; else infinite."""

    values: Float[Array, " p"]
    count: int = eqx.field(static=True)

    @functools.cached_property
    def quantiles(self) -> tuple[float, ...]:
        """At the usual levels; taken when asked for, since they need an order."""
        if self.count == 0:
            return tuple(0.0 for _ in LEVELS)
        at = [int(q * (self.count - 1)) for q in LEVELS]
        return tuple(float(x) for x in np.partition(np.asarray(self.values), at)[at])


class Share(eqx.Module):
    """How far one moment's part of a correction is one.

    `direction` is the part, `share_valid` the share of coordinates in which it alone is
    below 0.3 of the step, `quantiles` those of its validity at 5, 25, 50, 75 and 95 %.
    """

    direction: Parameters
    spread: Spread
    share_valid: float = eqx.field(static=True)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the validity, at 5, 25, 50, 75 and 95 %."""
        return self.spread.quantiles

    @property
    def valid(self) -> bool:
        """Whether at least half of the coordinates are."""
        return self.share_valid >= ENOUGH

    def __repr__(self) -> str:
        return f"valid in {self.share_valid:.0%}, median {self.quantiles[2]:.2g}"


class Correction(eqx.Module):
    r"""What a finite step and memory add to a rule's flow: $\dot w=-F+h\,C$.

    `F` is the step divided by the step size $h$, `direction` $C$, so that `velocity` is
    $-F+hC$; of a map, $w\leftarrow w+h\cdot$ `velocity`. `memory` and `discretisation`
    add up to it. `first` and `second` are the parts that go through each moment, None
    where a rule's moments are not known.

    `validity` is $V_j=h|C_j|/|F_j|$, coordinate by coordinate: the expansion is one
    where it is small. 0 where neither moves; infinite where $F_j=0$ and $C_j$ is not,
    or does not exist. `share_valid` is the share below 0.3 of the coordinates that move
    (both measured to be where a correction stops helping), `quantiles` those of $V$ at
    5, 25, 50, 75 and 95 %. Of the valid coordinates, `penalised` is the share whose
    term goes down $HF$, the gradient of what $F$ is the slope of (a norm of the
    gradient), `anti_penalised` that which goes up it. `ratio` $=h\|C\|/\|F\|$ and
    `cosine` compare $hC$ with $-F$ over the valid coordinates; NaN where fewer than
    half are valid, since there the norm means nothing.

    `bend` is how far the gradient leaves its tangent over the way that the memory looks
    back, relative to the tangent: what the expansion neglects. `error` is the standard
    error of `direction` over random orders of batches, None without. `notes` are
    sentences on what the answer means where something is not smooth.
    """

    F: Parameters
    direction: Parameters
    memory: Parameters
    discretisation: Parameters
    validity: Parameters
    first: Share | None
    second: Share | None
    error: Parameters | None
    step_size: float = eqx.field(static=True)
    step: int | None = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)
    share_valid: float = eqx.field(static=True)
    penalised: float = eqx.field(static=True)
    anti_penalised: float = eqx.field(static=True)
    spread: Spread = eqx.field(repr=False)
    ratio: float = eqx.field(static=True)
    cosine: float = eqx.field(static=True)
    bend: float = eqx.field(static=True)
    how: str = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Of the validity, at 5, 25, 50, 75 and 95 %."""
        return self.spread.quantiles

    @property
    def velocity(self) -> Parameters:
        r"""$-F+hC$."""
        return jax.tree.map(lambda f, c: self.step_size * c - f, self.F, self.direction)

    @property
    def valid(self) -> bool:
        """Whether at least half of the coordinates are in the perturbative regime."""
        return self.share_valid >= ENOUGH

    @property
    def verdict(self) -> str:
        """In a sentence: outside the perturbative regime, or what is added."""
        low, middle, high = self.quantiles[1:4]
        if not self.valid:
            said = (
                f"outside the perturbative regime: {self.share_valid:.1%} of "
                f"coordinates have a correction below {VALID:g} of their step "
                f"(quartiles {low:.2g}, {middle:.2g}, {high:.2g})"
            )
            if self.first is not None and self.second is not None and self.first.valid:
                return (
                    f"{said}; the first moment's part alone is valid in "
                    f"{self.first.share_valid:.0%}, the second's in "
                    f"{self.second.share_valid:.0%}."
                )
            return f"{said}."
        if self.ratio == 0.0:
            return "nothing is added at this order."
        way = _way(self.penalised, self.anti_penalised)
        return (
            f"the correction is {self.ratio:.2g} of the step at cosine "
            f"{self.cosine:+.2f}, valid in {self.share_valid:.0%} of coordinates "
            f"(median {middle:.2g}); {way}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but arrays, in types that JSON has."""
        parts = {
            name: None
            if part is None
            else {"share_valid": part.share_valid, "quantiles": part.quantiles}
            for name, part in (("first", self.first), ("second", self.second))
        }
        return plain({
            "kind": self.kind,
            "step_size": self.step_size,
            "step": self.step,
            "verdict": self.verdict,
            "share_valid": self.share_valid,
            "quantiles": self.quantiles,
            "penalised": self.penalised,
            "anti_penalised": self.anti_penalised,
            "ratio": self.ratio,
            "cosine": self.cosine,
            "bend": self.bend,
            "how": self.how,
            "notes": self.notes,
            **parts,
        })

    def __repr__(self) -> str:
        when = "in the limit" if self.step is None else f"at step {self.step}"
        lines = [
            f"Correction of the {self.kind} {when}, step size {self.step_size:g}: "
            f"{self.verdict}"
        ]
        if self.first is not None and self.second is not None:
            lines.append(f"  first moment: {self.first!r}; second: {self.second!r}")
        lines.append(f"  by {self.how}; gradients bend by {self.bend:.2g}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def _way(penalised: float, anti: float) -> str:
    if penalised >= 0.9:
        return f"it penalises the gradient's norm in {penalised:.0%} of these"
    if anti >= 0.9:
        return f"it anti-penalises the gradient's norm in {anti:.0%} of these"
    return (
        f"it penalises the gradient's norm in {penalised:.0%} of these and "
        f"anti-penalises it in {anti:.0%}"
    )


def correction(
    problem: AbstractProblem | object,
    optimizer: AbstractOptimizer | str | object,
    w: Parameters,
    *,
    step_size: StepSize,
    step: int | None = None,
    batches: Numbers | AbstractBatching | None = None,
    kind: Kind = "flow",
    orders: int = 16,
    key: Key = 0,
) -> Correction:
    r"""What finite steps and memory add to the loss that a rule descends, at $w$.

    A rule $w_{n+1}=w_n-hF^{(n)}(w_n,\dots,w_0)$ with a memory that fades stays within
    $O(h^2)$ of $\dot w=-F+hC$, where all past weights are replaced by the present ones
    (`cattaneo2025memory`):

    $$-C=\sum_{k=1}^n\frac{\partial F^{(n)}}{\partial w_{n-k}}\sum_{s=n-k}^{n-1}F^{(s)}
      +\tfrac12\,\nabla F^{(n)}F^{(n)}.$$

    The first sum is memory's, the second the discretisation's; the memoryless map
    $w\leftarrow w-h(F+hM)$ (`kind="map"`) needs the first alone. The coefficients are
    those of this very step, not of $n\to\infty$: those hold after $1/(1-\beta_2)$
    steps, and before are worse than nothing.

    Any rule is replayed on gradients of frozen weights, with tangents pushed through
    it. Rules whose character says which moments they have are expanded in closed form
    instead, however long their memory: a gradient and one Hessian product where a
    step on frozen gradients is the same at all times (bias correction), else three.
    `validity` comes first: with $\beta_2$ near 1 and usual step sizes the expansion is
    usually not one, and then it says so and quotes no norm.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> found = pn.correction(bowl, "gd", jnp.ones(1), step_size=0.1)
    >>> found.direction.tolist(), found.validity.tolist()
    ([-0.5], [0.05])

    Args:
        problem: Data, model and loss; of a random problem the loss that is recorded.
        optimizer: The rule, its name, or an optax transformation.
        w: Where: weights like the problem's.
        step_size: $h$; a schedule needs `step`, and makes $h_s$ of the past.
        step: Updates made before, 0 for the first; None for the limit of many.
        batches: `(step + 1, b)` rows of the batches so far, the last the current one;
            or a batching, whose random orders are averaged over; None for all samples.
        kind: `"flow"`, or `"map"` for the memoryless map.
        orders: How many random orders are drawn.
        key: Seed of these.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or the limit is asked for and the
            memory does not fade.
    """
    problem, rule, h, order, n = _read(
        problem, optimizer, w, step_size, step, batches, kind, orders
    )
    _warn_single(w)
    w = problem.read(w, "w")
    now = float(h[-1])
    engine = Engine.of(problem, rule, now)
    moments = engine.moments
    full = order is EVERY
    age = jnp.asarray(_age(moments, n))
    error = seen = None
    if isinstance(order, AbstractBatching):
        assert n is not None
        parts, error = _over_orders(engine, w, n, h, order, orders, as_key(key))
        how = f"replay of {n + 1} steps, mean of {orders} random orders"
    elif moments is not None and full:
        if n is None and not moments.fades:
            raise ValueError(_endless(rule))
        varies = h if len(h) > 1 and np.any(h != h[-1]) else None
        known = moments.coefficients(n, varies)
        parts, seen = _closed(
            problem, moments.form, w, known, jnp.asarray(now), kind == "map", age
        )
        how = "the closed form of its moments"
    elif n is None:
        parts, n_seen = _limit(engine, w, h, rule)
        how = f"replay of {n_seen} steps"
    else:
        parts = _replayed(engine, w, n, h, order)
        how = f"replay of {n + 1} steps"
    if seen is None:
        seen = _run_summary(problem, w, parts, jnp.asarray(now), kind == "map", age)
    split = moments is not None and full and moments.second is not None
    numbers = jax.tree.map(np.asarray, seen["numbers"])
    share, penalised, anti, ratio, cosine, bend, singular = numbers
    good = float(share) >= ENOUGH
    return Correction(
        F=parts["F"],
        direction=seen["direction"],
        memory=seen["memory"],
        discretisation=seen["half"],
        validity=seen["validity"],
        first=_share(seen, 0) if split else None,
        second=_share(seen, 1) if split else None,
        error=error,
        step_size=now,
        step=n if step is not None or batches is not None else None,
        kind=kind,
        share_valid=float(share),
        penalised=float(penalised),
        anti_penalised=float(anti),
        spread=Spread(seen["moving"], int(seen["live"])),
        ratio=float(ratio) if good else math.nan,
        cosine=float(cosine) if good else math.nan,
        bend=float(bend),
        how=how,
        notes=_notes(problem, rule, w, int(singular), float(bend)),
    )


def _read(
    problem: Any,
    optimizer: Any,
    w: Any,
    step_size: StepSize,
    step: int | None,
    batches: Any,
    kind: str,
    orders: int,
) -> tuple[AbstractProblem, AbstractOptimizer, np.ndarray, Any, int | None]:
    """Check what was given; step sizes $h_0..h_n$ and the order of batches."""
    problem = of_dataset(problem)
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    assert isinstance(problem, AbstractProblem)
    rule = optimizers.read(optimizer)
    if rule.needs_loss and not problem.has_batch_loss:
        raise TypeError(f"optimizer: {rule!r} reads the loss, which {problem!r} lacks.")
    if kind not in ("flow", "map"):
        raise ValueError(f"kind must be 'flow' or 'map'; got {kind!r}.")
    check_count("orders", orders, least=2)
    n = None if step is None else check_count("step", step, least=0)
    order: Any = EVERY
    if isinstance(batches, AbstractBatching):
        if not batches.covers(problem.samples):
            if n is None:
                raise ValueError("step must be given where batches are.")
            batches.check(problem.samples)
            order = batches
    elif batches is not None:
        rows = _rows(batches, problem.samples)
        if n is not None and n + 1 != len(rows):
            raise ValueError(
                f"batches must have step + 1 = {n + 1} rows, the last that of the "
                f"current step; got {len(rows)}."
            )
        n, order = len(rows) - 1, Order(rows, None)
    schedule = schedules.as_schedule(step_size)
    if isinstance(schedule, schedules.LossBased):
        raise TypeError("step_size must be a number or a function of the step.")
    if isinstance(schedule, schedules.Constant):
        return problem, rule, np.array([float(schedule.scale)]), order, n
    if n is None:
        raise ValueError("step must be given where the step size is a schedule.")
    h = np.asarray(schedules.table(schedule, jnp.asarray(0), n + 1), dtype=float)
    return problem, rule, h, order, n


def _rows(batches: Any, samples: int) -> Int[Array, "t b"]:
    rows = np.asarray(batches)
    if rows.ndim != 2 or rows.dtype.kind not in "iu" or not rows.size:
        raise ValueError(
            "batches must be (step + 1, b) row indices, whole numbers; got an array "
            f"of shape {rows.shape} and type {rows.dtype}."
        )
    if rows.min() < 0 or rows.max() >= samples:
        raise ValueError(
            f"batches must be rows from 0 to {samples - 1}; got {rows.min()} to "
            f"{rows.max()}."
        )
    return jnp.asarray(rows)


def _warn_single(w: Tree) -> None:
    for leaf in jax.tree.leaves(w):
        if str(getattr(leaf, "dtype", "")).endswith(("float32", "float16")):
            warnings.warn(
                f"w is of {leaf.dtype}. What is computed here is in float64, but runs "
                "in single precision drift from exact ones by as much as this effect "
                "(1e-6 of the weights after 800 steps, 2e-3 after 51 200): constant "
                "steps round with a systematic sign.",
                SinglePrecisionWarning,
                stacklevel=3,
            )
            return


def _endless(rule: AbstractOptimizer) -> str:
    return (
        f"{rule!r} has a memory that does not fade, so its correction has no limit: "
        "give step, the number of updates made before."
    )


@eqx.filter_jit
def _closed(
    problem: AbstractProblem,
    form: Form,
    w: Parameters,
    known: Coefficients,
    h: Scalar,
    map_kind: bool,
    age: Scalar,
) -> tuple[dict[str, Any], dict[str, Any]]:
    found = form.expand(problem, w, known)
    total = lambda parts: jax.tree.map(lambda *x: sum(x), *parts)
    parts = {
        "F": found.F,
        "memory": total(found.memory),
        "half": total(found.half),
        "parts": [(found.memory[i], found.half[i]) for i in range(2)],
        "singular": found.singular,
        "gradient": found.gradient,
        "HF": found.HF,
    }
    return parts, _summary(problem, w, parts, h, map_kind, age)


_run_replay = eqx.filter_jit(replay)


def _replayed(
    engine: Engine, w: Parameters, n: int, h: np.ndarray, order: Order
) -> dict[str, Any]:
    if order.rows is not None:
        # padded to powers of two: a program for many numbers of steps
        size = 1 << max(0, (n).bit_length())
        rows = jnp.pad(order.rows, ((0, size - len(order.rows)), (0, 0)))
        order = Order(rows, None)
        if len(h) > 1:
            h = np.pad(h, (0, size - len(h)), mode="edge")
    elif len(h) > 1:
        h = np.pad(h, (0, (1 << n.bit_length()) - len(h)), mode="edge")
    found = _run_replay(
        engine.increment, w, jnp.asarray(n), jnp.asarray(h), order, engine.steady
    )
    return _mended(found.F, found.memory, found.half)


def _mended(F: Parameters, memory: Parameters, half: Parameters) -> dict[str, Any]:
    """Tangents that divide 0 by 0 are 0, and told of."""
    odd = jax.tree.map(lambda m, d: jnp.isnan(m) | jnp.isnan(d), memory, half)
    clean = lambda x: jax.tree.map(lambda x, o: jnp.where(o, 0.0, x), x, odd)
    return {
        "F": F,
        "memory": clean(memory),
        "half": clean(half),
        "parts": [],
        "singular": odd,
    }


def _limit(
    engine: Engine, w: Parameters, h: np.ndarray, rule: AbstractOptimizer
) -> tuple[dict[str, Any], int]:
    """Replay ever more steps until nothing changes."""
    before, last, n = None, None, 32
    flat = lambda x: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)])
    while n <= LONGEST:
        parts = _replayed(engine, w, n, h, EVERY)
        seen = [flat(parts[k]) for k in ("F", "memory", "half")]
        if before is not None:
            off = [np.max(np.abs(a - b)) for a, b in zip(seen, before, strict=True)]
            size = [np.max(np.abs(a)) for a in seen]
            floor = [
                ROUNDED if last is not None and o > 0.5 * l else SETTLED
                for o, l in zip(off, last or off, strict=True)
            ]
            if all(o <= f * s for o, f, s in zip(off, floor, size, strict=True)):
                return parts, n
            last = off
        before, n = seen, 2 * n
    raise ValueError(_endless(rule))


def _over_orders(
    engine: Engine,
    w: Parameters,
    n: int,
    h: np.ndarray,
    batching: AbstractBatching,
    orders: int,
    key: Any,
) -> tuple[dict[str, Any], Parameters]:
    """The mean over random orders of batches, and its standard error."""
    found = _replayed_orders(
        engine.increment, w, n, jnp.asarray(h), batching, jax.random.split(key, orders)
    )
    mean = lambda tree: jax.tree.map(lambda x: jnp.mean(x, axis=0), tree)
    F, memory, half = (mean(part) for part in found)
    spread = jax.tree.map(
        lambda m, d: jnp.std(m + d, axis=0, ddof=1) / math.sqrt(orders), *found[1:]
    )
    return _mended(F, memory, half), spread


@eqx.filter_jit
def _replayed_orders(
    increment: Increment,
    w: Parameters,
    n: int,
    etas: Float[Array, " t"],
    batching: AbstractBatching,
    keys: Any,
) -> tuple[Parameters, Parameters, Parameters]:
    """Replays of `n` + 1 steps on random orders, a key an order."""

    def one(key: Any) -> Any:
        zero, samples = jnp.asarray(0), increment.problem.samples
        drawn = batching.batches(key, zero, n + 1, samples)
        assert drawn is not None
        order = Order(drawn.rows, drawn.weights)
        found = replay(increment, w, jnp.asarray(n), etas, order)
        return found.F, found.memory, found.half

    return jax.lax.map(one, keys)


def _age(moments: MomentRule | None, n: int | None) -> float:
    """About how many steps a rule looks back, at least one."""
    if moments is None:
        return 1.0
    ages = [moments.first, *([] if moments.second is None else [moments.second])]
    found = [1.0]
    for m in ages:
        if n is None and m.fades:
            total, age = m.limit()
        elif n is None:
            continue
        else:
            at = np.asarray(float(n))
            total, age = float(m.total(at)), float(m.age(at))
        found.append(age / total)
    return max(found)


def _summary(
    problem: AbstractProblem,
    w: Parameters,
    parts: dict[str, Any],
    h: Scalar,
    map_kind: bool,
    age: Scalar,
) -> dict[str, Any]:
    """Signs turned round, validity, and the numbers that are quoted."""
    F = parts["F"]
    memory = times(-1.0, parts["memory"])
    half = zeros(F) if map_kind else times(-1.0, parts["half"])
    direction = add(memory, half)
    singular = parts["singular"]
    validity = _validity(F, direction, h, singular)
    flat = lambda tree: jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])
    V, f, c = flat(validity), flat(F), flat(direction)
    live = (f != 0) | (V > 0)
    alive = jnp.maximum(jnp.sum(live), 1)
    valid = live & (V < VALID)
    if "HF" in parts:
        g, HF = parts["gradient"], parts["HF"]
    else:
        g, products = gradient_map(problem, w)
        HF = products(F)
    uphill = c * flat(HF)
    among = jnp.maximum(jnp.sum(valid), 1)
    fv, cv = jnp.where(valid, f, 0.0), jnp.where(valid, h * c, 0.0)
    lengths = jnp.linalg.norm(fv), jnp.linalg.norm(cv)
    ratio = jnp.where(lengths[0] > 0, lengths[1] / lengths[0], 0.0)
    both = lengths[0] * lengths[1]
    cosine = jnp.where(
        both > 0, -jnp.sum(fv * cv) / jnp.where(both > 0, both, 1.0), 0.0
    )
    numbers = [
        jnp.sum(valid) / alive,
        jnp.sum(valid & (uphill < 0)) / among,
        jnp.sum(valid & (uphill > 0)) / among,
        ratio,
        cosine,
        _bend(problem, w, g, F, HF, h * age),
        jnp.sum(flat(singular)),
    ]
    moving = lambda v: jnp.where(live, v, jnp.inf)
    out = {
        "direction": direction,
        "memory": memory,
        "half": half,
        "validity": validity,
        "numbers": [jnp.asarray(x, float) for x in numbers],
        "moving": moving(V),
        "live": jnp.sum(live),
        "parts": [],
    }
    for m, d in parts["parts"]:
        part = times(-1.0, m if map_kind else add(m, d))
        v = flat(_validity(F, part, h, singular))
        share = jnp.sum(live & (v < VALID)) / alive
        out["parts"].append((part, share, moving(v)))
    return out


_run_summary = eqx.filter_jit(_summary)


def _validity(
    F: Parameters, direction: Parameters, h: Scalar, singular: Parameters
) -> Parameters:
    def one(f: Array, c: Array, odd: Array) -> Array:
        still = f == 0
        V = h * jnp.abs(c) / jnp.where(still, 1.0, jnp.abs(f))
        V = jnp.where(still, jnp.where(c == 0, 0.0, jnp.inf), V)
        return jnp.where(odd, jnp.inf, V)

    return jax.tree.map(one, F, direction, singular)


def _bend(
    problem: AbstractProblem,
    w: Parameters,
    g: ScaledGradient,
    F: Parameters,
    HF: Parameters,
    way: Scalar,
) -> Scalar:
    r"""How far $g(w+vF)$ is from $g(w)+vHF$, relative to the latter's change."""
    there = problem.scaled_gradient(add(w, F, way))
    same = jnp.exp(there.log_scale - g.log_scale)
    off = jax.tree.map(
        lambda a, b, u: (same * a - b) - way * u, there.direction, g.direction, HF
    )
    norm = lambda t: jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(t)))
    below = way * norm(HF)
    return jnp.where(below > 0, norm(off) / jnp.where(below > 0, below, 1.0), 0.0)


def _notes(
    problem: AbstractProblem,
    rule: AbstractOptimizer,
    w: Parameters,
    singular: int,
    bend: float,
) -> tuple[str, ...]:
    notes = []
    if singular:
        notes.append(
            f"{singular} coordinates divide 0 by 0 here (no gradient, and ε = 0): they "
            "have no expansion, count as invalid, and their term is left out."
        )
    what = rule.character()
    signs = what.normalised is True and what.second is None
    bare = getattr(rule, "rule", rule)
    if not what.known or isinstance(bare, FromOptax):
        found = kinks_of_rule(_one_step(rule), w)
        signs = signs or "sign" in found
        if "max" in found or "min" in found:
            notes.append(
                "The rule takes a maximum or minimum: the answer is that of the side "
                "it is on, and no more where it changes sides."
            )
    if signs:
        notes.append(
            "Normalised steps change by jumps or turns alone: between them nothing is "
            "added by size; where a sign changes the expansion says nothing."
        )
    if problem.has_batch_loss and (kinks := kinks_of_loss(problem.batch_loss, w)):
        notes.append(
            f"The loss has kinks ({', '.join(kinks)}), whose curvature no Hessian has: "
            "this is the expansion between them."
        )
    if bend > STRAIGHT:
        notes.append(
            f"Over the way that the memory looks back gradients leave their tangent by "
            f"{bend:.2g} of it: higher orders are as large as this one."
        )
    return tuple(notes)


def _one_step(rule: AbstractOptimizer) -> Any:
    def step(w: Parameters) -> Any:
        more = {"loss": lambda w: jnp.asarray(0.0)} if rule.needs_loss else {}
        frozen = ScaledGradient(w, jnp.zeros(()))
        return rule.update(frozen, rule.init(w), w, jnp.asarray(1.0), **more)[0]

    return step


def _share(seen: dict[str, Any], i: int) -> Share:
    part, share, moving = seen["parts"][i]
    return Share(part, Spread(moving, int(seen["live"])), float(share))
