"""One row an optimizer: where its moments are, and what step they mean.

Rows see a sample of one tensor's coordinates in NumPy, before and after a step, by the
names that PyTorch gives to moments and numbers; other frameworks hand theirs over by
these names. An optimizer without a row is unknown: its steps are measured, and nothing
is said of moments that nobody has described.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from penchant.estimators import edge_threshold
from penchant.norms import L2, Linf
from penchant.optimizers import FIELDS, Character, Evidence

MEASURED = "measured"
"""The name of a row that was read off a black box, and not off its source."""

Group: TypeAlias = Mapping[str, Any]
Sample: TypeAlias = np.ndarray


@dataclasses.dataclass
class Seen:
    """Coordinates of one tensor before and after a step; `state` after, `past` before.

    `gradient` is what the rule descends: unscaled, negated where it maximises. `n` is
    the number of the step, 1 for the first.
    """

    group: Group
    before: Sample
    after: Sample
    gradient: Sample
    past: dict[str, Sample]
    state: dict[str, Sample]
    scalars: dict[str, float]
    n: float

    @property
    def step_size(self) -> float:
        """The learning rate of this step."""
        return number(self.group["lr"])

    @property
    def decay(self) -> float:
        """The nominal decay."""
        return number(self.group.get("weight_decay", 0.0))


@dataclasses.dataclass(frozen=True)
class Moments:
    r"""What a row says of a step: $\hat m$, $r$, $\varepsilon$, $F$; None if unknown.

    The step is $-\eta F$, decoupled decay apart. With `inside` the divisor is
    $\sqrt{r^2+\varepsilon^2}$, of an $\varepsilon^2$ under the root.
    """

    first: Sample | None
    root: Sample | None
    eps: float
    step: Sample | None
    inside: bool = False

    @property
    def divisor(self) -> Sample | None:
        """What the step is divided by; 0 where the second moment is 0."""
        if self.root is None:
            return None
        with_eps = (
            np.hypot(self.root, self.eps) if self.inside else self.root + self.eps
        )
        return np.where(self.root > 0, with_eps, 0.0)


@dataclasses.dataclass(frozen=True)
class Adapter:
    r"""What is known of an optimizer.

    `first` and `second` are keys of its state; `keys` others that are read; `mean` is
    whether the first moment is one (else a sum); `decays` gives $\beta_1$ and
    $\beta_2$ of a group, `decoupled` whether decay is beside the step; `added` whether
    it is added to the step before the one rounding (optax), and does not multiply the
    stored weights first (PyTorch). `divides` is $\varepsilon$, and whether it is under
    the root, of a rule whose second moment is known of and not seen; `inside` whether
    it is under the root of one that is; `signs` whether the step is a sign, whose
    derivative is 0.
    """

    name: str
    first: str | None
    second: str | None
    moments: Callable[[Seen], Moments]
    decays: Callable[[Group], tuple[float, float | None]]
    decoupled: Callable[[Group], bool]
    keys: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    mean: bool = True
    look: Callable[[Group, float], tuple[float, float]] = lambda group, n: (0.0, 1.0)
    curved: bool = True
    added: bool = False
    divides: tuple[float, bool] | None = None
    inside: Callable[[Group], bool] = lambda group: False
    signs: bool = False

    @property
    def adaptive(self) -> bool:
        """Whether the step is divided by a second moment."""
        return self.second is not None

    def eps_of(self, group: Group) -> tuple[float, bool] | None:
        r"""$\varepsilon$ of a running mean of squares, and whether it is inside.

        None where the step is not divided by one.
        """
        if self.decays(group)[1] is None:
            return None
        if self.adaptive and "eps" in group:
            return number(group["eps"]), self.inside(group)
        return self.divides

    def threshold(self, group: Group, n: float = math.inf) -> float | None:
        """The largest stable curvature after `n` steps; None where there is none."""
        lr = number(group["lr"])
        if not self.curved or lr <= 0:
            return None
        b1, _ = self.decays(group)
        decay = number(group.get("weight_decay", 0.0))
        beside = self.decoupled(group)
        # of a divided gradient decay is divided too, and is no shift of the curvature
        inside = 0.0 if beside or self.adaptive else decay
        gain = 1.0 - b1 if self.mean else 1.0 - number(group.get("dampening", 0.0))
        return edge_threshold(
            lr,
            momentum=b1,
            gain=gain,
            look=self.look(group, n),
            decoupled=decay if beside else 0.0,
            coupled=inside,
        )

    def entered(self, seen: Seen) -> Sample | None:
        """What entered the step beside the gradient, as decay does; None if unknown.

        For decoupled decay what is left of the step; else what is new in the memory.
        """
        if self.decoupled(seen.group):
            told = self.moments(seen).step
            if told is None or seen.step_size == 0:
                return None
            return (seen.before - seen.after) / seen.step_size - told
        b1, _ = self.decays(seen.group)
        if self.first is None or b1 == 0.0:
            return None if self.adaptive else _plain_entered(seen)
        new, old = seen.state.get(self.first), seen.past.get(self.first)
        if new is None:
            return None
        if self.mean:
            old = np.zeros_like(new) if old is None else old
            return (new - b1 * old) / (1.0 - b1) - seen.gradient
        if old is None:  # the first buffer is the gradient itself
            return new - seen.gradient
        gain = 1.0 - number(seen.group.get("dampening", 0.0))
        return (new - b1 * old) / gain - seen.gradient


def number(value: Any) -> float:
    """A hyper-parameter, also one kept as a tensor."""
    return float(value)


def _plain_entered(seen: Seen) -> Sample | None:
    if seen.step_size == 0:
        return None
    return (seen.before - seen.after) / seen.step_size - seen.gradient


def _within(seen: Seen) -> Sample:
    """The gradient with its decay, where that is added to it."""
    return np.asarray(seen.gradient + seen.decay * seen.before)


def _sgd(seen: Seen) -> Moments:
    g, buffer = _within(seen), seen.state.get("momentum_buffer")
    mu = number(seen.group.get("momentum", 0.0))
    if mu == 0.0 or buffer is None:
        return Moments(None, None, 0.0, g)
    step = g + mu * buffer if seen.group.get("nesterov") else buffer
    return Moments(buffer, None, 0.0, step)


def _adam(seen: Seen) -> Moments:
    b1, b2 = map(number, seen.group["betas"])
    m = seen.state["exp_avg"] / (1.0 - b1**seen.n)
    v = seen.state.get("max_exp_avg_sq", seen.state["exp_avg_sq"])
    r = np.sqrt(v / (1.0 - b2**seen.n))
    eps = number(seen.group["eps"])
    return Moments(m, r, eps, _over(m, r + eps))


def _nadam(seen: Seen) -> Moments:
    b1, b2 = map(number, seen.group["betas"])
    n, done = seen.n, seen.scalars["mu_product"]
    fresh, ahead = _nadam_look(seen.group, n)
    m, r = seen.state["exp_avg"], np.sqrt(seen.state["exp_avg_sq"] / (1.0 - b2**n))
    coupled = 0.0 if _flag(seen.group) else seen.decay
    g = seen.gradient + coupled * seen.before
    mixed = fresh / (1.0 - done) * g + ahead / (1.0 - done * ahead) * m
    eps = number(seen.group["eps"])
    return Moments(m / (1.0 - b1**n), r, eps, _over(mixed, r + eps))


def _nadam_look(group: Group, n: float) -> tuple[float, float]:
    """Its decay rises to β₁ over thousands of steps."""
    b1, fall = number(group["betas"][0]), number(group["momentum_decay"])
    decay = lambda t: b1 * (1.0 - 0.5 * 0.96 ** (t * fall))
    return 1.0 - decay(n), decay(n + 1)


def _sgd_look(group: Group, n: float) -> tuple[float, float]:
    if group.get("nesterov"):
        return 1.0, number(group["momentum"])
    return 0.0, 1.0


def _radam(seen: Seen) -> Moments:
    b1, b2 = map(number, seen.group["betas"])
    n = seen.n
    left = 1.0 - b2**n
    m, r = (
        seen.state["exp_avg"] / (1.0 - b1**n),
        np.sqrt(seen.state["exp_avg_sq"] / left),
    )
    eps = number(seen.group["eps"]) / math.sqrt(left)
    limit = 2.0 / (1.0 - b2) - 1.0
    rho = limit - 2.0 * n * b2**n / left
    if rho <= 5.0:
        return Moments(m, r, eps, m)
    rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
    return Moments(m, r, eps, math.sqrt(rectified) * _over(m, r + eps))


def _rmsprop(seen: Seen) -> Moments:
    v = seen.state["square_avg"]
    if seen.group.get("centered"):
        v = np.maximum(v - seen.state["grad_avg"] ** 2, 0.0)
    r, eps = np.sqrt(v), number(seen.group["eps"])
    if number(seen.group.get("momentum", 0.0)) > 0:
        return Moments(None, r, eps, seen.state["momentum_buffer"])
    return Moments(None, r, eps, _over(_within(seen), r + eps))


def _adagrad(seen: Seen) -> Moments:
    r, eps = np.sqrt(seen.state["sum"]), number(seen.group["eps"])
    slower = 1.0 + (seen.n - 1.0) * number(seen.group.get("lr_decay", 0.0))
    return Moments(None, r, eps, _over(_within(seen), r + eps) / slower)


def _lion(seen: Seen) -> Moments:
    b1, _ = map(number, seen.group["betas"])
    old = seen.past.get("exp_avg")
    mixed = (1.0 - b1) * seen.gradient + (0.0 if old is None else b1 * old)
    return Moments(seen.state.get("exp_avg"), None, 0.0, np.sign(mixed))


def _measured(seen: Seen) -> Moments:
    return Moments(None, None, 0.0, None)


def _over(a: Sample, b: Sample) -> Sample:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _flag(group: Group) -> bool:
    return bool(group.get("decoupled_weight_decay", False))


def _betas(group: Group) -> tuple[float, float]:
    b1, b2 = group["betas"]
    return number(b1), number(b2)


_never: Callable[[Group], bool] = lambda group: False
_always: Callable[[Group], bool] = lambda group: True
_momentum: Callable[[Group], tuple[float, None]] = lambda group: (
    number(group.get("momentum", 0.0)),
    None,
)

ADAM = Adapter(
    "Adam", "exp_avg", "exp_avg_sq", _adam, _betas, _flag, keys=("max_exp_avg_sq",)
)

ADAMW = dataclasses.replace(ADAM, name="AdamW", decoupled=_always)

NADAM = dataclasses.replace(
    ADAM, name="NAdam", moments=_nadam, scalars=("mu_product",), look=_nadam_look
)

RADAM = dataclasses.replace(ADAM, name="RAdam", moments=_radam)

SGD = Adapter(
    "SGD", "momentum_buffer", None, _sgd, _momentum, _never, mean=False, look=_sgd_look
)

RMSPROP = Adapter(
    "RMSprop",
    None,
    "square_avg",
    _rmsprop,
    lambda group: (number(group.get("momentum", 0.0)), number(group["alpha"])),
    _never,
    keys=("grad_avg", "momentum_buffer"),
    mean=False,
)

ADAGRAD = Adapter(
    "Adagrad", None, "sum", _adagrad, lambda group: (0.0, None), _never, mean=False
)

MUON = Adapter(
    "Muon", "momentum_buffer", None, _measured, _momentum, _always, curved=False
)

LION = Adapter(
    "Lion", "exp_avg", None, _lion, _betas, _always, curved=False, signs=True
)

UNKNOWN = Adapter(
    "unknown", None, None, _measured, lambda group: (0.0, None), _never, curved=False
)


def measured(rule: Character) -> Adapter:
    """The row of a rule that was identified: what it remembers, and no moments.

    Where they are in its state nobody has said, so they are not read.
    """
    unknown = [f for f in FIELDS if rule.evidence[f] == Evidence.UNKNOWN]
    # None of what is unknown is not "none"
    whole = not {"steps", "first", "second"} & set(unknown)
    second, divides, b2 = rule.adaptive, None, None
    if whole and second is not None and second.kind == "mean":
        divides = number(second.eps), second.eps_inside
        b2 = number(second.decay)
    decays = rule.b1, b2
    first = rule.first
    sums = first is not None and rule.first_is_sum
    gain = 1.0 if sums else 1.0 - rule.b1
    look = (gain, rule.b1) if first is not None and first.nesterov else (0.0, 1.0)
    plain = whole and rule.second is None and rule.normalised is False
    return Adapter(
        MEASURED,
        None,
        None,
        _measured,
        lambda group: decays,
        lambda group: rule.decays,
        mean=not sums,
        look=lambda group, n: look,
        curved=plain and isinstance(rule.steps, L2),
        divides=divides,
        signs=whole and rule.second is None and isinstance(rule.steps, Linf),
    )
