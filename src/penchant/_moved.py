"""Names that have moved: importable from where they were, with a warning."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any


def moved(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for `module` that hands out `names` from their new places.

    Args:
        module: The old place, `__name__` there.
        names: For each name the module that has it now; a module for itself.
    """

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place = names[name]
        warnings.warn(
            f"{module}.{name} has moved to {place}.{name}; the old name goes with the "
            "next version.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(importlib.import_module(place), name)

    return look_up


def places(table: dict[str, str]) -> dict[str, str]:
    """The new place of each name, from names separated by spaces for each place."""
    return {name: place for place, names in table.items() for name in names.split()}
