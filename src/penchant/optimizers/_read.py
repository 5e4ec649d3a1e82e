"""Optimizers by the names people type, and other people's as ours."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from penchant import norms
from penchant._checks import check_instance
from penchant._words import look_up, read_whole
from penchant.optimizers._adagrad import AdaGrad
from penchant.optimizers._adam import Adam
from penchant.optimizers._adam_e import AdamE
from penchant.optimizers._adam_mini import Adalayer
from penchant.optimizers._as_rule import as_rule
from penchant.optimizers._base import AbstractOptimizer
from penchant.optimizers._character import Character
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
from penchant.optimizers._weight_decay import AdamW, WeightDecay

OPTIMIZERS: dict[str, tuple[Callable[..., AbstractOptimizer], tuple[str, ...]]] = {
    "gd": (GradientDescent, ("momentum", "nesterov")),
    "sgd": (GradientDescent, ("momentum", "nesterov")),
    "momentum": (
        lambda momentum=0.9, **more: GradientDescent(momentum, **more),
        ("momentum", "nesterov"),
    ),
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
    "adagrad": (AdaGrad, ("eps", "eps_inside", "initial")),
    "muon": (Muon, ("b1", "polar", "nesterov")),
    "spectral": (lambda: Muon(0.0), ()),
    "shampoo": (Shampoo, ("b2", "eps", "exponent")),
    "lion": (Lion, ("b1", "b2")),
}
"""Each optimizer, and the options it takes."""

OPTIONS = tuple(dict.fromkeys(o for _, takes in OPTIMIZERS.values() for o in takes))
"""All options of all of them; `weight_decay` goes with every one."""

BATCHES = {"sgd": 32}
"""Samples that an update sees where the name of a rule says it; else all."""


def read(
    optimizer: AbstractOptimizer | str | object, **options: Any
) -> AbstractOptimizer:
    """A rule itself, by name with options, or an optax transformation as `FromOptax`.

    A [`Character`][penchant.optimizers.Character], such as `identify` returns, stands
    for the rule that it was read from, or for one of that form.

    Options that are None count as not given. Names are those of the command line.
    `weight_decay` goes with every name: decoupled, by `WeightDecay`. `sgd` is the rule
    of gradient descent; that its batches hold 32 samples, `batching.of_rule` says.

    >>> import penchant as pn
    >>> pn.optimizers.read("adam", b2=0.95, eps=0.0)
    Adam(b1=0.9, b2=0.95, eps=0, eps_inside=False, bias_correction=False)
    >>> pn.optimizers.read("sgd", momentum=0.9, nesterov=True)
    GradientDescent(momentum=0.9, nesterov=True)

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
    if isinstance(optimizer, Character):
        return as_rule(optimizer)
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        return FromOptax(optimizer)
    raise TypeError(
        "optimizer must be one of penchant.optimizers, the name of one, an optax "
        f"transformation or what identify returns; got {optimizer!r} of type "
        f"{type(optimizer).__name__}."
    )


def only(rest: Sequence[object], optimizer: object | None) -> object:
    """The one rule among a door's last arguments; `adam` where there is none.

    Raises:
        TypeError: If there are two.
    """
    given = [*rest, *([] if optimizer is None else [optimizer])]
    if len(given) > 1:
        raise TypeError(
            "optimizer must be one rule, after the problem or after X and y; got "
            f"{len(given)}: {', '.join(map(repr, given))}."
        )
    return given[0] if given else "adam"


def _named(name: str, given: dict[str, Any]) -> AbstractOptimizer:
    make, takes = look_up("optimizer", name, OPTIMIZERS)
    takes = tuple(dict.fromkeys((*takes, "weight_decay")))
    strange = [key for key in given if key not in takes]
    if strange:
        listing = ", ".join(f"--{key.replace('_', '-')}" for key in takes)
        raise ValueError(
            f"--{strange[0].replace('_', '-')} is no option of {name}, which takes: "
            f"{listing}."
        )
    for key, value in given.items():
        if isinstance(value, float) and math.isinf(value):
            raise ValueError(f"--{key.replace('_', '-')} must be finite; got {value}.")
    if name.strip().lower() == "steepest" and "norm" not in given:
        raise ValueError(
            "steepest needs --norm, the norm whose steepest steps it takes."
        )
    if "norm" in given:
        given["norm"] = norms.read(given["norm"])
    if "polar" in given:
        given["polar"] = read_polar(given["polar"])
    if make is AdamW or "weight_decay" not in given:
        return make(**given)
    decay = given.pop("weight_decay")
    return WeightDecay(make(**given), decay)


def read_polar(polar: AbstractPolar | str) -> AbstractPolar:
    """A polar map, or `exact`; `ns`, `cubic`, `express`, or these with `:STEPS`.

    Raises:
        ValueError: If there is no such polar map.
    """
    if isinstance(polar, AbstractPolar):
        return polar
    check_instance("polar", polar, str, "a polar map or its name")
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


def as_options(rule: AbstractOptimizer) -> str | None:
    """What to type on the command line for a rule; None for one that has no name there.

    >>> import penchant as pn
    >>> pn.optimizers.as_options(pn.optimizers.Adam(b2=0.95))
    'adam --b2 0.95'
    """
    for name, (make, takes) in OPTIMIZERS.items():
        try:
            plain = make()
        except TypeError:
            continue  # one that can't do without its options
        if type(plain) is not type(rule):
            continue
        words = [name]
        for option in takes:
            value, usual = getattr(rule, option, None), getattr(plain, option, None)
            if repr(value) == repr(usual):
                continue
            flag = "--" + option.replace("_", "-")
            if isinstance(value, bool):
                words += [flag] if value else []
                continue
            try:
                words += [flag, f"{float(value):g}"]  # pyright: ignore[reportArgumentType]
            except TypeError:
                return None  # a part that has no spelling of its own
        return " ".join(words)
    return None
