"""Gradients and runs from files that other frameworks wrote."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from penchant._arrays import numbers
from penchant._types import Numbers, Parameters, Tree
from penchant.estimators.matching._run import LoggedRun
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, ScaledGradient


class LoggedGradient(AbstractProblem):
    r"""A gradient that was logged elsewhere, as the problem whose gradient it is.

    What [`match`][penchant.estimators.match] needs of a loss is its gradient at one
    place, in evaluation mode and over all samples; with this a network of any
    framework can be matched by two arrays. Of other weights it knows nothing.

    >>> import numpy as np
    >>> import penchant as pn
    >>> w = np.array([1.0, -2.0])
    >>> log = pn.estimators.LoggedGradient(w, -0.1 * w)
    >>> pn.estimators.match(log, w, ["ridge"]).coefficients.round(9).tolist()
    [0.1]

    Args:
        weights: A pytree of arrays.
        gradient: The gradient of the mean training loss there, of the same shapes.

    Raises:
        TypeError: If they hold no numbers.
        ValueError: If shapes differ.
    """

    weights: Parameters
    slope: Parameters

    def __init__(self, weights: Tree, gradient: Tree):
        read = lambda name: lambda x: jnp.asarray(numbers(name, x))
        self.weights = jax.tree.map(read("weights"), weights)
        self.slope = jax.tree.map(read("gradient"), gradient)
        shapes = [jax.tree.map(jnp.shape, x) for x in (self.weights, self.slope)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"gradient must have the shapes of weights, {shapes[0]}; got "
                f"{shapes[1]}."
            )

    @property
    def samples(self) -> int:
        return 1

    @property
    def start(self) -> Parameters:
        """The weights."""
        return self.weights

    def scaled_gradient(
        self,
        w: Parameters,
        rows: Array | None = None,
        row_weights: Array | None = None,
        key: PRNGKeyArray | None = None,
    ) -> ScaledGradient:
        return ScaledGradient(self.slope, jnp.zeros(()))

    def recorded(self, w: Parameters) -> Any:
        return jnp.full((), jnp.nan)

    def identity(self, w: Parameters) -> Any:
        return self.weights, self.slope

    @property
    def about(self) -> str:
        return "as logged"

    def __repr__(self) -> str:
        return f"LoggedGradient(p={self.parameters})"


def load_log(
    path: str | Path,
    *,
    step_size: Numbers | None = None,
    optimizer: AbstractOptimizer | str | object = "gd",
) -> LoggedRun | LoggedGradient:
    """What was logged into an npz: a run step by step, or one endpoint.

    A run has `weights` `(t + 1, p)` and `gradients` `(t, p)`, with `step_size` a number
    or `(t,)`; an endpoint `weights` and `gradient` of one shape.

    Args:
        path: The file.
        step_size: In place of the file's.
        optimizer: The rule that made the steps, or its name.

    Raises:
        ValueError: If the file can't be read, lacks an array, or has no step size for
            a run; the message says what it holds.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no readable npz: {error}.") from None
    have = ", ".join(f"{k} {v.shape}" for k, v in arrays.items()) or "nothing"
    if "weights" not in arrays:
        raise ValueError(f"{path} must hold weights; it has {have}.")
    if "gradient" in arrays:
        return LoggedGradient(arrays["weights"], arrays["gradient"])
    if "gradients" not in arrays:
        raise ValueError(
            f"{path} must hold gradients (t, p) beside weights (t + 1, p), or gradient "
            f"for one endpoint; it has {have}."
        )
    sizes = arrays.get("step_size") if step_size is None else step_size
    if sizes is None:
        raise ValueError(f"{path} has no step_size, which a run needs: give one.")
    return LoggedRun(arrays["weights"], arrays["gradients"], sizes, optimizer)
