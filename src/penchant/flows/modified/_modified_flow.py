import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant import optimizers, training
from penchant._checks import check_count, check_instance
from penchant._keys import as_key
from penchant._types import Key, Parameters, Scalar, StepSize, Tree
from penchant.flows.modified._algebra import add, times, zeros
from penchant.flows.modified._choose import Engine
from penchant.flows.modified._moments import Coefficients, Form, MomentRule
from penchant.flows.modified._replay import EVERY, Order, replay
from penchant.norms import L2
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, of_dataset
from penchant.training import schedules
from penchant.training.batching import AbstractBatching, FullBatch

if TYPE_CHECKING:
    Kind: TypeAlias = Literal["flow", "map"]
    Coefficient: TypeAlias = Literal["exact", "limit", "shifted"]
else:
    Kind = Coefficient = str  # other words are refused at the door, in a sentence

MEMORY = 1 << 22
"""Numbers that a call of compiled code holds of a path."""

LONG = 1 << 13
"""Steps in one call, at most."""

NODAL = 512
"""The same where every step has a table of its past."""

SHORTEST = 512
"""Steps for which a replay has room, at least: one program serves all below."""


class DivergedFlowWarning(UserWarning):
    """A flow that left the range of floats before its end."""


def modified_flow(
    problem: AbstractProblem | object,
    optimizer: AbstractOptimizer | str | object,
    *,
    step_size: StepSize,
    steps: int,
    order: int = 2,
    kind: Kind = "flow",
    batching: AbstractBatching = FullBatch(),
    init: Parameters | None = None,
    key: Key = 0,
    substeps: int = 1,
    coefficients: Coefficient = "exact",
) -> Parameters:
    r"""Follow what a rule does to second order in its step size, without its memory.

    $\dot w=-F^{(n)}+h_nC^{(n)}$ between $t_n$ and $t_{n+1}=t_n+h_n$, with the
    coefficients of that very step: the field jumps at each $t_n$, the path does not
    ([`correction`][penchant.correction] has the formula). At a fixed time it is within
    $O(h^2)$ of the run; order 1, $\dot w=-F$, within $O(h)$. `kind="map"` makes the
    memoryless steps $w\leftarrow w-h(F+hM)$ in place of flowing. For gradient descent
    there is order 3 (`barrett2021implicit`).

    Each interval is integrated by a Runge-Kutta method of fourth order, `substeps` to
    a step. Rules that their character describes have their expansion in closed form;
    any other is replayed at every evaluation, which is quadratic in `steps`.

    Where the correction is as large as the step this is no approximation of anything:
    `correction(...).share_valid` says so. With $\beta_2>\beta_1$ and a small
    $\varepsilon$ the flow comes to rest where the gradient equals the correction,
    which is no minimum, and the run does not.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> gd = pn.optimizers.GradientDescent()
    >>> path = pn.flows.modified_flow(bowl, gd, step_size=0.1, steps=10)
    >>> run = pn.train(bowl, gd, step_size=0.1, steps=10)
    >>> [round(float(abs(x - run.last)[0]), 3) for x in (path[-1], jnp.exp(-1.0))]
    [0.001, 0.019]

    Args:
        problem: Data, model and loss; of a random problem the loss that is recorded.
        optimizer: The rule, its name, or an optax transformation.
        step_size: $h$, or a schedule.
        steps: How many.
        order: 1 or 2; for gradient descent 3 too.
        kind: `"flow"`, or `"map"` for the memoryless map.
        batching: Batches as `train` with the same `key` draws them.
        init: Where to start; None for the problem's start.
        key: Seed of the batches.
        substeps: Runge-Kutta steps to an interval.
        coefficients: `"exact"` are those of each step; `"limit"` those of a memory
            that is full, which is first order only where the first steps differ;
            `"shifted"` the same from $w_0+h\sum_n(F^\infty-F^{(n)})$, which makes up
            for these steps.

    Returns:
        Weights at the times of steps 0 to `steps`: a leading axis of `steps + 1`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range, or asks for what this rule has not.
    """
    problem = of_dataset(problem)
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    assert isinstance(problem, AbstractProblem)
    rule = optimizers.read(optimizer)
    steps = check_count("steps", steps)
    substeps = check_count("substeps", substeps)
    if kind not in ("flow", "map"):
        raise ValueError(f"kind must be 'flow' or 'map'; got {kind!r}.")
    if coefficients not in ("exact", "limit", "shifted"):
        raise ValueError(
            f"coefficients must be 'exact', 'limit' or 'shifted'; got {coefficients!r}."
        )
    check_instance("batching", batching, AbstractBatching, "one of penchant.batching")
    batching.check(problem.samples)
    schedule = schedules.as_schedule(step_size)
    if isinstance(schedule, schedules.LossBased):
        raise TypeError("step_size must be a number or a function of the step.")
    h = _sizes(schedule, steps)
    w = problem.start if init is None else problem.read(init, "init")
    engine = Engine.of(problem, rule, float(h[0]))
    full = bool(batching.covers(problem.samples))
    _check_order(order, kind, engine.moments, full, rule)
    if coefficients != "exact":
        moments = engine.moments
        if moments is None or not full or not moments.fades or np.any(h != h[0]):
            raise ValueError(
                f"coefficients={coefficients!r} needs full batches, equal steps and a "
                "rule whose character says which moments fade; use 'exact'."
            )
    plan = Plan(order, kind == "map", substeps)
    if engine.moments is not None and full:
        path = _closed(problem, engine.moments, w, h, plan, coefficients)
    else:
        path = _replayed(engine, w, h, plan, batching, as_key(key), full)
    _warn_diverged(path)
    return path


