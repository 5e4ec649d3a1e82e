"""The door: read what is asked, choose how to expand it, and say what it is worth."""

import math
import warnings
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant import optimizers
from penchant._checks import check_count, check_instance
from penchant._keys import as_key
from penchant._types import Key, Numbers, Parameters, Scalar, StepSize, Tree
from penchant.flows.modified._choose import Engine
from penchant.flows.modified._kinks import kinks_of_loss, kinks_of_rule
from penchant.flows.modified._moments import Coefficients, Form, MomentRule
from penchant.flows.modified._replay import EVERY, Increment, Order, replay
from penchant.flows.modified._result import ENOUGH, Correction, Kind, Spread
from penchant.flows.modified._summary import run_summary, share_of, summary
from penchant.optimizers import AbstractOptimizer, FromOptax
from penchant.problems import AbstractProblem, ScaledGradient, of_dataset
from penchant.training import schedules
from penchant.training.batching import AbstractBatching

SETTLED = 1e-9
"""A replay in the limit is done when twice the steps change it by less."""

ROUNDED = 1e-6
"""Below this a change that no longer falls is rounding, and the replay is done too."""

LONGEST = 1 << 17
"""Most steps replayed in search of the limit."""

STRAIGHT = 0.3
"""A gradient that leaves its tangent by more, over the way memory looks back, bends."""


class SinglePrecisionWarning(UserWarning):
    """Weights of a run in single precision, whose rounding is of this size itself."""


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
        seen = run_summary(problem, w, parts, jnp.asarray(now), kind == "map", age)
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
        first=share_of(seen, 0) if split else None,
        second=share_of(seen, 1) if split else None,
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
    return parts, summary(problem, w, parts, h, map_kind, age)


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
