"""What a run did beyond its loss: equations for coefficients, step by step."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from penchant._checks import check_count
from penchant._pretty import pretty
from penchant._types import Parameters, Scalar, Tree
from penchant.estimators.penalties import AbstractPenalty
from penchant.optimizers import AbstractOptimizer
from penchant.problems import AbstractProblem, ScaledGradient


class Steps(NamedTuple):
    """Consecutive steps, by whoever logged them: weights have one more than gradients.

    `gradients` are of what each step saw, of the loss without penalties.
    """

    weights: Parameters
    gradients: Parameters
    step_sizes: Float[Array, " t"]


class Rows(NamedTuple):
    """What every step says, as Gram matrices `(t, k + 1, k + 1)` of its equations.

    The last column is the target's. `squares` `(p,)` are what is left at the
    coefficients given, summed over the steps entry by entry.
    """

    grams: Float[Array, "t k1 k1"]
    squares: Float[Array, " p"]


class AbstractResidual(eqx.Module):
    r"""A way to see what acted on the weights besides the loss.

    Each step gives equations $B_t\lambda\approx r_t$, one a weight: $r_t$ is what the
    loss does not explain, and $B_t$ what each penalty would do in the same place.
    """

    @abc.abstractmethod
    def rows(
        self,
        steps: Steps,
        optimizer: AbstractOptimizer,
        penalties: tuple[AbstractPenalty, ...],
        problem: AbstractProblem | None,
        coefficients: Float[Array, " k"],
        weights: Float[Array, " p"] | None,
    ) -> Rows:
        """The equations of every step, linear about `coefficients`.

        Args:
            steps: What was logged.
            optimizer: The rule that made them.
            penalties: What is matched.
            problem: The loss without penalties; None if nobody needs it.
            coefficients: Where the equations are made linear; the targets are then for
                what is to be added.
            weights: How much each weight's equations count; None for all alike.
        """

    @property
    def skipped(self) -> int:
        """How many steps at the start have no equations."""
        return 0

    def linear(self, optimizer: AbstractOptimizer) -> bool:
        """Whether one pass is exact."""
        return True

    @property
    @abc.abstractmethod
    def about(self) -> str:
        """What the target is, in words."""

    def __repr__(self) -> str:
        return pretty(self)


def _flat(tree: Parameters) -> Array:
    return ravel_pytree(tree)[0]


def _given(problem: AbstractProblem | None) -> AbstractProblem:
    if problem is None:
        raise TypeError("problem must be given: the residual needs the loss.")
    return problem


def _gradients(
    penalties: tuple[AbstractPenalty, ...],
    w: Parameters,
    problem: AbstractProblem | None,
) -> list[Parameters]:
    return [penalty.gradient(w, problem) for penalty in penalties]


def _gram(columns: Array, target: Array, weights: Array | None) -> Array:
    together = jnp.concatenate([columns, target[None, :]])
    scaled = together if weights is None else together * weights[None, :]
    return scaled @ together.T


class Replay(AbstractResidual):
    r"""Hold the rule's own steps, made again on logged gradients, against the run's.

    Gradients are those of the loss *without* penalties on the batches that were seen;
    what the weights did besides is exact up to rounding, whatever the batches. The
    penalties enter where they did in training:

    - coupled, in the gradient, and through it in momentum and in $m$ and $v$ of Adam.
      The memory of $\lambda$ is followed by differentiating the rule; for rules that
      are not linear in the gradient the equations are solved again about the solution
      until it stays (Gauss--Newton);
    - `decoupled`, beside the rule's step, as decoupled weight decay is:
      $-\Delta w/\eta-$ the rule's direction $=\sum_k\lambda_k\nabla P_k(w)$.

    With `whole` the gradient is that of the whole loss at every step, for logs that
    have no gradients: the batches' noise is then in the target, and the coefficients'
    errors grow with it.

    Args:
        decoupled: Penalties act beside the rule; None if and only if it has decoupled
            decay, and the loss is the run's own.
        whole: Gradients of all samples in place of those of batches.
    """

    decoupled: bool | None = eqx.field(default=None, static=True)
    whole: bool = eqx.field(default=False, static=True)

    def linear(self, optimizer: AbstractOptimizer) -> bool:
        what = optimizer.character()
        plain = what.normalised is False and what.second is None
        return bool(self.decoupled) or bool(plain and what.steepest)

    @property
    def about(self) -> str:
        how = "beside the rule's step" if self.decoupled else "in the gradient"
        of = "the whole loss" if self.whole else "the batches seen"
        return (
            f"the run's steps less the rule's own on gradients of {of}; penalties {how}"
        )

    def rows(
        self,
        steps: Steps,
        optimizer: AbstractOptimizer,
        penalties: tuple[AbstractPenalty, ...],
        problem: AbstractProblem | None,
        coefficients: Float[Array, " k"],
        weights: Float[Array, " p"] | None,
    ) -> Rows:
        one = jax.tree.map(lambda x: x[0], steps.weights)
        state = optimizer.init(one)
        # step numbers and the like are no numbers to differentiate
        moving, still = eqx.partition(state, eqx.is_inexact_array)
        k = len(penalties)
        zero = jax.tree.map(lambda x: jnp.zeros((k, *x.shape), x.dtype), moving)
        decay = optimizer.character().decay
        outside = bool(self.decoupled)

        def step(carry: Tree, seen: Tree) -> Tree:
            moving, still, pulled = carry
            w, after, g, eta = seen
            if self.whole:
                g = _given(problem).scaled_gradient(w).value()
            parts = _gradients(penalties, w, problem)

            def made(moving: Tree, x: Array) -> Tree:
                """The rule's step with coefficients x, and its memory after it."""
                total = g
                if not outside:
                    for i, part in enumerate(parts):
                        total = jax.tree.map(lambda a, b: a + x[i] * b, total, part)  # noqa: B023
                state = eqx.combine(moving, still)
                gradient = ScaledGradient(total, jnp.zeros(()))
                moved, state = optimizer.update(gradient, state, w, eta)
                if outside and decay is not None:
                    moved = jax.tree.map(
                        lambda v, u: v + eta * jnp.asarray(decay) * u, moved, w
                    )
                change = jax.tree.map(lambda a, b: a - b, moved, w)
                after, rest = eqx.partition(state, eqx.is_inexact_array)
                return (change, after), rest

            seen_change = jax.tree.map(lambda a, b: a - b, after, w)
            if outside:
                (change, new), rest = made(moving, coefficients)
                left = _flat(jax.tree.map(lambda a, b: b - a, seen_change, change))
                columns = jnp.stack([_flat(part) for part in parts])
                left = left / eta - coefficients @ columns
                out = (new, rest, pulled), (columns, left)
            else:

                def along(tangent: Tree, unit: Array) -> Tree:
                    return jax.jvp(
                        made, (moving, coefficients), (tangent, unit), has_aux=True
                    )

                (change, new), (slope, pulled), rest = jax.vmap(
                    along, out_axes=((None, 0, None))
                )(pulled, jnp.eye(k))
                # a divisor that starts at 0 has no derivative there, and no step
                columns = jax.vmap(_flat)(slope) / eta
                columns = jnp.where(jnp.isfinite(columns), columns, 0.0)
                left = _flat(jax.tree.map(lambda a, b: a - b, seen_change, change))
                left = left / eta
                out = (new, rest, pulled), (columns, left)
            carry, (columns, left) = out
            return carry, (_gram(columns, left, weights), left**2)

        before = jax.tree.map(lambda x: x[:-1], steps.weights)
        after = jax.tree.map(lambda x: x[1:], steps.weights)
        seen = (before, after, steps.gradients, steps.step_sizes)
        return _summed(step, (moving, still, zero), seen)


