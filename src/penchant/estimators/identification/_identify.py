"""The door: any rule in, a character out."""

import inspect
from typing import Any

import numpy as np

from penchant import optimizers
from penchant._checks import check_count
from penchant.estimators.identification._box import (
    AbstractBox,
    FunctionBox,
    OptaxBox,
    RuleBox,
    StrangerError,
)
from penchant.estimators.identification._findings import ask
from penchant.estimators.identification._read import read
from penchant.estimators.identification._result import Identification
from penchant.estimators.identification._torch import TorchBox, is_torch_class
from penchant.optimizers import AbstractOptimizer

MOST = 4096
"""Entries of weights with which a rule is tried."""


def identify(
    rule: Any,
    *,
    shape: tuple[int, ...] = (16, 8),
    key: int = 0,
    like: str | None = None,
) -> Identification:
    r"""What an update rule is, by what it does: a character, measured on a black box.

    Gradients of its own making go in, and what comes out is read: the degree of steps
    under forty decades of scale, what changes with which coordinates, signs,
    permutations, rotations and scales; the power of entries or of singular values; the
    weights of old gradients and of their squares, by age; what weights have to do with
    it. A rule of the form found is then replayed beside it on gradients that turn: only
    where both make the same steps, to $10^{-6}$, are memories called *measured*; else
    they are unknown. Where no pair of means makes the steps, recurrences of other kinds
    are fitted; `constants` are their numbers. `why` says of what is unknown why it is.

    Steps that are as long as the weights are read at weights that are not 0. Rules that
    take several arrays are asked on three at once, for what one does to the others.

    Weights are held where they are while gradients come, so what is said holds of the
    rule and not of a run. Rules whose geometry changes with time, or only shows at
    some shapes, are seen as they are in the first `12` to `30` steps at this one.
    Steps of linear rules don't tell a mean of gradients from a sum with another step
    size; with torch the learning rate tells, else a step size of 1 is taken.

    >>> import penchant as pn
    >>> found = pn.identify(pn.optimizers.Adam(b1=0.9, b2=0.95, eps=1e-6), shape=(4, 4))
    >>> found.steps, found.first.decay, found.second.decay, f"{found.second.eps:.3g}"
    (Linf(), 0.9, 0.95, '1e-06')
    >>> str(found.evidence["second"])
    'measured'

    Args:
        rule: One of ours; an optax transformation; a torch optimizer class, or
            `(class, arguments)`; or Python functions `(init, update)`, NumPy or JAX,
            with `init(weights)` and `update(gradient, state, weights)` that returns
            what is *added* to the weights and the state. An `update` alone starts from
            the state None.
        shape: The weights' shape, one or two axes; two for what treats matrices.
        key: Seed of the gradients.
        like: "torch" for a class that is stepped as torch's are without being one.

    Raises:
        TypeError: If `rule` is none of these.
        ValueError: If it can't be asked: it needs the loss or a closure, raises, or
            returns steps of another shape or that are not finite.
    """
    shape = _shape(shape)
    seed = check_count("key", key, least=0)
    box = as_box(rule, shape, like)
    if box.reads_loss:
        raise StrangerError(
            "rule must step by the gradient alone; it reads the loss, and a loss that "
            "fits synthetic gradients would decide what is found."
        )
    found = ask(box, seed)
    return read(box, name_of(rule), found, seed)


def _shape(shape: Any) -> tuple[int, ...]:
    axes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    if not 1 <= len(axes) <= 2:
        raise ValueError(f"shape must have one or two axes; got {shape!r}.")
    axes = tuple(check_count("shape", axis, least=2) for axis in axes)
    if np.prod(axes) > MOST:
        raise ValueError(f"shape must have at most {MOST} entries; got {axes}.")
    return axes


def as_box(asked: Any, shape: tuple[int, ...], like: str | None = None) -> AbstractBox:
    """A rule of any kind as a black box.

    Raises:
        TypeError: If it is of no kind known.
        ValueError: If it can't be asked.
    """
    if like not in (None, "torch"):
        raise ValueError(f'like must be "torch" or None; got {like!r}.')
    if like == "torch":
        make, kwargs = asked if isinstance(asked, tuple) else (asked, {})
        return TorchBox(make, dict(kwargs), shape, "float64")
    if isinstance(asked, str):
        asked = optimizers.read(asked)
    if isinstance(asked, optimizers.FromOptax):
        asked = asked.tx
    if isinstance(asked, AbstractOptimizer):
        return RuleBox(asked, shape, "float64")
    if is_torch_class(asked):
        return TorchBox(asked, {}, shape, "float64")
    if isinstance(asked, tuple) and len(asked) == 2:
        one, two = asked[0], asked[1]
        if is_torch_class(one) and isinstance(two, dict):
            return TorchBox(one, two, shape, "float64")
        if {"init", "update"} <= set(getattr(asked, "_fields", ())):
            return OptaxBox(asked, shape, "float64")
        if callable(two) and (one is None or callable(one)):
            return FunctionBox(one, two, shape, "float64")
    elif hasattr(asked, "init") and hasattr(asked, "update"):
        assert not isinstance(asked, tuple)
        if inspect.isclass(asked):
            raise TypeError(
                f"rule must be an instance; got the class {asked.__name__}."
            )
        return FunctionBox(asked.init, asked.update, shape, "float64")
    elif callable(asked) and not inspect.isclass(asked):
        return FunctionBox(None, asked, shape, "float64")
    raise TypeError(
        "rule must be one of penchant.optimizers, an optax transformation, a torch "
        "optimizer class or (class, arguments), or functions (init, update); got "
        f"{asked!r:.80} of type {type(asked).__name__}."
    )


def name_of(asked: Any) -> str:
    """What a rule is called."""
    if isinstance(asked, AbstractOptimizer):
        return type(asked).__name__
    if isinstance(asked, tuple) and asked and inspect.isclass(asked[0]):
        given = ", ".join(f"{k}={v}" for k, v in asked[1].items())
        return f"{asked[0].__name__}({given})"
    if inspect.isclass(asked) or inspect.isfunction(asked):
        return asked.__name__
    return str(asked) if isinstance(asked, str) else ""
