"""What a run leaves behind."""

import enum
import functools
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from penchant import pages
from penchant._trees import leaf_names
from penchant._types import Parameters, Weights
from penchant.norms import AbstractNorm
from penchant.problems import AbstractClassification, AbstractProblem
from penchant.training._loop import Rule, RunState

if TYPE_CHECKING:
    import xarray


class Outcome(enum.Enum):
    """How a run ended; the value is the advice."""

    COMPLETE = "The run made all its steps."
    INTERRUPTED = (
        "The run was interrupted; this is what it had reached. With a checkpoint "
        "folder, calling train again goes on from here."
    )
    DIVERGED = (
        "The weights became infinite or NaN. Lower the step size; with Adam, "
        "b1 ** 2 > b2 also lets early steps run away."
    )


class Trajectory(eqx.Module):
    r"""A run, recorded at log-spaced steps $1=t_1<\dots<t_r=T$.

    `steps` `(r,)` counts updates done, so `weights[i]` are $w$ after `steps[i]` updates
    (leading axis `r`). `log_loss` `(r,)` is the log of the mean loss over all samples,
    `loss` that loss. `initial` are the weights before the first update. `advice` says
    what to do about how the run ended.

    Margins are not normalised here: directions converge long after margins grow, and
    the read-out of a limit is `increment()`, not $w/\|w\|$.
    """

    steps: Int[Array, " r"]
    weights: Parameters
    recorded: Float[Array, " r"]
    initial: Parameters
    rule: Rule
    state: RunState
    outcome: Outcome = eqx.field(static=True)
    advice: str = eqx.field(static=True)
    seconds: float = eqx.field(static=True)

    @property
    def log_loss(self) -> Float[Array, " r"]:
        """The log of the mean loss, `(r,)`; NaN where a loss is negative."""
        return self.recorded if self.rule.problem.in_logs else jnp.log(self.recorded)

    @property
    def loss(self) -> Float[Array, " r"]:
        """The mean loss, `(r,)`; 0 where it is below $10^{-323}$."""
        return jnp.exp(self.recorded) if self.rule.problem.in_logs else self.recorded

    @functools.cached_property
    def margins(self) -> Float[Array, "r n"]:
        r"""$q_i(w_t)$, `(r, n)`: margins of every sample at every record.

        Raises:
            AttributeError: If the problem has no margins.
        """
        if not isinstance(self.rule.problem, AbstractClassification):
            raise AttributeError(
                f"a run on {self.rule.problem!r} has no margins: only classification "
                "has. Its losses are in `loss`."
            )
        return _margins(self.rule.problem, self.weights)

    @property
    def last(self) -> Parameters:
        """The weights at the last record."""
        return jax.tree.map(lambda w: w[-1], self.weights)

    def lengths(self, norm: AbstractNorm) -> Float[Array, " r"]:
        """The norm of the weights at every record, `(r,)`."""
        return _lengths(norm, self.weights)

    def require_problem(self, problem: AbstractProblem) -> None:
        """Refuse a problem that is not the one the run was made on.

        Raises:
            ValueError: If data, model or loss differ.
        """
        own = self.rule.problem
        if problem is own:
            return
        if type(problem) is not type(own) or not eqx.tree_equal(problem, own):
            raise ValueError(
                "problem must be the one that the run was made on, "
                f"{own!r}; got {problem!r}, with other data, model or loss."
            )

    def increment(self) -> Parameters:
        r"""Unit direction of $w_T-w_{T/2}$, the estimator of the limit direction.

        $w_t/\|w_t\|$ keeps the bounded part of $w_t$ and so converges only like
        $1/\sum\eta$; the increment has lost it. The length is Euclidean; 0 where the
        weights did not move.
        """
        last = int(self.steps[-1])
        at = int(np.argmin(np.abs(np.asarray(self.steps) - last // 2)))
        before = (
            self.initial
            if at == len(self.steps) - 1
            else jax.tree.map(lambda w: w[at], self.weights)
        )
        moved = jax.tree.map(lambda w, b: w[-1] - b, self.weights, before)
        square = sum(jnp.sum(x**2) for x in jax.tree.leaves(moved))
        length = jnp.sqrt(jnp.where(square > 0, square, 1.0))
        return jax.tree.map(lambda x: x / length, moved)

    def to_xarray(self) -> "xarray.Dataset":
        """The records as a labelled data set: `weights`, `log_loss`, `margins`.

        Parameters that are a pytree have a variable a leaf, such as `weights.0.W`.
        """
        import xarray

        return xarray.Dataset(
            {
                **_labelled(self.weights),
                "log_loss": ("step", np.asarray(self.log_loss)),
                **self._only_here(),
            },
            coords={"step": np.asarray(self.steps)},
            attrs={
                "optimizer": repr(self.rule.optimizer),
                "batching": repr(self.rule.batching),
                "step_size": repr(self.rule.schedule),
                "outcome": self.outcome.name.lower(),
                "seconds": self.seconds,
                "loss": self.rule.problem.about,
            },
        )

    def plot(self, **options: Any) -> Any:
        """The training loss along the run; of losses below 0, by value.

        Args:
            **options: `size` in inches or `ax`, as `plotting.loss_path` takes them.
        """
        from penchant import plotting

        if self.rule.problem.in_logs or bool(jnp.all(self.recorded > 0)):
            return plotting.loss_path(self.steps, self.log_loss, **options)
        return plotting.curves(
            {"": (self.steps, self.recorded)},
            xlabel="steps",
            ylabel="training loss",
            **options,
        )

    def _repr_html_(self) -> str:
        return pages.card(repr(self), self.advice, draw=self.plot)

    def _last_loss(self) -> str:
        name = "log_loss" if self.rule.problem.in_logs else "loss"
        return f"{name}={float(self.recorded[-1]):.6g}"

    def _only_here(self) -> dict[str, Any]:
        """Margins where there are any; else losses by value, which may be negative."""
        if isinstance(self.rule.problem, AbstractClassification):
            return {"margins": (("step", "sample"), np.asarray(self.margins))}
        return {"loss": ("step", np.asarray(self.loss))}

    def __repr__(self) -> str:
        return (
            f"Trajectory({self.rule.optimizer!r}, steps={int(self.steps[-1])}, "
            f"records={len(self.steps)}, {self._last_loss()}, "
            f"{self.outcome.name.lower()})"
        )


def _labelled(weights: Parameters) -> dict[str, Any]:
    """The records of each leaf with names for their axes."""
    names, leaves = leaf_names(weights, ""), jax.tree.leaves(weights)
    if names == [""]:
        dims = weight_dims(leaves[0].ndim - 1)
        return {"weights": (("step", *dims), np.asarray(leaves[0]))}
    return {
        f"weights.{name}": (
            ("step", *(f"{name}_{i}" for i in range(leaf.ndim - 1))),
            np.asarray(leaf),
        )
        for name, leaf in zip(names, leaves, strict=True)
    }


# both under a name: a map of a function made on the spot compiles anew for every run
@eqx.filter_jit
def _margins(
    problem: AbstractClassification, weights: Parameters
) -> Float[Array, "r n"]:
    return jax.lax.map(problem.margins, weights)


@eqx.filter_jit
def _lengths(norm: AbstractNorm, weights: Weights) -> Float[Array, " r"]:
    """The norm of the weights of every record."""
    return jax.lax.map(norm, weights)


def weight_dims(ndim: int) -> tuple[str, ...]:
    """Names of the axes of a weight array."""
    return {1: ("feature",), 2: ("class", "feature")}.get(
        ndim, tuple(f"axis_{i}" for i in range(ndim))
    )


def record_steps(steps: int, record: int) -> np.ndarray:
    """About `record` log-spaced step numbers from 1 to `steps`, with `steps // 2`."""
    if record >= steps:
        return np.arange(1, steps + 1)
    grid = np.unique(np.rint(np.geomspace(1, steps, record)).astype(np.int64))
    # rounding merges the first ones: refine until as many remain as were asked for
    trial = record
    while len(grid) < record:
        trial += record - len(grid)
        grid = np.unique(np.rint(np.geomspace(1, steps, trial)).astype(np.int64))
    if steps >= 4:
        near = (
            1 + int(np.argmin(np.abs(grid[1:-1] - steps // 2))) if len(grid) > 2 else 0
        )
        if near:
            grid[near] = steps // 2
        else:
            grid = np.array([1, steps // 2, steps])
    return np.unique(grid)
