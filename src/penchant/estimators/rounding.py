r"""What a number format does to weights, decay and moments: exact, by its digits.

With $t$ digits of significand, rounding to nearest loses a relative change below
$2^{-(t+1)}$, and one of a stored number below $2^{-(t+1)}$ to $2^{-t}$, by its leading
digits. Nothing here is an estimate: numbers are rounded as the format rounds them.
"""

import dataclasses
import math

import numpy as np

from penchant._arrays import inner
from penchant._checks import check_number
from penchant._types import Numbers
from penchant.measures import Estimate

NATIVE = {"float32": np.float32, "float16": np.float16}
"""Formats that NumPy rounds to by itself, from doubles in one rounding."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A binary number format: its digits, with the hidden one, and its range.

    >>> import penchant as pn
    >>> half = pn.estimators.rounding.read("bfloat16")
    >>> half.digits, float(half.round(1.003)), half.unseen == 2.0**-9
    (8, 1.0, True)
    """

    name: str
    digits: int
    smallest: float
    largest: float

    @property
    def unseen(self) -> float:
        r"""$2^{-(t+1)}$: a relative change below it is lost, whatever the number."""
        return 2.0 ** -(self.digits + 1)

    def round(self, x: Numbers) -> np.ndarray:
        """The nearest numbers of this format, ties to even, as doubles."""
        x = np.asarray(x, float)
        if self.digits >= 53:
            return x
        if self.name in NATIVE:
            with np.errstate(over="ignore", invalid="ignore"):
                return x.astype(NATIVE[self.name]).astype(float)
        _, exponent = np.frexp(x)
        least = round(math.log2(self.smallest))
        ulp = np.ldexp(1.0, np.maximum(exponent - self.digits, least))
        with np.errstate(invalid="ignore"):
            near = np.rint(x / ulp) * ulp
        return np.where(np.abs(near) > self.largest, np.copysign(np.inf, x), near)


FORMATS = {
    f.name: f
    for f in (
        Format("float64", 53, 2.0**-1074, float(np.finfo(np.float64).max)),
        Format("float32", 24, 2.0**-149, float(np.finfo(np.float32).max)),
        Format("bfloat16", 8, 2.0**-133, float.fromhex("0x1.fep+127")),
        Format("float16", 11, 2.0**-24, 65504.0),
    )
}


def read(name: str | Format) -> Format:
    """The format of a name, as in bfloat16 or torch.bfloat16.

    Raises:
        ValueError: If there is none of that name.
    """
    if isinstance(name, Format):
        return name
    found = FORMATS.get(str(name).rpartition(".")[2])
    if found is None:
        raise ValueError(f"name must be one of {', '.join(FORMATS)}; got {name!r}.")
    return found


def after_decay(weights: Numbers, rate: float, stored: str | Format) -> np.ndarray:
    r"""$\mathrm{fl}(w\cdot\mathrm{fl}(1-\eta\lambda))$, in the order of PyTorch.

    Its factor and products are single precision for formats that are shorter.

    Args:
        weights: Numbers of the format.
        rate: $\eta\lambda$.
        stored: The format of the weights.
    """
    form = read(stored)
    kind = np.float64 if form.digits >= 53 else np.float32
    product = np.asarray(weights, kind) * kind(1.0 - rate)
    return form.round(product)


def kept_decay(weights: Numbers, rate: float, stored: str | Format) -> float:
    r"""The decay that is applied over the one asked for, $\eta\lambda=$ `rate`.

    $$\frac{\langle w,w-\mathrm{fl}(w\cdot\mathrm{fl}(1-\eta\lambda))\rangle}
      {\eta\lambda\,\|w\|^2}$$

    for decoupled decay that multiplies the stored weights (PyTorch's). 1 is what was
    asked for, 0 none. NaN where all weights are 0. Decay that is added to the step
    before the one rounding (optax's) or to the gradient does not go this way.

    >>> import numpy as np, penchant as pn
    >>> w = np.random.default_rng(0).normal(size=1000)
    >>> [round(pn.estimators.rounding.kept_decay(w, r, "float32"), 1)
    ...  for r in (1e-5, 3e-8, 2e-8)]
    [1.0, 2.9, 0.0]

    Raises:
        ValueError: If `rate` is not above 0.
    """
    check_number("rate", rate, above=0.0)
    form = read(stored)
    w = form.round(weights)
    square = float(np.sum(w * w))
    if square == 0.0:
        return math.nan
    return float(np.sum(w * (w - after_decay(w, rate, form)))) / (rate * square)


