"""Norms by the names people type."""

import math
from collections.abc import Callable

from penchant._words import look_up, read_number
from penchant.norms._base import AbstractNorm
from penchant.norms._lp import L1, L2, Linf, lp
from penchant.norms._schatten import Frobenius, Nuclear, Spectral, schatten

NORMS: dict[str, Callable[[], AbstractNorm]] = {
    "l1": L1,
    "l2": L2,
    "linf": Linf,
    "nuclear": Nuclear,
    "frobenius": Frobenius,
    "spectral": Spectral,
}


def read(norm: AbstractNorm | str) -> AbstractNorm:
    """A norm itself, or by name: `l1`, `linf`, `spectral`, `lp:3` and so on.

    >>> import penchant as pn
    >>> pn.norms.read("lp:3"), pn.norms.read(pn.norms.L2())
    (Lp(p=3.0), L2())

    Raises:
        TypeError: If it is neither a norm nor a name.
        ValueError: If there is no such norm.
    """
    if isinstance(norm, AbstractNorm):
        return norm
    if not isinstance(norm, str):
        raise TypeError(
            "norm must be one of penchant.norms, or the name of one; "
            f"got {norm!r} of type {type(norm).__name__}."
        )
    family, _, exponent = norm.strip().lower().partition(":")
    if family in ("lp", "schatten") and exponent:
        p = math.inf if exponent == "inf" else read_number(f"{family}:", exponent)
        return lp(p) if family == "lp" else schatten(p)
    return look_up("norm", norm, NORMS, also=("lp:P", "schatten:P"))()
