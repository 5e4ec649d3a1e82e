"""How an adaptive flow obeys the laws of its rate and of its margin."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from penchant._checks import check_instance
from penchant.flows import Flow
from penchant.margins import smoothed_margin
from penchant.norms import Mahalanobis

_FLOW = "the Flow that adaptive_flow returns"


def rate_constant(flow: Flow) -> jax.Array:
    r"""The constant of the rate, `(r,)`, which tends to 1.

    $$C=T\,\mathcal L\,L^2\gamma_v^{2/L}\big(\log\tfrac1{\mathcal L}\big)^{2-2/L}$$

    $T=\eta t$ and $\mathcal L$ the **sum** of losses, $v=h_\infty^{-1/2}\odot w$ with
    $h$ at the end of the flow and $\gamma_v$ the margin $q_{\min}/\|v\|^L$ there. How
    near $C$ is to 1 says how far the direction has settled: within $10^{-3}$ at a
    log-loss of -1000 where it has, some per cent where it has not. Derived; the papers
    have the order $\Theta(\cdot)$ only.

    Raises:
        NotHomogeneousError: If the problem has no degree.
    """
    check_instance("flow", flow, Flow, _FLOW)
    degree, gamma, N = _end_of(flow)
    nats = -flow.log_loss - math.log(N)
    log_T = jnp.log(flow.step_size) + flow.log_time - math.log(N)
    log_L = flow.log_loss + math.log(N)
    power = 2.0 - 2.0 / degree
    positive = jnp.where(nats > 0, nats, 1.0)
    C = jnp.exp(log_T + log_L) * degree**2 * gamma ** (2.0 / degree) * positive**power
    return jnp.where(nats > 0, C, jnp.nan)


def norm_ratio(flow: Flow) -> jax.Array:
    r"""$\gamma_v\|v\|^L/\log\frac1{\mathcal L}\to1$, `(r,)`, as in `rate_constant`."""
    check_instance("flow", flow, Flow, _FLOW)
    degree, gamma, N = _end_of(flow)
    root = jnp.exp(-0.5 * flow.log_preconditioner[-1])
    length = jax.vmap(lambda w: jnp.linalg.norm(root * flow.problem.flat(w)))
    nats = -flow.log_loss - math.log(N)
    ratio = gamma * length(flow.weights) ** degree / jnp.where(nats > 0, nats, 1.0)
    return jnp.where(nats > 0, ratio, jnp.nan)


def _end_of(flow: Flow) -> tuple[float, float, int]:
    """Degree, the margin at the end in the geometry of its `h`, and samples."""
    problem = flow.problem
    degree = problem.require_degree()
    v = jnp.exp(-0.5 * flow.log_preconditioner[-1]) * problem.flat(flow.last)
    least = float(jnp.min(problem.margins(flow.last)))
    return degree, least / float(jnp.linalg.norm(v)) ** degree, problem.samples


def surrogate_margins(
    flow: Flow,
) -> tuple[Float[Array, " r"], Float[Array, " r-1"]]:
    r"""AdaGrad's and RMSProp's surrogate margin, and the bound on how it may fall.

    $\log\tilde\gamma$ with $\tilde\gamma=\ell^{-1}(\mathcal L)/\|h^{-1/2}\odot w\|^L$,
    `(r,)`, and `(r - 1,)` lower bounds of its changes between records,

    $$\Delta\log\tilde\gamma\ge\frac L2\sum_i\frac{u_i^2}{\|u\|^2}\Delta\log h_i,
      \qquad u=h^{-1/2}\odot w,$$

    by the trapezoidal rule: never below 0 while $h$ grows (RMSProp, once its moments
    fade), and a loss of a bounded factor where it falls to its limit (AdaGrad). For
    the exponential loss; derived, after the surrogate margin of `wang2021adaptive`.
    Undefined (NaN) while the sum of losses is above 1.
    """
    check_instance("flow", flow, Flow, _FLOW)
    problem = flow.problem
    degree = problem.require_degree()
    log_h = flow.log_preconditioner
    w = jax.vmap(problem.flat)(flow.weights)
    logs = jax.vmap(
        lambda v, h: jnp.log(
            smoothed_margin(problem, problem.unflat(v), Mahalanobis(jnp.exp(-h)))
        )
    )(w, log_h)
    u = jnp.exp(-log_h) * w**2
    shares = u / jnp.sum(u, axis=1, keepdims=True)
    change = jnp.diff(log_h, axis=0)
    bound = 0.5 * degree * jnp.sum(0.5 * (shares[1:] + shares[:-1]) * change, axis=1)
    return logs, bound
