"""Optimizers, norms, losses, batches and step sizes by the names a command line has."""

import math
from collections.abc import Callable
from typing import Any

from penchant import norms, optimizers
from penchant.optimizers import AbstractOptimizer, AbstractPolar
from penchant.problems import losses
from penchant.training import batching, schedules

NORMS: dict[str, Callable[[], norms.AbstractNorm]] = {
    "l1": norms.L1,
    "l2": norms.L2,
    "linf": norms.Linf,
    "nuclear": norms.Nuclear,
    "frobenius": norms.Frobenius,
    "spectral": norms.Spectral,
}

LOSSES: dict[str, Callable[[], losses.AbstractLoss]] = {
    "logistic": losses.Logistic,
    "exponential": losses.Exponential,
    "pairlog": losses.PairLog,
}

ORDERS: dict[str, Callable[[int], batching.AbstractBatching]] = {
    "cyclic": batching.Cyclic,
    "shuffled": batching.Shuffled,
    "replacement": batching.WithReplacement,
}

OPTIMIZERS: dict[str, tuple[Callable[..., AbstractOptimizer], tuple[str, ...]]] = {
    "gd": (optimizers.GradientDescent, ("momentum",)),
    "steepest": (optimizers.SteepestDescent, ("norm", "b1")),
    "sign": (optimizers.SignDescent, ()),
    "signum": (optimizers.Signum, ("b1",)),
    "adam": (
        optimizers.Adam,
        ("b1", "b2", "eps", "eps_inside", "bias_correction"),
    ),
    "rmsprop": (optimizers.RMSProp, ("b2", "eps", "eps_inside", "bias_correction")),
    "adagrad": (optimizers.AdaGrad, ("eps", "eps_inside")),
    "muon": (optimizers.Muon, ("b1", "polar", "nesterov")),
    "spectral": (lambda: optimizers.Muon(0.0), ()),
    "shampoo": (optimizers.Shampoo, ("b2",)),
    "lion": (optimizers.Lion, ("b1", "b2")),
}
"""Each optimizer, and the options it takes."""

OPTIONS = tuple(dict.fromkeys(o for _, takes in OPTIMIZERS.values() for o in takes))
"""All options of optimizers."""


def named_optimizer(name: str, options: dict[str, Any]) -> AbstractOptimizer:
    """An optimizer by name, with the options given (None: not given).

    Raises:
        ValueError: If there is no such optimizer, it does not take an option given,
            or a value is out of its range.
    """
    make, takes = _look_up("optimizer", name, OPTIMIZERS)
    given = {key: value for key, value in options.items() if value is not None}
    strange = [key for key in given if key not in takes]
    if strange:
        listing = ", ".join(f"--{key.replace('_', '-')}" for key in takes) or "none"
        raise ValueError(
            f"--{strange[0].replace('_', '-')} is no option of {name}, which takes: "
            f"{listing}."
        )
    for key, value in given.items():
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"--{key.replace('_', '-')} must be finite; got {value}.")
    if name == "steepest" and "norm" not in given:
        raise ValueError(
            "steepest needs --norm, the norm whose steepest steps it takes."
        )
    if "norm" in given:
        given["norm"] = named_norm(given["norm"])
    if "polar" in given:
        given["polar"] = named_polar(given["polar"])
    return make(**given)


def named_norm(name: str) -> norms.AbstractNorm:
    """`l1`, `l2`, `linf`, `spectral`, …, or `lp:3`, `schatten:1.5`.

    Raises:
        ValueError: If there is no such norm.
    """
    family, _, exponent = name.strip().lower().partition(":")
    if family in ("lp", "schatten") and exponent:
        p = math.inf if exponent == "inf" else _number(f"{family}:", exponent)
        return norms.lp(p) if family == "lp" else norms.schatten(p)
    on_offer = {**NORMS, "lp:P": None, "schatten:P": None}
    if name.strip().lower() not in NORMS:
        raise ValueError(f"no norm {name!r}; have: {', '.join(on_offer)}.")
    return NORMS[name.strip().lower()]()


def named_polar(name: str) -> AbstractPolar:
    """`exact`; `ns`, `cubic`, `express`, or any of the three with `:STEPS`.

    Raises:
        ValueError: If there is no such polar map.
    """
    kind, _, steps = name.strip().lower().partition(":")
    count = _whole("polar steps", steps) if steps else None
    if kind == "exact" and count is None:
        return optimizers.ExactPolar()
    if kind == "ns":
        return optimizers.NewtonSchulz(5 if count is None else count)
    if kind == "cubic":
        return optimizers.CubicNewtonSchulz(15 if count is None else count)
    if kind == "express":
        return optimizers.PolarExpress(8 if count is None else count)
    raise ValueError(
        f"no polar map {name!r}; have: exact, ns:STEPS, cubic:STEPS, express:STEPS."
    )


def named_loss(name: str) -> losses.AbstractLoss:
    """A loss by name.

    Raises:
        ValueError: If there is no such loss.
    """
    return _look_up("loss", name, LOSSES)()


def named_batching(size: int | None, order: str) -> batching.AbstractBatching:
    """All samples where `size` is None; else `size` of them in an order.

    Raises:
        ValueError: If there is no such order.
    """
    kind = _look_up("order", order, ORDERS)
    return batching.FullBatch() if size is None else kind(size)


def named_step_size(text: str | None) -> Any:
    """A number, or `SCALE*t^-EXPONENT` as in `0.1*t^-0.5`; None for the default.

    Raises:
        ValueError: If it is neither.
    """
    if text is None or text.strip().lower() == "auto":
        return None
    scale, star, power = text.replace(" ", "").partition("*t^-")
    if not star:
        return schedules.constant(_number("step size", scale))
    return schedules.power(
        _number("step size", scale), _number("step size's exponent", power)
    )


def _number(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    raise ValueError(
        f"{what} must be a number; got {text!r}."
        + (" Step sizes read 0.01 or 0.1*t^-0.5." if "step size" in what else "")
    )


def _whole(what: str, text: str) -> int:
    number = _number(what, text)
    if number != int(number):
        raise ValueError(f"{what} must be a whole number; got {text!r}.")
    return int(number)


def _look_up(what: str, name: str, table: dict[str, Any]) -> Any:
    key = name.strip().lower()
    if key not in table:
        raise ValueError(f"no {what} {name!r}; have: {', '.join(table)}.")
    return table[key]