class Velocity(AbstractResidual):
    r"""The velocity of the flow that the iterates follow, by central differences.

    $v_t=(w_{t+1}-w_{t-1})/(\eta_{t-1}+\eta_t)$ to second order in $\eta$, and
    $r_t=-D_tv_t-\nabla\mathcal L(w_t)$, with $D_t$ what the rule divides by once its
    memory has settled: 1 for gradient descent, $1-\mu$ for heavy-ball momentum,
    $\sqrt{g^2+\varepsilon}$ for Adam. It sees what finite steps and memory add to the
    loss, on runs without batches. The error is $O(\eta^2)$; forward differences
    contain nothing, since for gradient descent they *are* the gradient.

    Args:
        burn_in: Steps at the start that are left out, while a memory fills; None for
            ten times its length.
    """

    burn_in: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if self.burn_in is not None:
            check_count("burn_in", self.burn_in, least=0)

    @property
    def skipped(self) -> int:
        return self.burn_in or 0

    @property
    def about(self) -> str:
        return "the velocity by central differences less that of the loss's flow"

    def rows(
        self,
        steps: Steps,
        optimizer: AbstractOptimizer,
        penalties: tuple[AbstractPenalty, ...],
        problem: AbstractProblem | None,
        coefficients: Float[Array, " k"],
        weights: Float[Array, " p"] | None,
    ) -> Rows:
        # w' on an uneven grid of times, exact for parabolas: with h = η_{t-1}, k = η_t
        # (h² w₊ + (k² - h²) w - k² w₋) / (h k (h + k))
        def step(carry: Tree, seen: Tree) -> Tree:
            before, w, after, h, k = seen
            v = jax.tree.map(
                lambda a, b, c: (
                    (h**2 * c + (k**2 - h**2) * b - k**2 * a) / (h * k * (h + k))
                ),
                before,
                w,
                after,
            )
            g = _given(problem).scaled_gradient(w).value()
            left = jax.tree.map(lambda d, v, g: -d * v - g, divisor(optimizer, g), v, g)
            columns = jnp.stack([_flat(p) for p in _gradients(penalties, w, problem)])
            left = _flat(left) - coefficients @ columns
            return carry, (_gram(columns, left, weights), left**2)

        cut = lambda i, j: jax.tree.map(lambda x: x[i : x.shape[0] + j], steps.weights)
        seen = (cut(0, -2), cut(1, -1), cut(2, 0))
        return _summed(step, None, (*seen, steps.step_sizes[:-1], steps.step_sizes[1:]))


