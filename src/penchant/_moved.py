"""Names and modules that have moved: importable from where they were, and told of."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

MODULES = {
    "penchant.problems.networks": "penchant.problems.models.networks",
    **{
        f"penchant.theory.{key}": f"penchant.theory.papers.{key}"
        for key in (
            "baek2026persample",
            "fan2025spectral",
            "gunasekar2018geometry",
            "soudry2018implicit",
            "wang2021adaptive",
            "zhang2024adam",
        )
    },
}
"""Where public modules of version 0.1.0 are now."""


def moved(
    module: str, names: dict[str, str], renamed: dict[str, str] | None = None
) -> Callable[[str], Any]:
    """A `__getattr__` for `module` that hands out `names` from their new places.

    Args:
        module: The old place, `__name__` there.
        names: For each name the module that has it now.
        renamed: What some of them are called there.
    """
    known = renamed or {}

    def look_up(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, new = names[name], known.get(name, name)
        _warn(f"{module}.{name}", f"{place}.{new}", stacklevel=3)
        return getattr(importlib.import_module(place), new)

    return look_up


def places(table: dict[str, str]) -> dict[str, str]:
    """The new place of each name, from names separated by spaces for each place."""
    return {name: place for place, names in table.items() for name in names.split()}


def install() -> None:
    """Let the old addresses of `MODULES` be imported; looked at after all others."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


def _warn(old: str, new: str, stacklevel: int) -> None:
    warnings.warn(
        f"{old} has moved to {new}; the old name goes with the next version.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self,
        fullname: str,
        path: Any,  # a sequence, or what importlib says is one
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in MODULES:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def exec_module(self, module: types.ModuleType) -> None:
        old = module.__name__
        _warn(old, MODULES[old], stacklevel=2)
        # the import hands out what stands here afterwards: the module itself, once
        sys.modules[old] = importlib.import_module(MODULES[old])