def kept_added_decay(
    weights: Numbers, steps: Numbers, rate: float, stored: str | Format
) -> Estimate:
    r"""The decay applied over the one asked for, where it is added to the step.

    $$\frac{\langle w,\mathrm{fl}(w+s)-\mathrm{fl}(w+s-\eta\lambda w)\rangle}
      {\eta\lambda\,\|w\|^2}$$

    with steps $s$, optax's order of operations: there is one rounding, and where it
    falls the step decides, so that decay far below a digit of the weight is kept in
    part. Of one step it scatters, by the error given; over many its mean is what was
    applied. NaN where all weights are 0.

    >>> import numpy as np, penchant as pn
    >>> draws = np.random.default_rng(0)
    >>> w, s = draws.normal(size=(2, 100_000))
    >>> rounding = pn.estimators.rounding
    >>> kept = rounding.kept_added_decay(w, 1e-5 * s, 2e-8, "float32")
    >>> abs(kept.value - 1.0) < 3 * kept.error < 0.04
    True
    >>> round(rounding.kept_decay(w, 2e-8, "float32"), 1)  # PyTorch's order
    0.0

    Args:
        weights: Numbers of the format.
        steps: What is added besides, decay apart.
        rate: $\eta\lambda$.
        stored: The format of the weights.

    Raises:
        ValueError: If `rate` is not above 0.
    """
    check_number("rate", rate, above=0.0)
    form = read(stored)
    w, s = form.round(weights), np.asarray(steps, float)
    square = float(np.sum(w * w))
    if square == 0.0:
        return Estimate(math.nan, math.nan)
    moved = form.round(w + s) - form.round(w + form.round(s - rate * w))
    kept = float(np.sum(w * moved)) / (rate * square)
    rest = np.ravel(w * moved - kept * rate * w * w)
    spread = math.sqrt(inner(rest, rest))
    return Estimate(kept, spread / (rate * square), n=w.size)


def swallowed(weights: Numbers, steps: Numbers, stored: str | Format) -> float:
    r"""Share of the coordinates asked to move that stay: $\mathrm{fl}(w+s)=w$.

    Those are $0<|s|<\tfrac12\mathrm{ulp}(w)$, and half of the ties. NaN where none is
    asked to move.

    >>> import penchant as pn
    >>> pn.estimators.rounding.swallowed([1.0, 0.01], [1e-3, 1e-3], "bfloat16")
    0.5
    """
    return losses(weights, steps, stored)[0]


def swallowed_length(weights: Numbers, steps: Numbers, stored: str | Format) -> float:
    r"""Share of the way asked, $\sum|s|$, that coordinates which stay were to go.

    Where it is small, what stays was to move by next to nothing. NaN without a way.

    >>> import penchant as pn
    >>> pn.estimators.rounding.swallowed_length([1.0, 0.01], [1e-3, 3e-3], "bfloat16")
    0.25
    """
    return losses(weights, steps, stored)[1]


def losses(
    weights: Numbers, steps: Numbers, stored: str | Format
) -> tuple[float, float]:
    """`swallowed` and `swallowed_length`, of one rounding.

    >>> import penchant as pn
    >>> pn.estimators.rounding.losses([1.0, 0.01], [1e-3, 3e-3], "bfloat16")
    (0.5, 0.25)
    """
    form = read(stored)
    w = form.round(weights)
    s = np.asarray(steps, float)
    asked = (s != 0) & np.isfinite(s)
    stays = (form.round(w + s) == w) & asked
    n, sizes = np.count_nonzero(asked), np.abs(s)
    way = float(sizes[asked].sum())
    return (
        float(np.count_nonzero(stays) / n) if n else math.nan,
        float(sizes[stays].sum() / way) if way > 0 else math.nan,
    )


def never_forgets(decay: float, stored: str | Format) -> bool:
    r"""Whether a running mean $v\leftarrow\beta v+(1-\beta)x$ can only rise.

    So where $1-\beta<2^{-(t+1)}$: what a step takes off $v$ is below its last digit.

    >>> import penchant as pn
    >>> forms = ("float32", "bfloat16")
    >>> [pn.estimators.rounding.never_forgets(0.999, f) for f in forms]
    [False, True]
    """
    check_number("decay", decay, least=0.0, most=1.0)
    return 0.0 < 1.0 - decay < read(stored).unseen


def least_seen(decay: float, stored: str | Format) -> float:
    r"""Gradients smaller than this leave a second moment at 0.

    $\sqrt{\tfrac12x_{\min}/(1-\beta)}$ with $x_{\min}$ the least positive number of the
    format: $5.5\cdot10^{-3}$ in float16 at $\beta=.999$.
    """
    check_number("decay", decay, least=0.0, below=1.0)
    return math.sqrt(0.5 * read(stored).smallest / (1.0 - decay))


def underflows(second: Numbers, stored: str | Format = "float16") -> float:
    """Share of the positive second moments that would be 0 in a format."""
    v = np.asarray(second, float)
    live = v > 0
    n = np.count_nonzero(live)
    lost = live & (v < 0.5 * read(stored).smallest)
    return float(np.count_nonzero(lost) / n) if n else math.nan