def divisor(optimizer: AbstractOptimizer, g: Parameters) -> Parameters:
    """What a rule's slow velocity, entry by entry, times is the gradient.

    Raises:
        TypeError: If it is not known for the rule.
    """
    what = optimizer.character()
    kind = optimizer.__class__.__name__
    if what.second is None and what.normalised is False and what.steepest:
        mu = jnp.zeros(())
        if what.first is not None and what.first.kind == "sum":
            mu = jnp.asarray(what.first.decay)
        return jax.tree.map(lambda x: jnp.ones_like(x) - mu, g)
    second = what.adaptive
    if second is not None and second.kind == "mean":
        return jax.tree.map(
            lambda x: jnp.exp(
                second.log_below(jnp.log(jnp.where(x == 0, 1e-300, x**2)))
            ),
            g,
        )
    raise TypeError(
        "residual: the velocity of a rule's flow is known for gradient descent, with "
        f"or without momentum, and for Adam and RMSProp; got {kind}. Replay() takes "
        "any rule."
    )


class FlowReference(AbstractResidual):
    r"""Each step of gradient descent against the loss's own gradient flow.

    $r_t=\left(\phi_{\eta}(w_t)-w_{t+1}\right)/\eta$, with $\phi_\eta$ the flow for a
    time $\eta$ by `substeps` of Runge and Kutta's fourth order: to leading order
    $\frac\eta2H\nabla\mathcal L$, the gradient of $\frac\eta4\|\nabla\mathcal L\|^2$. A
    reference by Euler's steps would contain only $1-1/k$ of it.

    With `extrapolate` a step of half the size is made from the same weights, and
    $4r(\eta/2)-r(\eta)$ has the next order removed: the coefficient is then that of the
    leading term, where otherwise it is off by a part of about $\eta$ times curvature.

    Args:
        substeps: $k\ge1$.
        extrapolate: Remove the next order in the step size.
    """

    substeps: int = eqx.field(default=8, static=True)
    extrapolate: bool = eqx.field(default=True, static=True)

    def __check_init__(self):
        check_count("substeps", self.substeps)

    @property
    def about(self) -> str:
        how = ", extrapolated to its leading order" if self.extrapolate else ""
        return f"gradient flow less the step, by the step size{how}"

    def rows(
        self,
        steps: Steps,
        optimizer: AbstractOptimizer,
        penalties: tuple[AbstractPenalty, ...],
        problem: AbstractProblem | None,
        coefficients: Float[Array, " k"],
        weights: Float[Array, " p"] | None,
    ) -> Rows:
        loss = _given(problem)
        slope = lambda w: jax.tree.map(lambda x: -x, loss.scaled_gradient(w).value())
        add = lambda w, h, d: jax.tree.map(lambda a, b: a + h * b, w, d)

        def flow(w: Parameters, time: Scalar) -> Parameters:
            h = time / self.substeps

            def one(_: Array, w: Parameters) -> Parameters:
                a = slope(w)
                b = slope(add(w, 0.5 * h, a))
                c = slope(add(w, 0.5 * h, b))
                d = slope(add(w, h, c))
                return jax.tree.map(
                    lambda w, a, b, c, d: w + h / 6.0 * (a + 2.0 * b + 2.0 * c + d),
                    w,
                    a,
                    b,
                    c,
                    d,
                )

            return jax.lax.fori_loop(0, self.substeps, one, w)

        def step(carry: Tree, seen: Tree) -> Tree:
            w, after, eta = seen
            left = jax.tree.map(lambda a, b: (a - b) / eta, flow(w, eta), after)
            if self.extrapolate:
                half = 0.5 * eta
                short = add(w, half, slope(w))
                fine = jax.tree.map(lambda a, b: (a - b) / half, flow(w, half), short)
                left = jax.tree.map(lambda a, b: 4.0 * b - a, left, fine)
            columns = jnp.stack([_flat(p) for p in _gradients(penalties, w, problem)])
            left = _flat(left) - coefficients @ columns
            return carry, (_gram(columns, left, weights), left**2)

        before = jax.tree.map(lambda x: x[:-1], steps.weights)
        after = jax.tree.map(lambda x: x[1:], steps.weights)
        return _summed(step, None, (before, after, steps.step_sizes))


def _summed(step: Callable[..., Tree], carry: Tree, seen: Tree) -> Rows:
    """Scan over the steps; Gram matrices are kept, squares added up."""
    size = sum(x[0].size for x in jax.tree.leaves(seen[0]))

    def one(both: Tree, x: Tree) -> Tree:
        carry, squares = both
        carry, (gram, square) = step(carry, x)
        return (carry, squares + square), gram

    (_, squares), grams = jax.lax.scan(one, (carry, jnp.zeros(size)), seen)
    return Rows(grams, squares)