def _sizes(schedule: schedules.Schedule, steps: int) -> np.ndarray:
    """Of all steps, by programs that serve many lengths."""
    if isinstance(schedule, schedules.Constant):
        return np.full(steps, float(np.asarray(schedule.scale)))
    length = 1 << (steps - 1).bit_length()
    table = schedules.table(schedule, jnp.asarray(0), length)
    return np.asarray(table, dtype=float)[:steps]


class Plan(eqx.Module):
    """How a path is followed."""

    order: int = eqx.field(static=True)
    map: bool = eqx.field(static=True)
    substeps: int = eqx.field(static=True)

    def advance(
        self, velocity: Callable[[Parameters], Parameters], w: Parameters, h: Scalar
    ) -> Parameters:
        """One interval of length `h`."""
        if self.map:
            return add(w, velocity(w), h)
        part = h / self.substeps
        for _ in range(self.substeps):
            one = velocity(w)
            two = velocity(add(w, one, 0.5 * part))
            three = velocity(add(w, two, 0.5 * part))
            four = velocity(add(w, three, part))
            w = jax.tree.map(
                lambda w, a, b, c, d: w + part / 6.0 * (a + 2.0 * b + 2.0 * c + d),
                w, one, two, three, four,
            )  # fmt: skip
        return w


def _check_order(
    order: int,
    kind: str,
    moments: MomentRule | None,
    full: bool,
    rule: AbstractOptimizer,
) -> None:
    if order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3; got {order!r}.")
    if order < 3:
        return
    plain = (
        moments is not None
        and moments.second is None
        and moments.form.norm is not None
        and moments.form.norm.same(L2())
        and not moments.form.normalised
        and moments.first.decay == 0.0
        and float(np.asarray(moments.form.decay)) == 0.0
    )
    if not plain or not full or kind == "map":
        raise ValueError(
            "order must be 1 or 2: order 3 is known for the flow of gradient descent "
            f"on full batches; got {rule!r}, kind={kind!r}."
        )


def _closed(
    problem: AbstractProblem,
    moments: MomentRule,
    w: Parameters,
    h: np.ndarray,
    plan: Plan,
    coefficients: Coefficient,
) -> Parameters:
    steps, plain = len(h), plan.order == 1
    nodal = not (plain or moments.constant or moments.scalar)
    size = _chunk(problem, NODAL if nodal else LONG)
    limit = None
    if coefficients != "exact":
        limit = moments.coefficients(None)
        if coefficients == "shifted":
            w = _shifted(problem, moments, w, float(h[0]))
    pieces = [jax.tree.map(lambda x: np.asarray(x)[None], w)]
    whole = None
    if limit is None and not nodal:
        whole = moments.totals(0, steps) if plain else moments.tables(0, steps, h)
    for begin in range(0, steps, size):
        end = min(begin + size, steps)
        if limit is not None:
            tables = jax.tree.map(lambda x: np.stack([np.asarray(x)] * size), limit)
        elif whole is not None:
            tables = jax.tree.map(lambda x, a=begin, b=end: x[a:b], whole)
        else:
            tables = moments.tables(begin, end, h)
        extra = size - len(jax.tree.leaves(tables)[0])
        tables = jax.tree.map(
            lambda x, e=extra: jnp.asarray(
                np.pad(x, ((0, e), *((0, 0),) * (x.ndim - 1)), mode="edge")
            ),
            tables,
        )
        etas = jnp.asarray(np.pad(h[begin:end], (0, size - (end - begin)), mode="edge"))
        w, path = _call_closed(
            problem, moments.form, plan, tables, etas, w, jnp.asarray(end - begin)
        )
        # cut on the host: another program for each length would be compiled
        pieces.append(jax.tree.map(lambda x, m=end - begin: np.asarray(x)[:m], path))
    return jax.tree.map(lambda *x: jnp.asarray(np.concatenate(x)), *pieces)


