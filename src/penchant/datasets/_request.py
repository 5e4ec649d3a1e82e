from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from penchant._checks import check_count
from penchant._types import Numbers
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
        seed: int = 0,
    ) -> "Request":
        """A request whose arguments make sense."""
        everything = isinstance(rows, str) and rows == "all"
        if isinstance(rows, str) and not everything:
            raise ValueError(
                f"rows must be a whole number, 'all' or None; got {rows!r}."
            )
        return Request(
            name,
            target,
            features,
            None if classes is None else _check_classes(name, classes),
            _check_sequence("skip", skip),
            None if rows is None or everything else check_count("rows", rows),
            everything,
            drop_missing,
            check_count("seed", seed, least=0),
        )

    def kept(self, features: Iterable[str]) -> np.ndarray:
        """Indices of the features that are not skipped.

        Raises:
            DataError: If `skip` names none of them, or nothing is left.
        """
        names = list(features)
        strange = [name for name in self.skip if name not in names]
        if strange:
            raise DataError(
                f"{self.name}: skip names {listing(strange)}, which is no feature; "
                f"features: {listing(names, 20)}."
            )
        kept = [j for j, name in enumerate(names) if name not in self.skip]
        if not kept:
            raise DataError(f"{self.name}: no feature is left beside the labels.")
        return np.array(kept)


def _check_sequence(argument: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(
            f"{argument} must be a sequence of names, such as ({value!r},); "
            f"got {value!r}."
        )
    return tuple(value)


def _check_classes(name: str, classes: Iterable[object]) -> tuple[str, ...]:
    wanted = tuple(label_name(c) or "" for c in _check_sequence("classes", classes))
    numbers = [label_number(text) for text in wanted]
    keys = {text if v is None else v for text, v in zip(wanted, numbers, strict=True)}
    if len(wanted) < 2 or len(keys) < len(wanted):
        raise DataError(
            f"{name}: classes must name at least two classes, each once; "
            f"got {listing(wanted)}."
        )
    return wanted
