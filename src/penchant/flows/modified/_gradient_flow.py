from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from penchant._checks import check_count, check_instance, check_number
from penchant._types import Numbers, Parameters, Real, Scalar, Tree
from penchant.problems import AbstractProblem


def gradient_flow(
    problem: AbstractProblem,
    *,
    times: Numbers,
    init: Parameters | None = None,
    tol: Real = 1e-10,
    most_steps: int = 1_000_000,
) -> Parameters:
    r"""$\dot w=-\nabla\mathcal L(w)$ of any problem, at the given times.

    By Dormand and Prince's method of eighth order, its steps adapted to `tol`. Stiff
    losses, whose largest curvature times the last time is above some 10⁵, ask for many
    steps. Gradients are by value: below a loss of $e^{-700}$ nothing moves.

    >>> import jax.numpy as jnp, penchant as pn
    >>> bowl = pn.Objective(lambda w, a: (a @ w) ** 2 / 2, jnp.ones(1), jnp.eye(1))
    >>> path = pn.flows.gradient_flow(bowl, times=[0.0, 1.0])
    >>> round(float(path[-1, 0]), 9), round(float(jnp.exp(-1.0)), 9)
    (0.367879441, 0.367879441)

    Args:
        problem: Data, model and loss; of a random problem the loss that is recorded.
        times: `(r,)`, not negative, in ascending order.
        init: Where to start; None for the problem's start.
        tol: Relative and absolute tolerance of a step.
        most_steps: More are refused.

    Returns:
        The weights at `times`, along a leading axis.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If one is out of its range.
        RuntimeError: If the flow needs more than `most_steps`.
    """
    check_instance("problem", problem, AbstractProblem, "a problem of penchant")
    check_number("times", times, least=0.0, finite=True)
    check_number("tol", tol, above=0.0, below=0.1)
    most_steps = check_count("most_steps", most_steps)
    at = np.asarray(times, dtype=float)
    if at.ndim != 1 or not at.size or np.any(np.diff(at) < 0):
        raise ValueError(f"times must be ascending, shape (r,); got {times!r:.100}.")
    w = problem.start if init is None else problem.read(init, "init")
    if at[-1] == 0.0:
        return jax.tree.map(lambda x: jnp.stack([x] * at.size), w)
    path, good = _solve(problem, w, jnp.asarray(at), jnp.asarray(tol), most_steps)
    if not bool(good):
        raise RuntimeError(
            f"The flow needs more than {most_steps:,} steps to time {at[-1]:g}: it is "
            "stiff, or leaves the range of floats."
        )
    return path


@eqx.filter_jit
def _solve(
    problem: AbstractProblem,
    w: Parameters,
    times: Float[Array, " r"],
    tol: Scalar,
    most: int,
) -> tuple[Parameters, Array]:
    import diffrax

    def slope(t: Any, w: Parameters, args: Tree) -> Parameters:
        return jax.tree.map(jnp.negative, problem.scaled_gradient(w).value())

    field: Any = slope
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri8(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=w,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=tol, atol=tol),
        max_steps=most,
        adjoint=diffrax.ForwardMode(),
        throw=False,
    )
    return found.ys, found.result == diffrax.RESULTS.successful