def _chunk(problem: AbstractProblem, most: int) -> int:
    """Steps in one call, whatever their number: one program serves all."""
    room = max(16, MEMORY // max(1, problem.parameters))
    return min(most, 1 << (room.bit_length() - 1))


def _call_closed(*arguments: Any) -> tuple[Parameters, Parameters]:
    """The loop as one function where the compiler can, else as it is."""
    run: Any = _run_closed
    try:
        return run(*arguments, True)
    except jax.errors.JaxRuntimeError as error:
        if "UNIMPLEMENTED" not in str(error):
            raise
        return run(*arguments, False)


@eqx.filter_jit
def _run_closed(
    problem: AbstractProblem,
    form: Form,
    plan: Plan,
    tables: Coefficients,
    etas: Float[Array, " t"],
    w: Parameters,
    count: Int[Array, ""],
    inline: bool,
) -> tuple[Parameters, Parameters]:
    arrays, frozen = eqx.partition((problem, form), eqx.is_array)
    loop = functools.partial(_loop, frozen, plan)
    arguments = (arrays, tables, etas, w, count)
    if inline and training.can_inline(loop, *arguments, products=False):
        return training.call_inlined(loop, *arguments)
    return loop(*arguments)


def _loop(
    frozen: Tree,
    plan: Plan,
    arrays: Tree,
    tables: Coefficients,
    etas: Float[Array, " t"],
    w: Parameters,
    count: Int[Array, ""],
) -> tuple[Parameters, Parameters]:
    problem, form = eqx.combine(arrays, frozen)
    pick = lambda x, n: jax.lax.dynamic_index_in_dim(x, n, keepdims=False)
    put = lambda p, x, n: jax.lax.dynamic_update_index_in_dim(p, x, n, 0)

    def one(carry: Tree) -> Any:
        n, w, path = carry
        known = jax.tree.map(lambda x: pick(x, n), tables)
        h = pick(etas, n)
        velocity = lambda w: _velocity(problem, form, known, h, plan, w)
        w = plan.advance(velocity, w, h)
        return n + 1, w, jax.tree.map(lambda p, x: put(p, x, n), path, w)

    path = jax.tree.map(lambda x: jnp.zeros((len(etas), *x.shape)), w)
    begin = (jnp.zeros_like(count), w, path)
    _, w, path = jax.lax.while_loop(lambda c: c[0] < count, one, begin)
    return w, path


def _velocity(
    problem: AbstractProblem,
    form: Form,
    known: Coefficients,
    h: Scalar,
    plan: Plan,
    w: Parameters,
) -> Parameters:
    if plan.order == 1:
        g = problem.scaled_gradient(w)
        F = form.step(g.direction, g.log_scale, w, known.total)
        return times(-1.0, F)
    if plan.order == 3:
        return _third(problem, w, h)
    found = form.expand(problem, w, known)
    parts = (*found.memory, *(() if plan.map else found.half))
    return jax.tree.map(lambda f, *c: -f - h * sum(c), found.F, *parts)


def _third(problem: AbstractProblem, w: Parameters, h: Scalar) -> Parameters:
    r"""$-g-\frac h2Hg-h^2(\frac13H^2g+\frac1{12}\nabla^3E[g,g])$."""

    def gradient(w: Parameters) -> Parameters:
        return problem.scaled_gradient(w).value()

    along = lambda w, v: jax.jvp(gradient, (w,), (v,))[1]
    g = gradient(w)
    Hg = along(w, g)
    HHg = along(w, Hg)
    # the derivative of H(w)v along v with v fixed
    third = jax.jvp(lambda w: along(w, g), (w,), (g,))[1]
    return jax.tree.map(
        lambda g, a, b, c: -g - 0.5 * h * a - h**2 * (b / 3.0 + c / 12.0),
        g, Hg, HHg, third,
    )  # fmt: skip


def _shifted(
    problem: AbstractProblem, moments: MomentRule, w: Parameters, h: float
) -> Parameters:
    r"""$w_0+h\sum_n(F^\infty-F^{(n)})(w_0)$: what the first steps are behind."""
    count = int(np.ceil(moments.length))
    n = np.arange(count, dtype=float)
    columns = [moments.first.total(n)]
    columns.append(
        np.ones(count) if moments.second is None else moments.second.total(n)
    )
    second = 1.0 if moments.second is None else moments.second.limit()[0]
    limit = jnp.asarray([moments.first.limit()[0], second])
    totals = jnp.asarray(np.stack(columns, axis=1))
    return _run_shift(problem, moments.form, w, jnp.asarray(h), limit, totals)


@eqx.filter_jit
def _run_shift(
    problem: AbstractProblem,
    form: Form,
    w: Parameters,
    h: Scalar,
    full: Float[Array, "2"],
    totals: Float[Array, "n 2"],
) -> Parameters:
    g = problem.scaled_gradient(w)
    at = lambda total: form.direction(g.direction, g.log_scale, total)
    limit = at(full)

    def behind(total: Parameters, row: Array) -> Any:
        return jax.tree.map(lambda s, a, b: s + (a - b), total, limit, at(row)), None

    missing, _ = jax.lax.scan(behind, zeros(w), totals)
    return add(w, missing, h)


def _replayed(
    engine: Engine,
    w: Parameters,
    h: np.ndarray,
    plan: Plan,
    batching: AbstractBatching,
    key: Any,
    full: bool,
) -> Parameters:
    steps = len(h)
    size = max(SHORTEST, 1 << (steps - 1).bit_length())
    samples = engine.increment.problem.samples
    order = EVERY
    if not full:
        drawn = batching.batches(key, jnp.asarray(0), size, samples)
        assert drawn is not None
        order = Order(drawn.rows, drawn.weights)
    etas = jnp.asarray(np.pad(h, (0, size - steps), mode="edge"))
    path = _run_replayed(engine, plan, order, etas, w, jnp.asarray(steps))
    join = lambda b, p: np.concatenate([np.asarray(b)[None], np.asarray(p)[:steps]])
    return jax.tree.map(lambda b, p: jnp.asarray(join(b, p)), w, path)


@eqx.filter_jit
def _run_replayed(
    engine: Engine,
    plan: Plan,
    order: Order,
    etas: Float[Array, " t"],
    w: Parameters,
    count: Int[Array, ""],
) -> Parameters:
    def one(n: Any, carry: Tree) -> Any:
        w, path = carry
        h = etas[n]

        def velocity(w: Parameters) -> Parameters:
            found = replay(engine.increment, w, n, etas, order, engine.steady)
            if plan.order == 1:
                return times(-1.0, found.F)
            half = zeros(w) if plan.map else found.half
            return jax.tree.map(
                lambda f, m, d: -f - h * (m + d), found.F, found.memory, half
            )

        w = plan.advance(velocity, w, h)
        return w, jax.tree.map(lambda p, x: p.at[n].set(x), path, w)

    path = jax.tree.map(lambda x: jnp.zeros((len(etas), *x.shape)), w)
    return jax.lax.fori_loop(0, count, one, (w, path))[1]


def _warn_diverged(path: Parameters) -> None:
    good = np.ones(len(jax.tree.leaves(path)[0]), dtype=bool)
    for leaf in jax.tree.leaves(path):
        good &= np.isfinite(np.asarray(leaf)).reshape(len(leaf), -1).all(axis=1)
    if not good.all():
        warnings.warn(
            f"The flow left the range of floats after step {int(np.argmin(good)) - 1}: "
            "the step size is beyond what is stable, or the correction larger than the "
            "step (see penchant.correction).",
            DivergedFlowWarning,
            stacklevel=3,
        )
