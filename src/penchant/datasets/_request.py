from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant._checks import check_count, check_number
from penchant._types import Numbers, Real
from penchant._visible import visible
from penchant.datasets._errors import DataError, listing
from penchant.datasets._labels import label_name, label_number


@dataclass(frozen=True)
class Request:
    """What a user asked of a source."""

    name: str
    target: str | None
    key: str | None
    classes: tuple[str, ...] | None
    skip: tuple[str, ...]
    rows: int | None
    everything: bool
    drop_missing: bool
    missing: tuple[str, ...]
    one_hot: tuple[str, ...] | None
    decimal: str
    scale: float | None
    image: tuple[int, ...] | str | None
    seed: int

    @staticmethod
    def checked(
        name: str,
        *,
        target: str | None = None,
        features: str | None = None,
        classes: Iterable[object] | None = None,
        skip: Iterable[str] = (),
        rows: Numbers | None = None,
        drop_missing: bool = False,
        missing: Iterable[str] = (),
        one_hot: Iterable[str] | str = (),
        decimal: str = ".",
        scale: Real | None = None,
        image: tuple[int, ...] | str | None = None,
        seed: int = 0,
    ) -> "Request":
        """A request whose arguments make sense."""
        everything = isinstance(rows, str) and rows == "all"
        if isinstance(rows, str) and not everything:
            raise ValueError(
                f"rows must be a whole number, 'all' or None; got {rows!r}."
            )
        if decimal not in (".", ","):
            raise ValueError(f"decimal must be '.' or ','; got {decimal!r}.")
        if scale is not None:
            check_number("scale", scale, above=0.0, below=np.inf)
        all_text = isinstance(one_hot, str) and one_hot == "all"
        return Request(
            visible(name),
            _check_name("target", target),
            _check_name("features", features),
            None if classes is None else _check_classes(name, classes),
            tuple(map(visible, _check_names("skip", skip))),
            None if rows is None or everything else check_count("rows", rows),
            everything,
            bool(drop_missing),
            _check_names("missing", missing),
            None if all_text else tuple(map(visible, _check_names("one_hot", one_hot))),
            decimal,
            None if scale is None else float(scale),
            image,
            check_count("seed", seed, least=0),
        )

    @property
    def streamed(self) -> bool:
        """Whether a file of any size may be gone through."""
        return self.rows is not None or self.everything

    def kept(self, features: Iterable[str]) -> np.ndarray:
        """Indices of the features that are not skipped.

        Raises:
            DataError: If `skip` names none of them, or nothing is left.
        """
        names = list(features)
        known = set(names)
        for argument, asked in (("skip", self.skip), ("one_hot", self.one_hot or ())):
            strange = [name for name in asked if name not in known]
            if strange:
                raise DataError(
                    f"{self.name}: {argument} names {listing(strange)}, which is no "
                    f"feature; features: {listing(names, 20)}."
                )
        kept = [j for j, name in enumerate(names) if name not in self.skip]
        if not kept:
            raise DataError(f"{self.name}: no feature is left beside the labels.")
        return np.array(kept)


def _check_name(argument: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{argument} must be a name; got {value!r}.")
    return None if value is None else visible(value)


def _check_sequence(argument: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"{argument} must be a sequence of names, such as ({value!r},); "
            f"got {value!r}."
        )
    return tuple(value)


def _check_names(argument: str, value: object) -> tuple[str, ...]:
    names = _check_sequence(argument, value)
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        raise TypeError(
            f"{argument} must be a sequence of names; got {strange[0]!r} in it."
        )
    return names


def _check_classes(name: str, classes: Iterable[object]) -> tuple[str, ...]:
    asked = _check_sequence("classes", classes)
    wanted = tuple(label_name(c, frozenset()) or "" for c in asked)
    numbers = [label_number(text) for text in wanted]
    keys = {text if v is None else v for text, v in zip(wanted, numbers, strict=True)}
    if len(wanted) < 2 or len(keys) < len(wanted):
        raise DataError(
            f"{name}: classes must name at least two classes, each once; "
            f"got {listing(wanted)}."
        )
    return wanted
