"""Other parameters for the same kind of model: complex, bounded, discretised."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from penchant._checks import check_instance
from penchant._types import Numbers
from penchant.problems.models._sequence_model import (
    AbstractStateSpace,
    as_states,
    check_alike,
    described,
)


class ComplexStateSpace(AbstractStateSpace):
    r"""A complex diagonal model, $h_l=\mathrm{Re}\sum_jb_jc_ja_j^l$.

    Its parameters are the real and imaginary parts, so that any rule trains them; with
    imaginary parts 0 it is a [`StateSpace`][penchant.ssm.StateSpace], and stays one.

    >>> from penchant import ssm
    >>> h = ssm.ComplexStateSpace([1j], [1.0], [1.0]).impulse(4)
    >>> h.round(12).tolist()
    [1.0, 0.0, -1.0, -0.0]

    Args:
        a: `(d,)` complex poles.
        b: `(d,)` complex input weights.
        c: `(d,)` complex output weights.

    Raises:
        TypeError: If one holds no numbers.
        ValueError: If lengths differ, or an entry is NaN or infinite.
    """

    a_re: Array
    a_im: Array
    b_re: Array
    b_im: Array
    c_re: Array
    c_im: Array

    def __init__(self, a: Numbers, b: Numbers, c: Numbers):
        parts = {
            f"{name}_{part}": as_states(name, take(np.asarray(values)))
            for name, values in (("a", a), ("b", b), ("c", c))
            for part, take in (("re", np.real), ("im", np.imag))
        }
        check_alike(parts)
        for name, part in parts.items():
            setattr(self, name, part)

    def modes(self) -> tuple[Complex[Array, "*r m"], Complex[Array, "*r m"]]:
        b = jax.lax.complex(self.b_re, self.b_im)
        c = jax.lax.complex(self.c_re, self.c_im)
        return jax.lax.complex(self.a_re, self.a_im), b * c

    def __repr__(self) -> str:
        return described(self, jnp.hypot(self.a_re, self.a_im), self.a_re.shape[-1])


class BoundedStateSpace(AbstractStateSpace):
    r"""$a_j=\exp(-e^{\nu_j})$, between 0 and 1 whatever $\nu$: no pole can grow.

    The bound changes the flow as well: $\dot a_j$ has the factor $(a_j\ln a_j)^2$, so
    that small poles hardly move.

    >>> from penchant import ssm
    >>> model = ssm.BoundedStateSpace.of([0.9, 0.5], [1.0, 1.0], [1.0, 1.0])
    >>> [round(float(h), 12) for h in model.impulse(3)]
    [2.0, 1.4, 1.06]

    Args:
        log_rate: `(d,)`, $\nu$.
        b: `(d,)` input weights.
        c: `(d,)` output weights.

    Raises:
        TypeError: If one holds no real numbers.
        ValueError: If lengths differ, or an entry is NaN or infinite.
    """

    log_rate: Array
    b: Array
    c: Array

    def __init__(self, log_rate: Numbers, b: Numbers, c: Numbers):
        parts = {
            "log_rate": as_states("log_rate", log_rate),
            "b": as_states("b", b),
            "c": as_states("c", c),
        }
        check_alike(parts)
        self.log_rate, self.b, self.c = parts.values()

    @classmethod
    def of(cls, a: Numbers, b: Numbers, c: Numbers) -> "BoundedStateSpace":
        """The model with these poles.

        Raises:
            ValueError: If a pole is not strictly between 0 and 1.
        """
        poles = np.asarray(as_states("a", a))
        if not ((poles > 0) & (poles < 1)).all():
            raise ValueError(
                "a must be strictly between 0 and 1, the poles that "
                f"exp(-exp(ν)) has; got {poles.min():g} to {poles.max():g}."
            )
        return cls(np.log(-np.log(poles)), b, c)

    def modes(self) -> tuple[Float[Array, "*r m"], Float[Array, "*r m"]]:
        return jnp.exp(-jnp.exp(self.log_rate)), self.b * self.c

    def __repr__(self) -> str:
        return described(self, jnp.exp(-jnp.exp(self.log_rate)), self.size)


class AbstractDiscretisation(eqx.Module):
    r"""How $\dot s=\lambda s+bx$ becomes a recurrence with steps $\Delta$."""

    @abc.abstractmethod
    def poles(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        r"""$\bar a$ of $\lambda$ and $\Delta$."""

    @abc.abstractmethod
    def gains(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        r"""$\bar b/b$ of $\lambda$ and $\Delta$."""


class ZeroOrderHold(AbstractDiscretisation):
    r"""$\bar a=e^{\lambda\Delta}$, $\bar b=\frac{\bar a-1}\lambda b$: held inputs."""

    def poles(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        return jnp.exp(rate * step)

    def gains(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        return jnp.expm1(rate * step) / rate


class Bilinear(AbstractDiscretisation):
    r"""$\bar a=\frac{1+\lambda\Delta/2}{1-\lambda\Delta/2}$, Tustin's rule."""

    def poles(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        return (1.0 + rate * step / 2.0) / (1.0 - rate * step / 2.0)

    def gains(
        self, rate: Complex[Array, "*r m"], step: Complex[Array, "*r m"]
    ) -> Complex[Array, "*r m"]:
        return step / (1.0 - rate * step / 2.0)


class ContinuousStateSpace(AbstractStateSpace):
    r"""$\dot s=\lambda s+bx$ discretised, $\lambda=-e^{\nu}+i\omega$, steps $e^\delta$.

    $\phi(x)=\mathrm{Re}\sum_jc_js_j$. The form that S4D and its kin train; poles are
    inside the unit circle whatever the parameters.

    >>> from penchant import ssm
    >>> model = ssm.ContinuousStateSpace([0.0], [0.0], [0.0], [1.0], [1.0])
    >>> round(float(model.impulse(2)[1] / model.impulse(2)[0]), 6)
    0.367879

    Args:
        log_decay: `(d,)`, $\nu$.
        frequency: `(d,)`, $\omega$.
        log_step: `(d,)`, $\delta$.
        b: `(d,)` real input weights.
        c: `(d,)` real output weights.
        how: `ZeroOrderHold()` or `Bilinear()`.

    Raises:
        TypeError: If one holds no real numbers.
        ValueError: If lengths differ, or an entry is NaN or infinite.
    """

    log_decay: Array
    frequency: Array
    log_step: Array
    b: Array
    c: Array
    how: AbstractDiscretisation

    def __init__(
        self,
        log_decay: Numbers,
        frequency: Numbers,
        log_step: Numbers,
        b: Numbers,
        c: Numbers,
        how: AbstractDiscretisation | None = None,
    ):
        how = ZeroOrderHold() if how is None else how
        check_instance("how", how, AbstractDiscretisation, "ZeroOrderHold or Bilinear")
        given = {
            "log_decay": log_decay,
            "frequency": frequency,
            "log_step": log_step,
            "b": b,
            "c": c,
        }
        parts = {name: as_states(name, values) for name, values in given.items()}
        check_alike(parts)
        for name, part in parts.items():
            setattr(self, name, part)
        self.how = how

    def modes(self) -> tuple[Complex[Array, "*r m"], Complex[Array, "*r m"]]:
        rate = jax.lax.complex(-jnp.exp(self.log_decay), self.frequency)
        step = jax.lax.complex(jnp.exp(self.log_step), jnp.zeros_like(self.log_step))
        weight = jax.lax.complex(self.b * self.c, jnp.zeros_like(self.b))
        return self.how.poles(rate, step), self.how.gains(rate, step) * weight

    def __repr__(self) -> str:
        return described(self, jnp.abs(self.modes()[0]), self.log_decay.shape[-1])
