"""Regression on sequences that a teacher labels, and its form by lags."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from penchant._arrays import numbers
from penchant._checks import check_instance
from penchant._types import Numbers, Parameters, Tree
from penchant.problems._base import read_params
from penchant.problems._tracing import shape_of
from penchant.problems.models._sequence_model import (
    AbstractSequenceModel,
    AbstractStateSpace,
    StateSpace,
)
from penchant.problems.objective import AbstractObjective, check_start, read_data

Head = Callable[[Any], Any]

NO_LAGS = 1e-13
"""A direction of lags counts as seen if its singular value is this share of the largest
or more: below, rounding of the data decides."""


class LagForm(NamedTuple):
    r"""A linear problem by lags: $\mathcal L=\|Fh-f\|^2+\text{floor}$.

    $F$ `(r, κ)` has $F^\top F=M=X^\top X/n$ and the rank `r` of the data, so that no
    cost hangs on `n`; `floor` is what no linear model can explain, 0 for labels of a
    teacher.
    """

    F: np.ndarray
    f: np.ndarray
    floor: float


class SequenceRegression(AbstractObjective):
    r"""$\mathcal L=\frac1n\sum_i(\phi(x_i)-y_i)^2$, a mean without ½.

    Made by [`regression`][penchant.ssm.regression]. `start`, `loss` and `gradient`
    use the model's own class; a gradient is 0 in what is not trained. A rule with
    decoupled decay still decays the parts that are not trained: decay is none of the
    problem's.

    `X` `(n, κ)` has sequences in time order, `y` `(n,)` their labels, `teacher` the
    model that gave them (None: labels of the user's own) and `trained` the names of the
    parameters that move.
    """

    params: AbstractSequenceModel
    data: tuple[Float[Array, "n k"], Float[Array, " n"]]
    teacher: AbstractSequenceModel | None
    trained: tuple[str, ...] = eqx.field(static=True)
    head: Head | None = eqx.field(static=True)

    @property
    def X(self) -> Float[Array, "n k"]:
        """The sequences, in time order."""
        return self.data[0]

    @property
    def y(self) -> Float[Array, " n"]:
        """The labels."""
        return self.data[1]

    @property
    def length(self) -> int:
        """The length κ of the sequences."""
        return int(self.X.shape[1])

    @property
    def lags(self) -> Float[Array, "n k"]:
        """The inputs by lag, lag 0, the newest, first."""
        return self.X[:, ::-1]

    @property
    def linear(self) -> bool:
        """Whether the outputs are linear in the impulse response."""
        return self.head is None and isinstance(self.params, AbstractStateSpace)

    @property
    def clean(self) -> bool | None:
        """Whether the labels are the teacher's; None where there is no teacher."""
        if self.teacher is None:
            return None
        own = self._top(self.teacher, self.teacher.readout(self.X))
        size = float(jnp.max(jnp.abs(own)) + jnp.max(jnp.abs(self.y)))
        return bool(jnp.max(jnp.abs(own - self.y)) <= 1e-12 * size)

    def _top(self, w: AbstractSequenceModel, z: Float[Array, " n"]) -> Array:
        z = w.head(z)
        return z if self.head is None else self.head(z)

    def outputs(
        self, w: AbstractSequenceModel, X: Float[Array, "n k"] | None = None
    ) -> Float[Array, " n"]:
        """What the model says of sequences, those of the problem if None."""
        X = self.X if X is None else X
        return self._top(w, w.readout(X))

    def frozen(self, w: AbstractSequenceModel) -> AbstractSequenceModel:
        """The model with no derivative in what is not trained."""
        names = [f for f in _fields(w) if f not in self.trained]
        if not names:
            return w
        return eqx.tree_at(
            lambda m: [getattr(m, name) for name in names],
            w,
            replace_fn=lambda part: jax.tree.map(jax.lax.stop_gradient, part),
        )

    def losses_of(
        self, w: Parameters, batch: Tree, key: PRNGKeyArray | None
    ) -> Float[Array, " b"]:
        X, y = batch
        w = self.frozen(w)
        return (self._top(w, w.readout(X)) - y) ** 2

    def residuals(self, w: AbstractSequenceModel) -> Float[Array, " n"]:
        r"""$\delta_i=y_i-\phi(x_i)$, `(n,)`."""
        return self.y - self.outputs(w)

    def slopes(self, w: AbstractSequenceModel) -> Float[Array, " n"]:
        r"""$\xi_i=g'(z_i)$, the slope of all heads at each sample; 1 without any."""
        z = w.readout(self.X)
        return jax.grad(lambda u: jnp.sum(self._top(w, u)))(z)

    def lag_form(self) -> LagForm:
        """The problem by lags, whose cost does not grow with the samples.

        Raises:
            TypeError: If the problem is not linear in the impulse response.
        """
        self._require_linear()
        X, y = np.asarray(self.lags), np.asarray(self.y)
        U, s, Vt = np.linalg.svd(X / np.sqrt(len(X)), full_matrices=False)
        keep = s > NO_LAGS * s[0]
        F = s[keep, None] * Vt[keep]
        f = U[:, keep].T @ y / np.sqrt(len(y))
        if isinstance(self.teacher, AbstractStateSpace) and self.clean:
            # F h* has no error of the labels' own rounding
            return LagForm(F, F @ np.asarray(self.teacher.impulse(self.length)), 0.0)
        return LagForm(F, f, max(0.0, float(np.mean(y**2) - f @ f)))

    def compressed(self) -> "SequenceRegression":
        r"""The same loss and gradients on as few sequences as the data have rank.

        Rows of $\sqrt rF$ are sequences of their own, $F^\top F=X^\top X/n$, so that a
        million samples train at the cost of κ. Of labels that no linear model explains
        the floor is left out; gradients are the same.

        Raises:
            TypeError: If the problem is not linear in the impulse response.
        """
        F, f, _ = self.lag_form()
        r = np.sqrt(len(F))
        X = jnp.asarray(r * F[:, ::-1])
        return eqx.tree_at(lambda p: p.data, self, (X, jnp.asarray(r * f)))

    def _require_linear(self) -> None:
        if not self.linear:
            raise TypeError(
                "problem must be linear in the impulse response, a linear model "
                f"without a head; got {self!r}."
            )

    @property
    def about(self) -> str:
        return "the mean of the squared residual, without ½"

    def __repr__(self) -> str:
        what = "" if self.head is None else ", head"
        return (
            f"SequenceRegression({self.params!r}{what}, n={self.samples}, "
            f"κ={self.length}, trained={','.join(self.trained) or 'nothing'})"
        )


def regression(
    teacher: AbstractSequenceModel | None,
    X: Numbers,
    *,
    a: Numbers | None = None,
    b: Numbers | None = None,
    c: Numbers | None = None,
    trained: str | Iterable[str] | None = "abc",
    head: Head | None = None,
    y: Numbers | None = None,
    model: AbstractSequenceModel | None = None,
) -> SequenceRegression:
    r"""A student that learns from sequences which a teacher has labelled.

    Labels are always clean, $y_i=\phi_*(x_i)$, unless `y` brings others. The student
    starts at the diagonal model with `a`, `b` and `c`, or at any `model`.

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> problem = ssm.regression(teacher, [[1.0, 0.0, 0.0]], a=[0.5, 0.1])
    >>> float(problem.loss(problem.start))
    0.5476

    Args:
        teacher: The model that labels; None with labels of your own, of which
            extrapolation errors are unknown.
        X: `(n, κ)` sequences in time order, the newest input (lag 0) last.
        a: `(d,)` poles of the student at its start.
        b: `(d,)` input weights; ones if None.
        c: `(d,)` output weights; ones if None.
        trained: Names of the parameters that move, such as `"abc"` or `"a"`; of
            another model a sequence of its fields' names, and all of them by default.
        head: A function that maps the outputs `(n,)` elementwise, JAX's; the teacher's
            labels pass through it too. A head that is trained is part of the model: see
            [`Headed`][penchant.ssm.Headed].
        y: `(n,)` labels in place of the teacher's.
        model: A student of another kind, in place of `a`, `b`, `c`.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shapes disagree, an entry is NaN or infinite, `X` is 0
            everywhere or without columns, or nothing is trained.
    """
    rows = numbers("X", X, "(n, κ)")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            "X must have shape (n, κ), sequences of length 1 or more in its rows; got "
            f"{rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise ValueError("X must be finite; got NaN or infinite entries.")
    if not rows.any():
        raise ValueError(
            "X must excite some lag; got zeros alone, of which nothing can be learned."
        )
    if (a is None) == (model is None):
        raise TypeError("either a or model must say where the student starts.")
    if model is None:
        assert a is not None
        ones = np.ones(np.shape(np.atleast_1d(np.asarray(a))))
        student = StateSpace(a, ones if b is None else b, ones if c is None else c)
        if student.a.ndim != 1:
            raise ValueError(
                f"a must have one number a state, (d,); got {student.a.shape}."
            )
    else:
        check_instance("model", model, AbstractSequenceModel, "a model of sequences")
        if b is not None or c is not None:
            raise TypeError("b and c go with a; the model given has its own.")
        student = model
    names = _names(trained, student, own=model is None)
    if head is not None and not callable(head):
        raise TypeError(
            f"head must be a function of (n,) numbers; got {type(head).__name__}."
        )
    read_params(student)
    inputs = jnp.asarray(rows)
    labels = _labels(teacher, inputs, head, y)
    problem = SequenceRegression(
        params=student,
        data=read_data((inputs, labels)),
        teacher=teacher,
        trained=names,
        head=head,
    )
    shape_of("model", lambda w, X: problem.outputs(w, X), student, inputs)
    check_start("model", problem.losses(student))
    return problem


def _labels(
    teacher: AbstractSequenceModel | None,
    X: Float[Array, "n k"],
    head: Head | None,
    y: Numbers | None,
) -> Array:
    if teacher is None and y is None:
        raise TypeError("teacher must label the sequences where y does not; got None.")
    if teacher is not None:
        check_instance(
            "teacher", teacher, AbstractSequenceModel, "a model such as StateSpace"
        )
    if y is None:
        assert teacher is not None
        z = teacher(X)
        labels = jnp.asarray(z if head is None else head(z), dtype=float)
        if labels.shape != (len(X),):
            raise ValueError(
                f"head must map ({len(X)},) to ({len(X)},); got {labels.shape}."
            )
        if not bool(jnp.isfinite(labels).all()):
            raise ValueError(
                "teacher must give finite labels; got NaN or infinity: a pole beyond 1 "
                f"grows over {X.shape[1]} lags."
            )
        return labels
    given = numbers("y", y, "(n,)")
    if given.shape != (len(X),):
        raise ValueError(
            f"y must have one label a row of X, ({len(X)},); got {given.shape}."
        )
    if not np.isfinite(given).all():
        raise ValueError("y must be finite; got NaN or infinite entries.")
    return jnp.asarray(given)


def _fields(model: AbstractSequenceModel) -> list[str]:
    """Names of a model's parts that hold numbers."""
    return [
        name
        for name in type(model).__dataclass_fields__
        if jax.tree.leaves(getattr(model, name))
    ]


def _names(
    trained: str | Iterable[str] | None, model: AbstractSequenceModel, own: bool
) -> tuple[str, ...]:
    have = _fields(model)
    if trained is None or (trained == "abc" and not own):
        return tuple(have)
    try:
        asked = tuple(trained)
    except TypeError:
        raise TypeError(
            f"trained must be names of parameters; got {trained!r}."
        ) from None
    odd = [name for name in asked if name not in have]
    if odd or not asked:
        raise ValueError(
            f"trained must name some of {', '.join(have)}; got {trained!r}."
        )
    return tuple(name for name in have if name in asked)


def _pull_by_lag(problem: SequenceRegression, w: StateSpace) -> Float[Array, " k"]:
    r"""$\rho_l=\frac2n\sum_i\delta_i\xi_ix_{i,\kappa-l}$."""
    check_instance(
        "problem", problem, SequenceRegression, "what ssm.regression returns"
    )
    check_instance("w", w, StateSpace, "a StateSpace")
    pull = problem.residuals(w) * problem.slopes(w)
    return 2.0 * jnp.mean(pull[:, None] * problem.lags, axis=0)


def gamma(problem: SequenceRegression, w: StateSpace) -> Float[Array, " k1"]:
    r"""$\gamma^{(l)}=\frac{2(l+1)}n\sum_i\delta_i\xi_i\,x_{i,\kappa-l-1}$, `(κ−1,)`.

    By them gradient flow moves poles: $\dot a_j=b_jc_j\sum_l\gamma^{(l)}a_j^l$. With
    $\gamma^{(0)}$ every pole starts at one speed, which is what undoes the bias to few
    poles; high $l$ alone make large poles outrun small ones (`slutzky2025poisoned`,
    Proposition 1, here for any head).

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> problem = ssm.regression(teacher, [[0.0, 1.0, 0.0]], a=[0.5, 0.1])
    >>> [round(float(g), 12) for g in ssm.gamma(problem, problem.start)]
    [0.8, 0.0]

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns, of diagonal
            models.
        w: The model at which it is taken.

    Raises:
        TypeError: If the model is of another kind.
    """
    return jnp.arange(1.0, problem.length) * _pull_by_lag(problem, w)[1:]


def velocity(problem: SequenceRegression, w: StateSpace) -> StateSpace:
    r"""$-\nabla\mathcal L(w)$ in closed form, where gradient flow goes.

    $\dot a_j=b_jc_j\sum_l\gamma^{(l)}a_j^l$, $\dot b_j=c_j\sum_l\rho_la_j^l$ and
    $\dot c_j=b_j\sum_l\rho_la_j^l$ with
    $\rho_l=\frac2n\sum_i\delta_i\xi_ix_{i,\kappa-l}$; 0 in what is not trained. It is
    `-problem.gradient(w)` by another route. $b_j^2-c_j^2$ does not change along it.

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> problem = ssm.regression(teacher, [[0.0, 1.0, 0.0]], a=[0.5], trained="a")
    >>> v = ssm.velocity(problem, problem.start)
    >>> float(v.a[0]), float(v.b[0])
    (1.0, 0.0)

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns, of diagonal
            models.
        w: The model at which it is taken.

    Raises:
        TypeError: If the model is of another kind.
    """
    rho = _pull_by_lag(problem, w)
    lags = jnp.arange(float(problem.length))
    P = w.a[:, None] ** lags[None, :]
    parts = {
        "a": w.b * w.c * (P[:, :-1] @ (lags[1:] * rho[1:])),
        "b": w.c * (P @ rho),
        "c": w.b * (P @ rho),
    }
    zero = jnp.zeros_like(w.a)
    return StateSpace(
        *(parts[name] if name in problem.trained else zero for name in "abc")
    )


def memory_pulls(
    problem: SequenceRegression, w: AbstractSequenceModel
) -> Float[Array, " n"]:
    r"""Each example's share of the loss's slope in memory at none: lag 1 alone, `(n,)`.

    $\frac2n\delta_i\xi_i\,\partial_\tau z_i|_{\tau=0}$, $\tau$ multiplying every
    transition, by automatic differentiation and so of any model, selective ones too.
    For a diagonal model it is
    $\frac2n\delta_i\xi_ix_{i,\kappa-1}\cdot\sum_ja_jb_jc_j$: the terms of
    $\gamma^{(0)}$ times $h_1$.

    >>> from penchant import ssm
    >>> teacher = ssm.StateSpace([1.0], [1.0], [1.0])
    >>> X = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    >>> problem = ssm.regression(teacher, X, a=[0.5, 0.1])
    >>> ssm.memory_pulls(problem, problem.start).round(12).tolist()
    [0.0, 0.24]

    Args:
        problem: What [`regression`][penchant.ssm.regression] returns.
        w: The model at which they are taken.

    Raises:
        TypeError: If an argument is of the wrong kind.
    """
    check_instance(
        "problem", problem, SequenceRegression, "what ssm.regression returns"
    )
    check_instance("w", w, AbstractSequenceModel, "a model of sequences")
    _, slope = jax.jvp(
        lambda memory: w.readout(problem.X, memory), (jnp.zeros(()),), (jnp.ones(()),)
    )
    pull = problem.residuals(w) * problem.slopes(w)
    return 2.0 * pull * slope / problem.samples
