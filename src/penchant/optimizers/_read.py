"""Optimizers by the names people type, and other people's as ours."""

import math
from collections.abc import Callable
from typing import Any

from penchant import norms
from penchant._words import look_up, read_whole
from penchant.optimizers._adagrad import AdaGrad
from penchant.optimizers._adam import Adam
from penchant.optimizers._adam_e import AdamE
from penchant.optimizers._adam_mini import Adalayer
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._from_optax import FromOptax
from penchant.optimizers._gradient_descent import GradientDescent
from penchant.optimizers._lion import Lion
from penchant.optimizers._muon import Muon
from penchant.optimizers._nadam import NAdam
from penchant.optimizers._polar import (
    AbstractPolar,
    CubicNewtonSchulz,
    ExactPolar,
    NewtonSchulz,
    PolarExpress,
)
from penchant.optimizers._rmsprop import RMSProp
from penchant.optimizers._shampoo import Shampoo
from penchant.optimizers._sign_descent import SignDescent
from penchant.optimizers._signum import Signum
from penchant.optimizers._steepest_descent import SteepestDescent
from penchant.optimizers._weight_decay import AdamW

OPTIMIZERS: dict[str, tuple[Callable[..., AbstractOptimizer], tuple[str, ...]]] = {
    "gd": (GradientDescent, ("momentum",)),
    "steepest": (SteepestDescent, ("norm", "b1")),
    "sign": (SignDescent, ()),
    "signum": (Signum, ("b1",)),
    "adam": (
        Adam,
        ("b1", "b2", "eps", "eps_inside", "bias_correction"),
    ),
    "adamw": (
        AdamW,
        ("b1", "b2", "eps", "weight_decay", "eps_inside", "bias_correction"),
    ),
    "adame": (AdamE, ("b1", "b2", "eps", "exponent", "bias_correction")),
    "adalayer": (Adalayer, ("b1", "b2", "eps", "bias_correction")),
    "nadam": (NAdam, ("b1", "b2", "eps", "eps_inside", "bias_correction")),
    "rmsprop": (RMSProp, ("b2", "eps", "eps_inside", "bias_correction")),
    "adagrad": (AdaGrad, ("eps", "eps_inside")),
    "muon": (Muon, ("b1", "polar", "nesterov")),
    "spectral": (lambda: Muon(0.0), ()),
    "shampoo": (Shampoo, ("b2", "eps", "exponent")),
    "lion": (Lion, ("b1", "b2")),
}
"""Each optimizer, and the options it takes."""

OPTIONS = tuple(dict.fromkeys(o for _, takes in OPTIMIZERS.values() for o in takes))
"""All options of """


def read(
    optimizer: AbstractOptimizer | str | object, **options: Any
) -> AbstractOptimizer:
    """A rule itself, by name with options, or an optax transformation as `FromOptax`.

    Options that are None count as not given. Names are those of the command line.

    >>> import penchant as pn
    >>> pn.optimizers.read("adam", b2=0.95, eps=0.0)
    Adam(b1=0.9, b2=0.95, eps=0, eps_inside=False, bias_correction=False)

    Raises:
        TypeError: If it is none of these.
        ValueError: If there is no such rule, it does not take an option given, or a
            value is out of its range.
    """
    given = {key: value for key, value in options.items() if value is not None}
    if isinstance(optimizer, str):
        return _named(optimizer, given)
    if given:
        raise TypeError(f"options go with a name; got {optimizer!r} and {given}.")
    if isinstance(optimizer, AbstractOptimizer):
        return optimizer
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return FromOptax(optimizer)
    raise TypeError(
        "optimizer must be one of penchant.optimizers, the name of one, or an optax "
        f"transformation; got {optimizer!r} of type {type(optimizer).__name__}."
    )


def _named(name: str, given: dict[str, Any]) -> AbstractOptimizer:
    make, takes = look_up("optimizer", name, OPTIMIZERS)
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
        given["norm"] = norms.read(given["norm"])
    if "polar" in given:
        given["polar"] = read_polar(given["polar"])
    return make(**given)


def read_polar(polar: AbstractPolar | str) -> AbstractPolar:
    """A polar map, or `exact`; `ns`, `cubic`, `express`, or these with `:STEPS`.

    Raises:
        ValueError: If there is no such polar map.
    """
    if isinstance(polar, AbstractPolar):
        return polar
    kind, _, steps = polar.strip().lower().partition(":")
    count = read_whole("polar steps", steps) if steps else None
    if kind == "exact" and count is None:
        return ExactPolar()
    if kind == "ns":
        return NewtonSchulz(5 if count is None else count)
    if kind == "cubic":
        return CubicNewtonSchulz(15 if count is None else count)
    if kind == "express":
        return PolarExpress(8 if count is None else count)
    raise ValueError(
        f"no polar map {polar!r}; have: exact, ns:STEPS, cubic:STEPS, express:STEPS."
    )
